"""Tables and values as people and programs read them."""

import json

import pytest

from headway.cli import output

ROWS = [
    {"id": "train-a-1", "metrics": {"acc": 0.5}, "duration_s": 1.25},
    {"id": "b", "metrics": {}, "duration_s": None},
]


def test_rows_are_aligned_under_their_names(capsys):
    output.rows(ROWS, ["id", "duration_s", "metrics"], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "id         duration s  metrics",
        "train-a-1  1.25 s      acc=0.5",
        "b          -           -",
    ]


def test_rows_as_json_are_whole(capsys):
    output.rows(ROWS, ["id"], as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS
    output.rows([], ["id"], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_no_rows_say_so(capsys):
    output.rows([], ["id"], as_json=False, empty="no job yet")
    assert capsys.readouterr().out == "no job yet\n"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("size_bytes", 1_234_567, "1.23 MB"),
        ("size_bytes", 12, "12 bytes"),
        ("wall_s", 0.5, "0.5 s"),
        ("x", 1 / 3, "0.333333"),
        ("x", True, "yes"),
        ("x", None, "-"),
        ("created_at", 0.0, "-"),
        ("key", "a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("key", "größe", "größe"),
        ("x", [1, 2], "1, 2"),
    ],
)
def test_values_are_shown_by_what_they_are(name, value, shown):
    assert output.text(name, value) == shown


def test_times_are_shown_by_the_clock():
    assert output.text("created_at", 1_700_000_000.0).startswith("2023-11-1")


def test_fields_are_indented(capsys):
    output.fields({"id": "a", "parts": {"x": 1}, "many": [{"b": 1, "c": None}], "none": [], "list": ["p"]})
    assert capsys.readouterr().out.splitlines() == [
        "id:    a",
        "parts:",
        "  x: 1",
        "many:",
        "  - b=1",
        "none: none",
        "list:",
        "  - p",
    ]


def test_a_terminal_gets_a_drawn_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.rows(ROWS, ["id", "metrics"], as_json=False)
    assert "train-a-1" in capsys.readouterr().out
