"""Hyperparameters: names that the program takes, values that JSON holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headway.jobs.hyperparameters import check_hyperparameters
from headway.jobs.spec import ProgramRecord


def record(*names: str, required: tuple[str, ...] = (), any_name: bool = False) -> ProgramRecord:
    known = None if any_name else names
    return ProgramRecord(kind="function", name="train:fit", digest="", argument_names=known, required_names=required)


def test_wrong_names_list_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        TypeError, match=r"train:fit takes no hyperparameter 'learning_rat'; did you mean 'learning_rate'\?"
    ):
        check_hyperparameters(record("learning_rate", "epochs"), {"learning_rat": 1})
    with pytest.raises(TypeError, match="It takes: learning_rate, epochs"):
        check_hyperparameters(record("learning_rate", "epochs"), {"zzz": 1})
    with pytest.raises(TypeError, match="it takes none"):
        check_hyperparameters(record(), {"a": 1})
    assert check_hyperparameters(record(any_name=True), {"max-iter": 1}) == {"max-iter": 1}


def test_missing_names_are_told_when_it_is_known_what_the_runner_gives() -> None:
    program = record("item", "size", required=("item", "size"))
    assert check_hyperparameters(program, {}) == {}
    with pytest.raises(TypeError, match="train:fit needs size"):
        check_hyperparameters(program, {}, given_by_runner=["item"])
    assert check_hyperparameters(program, {"size": 1}, given_by_runner=["item"]) == {"size": 1}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a\nb", 3, "a\0"])
def test_names_are_words(name: Any) -> None:
    with pytest.raises(TypeError, match="a hyperparameter's name"):
        check_hyperparameters(record(any_name=True), {name: 1})


def test_values_become_plain() -> None:
    given = {
        "a": np.float32(0.5), "b": np.int64(3), "c": (1, [True, None]), "d": {"x": np.bool_(True)}, "e": np.array(2.0),
    }  # fmt: skip
    found = check_hyperparameters(record(any_name=True), given)
    assert found == {"a": 0.5, "b": 3, "c": [1, [True, None]], "d": {"x": True}, "e": 2.0}
    assert [type(found[name]) for name in "abe"] == [float, int, float]
    assert type(found["d"]["x"]) is bool


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), [1.0, float("-inf")]])
def test_values_that_are_no_numbers_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="'lr' must be a finite number"):
        check_hyperparameters(record(any_name=True), {"lr": value})


@pytest.mark.parametrize("value", [object(), {1: 2}, {1, 2}, b"x", np.array([1, 2]), len])
def test_values_that_json_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="'lr'"):
        check_hyperparameters(record(any_name=True), {"lr": value})
