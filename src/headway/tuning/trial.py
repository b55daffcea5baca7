"""One trial of a study as a value, and what searchers and schedulers may look at.

In: the events of a study (`headway.tuning.study`). Out: `Trial` records and the `History` that the seams
`headway.tuning.searcher` and `headway.tuning.scheduler` take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal, final

from headway.records import Record, encode
from headway.tuning.objective import Objective
from headway.tuning.space import Parameters, SearchSpace

Status = Literal["waiting", "running", "paused", "ended", "stopped", "failed"]

ENDED: frozenset[str] = frozenset({"ended", "stopped", "failed"})
"""The states that count against the number of trials."""


@final
class Trial(Record):
    """One configuration and what became of it.

    Args:
        number: its place in the study, counted from 1; it never changes.
        status: `waiting` (asked for, not started, or to be started again), `running`, `paused` (the scheduler gave its
            place to others), `ended`, `stopped` (early, by the scheduler), `failed` (in every attempt it had).
        attempt: the start that counts, from 1; 0 before the first one. Every start has a number of its own.
        failures: starts that failed by the program's own fault; starts lost with their driver are not among them.
        metrics: the last value of every metric reported; None for one that was not a finite number.
        value: the objective's last value; None when there is none that counts.
        note: why it failed, was stopped, or has no value.
        artifact: where the trial's model lies, as its runner said.
        asked_at, started_at, ended_at: UTC seconds; `started_at` is that of the attempt that counts.
        wall_s: how long the attempt that counts ran; None while it has not ended.
    """

    number: int
    parameters: Parameters
    status: Status = "waiting"
    attempt: int = 0
    failures: int = 0
    metrics: dict[str, float | None] = {}
    value: float | None = None
    note: str = ""
    artifact: str | None = None
    asked_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    wall_s: float | None = None


@final
@dataclass(frozen=True, slots=True)
class History:
    """What is known of a study at one moment: the recorded prefix of its events.

    Args:
        trials: number -> trial, those that still run included.
        curves: number -> (step, value) of the objective, in the order reported.
        configurations: `key` of every configuration that was suggested.
    """

    space: SearchSpace
    objective: Objective
    seed: int
    trials: Mapping[int, Trial]
    curves: Mapping[int, Sequence[tuple[int, float]]]
    configurations: Set[bytes]


def key(parameters: Parameters) -> bytes:
    """The same bytes for the same configuration, however it was written."""
    return encode(parameters)
