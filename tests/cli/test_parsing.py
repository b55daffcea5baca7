"""What people write on the command line, read into values."""

import pytest

from headway.cli import parsing
from headway.cli.main import common_first
from headway.evaluation.gates import AtLeast, AtMost, BetterThanChampion
from headway.jobs.program import Function, Notebook, Script
from headway.tuning.objective import Maximize, Minimize
from headway.tuning.space import Choice, Float, Int


def test_settings_are_read_as_json_and_else_as_text():
    texts = ["epochs=3", "lr=1e-3", "name=adam", "flag=true", "sizes=[1, 2]", "empty=", "sign=a=b"]
    assert parsing.settings(texts) == {
        "epochs": 3,
        "lr": 0.001,
        "name": "adam",
        "flag": True,
        "sizes": [1, 2],
        "empty": "",
        "sign": "a=b",
    }
    assert parsing.settings(None) == {}


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_a_setting_without_name_or_value_is_refused(text):
    with pytest.raises(ValueError, match="--set is name=value"):
        parsing.settings([text])


def test_a_space_is_written_in_three_kinds():
    found = parsing.space(
        ["lr=1e-4:1e-1:log", "x=-1:1", "y=0:1:step=0.25"], ["n=1:9", "m=1:64:log"], ["size=small,medium", "k=1,2,true"]
    )
    assert found == {
        "lr": Float(1e-4, 1e-1, log=True),
        "x": Float(-1, 1),
        "y": Float(0, 1, step=0.25),
        "n": Int(1, 9),
        "m": Int(1, 64, log=True),
        "size": Choice("small", "medium"),
        "k": Choice(1, 2, True),
    }


@pytest.mark.parametrize(
    ("floats", "ints", "choices", "text"),
    [
        (["lr=1"], [], [], "--float is name=low:high"),
        (["lr=a:b"], [], [], "got 'a:b'; examples: lr=1e-4:1e-1:log"),
        (["lr=0:1:often"], [], [], "got '0:1:often'"),
        ([], ["n=1.5:2"], [], "--int is name=low:high"),
        (["lr=1:0"], [], [], "must be above"),
        (["lr=0:1"], ["lr=1:9"], [], "'lr' is given twice"),
        ([], [], ["size=a,a"], "twice"),
    ],
)
def test_a_space_that_cannot_be_read_says_how_it_is_written(floats, ints, choices, text):
    with pytest.raises(ValueError, match=text):
        parsing.space(floats, ints, choices)


def test_exactly_one_direction_is_needed():
    assert parsing.objective("a", None) == Maximize("a")
    assert parsing.objective(None, "a") == Minimize("a")
    for both in ((None, None), ("a", "b")):
        with pytest.raises(ValueError, match="either --maximize METRIC or --minimize"):
            parsing.objective(*both)


def test_programs_are_told_apart_by_their_ending():
    assert parsing.program("train:fit", source_dir=None, metrics=None) == Function("train:fit")
    assert parsing.program("src/train.py", source_dir=None, metrics=["a=(x)"]) == Script(
        "train.py", source_dir="src", metrics={"a": "(x)"}
    )
    assert parsing.program("train.py", source_dir="src", metrics=None) == Script("train.py", source_dir="src")
    assert parsing.program("/abs/train.py", source_dir=None, metrics=None).source_dir == "/abs"
    assert isinstance(parsing.program("a.ipynb", source_dir=None, metrics=None), Notebook)
    with pytest.raises(ValueError, match="--source-dir is for scripts"):
        parsing.program("train:fit", source_dir="src", metrics=None)


@pytest.mark.parametrize(
    ("text", "value"), [("1000", 1000), ("2G", 2 * 10**9), ("512Mi", 512 * 2**20), ("1.5gb", 15 * 10**8), ("4 K", 4000)]
)
def test_sizes_have_units(text, value):
    assert parsing.num_bytes(text) == value


def test_a_size_without_a_number_is_refused():
    with pytest.raises(ValueError, match="a size is a number"):
        parsing.num_bytes("much")


def test_gates_are_bounds_and_the_champion():
    found = parsing.gates(["test:accuracy=0.9"], ["test:log_loss=0.5"], ["test:f1_macro"])
    assert found == [AtLeast("test:accuracy", 0.9), AtMost("test:log_loss", 0.5), BetterThanChampion("test:f1_macro")]
    with pytest.raises(ValueError, match="--at-least is metric=number"):
        parsing.gates(["test:accuracy=high"], None, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["jobs", "-w", "x", "--json"], ["-w", "x", "jobs", "--json"]),
        (["jobs", "--workspace=x", "--debug"], ["--workspace=x", "--debug", "jobs"]),
        (["predict", "m", "--", "--debug"], ["predict", "m", "--", "--debug"]),
        (["jobs", "-w"], ["jobs", "-w"]),
    ],
)
def test_common_options_may_stand_anywhere(given, expected):
    assert common_first(given) == expected
