from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import DataChangedError, NotFoundError, ProgramError
from headway.evaluation.compare import compare
from headway.evaluation.evaluation import Evaluation
from headway.evaluation.metrics import Scored, compute
from headway.evaluation.predictions import table_of

NAMES = ("a", "b", "c")


def made(predicted, true, *, id: str, sure=None, data: str = "d", labels=None):
    """An evaluation of given predictions, and its table."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    codes = labels or {name: code for code, name in enumerate(NAMES)}
    scored = Scored(true=true, predicted=predicted, probabilities=sure, names=tuple(codes))
    values, _ = compute(["accuracy", "f1_macro", "log_loss"], scored)
    evaluation = Evaluation(
        id=id, model=f"model-{id}", model_digest=id, dataset="dataset-a-1", dataset_digest=data, task="classification",
        metrics={f"test:{name}": value for name, value in values.items()}, labels=codes,
    )  # fmt: skip
    keys = [f"{number:06d}" for number in range(len(true))]
    return evaluation, table_of("test", keys, scored, codes=codes)


def against(one, two, **given):
    return compare(one[0], two[0], predictions=one[1], champion_predictions=two[1], **given)


def noisy(rng, true, wrong: float):
    return np.where(rng.random(len(true)) < wrong, (true + 1 + rng.integers(0, 2, len(true))) % 3, true)


def test_the_counts_of_mcnemar_and_its_exact_p_value():
    true = np.zeros(20, dtype=int)
    ours, theirs = true.copy(), true.copy()
    ours[0], theirs[1:10] = 1, 1
    found = against(made(ours, true, id="evaluate-c-1"), made(theirs, true, id="evaluate-k-1"))
    assert (found.only_candidate, found.only_champion) == (9, 1)
    assert found.p_value == pytest.approx(2 * (1 + 10) / 2**10)  # both tails of Binomial(10, 1/2) at 0 and 1
    assert found.difference == pytest.approx(8 / 20)
    assert found.verdict == "better"
    assert found.low < found.difference < found.high
    assert "Right only with the candidate: 9 rows; only with the champion: 1." in found.text


def test_a_model_against_itself_is_unclear():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 200)
    one = made(noisy(rng, true, 0.2), true, id="evaluate-c-1")
    found = against(one, one)
    assert (found.difference, found.low, found.high, found.p_value, found.verdict) == (0, 0, 0, 1.0, "unclear")


def test_the_same_seed_gives_the_same_interval_and_the_order_of_rows_does_not_count():
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 300)
    one, two = (made(noisy(rng, true, share), true, id=f"evaluate-{share}-1") for share in (0.1, 0.3))
    first = against(one, two, seed=5)
    turned = (two[0], two[1].take(pa.array(np.arange(300)[::-1])))
    assert against(one, turned, seed=5) == first
    assert against(one, two, seed=6).low != first.low


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    """Known error rates, 60 drawn data sets: a 95 % interval misses about 3 times."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(60):
        true = rng.integers(0, 3, 300)
        one, two = (made(noisy(rng, true, share), true, id="evaluate-x-1") for share in (0.15, 0.25))
        found = against(one, two, resamples=200)
        missed += not found.low <= 0.10 <= found.high
    assert 1 <= missed <= 9


@pytest.mark.parametrize("metric", ["test:f1_macro", "test:log_loss"])
def test_other_metrics_get_an_interval_too(metric):
    rng = np.random.default_rng(4)
    true = rng.integers(0, 3, 400)
    tables = []
    for share in (0.05, 0.4):
        predicted = noisy(rng, true, share)
        sure = np.full((400, 3), 0.1)
        sure[np.arange(400), predicted] = 0.8
        tables.append(made(predicted, true, id=f"evaluate-{share}-1", sure=sure))
    found = against(*tables, metric=metric, resamples=40)
    assert found.verdict == "better"
    assert found.low < found.difference < found.high
    assert found.p_value is None
    assert against(*reversed(tables), metric=metric, resamples=40).verdict == "worse"


def test_numbers_are_compared_by_their_errors():
    rng = np.random.default_rng(5)
    true = rng.normal(size=200)
    tables = []
    for noise in (0.1, 1.0):
        predicted = true + rng.normal(scale=noise, size=200)
        evaluation = Evaluation(
            id=f"evaluate-{noise}-1", model="m", model_digest="m", dataset="d", dataset_digest="d", task="regression",
            metrics={"test:rmse": float(np.sqrt(np.mean((predicted - true) ** 2)))},
        )  # fmt: skip
        keys = [f"{number:03d}" for number in range(200)]
        tables.append((evaluation, table_of("test", keys, Scored(true=true, predicted=predicted), codes=None)))
    found = against(*tables)
    assert (found.metric, found.verdict) == ("test:rmse", "better")
    assert found.only_candidate is None
    assert found.high < 0


def test_models_may_know_other_labels():
    true = np.array([0, 1, 0, 1])
    one = made([0, 1, 0, 1], true, id="evaluate-c-1", labels={"a": 0, "b": 1, "x": 2})
    two = made([0, 2, 0, 2], true, id="evaluate-k-1", labels={"a": 0, "b": 1, "y": 2})
    found = against(one, two)
    assert (found.only_candidate, found.only_champion) == (2, 0)


def test_other_data_are_an_error_that_says_what_to_do():
    one, two = made([0], [0], id="evaluate-c-1"), made([0], [0], id="evaluate-k-1", data="other")
    with pytest.raises(
        ProgramError, match=r"cannot compare: .*scored on other data.*headway evaluate NAME@champion dataset-a-1"
    ):
        against(one, two)


def test_other_rows_under_the_same_digest_are_an_error():
    with pytest.raises(DataChangedError, match="predict other rows of test: evaluate both again"):
        against(made([0, 1], [0, 1], id="evaluate-c-1"), made([0], [0], id="evaluate-k-1"))


def test_a_metric_that_was_not_computed_is_named():
    one = made([0, 1], [0, 1], id="evaluate-c-1")
    with pytest.raises(NotFoundError, match="no metric named 'test:r2'"):
        against(one, one, metric="test:r2")


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_interval_holds_the_difference_and_turns_with_the_sides(rows):
    true, ours, theirs = (np.array(column) for column in zip(*rows, strict=True))
    one, two = made(ours, true, id="evaluate-c-1"), made(theirs, true, id="evaluate-k-1")
    forth, back = against(one, two, resamples=200), against(two, one, resamples=200)
    assert forth.low <= forth.high
    assert forth.low >= -1
    assert forth.high <= 1
    assert forth.difference == -back.difference
    assert forth.p_value == pytest.approx(back.p_value)
    assert 0 <= forth.p_value <= 1 + 1e-12
