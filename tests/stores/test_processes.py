"""Several processes on one ledger at once: nobody is refused, nothing is lost, nothing is numbered twice."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from forks import Together

from headway.errors import WorkspaceError
from headway.stores import _postgres
from headway.stores.driver import Driver, _started_at, is_alive, this_driver
from headway.stores.ledger import Edge, Ledger

APPENDS, WRITERS = 60, 8


def writer(url: str, me: int) -> dict[str, Any]:
    """One of many: its own events, takeovers of a shared owner, reservations, edges, heartbeats."""
    slowest, made = 0.0, []
    with Ledger.open(url) as ledger:
        lease = ledger.claim(f"own-{me}")
        assert lease is not None
        for n in range(APPENDS):
            began = time.perf_counter()
            ledger.append(lease, [("event", {"by": me, "n": n})] * (1 + n % 3))
            slowest = max(slowest, time.perf_counter() - began)
            if n % 10 == 0:
                while (shared := ledger.claim("shared")) is None:
                    pass
                ledger.append(shared, [("event", {"by": me, "n": n})])
                ledger.release(shared)
                entry, _ = ledger.reserve("train", "x", lookup=f"{me}-{n}", body={})
                made.append(entry.version)
                ledger.link([Edge(source="all", target=to, role="data") for to in (f"{me}-{n}", "one")])
                ledger.update_entry(entry.id, {"by": me})
                ledger.heartbeat(lease)
                assert len(ledger.events(f"own-{me}")) >= n
    return {"made": made, "slowest_ms": slowest * 1000}


def test_eight_processes_write_at_once(ledger: Ledger, ledger_url: str) -> None:
    told = Together([lambda me=me: writer(ledger_url, me) for me in range(WRITERS)]).go()  # type: ignore[misc]
    for me in range(WRITERS):
        events = ledger.events(f"own-{me}")
        assert [e.sequence for e in events] == list(range(1, len(events) + 1))
        assert Counter(e.body["n"] for e in events) == {n: 1 + n % 3 for n in range(APPENDS)}
    shared = ledger.events("shared")
    assert [e.sequence for e in shared] == list(range(1, len(shared) + 1))
    assert [e.epoch for e in shared] == list(range(1, len(shared) + 1))
    assert {(e.body["by"], e.body["n"]) for e in shared} == {
        (me, n) for me in range(WRITERS) for n in range(0, APPENDS, 10)
    }
    assert sorted(version for one in told for version in one["made"]) == list(range(1, len(shared) + 1))
    assert all(str(entry.body["by"]) == entry.lookup.split("-")[0] for entry in ledger.entries("train"))
    assert len(ledger.edges("all")) == len(shared) + 1
    slowest = max(one["slowest_ms"] for one in told)
    print(f"{WRITERS} processes, {WRITERS * APPENDS} appends, {len(shared)} takeovers; slowest append {slowest:.0f} ms")


def test_many_processes_create_one_ledger(ledger_url: str) -> None:
    def create(me: int) -> int:
        with Ledger.open(ledger_url) as ledger:
            lease = ledger.claim(f"owner-{me}")
            assert lease is not None
            return ledger.append(lease, [("x", {})])

    assert Together([lambda me=me: create(me) for me in range(6)]).go() == [1] * 6  # type: ignore[misc]
    with Ledger.open(ledger_url, create=False) as ledger:
        assert len(ledger.owners()) == 6
        assert ledger.check() == []


def test_of_drivers_that_claim_at_once_one_gets_it(ledger: Ledger, ledger_url: str) -> None:
    def claim() -> list[int]:
        with Ledger.open(ledger_url) as mine:
            return [n for n in range(20) if mine.claim(f"job-{n}") is not None]

    told = Together([claim] * 4).go()
    assert {ledger.holder(f"job-{n}").alive for n in range(20)} == {False}  # type: ignore[union-attr]
    assert all(ledger.claim(f"job-{n}") is not None for n in range(20))
    assert set().union(*told) == set(range(20))


@pytest.mark.service
@pytest.mark.xdist_group("postgres")
def test_a_server_that_drops_connections_loses_and_doubles_nothing(own_postgres: str, postgres_url: str) -> None:
    """Every few appends the server ends all sessions of the writers, also in the midst of a commit."""
    import psycopg
    from sqlalchemy import make_url

    plain = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with Ledger.open(own_postgres) as ledger, psycopg.connect(plain, autocommit=True) as admin:
        stop, dropped = threading.Event(), 0
        last: dict[int, int] = {}
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                lease = ledger.claim(f"owner-{number}")
                assert lease is not None
                n = 0
                while not stop.is_set():
                    n += 1
                    last[number] = ledger.append(lease, [("x", {"n": n})])
                    assert last[number] == n
                    ledger.heartbeat(lease)
                    ledger.reserve("train", f"t{number}", lookup=str(n), body={})
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            row = admin.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
            dropped += row[0] if row else 0
            stop.wait(0.03)
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        for number in range(3):
            assert [e.body["n"] for e in ledger.events(f"owner-{number}")] == list(range(1, last[number] + 1))
            assert [e.lookup for e in ledger.entries("train", f"t{number}")] == [
                str(n) for n in range(1, last[number] + 1)
            ]
        assert ledger.check() == []
        print(f"{dropped} sessions ended, {sum(last.values())} appends")
        assert dropped > 20


@pytest.mark.service
@pytest.mark.xdist_group("postgres")
def test_a_server_that_is_away_is_told(postgres_url: str, monkeypatch: pytest.MonkeyPatch, own_postgres: str) -> None:
    with pytest.raises(WorkspaceError, match="password authentication failed") as caught:
        Ledger.open(own_postgres.replace("headway:", "headway:wrong"))
    assert "wrong" not in str(caught.value)
    with pytest.raises(WorkspaceError, match="nowhere"):
        Ledger.open("postgresql://me:secret@/postgres?host=/nowhere")
    monkeypatch.setattr(_postgres, "RECONNECT_S", 0.2)
    with Ledger.open(own_postgres) as ledger:
        database: Any = ledger._database
        database._arguments[1]["host"] = "/nowhere"
        while database._idle:
            database._idle.pop().close()
        with pytest.raises(WorkspaceError, match="nowhere"):
            ledger.events("x")


def test_this_process_lives_and_others_may_not(tmp_path: Path) -> None:
    mine = this_driver()
    assert is_alive(mine) is True
    assert mine == this_driver()
    assert str(mine) == f"process {os.getpid()} on {mine.host}"
    fields = {"host": mine.host, "boot_id": mine.boot_id, "pid": mine.pid, "started_at": mine.started_at}
    assert is_alive(Driver(**fields | {"started_at": mine.started_at - 1})) is False  # its id was used again
    assert is_alive(Driver(**fields | {"host": "elsewhere"})) is None
    assert is_alive(Driver(**fields | {"boot_id": "before"})) is None
    with subprocess.Popen(["sleep", "60"]) as child:
        other = Driver(**fields | {"pid": child.pid, "started_at": _started_at(child.pid)})
        assert is_alive(other) is True
        os.kill(child.pid, 19)  # SIGSTOP
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert is_alive(other) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(other) is False  # a zombie
    assert is_alive(other) is False


def test_a_forked_child_is_a_driver_of_its_own() -> None:
    mine = this_driver()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if this_driver().pid == os.getpid() != mine.pid and is_alive(mine) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
