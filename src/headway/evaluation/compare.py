"""Candidate against champion on the same data, with a plain word on how sure the difference is.

In: two evaluations of one dataset and their tables of predictions. Out: `Comparison`. Both models saw the same rows, so
rows are drawn again in pairs (bootstrap), and for accuracy the rows on which exactly one is right count (McNemar).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from headway.errors import DataChangedError, ProgramError
from headway.evaluation.evaluation import Evaluation, load_predictions
from headway.evaluation.gates import different_data, lower_is_better
from headway.evaluation.metrics import METRICS, Scored, compute
from headway.evaluation.predictions import canonical
from headway.records import Record

if TYPE_CHECKING:
    from headway.stores.files import Files

RESAMPLES = 1_000
LEVEL = 0.95
_SLOW_RESAMPLES = 200  # of metrics that scikit-learn computes anew for each resample
_MAX_DRAWS = 50_000_000


class Comparison(Record):
    """How a candidate does against a champion.

    Args:
        candidate, champion: ids of the evaluations.
        candidate_model, champion_model: what they scored.
        metric: `test:accuracy`.
        candidate_value, champion_value: of the metric.
        difference: candidate minus champion.
        low, high: 95 % interval of the difference; None for metrics that the table of predictions does not give.
        only_candidate, only_champion: rows on which exactly that one is right; None for regression.
        p_value: how often chance alone splits those rows so unevenly (exact McNemar test); None for other metrics.
        rows: rows compared.
        resamples, seed: of the bootstrap.
        verdict: `better`, `worse`, or `unclear` when 0 lies in the interval.
        text: all of it as sentences.
    """

    schema: int = 1
    candidate: str
    champion: str
    candidate_model: str
    champion_model: str
    metric: str
    candidate_value: float
    champion_value: float
    difference: float
    low: float | None = None
    high: float | None = None
    only_candidate: int | None = None
    only_champion: int | None = None
    p_value: float | None = None
    rows: int
    resamples: int = 0
    seed: int = 0
    verdict: Literal["better", "worse", "unclear"]
    text: str


def compare_stored(
    files: Files, candidate: Evaluation, champion: Evaluation, *, metric: str | None = None, seed: int = 0
) -> Comparison:
    """The comparison of two evaluations whose jobs lie in the workspace."""
    check_same_data(candidate, champion)
    ours, theirs = load_predictions(files, candidate), load_predictions(files, champion)
    return compare(candidate, champion, predictions=ours, champion_predictions=theirs, metric=metric, seed=seed)


def check_same_data(candidate: Evaluation, champion: Evaluation) -> None:
    """Nothing when both were scored on the same data.

    Raises:
        ProgramError: they were not; says how to evaluate the champion on the candidate's.
    """
    if candidate.dataset_digest != champion.dataset_digest:
        raise ProgramError(f"cannot compare: {different_data(candidate, champion)}")


def compare(
    candidate: Evaluation,
    champion: Evaluation,
    *,
    predictions: Any,
    champion_predictions: Any,
    metric: str | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Candidate against champion.

    Args:
        predictions, champion_predictions: the tables, as `load_predictions` gives them.
        metric: None for `test:accuracy`, or `test:rmse` of numbers.
        seed: of the bootstrap: the same seed gives the same interval.
        resamples: how often rows are drawn again; fewer where there are very many rows.

    Raises:
        ProgramError: the evaluations are of different data.
        NotFoundError: the metric was not computed for both.
        DataChangedError: the tables are not of the same rows.
    """
    check_same_data(candidate, champion)
    name = metric or default_metric(candidate)
    values = candidate.metric(name), champion.metric(name)
    channel, _, short = name.rpartition(":")
    ours, theirs = _paired((predictions, champion_predictions), channel, candidate, champion)
    count = min(resamples, max(100, _MAX_DRAWS // max(1, ours.num_rows)))
    if short not in ("accuracy", "log_loss"):
        count = min(count, _SLOW_RESAMPLES)
    low, high = _interval(short, ours, theirs, candidate, champion, count=count, seed=seed)
    split = _split(ours, theirs, candidate, champion) if candidate.task == "classification" else None
    p_value = _mcnemar(*split) if split is not None and short == "accuracy" else None
    return _told(
        Comparison(
            candidate=candidate.id,
            champion=champion.id,
            candidate_model=candidate.model,
            champion_model=champion.model,
            metric=name,
            candidate_value=values[0],
            champion_value=values[1],
            difference=values[0] - values[1],
            low=low,
            high=high,
            only_candidate=split[0] if split else None,
            only_champion=split[1] if split else None,
            p_value=p_value,
            rows=ours.num_rows,
            resamples=count if low is not None else 0,
            seed=seed,
            verdict="unclear",
            text="",
        )
    )


def default_metric(evaluation: Evaluation) -> str:
    """The metric that is compared when nobody says which."""
    short = "accuracy" if evaluation.task == "classification" else "rmse"
    ordered = [f"test:{short}", f"validation:{short}", *sorted(evaluation.metrics)]
    return next((name for name in ordered if name in evaluation.metrics), ordered[0])


def _paired(predictions: tuple[Any, Any], channel: str, candidate: Evaluation, champion: Evaluation) -> tuple[Any, Any]:
    compute_module = import_module("pyarrow.compute")
    ours, theirs = (
        canonical(table.filter(compute_module.equal(table.column("channel"), channel))) for table in predictions
    )
    if not ours.column("key").equals(theirs.column("key")):
        raise DataChangedError(
            f"{candidate.id} and {champion.id} claim the same data but predict other rows of {channel}: "
            "evaluate both again"
        )
    return ours, theirs


def _interval(
    short: str, ours: Any, theirs: Any, candidate: Evaluation, champion: Evaluation, *, count: int, seed: int
) -> tuple[float | None, float | None]:
    """Bounds of the difference by drawing rows again, in pairs; None where predictions alone do not give the metric."""
    rng = np.random.default_rng(seed)
    known = METRICS.get(short)
    if ours.num_rows == 0 or known is None:
        return None, None
    if short == "log_loss" and _has_probabilities(ours) and _has_probabilities(theirs):
        differences = _by_rows(_log_losses(ours), _log_losses(theirs), None, _mean, rng=rng, count=count)
    elif known.needs_probabilities:
        return None, None
    elif known.task == "regression":
        true, first, second = (_column(t, c) for t, c in ((ours, "true"), (ours, "predicted"), (theirs, "predicted")))
        differences = _by_rows(first, second, true, _metric_of(short), rng=rng, count=count)
    else:
        differences = _by_counts(short, ours, theirs, candidate, champion, rng=rng, count=count)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return None, None
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _by_counts(
    short: str, ours: Any, theirs: Any, candidate: Evaluation, champion: Evaluation, *, rng: Any, count: int
) -> NDArray[np.float64]:
    """Differences of a metric of classes. Rows of equal (true, candidate's, champion's) label are drawn together, so
    that a resample costs as much as there are such triples, not rows."""
    true, first, second, names = _positions(ours, theirs, candidate, champion)
    triples, counts = np.unique(np.stack([true, first, second]), axis=1, return_counts=True)
    draws = rng.multinomial(len(true), counts / len(true), size=count)
    if short == "accuracy":
        gains = (triples[0] == triples[1]).astype(np.float64) - (triples[0] == triples[2])
        return np.asarray(draws @ gains / len(true), dtype=np.float64)
    differences = np.empty(count)
    for number, weights in enumerate(draws):
        kept = weights > 0
        values = []
        for predicted in (triples[1], triples[2]):
            scored = Scored(
                true=triples[0][kept], predicted=predicted[kept], names=names, weights=weights[kept].astype(np.float64)
            )
            values.append(compute([short], scored)[0].get(short, np.nan))
        differences[number] = values[0] - values[1]
    return differences


def _by_rows(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    true: NDArray[np.float64] | None,
    metric: Callable[[NDArray[np.float64] | None, NDArray[np.float64]], float],
    *,
    rng: Any,
    count: int,
) -> NDArray[np.float64]:
    differences = np.empty(count)
    for number in range(count):
        rows = rng.integers(0, len(first), len(first))
        chosen = None if true is None else true[rows]
        differences[number] = metric(chosen, first[rows]) - metric(chosen, second[rows])
    return differences


def _metric_of(short: str) -> Callable[[NDArray[np.float64] | None, NDArray[np.float64]], float]:
    def value(true: NDArray[np.float64] | None, predicted: NDArray[np.float64]) -> float:
        scored = Scored(true=np.zeros(0) if true is None else true, predicted=predicted)
        return compute([short], scored)[0].get(short, float("nan"))

    return value


def _mean(_: NDArray[np.float64] | None, values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _positions(
    ours: Any, theirs: Any, candidate: Evaluation, champion: Evaluation
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """True and both predicted labels on one scale of names; models may know labels that the data do not have."""
    names = tuple(dict.fromkeys([*candidate.labels, *champion.labels]))
    place = {name: n for n, name in enumerate(names)}
    of_ours = {code: place[name] for name, code in candidate.labels.items()}
    of_theirs = {code: place[name] for name, code in champion.labels.items()}
    true, first = (_mapped(ours.column(name).to_numpy(), of_ours) for name in ("true", "predicted"))
    return true, first, _mapped(theirs.column("predicted").to_numpy(), of_theirs), names


def _mapped(codes: NDArray[Any], place: dict[int, int]) -> NDArray[np.int64]:
    found, where = np.unique(codes, return_inverse=True)
    return np.asarray([place[int(code)] for code in found], dtype=np.int64)[where]


def _split(ours: Any, theirs: Any, candidate: Evaluation, champion: Evaluation) -> tuple[int, int]:
    true, first, second, _ = _positions(ours, theirs, candidate, champion)
    ours_right, theirs_right = first == true, second == true
    return int(np.sum(ours_right & ~theirs_right)), int(np.sum(theirs_right & ~ours_right))


def _mcnemar(only_candidate: int, only_champion: int) -> float:
    """Two-sided exact p-value. Source: Q. McNemar, Psychometrika 12 (1947); b, c = the two counts."""
    if only_candidate + only_champion == 0:
        return 1.0
    stats = import_module("scipy.stats")
    return float(stats.binomtest(only_candidate, only_candidate + only_champion, 0.5).pvalue)


def _has_probabilities(table: Any) -> bool:
    return int(table.column("probability_true").null_count) == 0


def _log_losses(table: Any) -> NDArray[np.float64]:
    sure = _column(table, "probability_true")
    tiny = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(sure, tiny, 1 - tiny)))


def _column(table: Any, name: str) -> NDArray[np.float64]:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


def _told(result: Comparison) -> Comparison:
    """The same with its verdict and its sentences."""
    import msgspec

    gain = -result.difference if lower_is_better(result.metric) else result.difference
    sure = result.low is not None and result.high is not None and (result.low > 0 or result.high < 0)
    verdict: Literal["better", "worse", "unclear"] = ("better" if gain > 0 else "worse") if sure else "unclear"
    what = {"better": "The candidate is better", "worse": "The candidate is worse", "unclear": "No clear difference"}
    text = (
        f"{what[verdict]}: {result.metric} is {result.candidate_value:.4g} against {result.champion_value:.4g} "
        f"({result.difference:+.4g})"
    )
    if result.low is not None and result.high is not None:
        text += (
            f", 95 % interval {result.low:+.4g} to {result.high:+.4g} ({result.resamples:,} resamples of "
            f"{result.rows:,} rows, seed {result.seed})"
        )
    text += "."
    if result.only_candidate is not None:
        text += f" Right only with the candidate: {result.only_candidate} rows; "
        text += f"only with the champion: {result.only_champion}."
    if result.p_value is not None:
        text += f" Chance alone splits them so unevenly with p = {result.p_value:.3g} (McNemar, exact)."
    return msgspec.structs.replace(result, verdict=verdict, text=text)
