"""Search spaces: what may be written, what is drawn, what is recorded."""

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import WorkspaceError
from headway.tuning.space import Choice, Float, Int, SearchSpace

finite = st.floats(-1e9, 1e9, allow_nan=False)
unit = st.floats(0, 1, exclude_max=True)


@st.composite
def domains(draw):
    kind = draw(st.sampled_from(["float", "log", "step", "int", "int-log", "int-step", "choice"]))
    if kind == "choice":
        values = draw(st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), finite), min_size=1))
        unique = {(type(value), value): value for value in values}
        return Choice(*unique.values())
    if kind == "log":
        low = draw(st.floats(1e-9, 1e3))
        return Float(low, low * draw(st.floats(1.01, 1e6)), log=True)
    if kind == "float":
        low = draw(finite)
        return Float(low, low + draw(st.floats(0.1, 1e6)))
    if kind == "step":
        low, step = draw(st.integers(-100, 100)) / 10, draw(st.integers(1, 30)) / 100
        return Float(low, low + step * draw(st.integers(1, 50)) + 0.001, step=step)
    low = draw(st.integers(1, 1000))
    width = draw(st.integers(1, 1000))
    if kind == "int-log":
        return Int(low, low + width, log=True)
    return Int(low, low + width, step=draw(st.integers(1, width)) if kind == "int-step" else 1)


@given(domain=domains(), places=st.lists(unit, min_size=1))
def test_every_place_of_the_unit_interval_is_a_value_of_the_domain(domain, places):
    for place in places:
        assert domain.contains(domain.at(place)), (domain, place, domain.at(place))
    assert domain.contains(domain.at(0.0))
    assert domain.contains(domain.at(1.0))


@given(domain=domains())
def test_values_that_can_be_counted_are_all_different_and_all_in_the_domain(domain):
    if domain.size is None:
        with pytest.raises(ValueError, match="continuous"):
            domain.nth(0)
        return
    values = [domain.nth(index) for index in range(domain.size)]
    assert len({(type(value), value) for value in values}) == domain.size
    assert all(domain.contains(value) for value in values)


@given(one=domains(), two=domains())
def test_a_space_read_back_from_json_is_the_same(one, two):
    space = SearchSpace({"b": one, "a": two})
    again = SearchSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.digest == SearchSpace({"a": two, "b": one}).digest
    assert pickle.loads(pickle.dumps(again.domains)).keys() == space.domains.keys()


def test_steps_are_the_numbers_that_people_write():
    assert [Float(0, 1, step=0.1).nth(index) for index in range(11)] == [index / 10 for index in range(11)]
    assert Float(0, 1, step=0.1).size == 11
    assert Int(1, 10, step=4).size == 3


def test_a_logarithmic_range_is_drawn_evenly_in_the_logarithm():
    domain = Float(1e-4, 1.0, log=True)
    assert math.isclose(domain.at(0.5), 1e-2)
    whole = [Int(1, 100, log=True).at(place / 1000) for place in range(1000)]
    assert sum(value <= 10 for value in whole) == pytest.approx(574, abs=2)  # log(10.5/.5) / log(100.5/.5)


def test_all_configurations_of_a_finite_space_are_counted_once():
    space = SearchSpace({"a": Int(1, 3), "b": Choice("x", "y"), "c": Float(0, 1, step=0.5)})
    assert space.size == 18
    found = [space.nth(index) for index in range(18)]
    assert len({json.dumps(parameters) for parameters in found}) == 18
    assert all(space.contains(parameters) for parameters in found)
    assert not space.contains({"a": 1})
    assert not space.contains({"a": True, "b": "x", "c": 0.5})
    assert SearchSpace({"a": Float(0, 1), "b": Choice(1)}).size is None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Float(1, 1), "must be above"),
        (lambda: Float(2, 1), "must be above 2, got 1"),
        (lambda: Float(0, 1, log=True), "cannot reach zero"),
        (lambda: Float(-1, 1, log=True), "cannot reach zero"),
        (lambda: Float(float("nan"), 1), "finite numbers, got nan"),
        (lambda: Float(0, float("inf")), "finite numbers, got inf"),
        (lambda: Float(0, "1"), "finite numbers, got '1'"),
        (lambda: Float(False, 1), "got False"),
        (lambda: Float(0, 1, step=0), "step must be above"),
        (lambda: Float(0, 1, step=2), "longer than the range"),
        (lambda: Float(1, 2, step=0.5, log=True), "exclude each other"),
        (lambda: Int(1, 2.5), "whole numbers, got 2.5"),
        (lambda: Int(0, 8, log=True), "cannot reach zero"),
        (lambda: Int(3, 3), "must be above"),
        (lambda: Int(1, 8, step=2, log=True), "exclude each other"),
        (lambda: Int(1, 4, step=9), "longer than the range"),
        (lambda: Choice(), "no values"),
        (lambda: Choice(["a", "b"]), "one by one"),
        (lambda: Choice((64,), (128, 64)), "name it"),
        (lambda: Choice("a", "a"), "twice"),
        (lambda: Choice(1.0, float("inf")), "cannot hold inf"),
        (lambda: SearchSpace({}), "at least one"),
        (lambda: SearchSpace({"lr": 0.1}), "belongs into hyperparameters"),
        (lambda: SearchSpace({"": Choice(1, 2)}), "name is letters"),
        (lambda: SearchSpace({"a b": Choice(1, 2)}), "got 'a b'"),
    ],
)
def test_a_contradictory_space_is_refused_at_once(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_one_and_true_are_different_choices():
    assert Choice(1, True, 1.0).size == 3


@pytest.mark.parametrize(
    "record", [{"type": "colour"}, {}, {"type": "float", "low": 1}, {"type": "int", "low": 1, "high": 3, "odd": True}]
)
def test_a_record_that_is_no_domain_says_which(record):
    with pytest.raises(WorkspaceError, match="domain of 'lr'"):
        SearchSpace.from_json({"lr": record})
