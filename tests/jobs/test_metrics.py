"""Patterns for metrics: refused before anything starts, and told when they never matched."""

from __future__ import annotations

import pytest

from headway.errors import ProgramError
from headway.jobs.metrics import compile_patterns, never_matched


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("loss=([0-9.]+", r"'loss' does not compile: missing \), unterminated subpattern at position 5: loss=>>>\(\["),
        ("loss=[", r"unterminated character set at position 5"),
        ("*", "nothing to repeat at position 0"),
        ("loss=.*", r"needs exactly one group.*has 0.*for example"),
        ("(loss)=(.*)", r"has 2: got '\(loss\)=\(\.\*\)'; write \(\?:"),
        (3, "first argument must be string|expected string"),
    ],
)
def test_bad_patterns_are_refused_with_their_place(pattern: str, text: str) -> None:
    with pytest.raises((ProgramError, TypeError), match=text):
        compile_patterns({"loss": pattern})


def test_good_patterns_come_back_compiled() -> None:
    compiled = compile_patterns({"validation:accuracy": r"val_(?:acc|accuracy)=([0-9.]+)"})
    found = compiled["validation:accuracy"].search("epoch 3 val_acc=0.93")
    assert found is not None
    assert found.group(1) == "0.93"
    with pytest.raises(ProgramError, match="needs a name"):
        compile_patterns({"  ": "(x)"})


def test_what_never_matched_is_told_with_the_end_of_the_log() -> None:
    patterns = {"loss": "loss=(.*)", "acc": "acc=(.*)"}
    assert never_matched(patterns, ["loss", "acc"]) == []
    [line] = never_matched(patterns, ["loss"], last_lines=["epoch 1\n", "accuracy: 0.9"])
    assert line == (
        "the metric 'acc' never appeared: no line of the log matched 'acc=(.*)'; the log ends with:\n"
        "    epoch 1\n    accuracy: 0.9"
    )
    assert never_matched(patterns, [])[-1].endswith("; the log is empty")
