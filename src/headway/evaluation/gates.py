"""Conditions that an evaluation must meet before its model is registered.

In: the candidate's `Evaluation`, and the champion's when there is one. Out: one `GateResult` per gate. Pure. After:
`headway.registry`, which writes nothing unless every gate passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headway.errors import GateFailedError, NotFoundError
from headway.evaluation.evaluation import Evaluation
from headway.records import Record

_LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "error", "mape", "deviance", "perplexity")


def lower_is_better(metric: str) -> bool:
    """Whether smaller values of a metric are better, told by the last words of its name (`test:log_loss`, `mse`)."""
    words = metric.rpartition(":")[2].lower().split("_")
    return words[-1] in _LOWER_IS_BETTER


class AtLeast(Record, kw_only=False, tag="at_least", tag_field="gate"):
    """Passes when a metric is at least `value`.

    Args:
        metric: `test:accuracy`.
        value: the least that passes.
    """

    metric: str
    value: float


class AtMost(Record, kw_only=False, tag="at_most", tag_field="gate"):
    """Passes when a metric is at most `value`.

    Args:
        metric: `test:log_loss`.
        value: the most that passes.
    """

    metric: str
    value: float


class BetterThanChampion(Record, kw_only=False, tag="better_than_champion", tag_field="gate"):
    """Passes when a metric beats the champion's on the same data; without a champion it passes with a note.

    Args:
        metric: `test:accuracy`; of losses and errors, smaller is better.
        by: by how much at least, in the metric's unit; 0: by anything.
        alias: which alias is the champion.
    """

    metric: str
    by: float = 0.0
    alias: str = "champion"

    def __post_init__(self) -> None:
        if self.by < 0:
            raise ValueError(f"by must not be negative, got {self.by!r}")


Gate = AtLeast | AtMost | BetterThanChampion


class GateResult(Record):
    """What one gate said.

    Args:
        gate: the gate.
        metric: the metric it looked at.
        value: the candidate's value; None when it was not computed.
        threshold: what it was held against; None without a champion.
        passed: whether it passed.
        text: the same as a sentence.
    """

    gate: Gate
    metric: str
    value: float | None
    threshold: float | None
    passed: bool
    text: str


def check(gates: Iterable[Gate], candidate: Evaluation, champion: Evaluation | None = None) -> list[GateResult]:
    """One result per gate; nothing is raised, a metric that is missing fails its gate."""
    return [_check_one(gate, candidate, champion) for gate in gates]


def require(results: Sequence[GateResult], *, what: str) -> None:
    """Nothing when all passed.

    Args:
        results: what `check` returned.
        what: what is refused, for the error: `registering 'shoes'`.

    Raises:
        GateFailedError: names metric, value and threshold of every gate that failed.
    """
    failed = [r for r in results if not r.passed]
    if failed:
        raise GateFailedError(
            f"{what} is refused, nothing was written: " + "; ".join(r.text for r in failed),
            failed=[{"metric": r.metric, "value": r.value, "threshold": r.threshold} for r in failed],
        )


def _check_one(gate: Gate, candidate: Evaluation, champion: Evaluation | None) -> GateResult:
    try:
        value = candidate.metric(gate.metric)
    except NotFoundError as error:
        return _result(gate, None, None, passed=False, text=f"{candidate.id} has {error}")
    if isinstance(gate, BetterThanChampion):
        return _against(gate, value, candidate, champion)
    if isinstance(gate, AtLeast):
        passed, sign = value >= gate.value, "at least"
    else:
        passed, sign = value <= gate.value, "at most"
    text = f"{gate.metric} is {value:.6g}, the gate asks for {sign} {gate.value:.6g}"
    return _result(gate, value, gate.value, passed=passed, text=text)


def _against(gate: BetterThanChampion, value: float, candidate: Evaluation, champion: Evaluation | None) -> GateResult:
    if champion is None:
        return _result(gate, value, None, passed=True, text=f"there is no {gate.alias} yet, so {gate.metric} passes")
    if champion.dataset_digest != candidate.dataset_digest:
        return _result(gate, value, None, passed=False, text=different_data(candidate, champion, alias=gate.alias))
    try:
        other = champion.metric(gate.metric)
    except NotFoundError as error:
        return _result(gate, value, None, passed=False, text=f"{gate.alias} {champion.id} has {error}")
    lower = lower_is_better(gate.metric)
    gain = other - value if lower else value - other
    passed = gain > 0 and gain >= gate.by - 1e-12
    threshold = other - gate.by if lower else other + gate.by
    sign = "below" if lower else "above"
    rest = f" by at least {gate.by:.6g}" if gate.by else ""
    text = f"{gate.metric} is {value:.6g}, the {gate.alias} has {other:.6g} and the gate asks for {sign} that{rest}"
    return _result(gate, value, threshold, passed=passed, text=text)


def different_data(candidate: Evaluation, champion: Evaluation, *, alias: str = "champion") -> str:
    """Why two evaluations cannot be compared, and what to do."""
    return (
        f"the {alias} {champion.model} was scored on other data ({champion.dataset}, digest "
        f"{champion.dataset_digest[:12]}) than the candidate {candidate.model} ({candidate.dataset}, digest "
        f"{candidate.dataset_digest[:12]}): evaluate the {alias} on {candidate.dataset} first "
        f"(headway evaluate NAME@{alias} {candidate.dataset}) and compare with that"
    )


def _result(gate: Gate, value: float | None, threshold: float | None, *, passed: bool, text: str) -> GateResult:
    return GateResult(gate=gate, metric=gate.metric, value=value, threshold=threshold, passed=passed, text=text)
