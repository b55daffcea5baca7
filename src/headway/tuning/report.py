"""Listings of a study: rows, the best, a ranking by any metric, slow trials. In: a `StudyState`. Out: plain values."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from headway.errors import MissingExtraError, NotFoundError
from headway.tuning.objective import Maximize, Minimize, Objective, cost
from headway.tuning.study import StudyState
from headway.tuning.trial import ENDED, Trial


def rows(state: StudyState) -> list[dict[str, Any]]:
    """One dict per trial in the order of the numbers: what `trials()` and `headway study show` give.

    Keys: number, status, value, parameters, metrics, attempt, failures, started_at, ended_at, wall_s, slow, note,
    artifact.
    """
    slow = {trial.number for trial in slow_outliers(state)}
    return [
        {
            "number": trial.number,
            "status": trial.status,
            "value": trial.value,
            "parameters": trial.parameters,
            "metrics": trial.metrics,
            "attempt": trial.attempt,
            "failures": trial.failures,
            "started_at": trial.started_at,
            "ended_at": trial.ended_at,
            "wall_s": trial.wall_s,
            "slow": trial.number in slow,
            "note": trial.note,
            "artifact": trial.artifact,
        }
        for trial in state.trials.values()
    ]


def frame(state: StudyState) -> Any:
    """The same rows as a pandas DataFrame: parameters as `parameter:lr`, metrics as `metric:loss`.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("pandas", extra="pandas", purpose="a table of trials") from error
    flat = []
    for row in rows(state):
        inner = {f"parameter:{name}": value for name, value in row.pop("parameters").items()}
        inner |= {f"metric:{name}": value for name, value in row.pop("metrics").items()}
        flat.append(row | inner)
    return pandas.DataFrame(flat)


def ranking(state: StudyState, *, by: Objective | None = None) -> list[Trial]:
    """Ended trials, the best first; those without the metric are left out. Ties: the earlier number first.

    Args:
        by: any metric that trials reported, `Minimize("validation:loss")`; None ranks by the study's objective.

    Raises:
        NotFoundError: no trial reported that metric; the text lists those that were.
    """
    if by is None or by == state.spec.objective:
        return [state.trials[number] for _, number in state.ranked]
    ended = [trial for trial in state.trials.values() if trial.status in ("ended", "stopped")]
    if ended and by.metric not in state.metrics_seen:
        raise NotFoundError("metric", by.metric, state.metrics_seen)
    have = [trial for trial in ended if trial.metrics.get(by.metric) is not None]
    return sorted(have, key=lambda trial: (cost(by, trial.metrics[by.metric]), trial.number))


def best(state: StudyState, *, by: Objective | None = None) -> Trial:
    """The best trial so far.

    Raises:
        NotFoundError: no trial has ended with a value.
    """
    ranked = ranking(state, by=by)
    if not ranked:
        metric = (by or state.spec.objective).metric
        raise NotFoundError(
            "trial with a value of", metric, state.metrics_seen, hint=f"{state.num_ended} trials of {state.total} ended"
        )
    return ranked[0]


def surplus(state: StudyState, *, keep_best: int) -> list[int]:
    """Numbers of ended trials whose models need not be kept, when the best `keep_best` are."""
    kept = {number for _, number in state.ranked[:keep_best]}
    return [trial.number for trial in state.trials.values() if trial.status in ENDED and trial.number not in kept]


def slow_outliers(state: StudyState) -> list[Trial]:
    """Ended trials that took far longer than the others: over twice the median and five median deviations above it.

    Fewer than five ended trials tell nothing.
    """
    times = {trial.number: trial.wall_s for trial in state.trials.values() if trial.wall_s is not None}
    if len(times) < 5:
        return []
    middle = median(times.values())
    spread = median(abs(value - middle) for value in times.values())
    limit = max(2 * middle, middle + 5 * spread)
    return [state.trials[number] for number, value in times.items() if value > limit]


def durations(state: StudyState, *, bins: int = 8) -> list[dict[str, Any]]:
    """How long trials took, as a histogram: rows `from_s`, `to_s`, `trials`; [] while none has ended.

    Args:
        bins: of equal width, from the shortest to the longest trial.
    """
    times = _times(state.trials.values())
    if not times:
        return []
    low, high = min(times), max(times)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in times:
        counts[min(bins - 1, int((value - low) / width))] += 1
    return [
        {"from_s": low + number * width, "to_s": low + (number + 1) * width, "trials": count}
        for number, count in enumerate(counts)
    ]


def summary(state: StudyState) -> dict[str, Any]:
    """One small dict for listings and for the ledger's catalogue."""
    ranked = ranking(state)
    objective = state.spec.objective
    return {
        "name": state.spec.name,
        "objective": objective.metric,
        "direction": "maximize" if isinstance(objective, Maximize) else "minimize",
        "trials": state.total,
        "parallel": state.parallel,
        "ended": state.num_ended,
        "running": len(state.running),
        "counts": {status: count for status, count in sorted(state.counts.items()) if count},
        "finished": state.finished is not None,
        "best": None if not ranked else {"number": ranked[0].number, "value": ranked[0].value},
        "best_parameters": None if not ranked else ranked[0].parameters,
        "slow": [trial.number for trial in slow_outliers(state)],
        "seconds_in_trials": round(sum(_times(state.trials.values())), 3),
    }


def sentence(state: StudyState) -> str:
    """One line: how far it is and the best so far."""
    rest = news(state)
    return f"{state.num_ended}/{state.total} trials" + (f", {rest}" if rest else "")


def news(state: StudyState) -> str:
    """The same without the count, for beside a bar that shows it; costs the same for any number of trials."""
    parts = []
    if state.running:
        parts.append(f"{len(state.running)} running")
    if failed := state.counts.get("failed", 0):
        parts.append(f"{failed} failed")
    if stopped := state.counts.get("stopped", 0):
        parts.append(f"{stopped} stopped early")
    if state.ranked:
        first = state.trials[state.ranked[0][1]]
        settings = ", ".join(f"{name}={short(value)}" for name, value in first.parameters.items())
        parts.append(f"best {state.spec.objective.metric} {short(first.value)} (trial {first.number}: {settings})")
    return ", ".join(parts)


def objective_of(metric: str, *, like: Objective, minimize: bool | None = None) -> Objective:
    """An objective for ranking by another metric.

    Args:
        like: gives the direction when the name does not: `loss`, `error` and the like are made small.
        minimize: says it outright.
    """
    if minimize is None:
        small = any(word in metric.lower() for word in ("loss", "error", "mse", "mae", "time")) or metric.endswith("_s")
        minimize = small or (metric == like.metric and isinstance(like, Minimize))
    return Minimize(metric) if minimize else Maximize(metric)


def short(value: Any) -> str:
    """A value as people read it: six digits of a number."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _times(trials: Iterable[Trial]) -> list[float]:
    return [trial.wall_s for trial in trials if trial.wall_s is not None]
