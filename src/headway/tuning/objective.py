"""What a study makes large or small.

In: the name of a metric that trials report. Out: `Maximize` or `Minimize`, as recorded in the study, and the ordering
of values that everything else in this package uses.
"""

from __future__ import annotations

import math
from typing import Any, final

from headway.records import Record


@final
class Maximize(Record, kw_only=False, tag_field="direction", tag="maximize"):
    """The larger the metric the better.

    Args:
        metric: its name as reported, `validation:accuracy`; the last value of a trial counts.
    """

    metric: str

    def __post_init__(self) -> None:
        _check_metric(self.metric)


@final
class Minimize(Record, kw_only=False, tag_field="direction", tag="minimize"):
    """The smaller the metric the better.

    Args:
        metric: its name as reported, `validation:loss`; the last value of a trial counts.
    """

    metric: str

    def __post_init__(self) -> None:
        _check_metric(self.metric)


Objective = Maximize | Minimize


def cost(objective: Objective, value: float | None) -> float:
    """A number that is smaller the better the value is; infinity for no value."""
    if value is None or not math.isfinite(value):
        return math.inf
    return -value if isinstance(objective, Maximize) else value


def number(value: Any) -> float | None:
    """A finite number as a float; None for everything else that a program may hand out as a metric.

    NaN, infinities, text, None and arrays of several values are None; numpy scalars and booleans are numbers.
    """
    try:
        result = float(value) if not isinstance(value, (str, bytes)) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _check_metric(metric: object) -> None:
    if not isinstance(metric, str) or not metric.strip():
        raise ValueError(
            f"an objective is the name of a reported metric, got {metric!r}: Maximize('validation:accuracy')"
        )
