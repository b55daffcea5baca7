from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import GateFailedError
from headway.evaluation.evaluation import Evaluation
from headway.evaluation.gates import (
    AtLeast,
    AtMost,
    BetterThanChampion,
    Gate,
    GateResult,
    check,
    lower_is_better,
    require,
)
from headway.records import decode, encode

numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


def scored(metrics: dict[str, float], *, data: str = "data", id: str = "evaluate-a-1", notes=()) -> Evaluation:
    return Evaluation(
        id=id, model=f"model of {id}", model_digest="m", dataset=f"dataset-{data}-1", dataset_digest=data,
        task="classification", metrics=metrics, notes=notes,
    )  # fmt: skip


@given(value=numbers, bound=numbers)
def test_at_least_and_at_most_hold_at_the_bound_itself(value, bound):
    evaluation = scored({"test:accuracy": value})
    low, high = check([AtLeast("test:accuracy", bound), AtMost("test:accuracy", bound)], evaluation)
    assert low.passed == (value >= bound)
    assert high.passed == (value <= bound)
    assert low.passed or high.passed


@given(value=numbers, other=numbers)
def test_better_than_champion_never_passes_both_ways(value, other):
    one, two = scored({"m:accuracy": value}), scored({"m:accuracy": other}, id="evaluate-b-1")
    gate = BetterThanChampion("m:accuracy")
    passed = [check([gate], one, two)[0].passed, check([gate], two, one)[0].passed]
    assert sum(passed) == (value != other)


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("test:log_loss", True),
        ("mse", True),
        ("validation:median_absolute_error", True),
        ("loss", True),
        ("test:accuracy", False),
        ("r2", False),
    ],
)
def test_which_way_is_better_is_told_by_the_name(metric, lower):
    assert lower_is_better(metric) is lower


def test_of_losses_smaller_is_better():
    gate = BetterThanChampion("test:log_loss", by=0.1)
    champion = scored({"test:log_loss": 0.5}, id="evaluate-b-1")
    assert check([gate], scored({"test:log_loss": 0.4}), champion)[0].passed
    failed = check([gate], scored({"test:log_loss": 0.45}), champion)[0]
    assert not failed.passed
    assert failed.threshold == pytest.approx(0.4)


def test_without_a_champion_it_passes_and_says_so():
    (result,) = check([BetterThanChampion("test:accuracy")], scored({"test:accuracy": 0.1}))
    assert result.passed
    assert result.text == "there is no champion yet, so test:accuracy passes"


def test_a_champion_of_other_data_fails_and_says_how_to_score_it():
    candidate = scored({"test:accuracy": 0.9}, data="new")
    champion = scored({"test:accuracy": 0.1}, data="old", id="evaluate-b-1")
    (result,) = check([BetterThanChampion("test:accuracy")], candidate, champion)
    assert not result.passed
    assert "headway evaluate NAME@champion dataset-new-1" in result.text


def test_a_metric_that_was_left_out_fails_its_gate_with_the_reason():
    evaluation = scored({"test:accuracy": 0.9}, notes=("test: roc_auc_ovr is left out: there is only one class",))
    (result,) = check([AtLeast("test:roc_auc_ovr", 0.5)], evaluation)
    assert not result.passed
    assert result.value is None
    assert "there is only one class" in result.text
    assert "known: test:accuracy" in result.text


def test_a_refusal_names_metric_value_and_threshold_of_every_gate_that_failed():
    gates = [AtLeast("test:accuracy", 0.9), AtMost("test:log_loss", 0.2), AtLeast("test:accuracy", 0.5)]
    results = check(gates, scored({"test:accuracy": 0.81, "test:log_loss": 0.6}))
    with pytest.raises(GateFailedError, match="registering 'shoes' is refused, nothing was written") as caught:
        require(results, what="registering 'shoes'")
    assert caught.value.failed == [
        {"metric": "test:accuracy", "value": 0.81, "threshold": 0.9},
        {"metric": "test:log_loss", "value": 0.6, "threshold": 0.2},
    ]
    assert "test:accuracy is 0.81, the gate asks for at least 0.9" in str(caught.value)


def test_nan_never_passes():
    evaluation = scored({"test:accuracy": float("nan")})
    champion = scored({"test:accuracy": 0.1}, id="evaluate-b-1")
    gates: list[Gate] = [
        AtLeast("test:accuracy", 0.0),
        AtMost("test:accuracy", 1.0),
        BetterThanChampion("test:accuracy"),
    ]
    assert not any(result.passed for result in check(gates, evaluation, champion))


def test_results_are_read_back_with_their_gates():
    results = check([AtLeast("test:accuracy", 0.9), BetterThanChampion("test:accuracy", by=0.01)], scored({}))
    assert decode(encode(results), list[GateResult], where="here") == results


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r"by must not be negative, got -0\.1"):
        BetterThanChampion("test:accuracy", by=-0.1)
