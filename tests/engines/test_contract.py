"""The engines of this package against the contract of the seam, counted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from headway.engines.inline import InlineEngine
from headway.engines.local import LocalEngine
from headway.testing import engines as contract


@pytest.mark.parametrize("check", contract.applicable(InlineEngine().capabilities()), ids=contract.name_of)
def test_inline(check: contract.Check, tmp_path: Path) -> None:
    with closing(InlineEngine()) as engine:
        check(engine, tmp_path / "job")


@pytest.mark.parametrize("check", contract.applicable(LocalEngine(cpus=4).capabilities()), ids=contract.name_of)
def test_local(check: contract.Check, tmp_path: Path) -> None:
    with closing(LocalEngine(cpus=4)) as engine:
        check(engine, tmp_path / "job")


def test_every_check_is_run_somewhere() -> None:
    everything = {name for name in vars(contract) if name.startswith("check_")}
    local = {check.__name__ for check in contract.applicable(LocalEngine(cpus=4).capabilities())}
    inline = {check.__name__ for check in contract.applicable(InlineEngine().capabilities())}
    assert local == everything
    assert len(local) == 18
    assert len(inline) == 12
