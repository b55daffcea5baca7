"""A workspace with a ledger, and folders of small files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headway.manifests.build import build
from headway.manifests.manifest import Manifest
from headway.stores.files import Files
from headway.stores.ledger import Ledger

Build = Callable[..., Manifest]
Fill = Callable[[Mapping[str, Any]], Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "ws").mkdir()
    return Files(tmp_path / "ws")


@pytest.fixture
def ledger(files: Files) -> Iterator[Ledger]:
    with Ledger.open(files.local("ledger.sqlite")) as ledger:
        yield ledger


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def fill(data: Path) -> Fill:
    """Writes `{"cat": 10, "dog/x.txt": "text"}`: ten files with contents of their own, or one file."""

    def fill(what: Mapping[str, Any]) -> Path:
        for name, value in what.items():
            numbers = value if isinstance(value, range) else range(value) if isinstance(value, int) else None
            pairs = (
                [(f"{name}/{i:03d}.txt", f"{name} {i}") for i in numbers] if numbers is not None else [(name, value)]
            )
            for key, text in pairs:
                (data / key).parent.mkdir(parents=True, exist_ok=True)
                (data / key).write_bytes(text if isinstance(text, bytes) else text.encode())
        return data

    return fill


@pytest.fixture
def make(files: Files, ledger: Ledger, data: Path) -> Build:
    """`build` of the data folder under the name `photos`."""

    def make(source: Any = data, *, name: str = "photos", **options: Any) -> Manifest:
        return build(files, ledger, name, source, **options)

    return make


@pytest.fixture
def channel_of(files: Files) -> Callable[[Manifest], dict[str, str]]:
    """Key -> channel of all files that have one."""

    def channel_of(manifest: Manifest) -> dict[str, str]:
        table = manifest.table(files, columns=["key", "channel"]).to_pylist()
        return {row["key"]: row["channel"] for row in table if row["channel"] is not None}

    return channel_of
