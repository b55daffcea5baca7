"""Secrets: found by reference, and never shown by an error."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from headway.errors import ProgramError
from headway.jobs.secrets import check_references, resolve

VALUE = "s3cr3t-hunter2"


def test_values_come_from_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", VALUE)
    (tmp_path / "key").write_text("line one\nline two\n")
    assert resolve({"TOKEN": "env:MY_TOKEN", "KEY": f"file:{tmp_path}/key"}) == {
        "TOKEN": VALUE,
        "KEY": "line one\nline two",
    }
    assert resolve({}) == {}


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("env:NOT_SET_ANYWHERE", "'TOKEN' is not there: the environment variable 'NOT_SET_ANYWHERE' is not set"),
        ("file:/no/such/file", "'TOKEN' is not there: /no/such/file: No such file"),
        ("file:/", "'TOKEN' is not there: /: Is a directory"),
        (VALUE, "got a text of 14 characters, not shown"),
        ("env:" + VALUE + "!", "needs a reference"),
        ("file:", "needs a reference"),
        ("vault:x", "needs a reference"),
        (None, "needs a reference"),
    ],
)
def test_what_is_missing_is_named_and_no_value_is_shown(reference: str, text: str) -> None:
    with pytest.raises(ProgramError, match=text) as caught:
        resolve({"TOKEN": reference})
    assert VALUE not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("data", [b"", b"\n", b"a\0b", b"\xff" + VALUE.encode(), VALUE.encode() * 10_000])
def test_useless_content_is_refused_without_showing_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(ProgramError, match="'TOKEN'") as caught:
        resolve({"TOKEN": f"file:{tmp_path}/key"})
    shown = "".join(traceback.format_exception(caught.value))
    assert VALUE not in shown
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "ä"])
def test_names_are_those_of_environment_variables(name: str) -> None:
    with pytest.raises(ProgramError, match="named like an environment variable"):
        check_references({name: "env:X"})
