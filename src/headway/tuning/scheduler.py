"""The seam to what ends trials early: two methods to write.

In: a trial, its newest report of the objective, and the `History`. Out: CONTINUE, PAUSE or STOP. Built in: see
`SCHEDULERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, final

from headway.tuning.searcher import from_record
from headway.tuning.trial import History, Trial

SCHEDULERS: dict[str, str] = {
    "none": "headway.tuning.scheduler:NoScheduler",
    "median": "headway.tuning.median:MedianRule",
}
"""Name -> class; another class is named by its import string, `package.module:Class`."""


@final
class Decision(Enum):
    """What becomes of a running trial.

    PAUSE ends the running attempt without a result and gives its place to trials that were not tried yet; the trial is
    started again, from its last checkpoint, once no new trial is left to ask for.
    """

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@final
class Report:
    """One value of the objective.

    Args:
        step: the step that the program named, else the count of reports so far, from 1.
    """

    __slots__ = ("step", "value")

    def __init__(self, *, step: int, value: float) -> None:
        self.step = step
        self.value = value


class Scheduler(ABC):
    """Decides after every report of the objective."""

    @abstractmethod
    def decide(self, trial: Trial, report: Report, history: History) -> tuple[Decision, str]:
        """The decision and its reason in words (empty for CONTINUE); a function of the arguments alone.

        Args:
            history: the report is already in it.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """`{"name": ...}` and the arguments that make the same scheduler again, as recorded in the study."""


@final
class NoScheduler(Scheduler):
    """Every trial runs to its end."""

    def decide(self, trial: Trial, report: Report, history: History) -> tuple[Decision, str]:
        """Always CONTINUE."""
        return Decision.CONTINUE, ""

    def to_json(self) -> dict[str, Any]:
        """As recorded in the study."""
        return {"name": "none"}


def open_scheduler(value: str | Mapping[str, Any] | Scheduler) -> Scheduler:
    """The scheduler of a name (`"median"`), of a record made by `to_json`, or the one given.

    Raises:
        NotFoundError: no scheduler has that name; the text lists the known ones.
        TypeError: the record has arguments that the class does not take.
    """
    return value if isinstance(value, Scheduler) else from_record(value, Scheduler, table=SCHEDULERS)  # type: ignore[type-abstract]
