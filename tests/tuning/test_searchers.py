"""Searchers are pure functions of the seed, the number and the history."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import NotFoundError
from headway.tuning.grid import GridSearch
from headway.tuning.objective import Maximize
from headway.tuning.quasi_random import QuasiRandomSearch, halton
from headway.tuning.random_search import RandomSearch
from headway.tuning.searcher import SEARCHERS, Searcher, open_searcher
from headway.tuning.space import Choice, Float, Int, SearchSpace
from headway.tuning.trial import History, Trial, key

WIDE = SearchSpace({"lr": Float(1e-4, 1e-1, log=True), "size": Choice("small", "medium", "large"), "n": Int(1, 99)})
NARROW = SearchSpace({"size": Choice("small", "medium", "large"), "depth": Int(1, 4)})


def search(searcher, space, *, trials, seed=0):
    """The configurations of the first trials, each asked for with those before it as history."""
    found, seen = {}, set()
    for number in range(1, trials + 1):
        history = History(space, Maximize("a"), seed, dict(found), {}, set(seen))
        parameters = searcher.suggest(history, number)
        assert space.contains(parameters), parameters
        found[number] = Trial(number=number, parameters=parameters)
        seen.add(key(parameters))
    return [trial.parameters for trial in found.values()]


@pytest.mark.parametrize("name", sorted(SEARCHERS))
@given(seed=st.integers(0, 2**40))
@settings(max_examples=10)
def test_the_same_seed_gives_the_same_configurations(name, seed):
    assert search(open_searcher(name), WIDE, trials=8, seed=seed) == search(
        open_searcher(name), WIDE, trials=8, seed=seed
    )


@pytest.mark.parametrize("name", ["random", "quasi-random"])
def test_another_seed_gives_other_configurations(name):
    assert search(open_searcher(name), WIDE, trials=8, seed=1) != search(open_searcher(name), WIDE, trials=8, seed=2)


@pytest.mark.parametrize("name", ["random", "quasi-random", "grid"])
def test_no_configuration_comes_twice_and_a_finite_space_is_used_up(name):
    found = search(open_searcher(name), NARROW, trials=12, seed=5)
    assert len({key(parameters) for parameters in found}) == 12
    assert open_searcher(name).most_trials(NARROW) == 12


def test_random_search_repeats_only_when_asked():
    searcher = RandomSearch(repeats=True)
    assert searcher.most_trials(NARROW) is None
    found = search(searcher, NARROW, trials=60)
    assert len({key(parameters) for parameters in found}) <= 12


def test_a_used_up_space_is_an_error():
    with pytest.raises(ValueError, match="all 12 configurations"):
        search(RandomSearch(), NARROW, trials=13)


def test_a_grid_is_every_combination_in_order():
    space = SearchSpace({"b": Choice("x", "y"), "a": Float(1, 100, log=True)})
    found = search(GridSearch(points=3), space, trials=6)
    assert [(round(p["a"], 9), p["b"]) for p in found] == list(itertools.product([1.0, 10.0, 100.0], ["x", "y"]))
    with pytest.raises(ValueError, match="at least 2"):
        GridSearch(points=1)


@pytest.mark.parametrize(("dimension", "base"), [(0, 2), (1, 3), (2, 5)])
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_quasi_random_points_fill_every_part_of_a_range_once(dimension, base, seed):
    for power in (1, 2, 3):
        parts = base**power
        points = [halton(index, dimension=dimension, seed=seed) for index in range(parts)]
        assert sorted(int(point * parts + 1e-9) for point in points) == list(range(parts))


def test_quasi_random_fills_the_plane_better_than_random():
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})

    def empty_cells(name, seed):
        found = search(open_searcher(name), space, trials=64, seed=seed)
        return 64 - len({(int(p["x"] * 8), int(p["y"] * 8)) for p in found})

    quasi = sum(empty_cells("quasi-random", seed) for seed in range(5))
    plain = sum(empty_cells("random", seed) for seed in range(5))
    assert quasi < 0.75 * plain, (quasi, plain)


def test_quasi_random_refuses_more_dimensions_than_it_fills_evenly():
    space = SearchSpace({f"x{index}": Float(0, 1) for index in range(21)})
    with pytest.raises(ValueError, match="at most 20 dimensions"):
        QuasiRandomSearch().most_trials(space)


@pytest.mark.parametrize("searcher", [RandomSearch(repeats=True), GridSearch(points=7), QuasiRandomSearch()])
def test_a_searcher_is_made_again_from_its_record(searcher):
    again = open_searcher(searcher.to_json())
    assert type(again) is type(searcher)
    assert again.to_json() == searcher.to_json()
    assert open_searcher(searcher) is searcher


def test_an_unknown_searcher_lists_the_known_ones():
    with pytest.raises(NotFoundError, match="grid, quasi-random, random"):
        open_searcher("simulated-annealing")
    with pytest.raises(NotFoundError, match="did you mean 'random'"):
        open_searcher("randm")
    with pytest.raises(NotFoundError, match="Is the package"):
        open_searcher("nowhere.to:BeFound")
    with pytest.raises(TypeError, match="should make a Searcher"):
        open_searcher("collections:OrderedDict")


def test_a_searcher_of_others_is_named_by_its_import_string():
    assert isinstance(open_searcher("headway.tuning.random_search:RandomSearch"), Searcher)


def test_another_process_suggests_the_same():
    program = (
        "from headway.tuning.random_search import RandomSearch\n"
        "from headway.tuning.quasi_random import halton\n"
        "from headway.tuning.objective import Maximize\n"
        "from headway.tuning.space import *\n"
        "from headway.tuning.trial import History\n"
        "space = SearchSpace({'lr': Float(1e-4, 1e-1, log=True), 'n': Int(1, 9)})\n"
        "h = History(space, Maximize('a'), 3, {}, {}, set())\n"
        "p = RandomSearch().suggest(h, 17)\n"
        "print(round(p['lr'], 12), p['n'], round(halton(17, dimension=1, seed=3), 12))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    # Written down, so that another version of Python or of Headway that would break resuming is noticed.
    assert outputs == {"0.000966973543 7 0.394878823825\n"}
