"""Lines of metrics files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.worker import metrics


@given(value=st.floats(), step=st.none() | st.integers(0, 10**6), name=st.text(min_size=1, max_size=8))
def test_a_line_is_strict_json_and_comes_back(value: float, step: int | None, name: str) -> None:
    line = metrics.line(name, value, step=step, at=1.0, source="report")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    [(found_name, found, found_step)] = metrics.parse(line)
    assert (found_name, found_step) == (name, step)
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_a_program_may_write_its_metrics_in_two_ways() -> None:
    assert metrics.parse(b'{"name": "loss", "value": 0.5, "step": 2}') == [("loss", 0.5, 2)]
    assert metrics.parse(b'{"loss": 0.5, "acc": 1, "step": 2, "note": "x"}') == [("loss", 0.5, 2), ("acc", 1.0, 2)]
    assert metrics.parse(b"loss 0.5") == []
    assert metrics.parse(b"[1]") == []


def test_the_tail_gives_whole_lines_once_and_begins_again_after_truncation(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    tail = metrics.Tail(str(path))
    assert tail.read() == []
    metrics.append(str(path), b"one\ntw")
    assert tail.read() == [b"one"]
    metrics.append(str(path), b"o\nthree\n")
    assert tail.read() == [b"two", b"three"]
    assert tail.read() == []
    path.write_bytes(b"new\n")
    assert tail.read() == [b"new"]


@pytest.mark.parametrize(("value", "expected"), [(True, 1.0), (3, 3.0), ("3", None), (None, None), ([1], None)])
def test_what_is_a_number(value: object, expected: float | None) -> None:
    assert metrics.number(value) == expected


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert metrics.number(numpy.float32(0.5)) == 0.5
    assert metrics.number(numpy.zeros(3)) is None
