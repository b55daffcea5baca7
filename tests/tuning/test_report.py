"""Listings of a study."""

import pytest

from headway.errors import NotFoundError
from headway.tuning.objective import Maximize, Minimize
from headway.tuning.report import best, frame, objective_of, ranking, rows, sentence, slow_outliers, summary, surplus
from headway.tuning.space import Float
from headway.tuning.spec import specify
from headway.tuning.study import StudyState, begin


def finished(values, *, times=None, fail=()):
    spec = specify("sizes", space={"x": Float(0, 1)}, objective=Maximize("acc"), trials=len(values) + len(fail))
    state, _ = begin(spec, [], at=0.0)
    for number, value in enumerate(values, 1):
        state.apply("asked", {"number": number, "parameters": {"x": number / 100}})
        state.apply("started", {"number": number, "attempt": 1, "at": 10.0})
        metrics = {"acc": value, "loss": None if value is None else value**2}
        wall_s = 1.0 if times is None else times[number - 1]
        state.apply("told", {"number": number, "attempt": 1, "metrics": metrics, "at": 11.0, "wall_s": wall_s})
    for number, error in enumerate(fail, len(values) + 1):
        state.apply("asked", {"number": number, "parameters": {"x": number / 100}})
        state.apply("started", {"number": number, "attempt": 1, "at": 10.0})
        state.apply("failed", {"number": number, "attempt": 1, "error": error, "at": 11.0})
    return state


def test_rows_hold_everything_of_a_trial():
    state = finished([0.5, None], fail=["boom"])
    listed = rows(state)
    assert [row["status"] for row in listed] == ["ended", "ended", "failed"]
    assert listed[0]["parameters"] == {"x": 0.01}
    assert listed[0]["metrics"] == {"acc": 0.5, "loss": 0.25}
    assert listed[1]["value"] is None
    assert listed[2]["note"] == "boom"


def test_rows_become_a_table():
    table = frame(finished([0.5, 0.7]))
    assert list(table["metric:acc"]) == [0.5, 0.7]
    assert list(table["parameter:x"]) == [0.01, 0.02]


def test_trials_are_ranked_by_any_metric_afterwards():
    state = finished([0.5, 0.9, None, 0.9, 0.7])
    assert [trial.number for trial in ranking(state)] == [2, 4, 5, 1]
    assert [trial.number for trial in ranking(state, by=Minimize("loss"))] == [1, 5, 2, 4]
    assert best(state).number == 2
    assert best(state, by=Minimize("loss")).number == 1
    with pytest.raises(NotFoundError, match="no metric named 'los'; did you mean 'loss'"):
        ranking(state, by=Minimize("los"))


def test_the_best_of_nothing_is_an_error():
    with pytest.raises(NotFoundError, match="0 trials of 3 ended"):
        best(StudyState(specify("s", space={"x": Float(0, 1)}, objective=Maximize("acc"), trials=3)))


def test_models_beyond_the_best_are_surplus():
    assert surplus(finished([0.5, 0.9, None, 0.7], fail=["boom"]), keep_best=2) == [1, 3, 5]


def test_slow_trials_are_pointed_out():
    state = finished([0.1] * 8, times=[1, 1.1, 0.9, 1, 1.2, 9, 1, 1.9])
    assert [trial.number for trial in slow_outliers(state)] == [6]
    assert [row["number"] for row in rows(state) if row["slow"]] == [6]
    assert slow_outliers(finished([0.1] * 4, times=[1, 1, 1, 99])) == []


def test_summary_and_sentence():
    state = finished([0.5, 0.9], fail=["boom"])
    short = summary(state)
    assert short["counts"] == {"ended": 2, "failed": 1}
    assert short["best"] == {"number": 2, "value": 0.9}
    assert short["direction"] == "maximize"
    assert sentence(state) == "3/3 trials, 1 failed, best acc 0.9 (trial 2: x=0.02)"


def test_the_direction_of_another_metric_follows_from_its_name():
    like = Maximize("validation:accuracy")
    assert objective_of("validation:loss", like=like) == Minimize("validation:loss")
    assert objective_of("test:f1", like=like) == Maximize("test:f1")
    assert objective_of("validation_score", like=Minimize("validation_score")) == Minimize("validation_score")
    assert objective_of("loss", like=like, minimize=False) == Maximize("loss")
