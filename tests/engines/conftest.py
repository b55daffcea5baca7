"""Engines of their own for each test, and a machine folder that no other test shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.engines.local import LocalEngine


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where reservations of this test are kept."""
    folder = tmp_path / "machine"
    monkeypatch.setenv("HEADWAY_MACHINE_DIR", str(folder))
    return folder


@pytest.fixture
def engine(machine: Path) -> Iterator[LocalEngine]:
    """A local engine that believes in four cores."""
    local = LocalEngine(cpus=4)
    yield local
    local.close()
