"""What a user may ask to run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from headway.jobs import metrics, program
from headway.jobs.program import Function, Notebook, Script, as_program


def test_the_examples_in_the_docstrings_are_true() -> None:
    for module in (program, metrics):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("text", ["prepare", "prepare:", ":f", "a b:f", "prepare.py:f", "a:b:c", "a..b:f", "1a:f", ""])
def test_a_string_that_names_no_function_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="module:qualname"):
        Function(text)


@pytest.mark.parametrize("target", [None, 3, 2.5, b"x", Path("a.py")])
def test_what_cannot_run_is_refused_at_once(target: object) -> None:
    with pytest.raises(TypeError, match="Script"):
        Function(target)


def test_scripts_need_paths() -> None:
    for bad in ("", None, 3):
        with pytest.raises(TypeError, match="entry_point must be a path"):
            Script(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="source_dir"):
        Script("a.py", source_dir="")


def test_values_stand_for_programs() -> None:
    assert as_program("a/b/train.py") == Script("train.py", source_dir="a/b")
    assert as_program("train.py") == Script("train.py", source_dir=".")
    assert as_program(Path("x/look.ipynb")) == Notebook("x/look.ipynb")
    assert as_program("prepare:f") == Function("prepare:f")
    assert as_program(len) == Function(len)
    script = Script("a.py", metrics={"loss": "loss=(.*)"})
    assert as_program(script) is script
