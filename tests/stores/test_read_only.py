"""A ledger in a folder that cannot be written: it is read, whatever state it is in; writing is refused clearly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from forks import as_nobody

import headway.stores._sqlite  # noqa: F401  (another user may not be able to import from where Python lies)
from headway.errors import WorkspaceError
from headway.stores.ledger import Ledger


def fill(path: Path, *, killed: bool) -> None:
    """A ledger with three events, closed well or left by a process that was killed."""
    pid = os.fork()
    if pid == 0:
        with Ledger.open(path) as ledger:
            lease = ledger.claim("job-1")
            assert lease is not None
            for n in range(3):
                ledger.append(lease, [("event", {"n": n})])
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (-signal.SIGKILL if killed else 0)


@pytest.fixture(params=["closed", "killed", "killed, copied without its index"])
def left(request: pytest.FixtureRequest, shared: Path) -> Path:
    """A ledger in a folder that only its owner may write."""
    path = shared / "ws" / "ledger.sqlite"
    fill(path, killed=request.param != "closed")
    if "without" in request.param:
        os.unlink(f"{path}-shm")
    for inner in path.parent.iterdir():
        inner.chmod(0o444)
    path.parent.chmod(0o555)
    return path


def test_it_is_read(left: Path) -> None:
    before = {inner.name: inner.read_bytes() for inner in left.parent.iterdir() if inner.suffix != ".sqlite-shm"}

    def work() -> None:
        with Ledger.open(left, read_only=True) as ledger:
            assert [e.body["n"] for e in ledger.events("job-1")] == [0, 1, 2]
            assert ledger.check() == []
            assert ledger.owners() == ["job-1"]
            with pytest.raises(WorkspaceError, match="opened for reading only"):
                ledger.claim("job-2")
            with pytest.raises(WorkspaceError, match="opened for reading only"):
                ledger.checkpoint()

    as_nobody(work)
    assert {n.name: n.read_bytes() for n in left.parent.iterdir() if n.suffix != ".sqlite-shm"} == before


def test_writing_is_refused_with_what_to_do(left: Path) -> None:
    def work() -> None:
        with pytest.raises(WorkspaceError, match=r"(?s)ledger\.sqlite failed: Permission denied.*read_only=True"):
            Ledger.open(left)

    as_nobody(work)


def test_a_new_one_is_refused_with_what_to_do(shared: Path) -> None:
    shared.chmod(0o555)

    def work() -> None:
        for path in (shared / "ledger.sqlite", shared / "ws" / "ledger.sqlite"):
            with pytest.raises(WorkspaceError, match="Permission denied"):
                Ledger.open(path)
            with pytest.raises(WorkspaceError, match="there is no ledger"):
                Ledger.open(path, read_only=True)

    as_nobody(work)
    shared.chmod(0o755)


def test_another_user_reads_while_its_owner_writes(shared: Path) -> None:
    path = shared / "ws" / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        path.parent.chmod(0o755)
        lease = ledger.claim("job-1")
        assert lease is not None
        for n in range(3):
            ledger.append(lease, [("event", {"n": n})])

            def work() -> None:
                with Ledger.open(path, read_only=True) as reading:
                    assert len(reading.events("job-1")) == n + 1  # noqa: B023

            ledger.holder("job-1")
            as_nobody(work)


def test_reading_leaves_no_trace_in_a_folder_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fill(path, killed=False)
    before = path.read_bytes()
    with Ledger.open(path, read_only=True) as ledger:
        assert len(ledger.events("job-1")) == 3
    assert path.read_bytes() == before
    with Ledger.open(path) as ledger:
        assert ledger.check() == []
    assert sorted(inner.name for inner in tmp_path.iterdir()) == ["ledger.lock", "ledger.sqlite"]
