"""Engines by URL."""

from __future__ import annotations

import importlib.metadata

import pytest

from headway.engines.inline import InlineEngine
from headway.engines.local import LocalEngine
from headway.engines.registry import open_engine
from headway.errors import NotFoundError


def test_engines_by_name_and_with_options() -> None:
    assert isinstance(open_engine("inline://"), InlineEngine)
    assert isinstance(open_engine("local"), LocalEngine)
    have = open_engine("local://?cpus=7&gpus=2&memory_bytes=1000").capabilities()
    assert (have.cpus, have.gpus, have.memory_bytes) == (7, 2, 1000)
    engine = InlineEngine()
    assert open_engine(engine) is engine


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no engine named 'locla'; did you mean 'local'\?"):
        open_engine("locla://")
    with pytest.raises(NotFoundError, match="known: inline, local"):
        open_engine("xyz://")


def test_an_option_that_the_engine_lacks_is_named() -> None:
    with pytest.raises(TypeError, match=r"local://\?cores=2.*cores"):
        open_engine("local://?cores=2")


def test_other_packages_bring_engines_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("mine", "headway.engines.inline:InlineEngine", "headway.engines")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group: [point] if group == "headway.engines" else []
    )
    assert isinstance(open_engine("mine://"), InlineEngine)
