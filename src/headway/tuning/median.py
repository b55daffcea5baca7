"""The median rule. In: reports of running trials. Out: STOP for those that fall behind (`headway.tuning.loop`)."""

from __future__ import annotations

from statistics import fmean, median
from typing import Any, final

from headway.tuning.objective import cost
from headway.tuning.scheduler import Decision, Report, Scheduler
from headway.tuning.trial import History, Trial


@final
class MedianRule(Scheduler):
    """Stops a trial whose best value so far is worse than the median of the others' averages up to the same step.

    Args:
        min_trials: other trials that must have ended, or been stopped at this step or later, before one is stopped.
        min_step: steps that every trial is given.

    Source: Golovin et al., Google Vizier, KDD 2017, section 3.3; the others' running averages are taken up to the
    trial's step, as there. Trials that were stopped before that step do not count, else the median sinks with them.
    """

    def __init__(self, *, min_trials: int = 5, min_step: int = 1) -> None:
        if min_trials < 1 or min_step < 0:
            raise ValueError(
                f"min_trials must be at least 1 and min_step at least 0, got {min_trials!r} and {min_step!r}"
            )
        self.min_trials = min_trials
        self.min_step = min_step

    def decide(self, trial: Trial, report: Report, history: History) -> tuple[Decision, str]:
        """STOP once the trial lies behind the median."""
        if report.step < self.min_step:
            return Decision.CONTINUE, ""
        others = [
            fmean(value for step, value in history.curves[number] if step <= report.step)
            for number, other in history.trials.items()
            if number != trial.number and _counts(other, history, report.step)
        ]
        if len(others) < self.min_trials:
            return Decision.CONTINUE, ""
        own = [value for step, value in history.curves[trial.number] if step <= report.step]
        best = min(own, key=lambda value: cost(history.objective, value))
        middle = median(others)
        if cost(history.objective, best) <= cost(history.objective, middle):
            return Decision.CONTINUE, ""
        return Decision.STOP, (
            f"at step {report.step} its best {history.objective.metric} is {best:.6g}, "
            f"the median of {len(others)} trials is {middle:.6g}"
        )

    def to_json(self) -> dict[str, Any]:
        """As recorded in the study."""
        return {"name": "median", "min_trials": self.min_trials, "min_step": self.min_step}


def _counts(other: Trial, history: History, step: int) -> bool:
    curve = history.curves.get(other.number, ())
    if not any(at <= step for at, _ in curve):
        return False
    return other.status == "ended" or (other.status == "stopped" and curve[-1][0] >= step)
