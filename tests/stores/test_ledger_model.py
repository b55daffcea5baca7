"""Any sequence of claims, appends, takeovers, releases and reservations, against a model of a few dicts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from headway.errors import FencedError
from headway.stores.ledger import Ledger

OWNERS = st.sampled_from(["a", "ab", "b"])
BODIES = st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4))


class LedgerMachine(RuleBasedStateMachine):
    """What the ledger says is what the model says."""

    leases: Bundle[Any] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(Path(self.folder.name) / "ledger.sqlite")
        self.epoch: dict[str, int] = {}
        self.held: dict[str, bool] = {}
        self.log: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        self.versions: dict[str, list[str]] = {}

    def teardown(self) -> None:
        assert self.ledger.check() == []
        self.ledger.close()
        self.folder.cleanup()

    @rule(target=leases, owner=OWNERS, force=st.booleans())
    def claim(self, owner: str, force: bool) -> Any:
        lease = self.ledger.claim(owner, force=force)
        if self.held.get(owner) and not force:
            assert lease is None
            return multiple()
        assert lease is not None
        self.epoch[owner] = self.epoch.get(owner, 0) + 1
        self.held[owner] = True
        assert lease.epoch == self.epoch[owner]
        return lease

    @rule(lease=leases, events=st.lists(st.tuples(st.sampled_from(["x", "y"]), BODIES), max_size=3))
    def append(self, lease: Any, events: list[tuple[str, dict[str, Any]]]) -> None:
        log = self.log.setdefault(lease.owner, [])
        if lease.epoch != self.epoch[lease.owner]:
            with pytest.raises(FencedError):
                self.ledger.append(lease, events)
            with pytest.raises(FencedError):
                self.ledger.heartbeat(lease)
            return
        log += [(lease.epoch, kind, body) for kind, body in events]
        assert self.ledger.append(lease, events) == len(log)

    @rule(lease=consumes(leases))
    def release(self, lease: Any) -> None:
        self.ledger.release(lease)
        if lease.epoch == self.epoch[lease.owner]:
            self.held[lease.owner] = False
            assert self.ledger.holder(lease.owner) is None

    @rule(name=st.sampled_from(["m", "n"]), lookup=st.sampled_from(["1", "2"]), expect=st.none() | st.integers(0, 2))
    def reserve(self, name: str, lookup: str, expect: int | None) -> None:
        there = self.versions.setdefault(name, [])
        if expect and not there:
            return
        entry, made = self.ledger.reserve("train", name, lookup=lookup, body={}, expect=expect)
        new = len(there) == expect if expect is not None else (not there or there[-1] != lookup)
        assert made == new
        if new:
            there.append(lookup)
        assert (entry.version, entry.lookup) == (len(there), there[-1])

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(Path(self.folder.name) / "ledger.sqlite")

    @invariant()
    def the_log_is_the_models(self) -> None:
        for owner, log in self.log.items():
            events = self.ledger.events(owner)
            assert [(e.epoch, e.kind, e.body) for e in events] == log
            assert [e.sequence for e in events] == list(range(1, len(log) + 1))
            assert [e.kind for e in self.ledger.events(owner, after=1, kinds=["x"])] == [
                kind for _, kind, _ in log[1:] if kind == "x"
            ]
        assert self.ledger.owners("a") == sorted(owner for owner in self.epoch if owner.startswith("a"))
        for name, lookups in self.versions.items():
            assert [e.lookup for e in self.ledger.entries("train", name)] == lookups


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=8, stateful_step_count=25)
