"""A workspace in a temporary project, on the real local engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import headway as hw
from headway.execution.progress import Silent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project; the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWAY_MACHINE_DIR", str(tmp_path / "machine"))
    return tmp_path


@pytest.fixture
def ws(project: Path) -> Iterator[hw.Workspace]:
    """A new workspace in the project."""
    with hw.open(project / ".headway", progress=Silent()) as workspace:
        yield workspace


@pytest.fixture
def module(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Writes a module of the project and gives its name."""
    names: list[str] = []
    monkeypatch.syspath_prepend(str(project))

    def write(name: str, text: str) -> str:
        (project / f"{name}.py").write_text(dedent(text))
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)
