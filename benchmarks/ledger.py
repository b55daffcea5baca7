"""Durable records in the ledger from four processes at once, each append its own transaction that checks the epoch,
against sqlite3 alone with its own busy timeout, SQLAlchemy as one writes it without much thought, and a JSONL file.

"Durable" means what it means for a driver: NORMAL survives the death of every process, FULL also that of the machine.
The peers write the same record of about 150 bytes, and do less: they check no epoch and give no number.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.table import Table
from headway.stores.ledger import Ledger

WRITERS = 4
SECONDS = 1.5
ROUNDS = 3
GOAL = 2_000  # records a second from four processes
RECORD = {"number": 17, "state": "complete", "value": 0.93125, "parameters": {"lr": 0.00123, "size": "medium"}}

Append = Callable[[], object]
Peer = Callable[[Path, int], Append]


def headway(synchronous: Literal["NORMAL", "FULL"]) -> Peer:
    def start(folder: Path, me: int) -> Append:
        ledger = Ledger.open(folder / "ledger.sqlite", synchronous=synchronous)
        lease = ledger.claim(f"study-{me}")
        assert lease is not None
        return lambda: ledger.append(lease, [("told", RECORD)])

    return start


def raw_sqlite(synchronous: str) -> Peer:
    def start(folder: Path, me: int) -> Append:
        connection = sqlite3.connect(folder / "raw.sqlite", isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, owner TEXT, at REAL, body TEXT)")

        def append() -> None:
            connection.execute("BEGIN IMMEDIATE")
            row = (f"study-{me}", time.time(), json.dumps(RECORD))
            connection.execute("INSERT INTO events (owner, at, body) VALUES (?, ?, ?)", row)
            connection.execute("COMMIT")

        return append

    return start


def sqlalchemy_as_usual(folder: Path, me: int) -> Append:
    from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, create_engine

    engine = create_engine(f"sqlite:///{folder}/alchemy.sqlite", connect_args={"timeout": 60})
    metadata = MetaData()
    columns = (
        Column("id", Integer, primary_key=True),
        Column("owner", String),
        Column("at", Float),
        Column("body", JSON),
    )
    events = Table("events", metadata, *columns)
    metadata.create_all(engine)

    def append() -> None:
        with engine.begin() as connection:
            connection.execute(events.insert(), {"owner": f"study-{me}", "at": time.time(), "body": RECORD})

    return append


def json_lines(folder: Path, me: int) -> Append:
    descriptor = os.open(folder / "lines.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        row = {"owner": f"study-{me}", "at": time.time(), "body": RECORD}
        os.write(descriptor, (json.dumps(row) + "\n").encode())
        os.fdatasync(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    return append


PEERS: dict[str, Peer] = {
    "headway, NORMAL (the default)": headway("NORMAL"),
    "sqlite3, WAL, NORMAL, busy timeout": raw_sqlite("NORMAL"),
    "SQLAlchemy Core as usual (rollback journal, FULL)": sqlalchemy_as_usual,
    "headway, FULL": headway("FULL"),
    "sqlite3, WAL, FULL, busy timeout": raw_sqlite("FULL"),
    "one JSONL file, flock, fdatasync": json_lines,
}


def writer(peer: Peer, folder: Path, me: int, begin: float) -> list[float]:
    """Append until the time is over; how long each append took."""
    append = peer(folder, me)
    while time.time() < begin:
        time.sleep(0.001)
    taken = []
    end, now = begin + SECONDS, time.perf_counter()
    while time.time() < end:
        append()
        now, before = time.perf_counter(), now
        taken.append(now - before)
    return taken


def child(work: Callable[[], object]) -> Callable[[], Any]:
    """Start a process; what is given back waits for it and gives what it said."""
    told, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with os.fdopen(say, "w") as out:
                json.dump(work(), out)
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(say)

    def answer() -> Any:
        with os.fdopen(told) as text:
            said = text.read()
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError("a writer failed; its traceback is above")
        return json.loads(said)

    return answer


def one_round(peer: Peer) -> list[list[float]]:
    """The seconds that each append of each writer took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child(lambda: peer(folder, WRITERS)() and None)()  # the tables are there before the writers come
        begin = time.time() + 0.7
        children = [child(lambda me=me: writer(peer, folder, me, begin)) for me in range(WRITERS)]  # type: ignore[misc]
        return [answer() for answer in children]


def four_writers() -> Table:
    rounds: dict[str, list[list[float]]] = {name: [] for name in PEERS}
    for _ in range(ROUNDS):
        for name, peer in PEERS.items():
            rounds[name] += one_round(peer)
    rates = {name: sum(map(len, taken)) / SECONDS / ROUNDS for name, taken in rounds.items()}
    first = next(iter(rates))
    rows = []
    for name, taken in rounds.items():
        every = sorted(second * 1000 for each in taken for second in each)
        rows.append((name, rates[name], rates[first] / rates[name], statistics.median(every),
                     every[int(len(every) * 0.99)], every[-1]))  # fmt: skip
    missed = () if rates[first] >= GOAL else (f"{rates[first]:,.0f} durable records a second, {GOAL:,} wanted",)
    return Table(
        title="Records from four processes, one transaction each",
        columns=("store", "records/s", "headway NORMAL is faster by", "median ms", "99th percentile ms", "longest ms"),
        rows=tuple(rows),
        note=f"{ROUNDS} rounds of {SECONDS} s each, in turn; goal: {GOAL:,} a second.",
        missed=missed,
    )


def claim_and_append() -> Table:
    rows = []
    for synchronous in ("NORMAL", "FULL"):
        with tempfile.TemporaryDirectory() as name, Ledger.open(Path(name, "l"), synchronous=synchronous) as ledger:
            seconds: dict[str, list[float]] = {
                "claim + append": [],
                "append": [],
                "append of 100 events": [],
                "read": [],
            }
            for number in range(300):
                began = time.perf_counter()
                lease = ledger.claim(f"job-{number}")
                assert lease is not None
                ledger.append(lease, [("intended", {"attempt": 1})])
                times = [time.perf_counter()]
                ledger.append(lease, [("started", RECORD)])
                times.append(time.perf_counter())
                ledger.append(lease, [("told", RECORD)] * 100)
                times.append(time.perf_counter())
                ledger.events(f"job-{number}", after=100)
                times.append(time.perf_counter())
                for kind, (a, b) in zip(seconds, zip([began, *times], times, strict=False), strict=True):
                    seconds[kind].append((b - a) * 1000)
            rows.append((synchronous, *(statistics.median(values) for values in seconds.values())))
    return Table(
        title="Milliseconds, median of 300, one process",
        columns=("synchronous", "claim + append", "append", "append of 100 events", "read 2 events"),
        rows=tuple(rows),
    )


def run() -> list[Table]:
    return [four_writers(), claim_and_append()]
