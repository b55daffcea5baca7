"""docs/using.md names every command, setting and variable, docs/installing.md every extra; docstrings' examples run."""

from __future__ import annotations

import doctest
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "headway"
USING = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if not hasattr(group, "commands"):
        yield " ".join(("headway", *path))
        return
    for name, command in group.commands.items():
        yield from commands(command, (*path, name))


def test_every_command_is_named_and_no_other() -> None:
    """The ratchet of commands: one that goes breaks a user's script."""
    import typer

    from headway.cli.main import app

    told = re.findall(r"^\| `(headway [a-z -]+)` \|", USING, flags=re.MULTILINE)
    assert sorted(told) == sorted(commands(typer.main.get_command(app)))


def test_every_setting_is_named() -> None:
    from headway.config import Settings

    told = re.findall(r"^\| `([a-z_]+)` \|", USING, flags=re.MULTILINE)
    assert set(told) == set(Settings.__struct_fields__) - {"origin"}


def test_every_variable_is_named() -> None:
    """Those that end in _FD are between a worker and its host, and may change."""
    sources = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    used = {name for name in re.findall(r"\bHEADWAY_[A-Z_]*[A-Z]\b", sources) if not name.endswith("_FD")}
    assert used - set(re.findall(r"HEADWAY_[A-Z_]+", USING)) == set()


def test_every_extra_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    told = {
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert told == set(extras)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_in_docstrings_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert result.attempted > 0
    assert result.failed == 0
