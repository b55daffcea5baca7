"""The ledger: what was decided, as an append-only log under epochs; what there is; what came from what.

In: a path (SQLite) or a URL (PostgreSQL). Out: `Ledger`, which only drivers write (workers write files of their own).
Whoever takes work over raises its epoch; every append checks the epoch in its own transaction, so that a driver that
slept and wakes again publishes nothing.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, final

from headway.errors import FencedError, NewerSchemaError, WorkspaceError
from headway.records import Record, decode, encode
from headway.stores import _catalogue
from headway.stores._catalogue import Edge, Entry, check_name
from headway.stores._database import Database
from headway.stores._schema import Statements
from headway.stores.driver import HEARTBEAT_TIMEOUT_S, Driver, is_alive, this_driver

__all__ = [
    "HEARTBEAT_TIMEOUT_S",
    "Driver",
    "Edge",
    "Entry",
    "Event",
    "Holder",
    "Lease",
    "Ledger",
    "NewerSchemaError",
    "check_name",
    "is_alive",
    "this_driver",
]

_BUCKETS = re.compile(r"(s3a?|gs|gcs|abfss?|az|adl|wasbs?|hdfs|https?|r2|oss|cos|memory)://", re.IGNORECASE)


class Event(Record):
    """One thing that was decided.

    Args:
        sequence: counted from 1 without gaps for each owner.
        epoch: under which driver's epoch it was appended.
        at: UTC epoch seconds by the driver's clock.
    """

    owner: str
    sequence: int
    epoch: int
    kind: str
    at: float
    body: dict[str, Any]


class Holder(Record):
    """Who drives an owner's work just now.

    Args:
        heartbeat_at: UTC epoch seconds of the last claim or heartbeat.
        alive: whether the driver lives: by its process id on this machine, else by its heartbeat.
    """

    epoch: int
    driver: Driver
    heartbeat_at: float
    alive: bool


@final
class Lease:
    """The right to append to an owner's events until somebody else takes it over; made by `Ledger.claim`.

    Safe in threads: appends under one lease come one after the other. It does not survive a fork.
    """

    __slots__ = ("_last", "_lock", "_pid", "driver", "epoch", "owner")

    def __init__(self, owner: str, epoch: int, driver: Driver, *, last: int | None = None) -> None:
        self.owner = owner
        self.epoch = epoch
        self.driver = driver
        self._last = last  # sequence of the last event; None: ask the ledger
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Lease(owner={self.owner!r}, epoch={self.epoch})"


@final
class Ledger:
    """One ledger. Safe in threads; a forked child opens connections of its own.

    Use `Ledger.open`. As a context manager it closes itself.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements: Statements = database.statements
        self._closing = weakref.finalize(self, database.close)

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        lock_timeout_s: float = 60.0,
    ) -> Ledger:
        """The ledger at a path or URL; an older one is upgraded first.

        Args:
            url: path of a SQLite file, or `postgresql://user@host/database`.
            create: make it where there is none.
            read_only: never write, also not to upgrade; works in folders that cannot be written.
            synchronous: SQLite only. NORMAL: what was appended survives the death of any process, FULL: also of power.
            lock_timeout_s: SQLite only: how long to wait for another process that writes.

        Raises:
            NewerSchemaError: it was written by a newer Headway.
            WorkspaceError: it is not there, cannot be read or written, or would lie where SQLite is not safe.
        """
        database = _database(str(url), read_only, synchronous, lock_timeout_s)
        try:
            database.upgrade(create=create)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self._database.name!r})"

    # who drives what

    def claim(self, owner: str, *, driver: Driver | None = None, force: bool = False) -> Lease | None:
        """A lease under a new epoch, or None while somebody alive holds the owner.

        Args:
            owner: what is to be driven: a job's id, a study, ...
            driver: who claims; None: this process.
            force: take it over even from a driver that seems alive; that one is fenced from then on.
        """
        if not owner or "\0" in owner:
            raise ValueError(f"owner must be a name, got {owner!r}")
        driver = driver or this_driver()
        statements, now = self._statements, time.time()
        with self._database.write() as cursor:
            cursor.execute(statements.new_owner, {"its": owner})
            epoch, holder, _, age = cursor.execute(statements.owner_locked, {"its": owner, "now": now}).fetchone()
            if holder is not None and not force and _lives(_driver(holder), age):
                return None
            taken = {"its": owner, "held": epoch + 1, "driver": encode(driver).decode(), "now": now}
            cursor.execute(statements.take, taken)
            last = cursor.execute(statements.last, {"owner": owner}).fetchone()[0]
        return Lease(owner, epoch + 1, driver, last=last or 0)

    def heartbeat(self, lease: Lease) -> None:
        """Say that the driver lives; at least every 10 s where other machines may look.

        Raises:
            FencedError: somebody else took the work over.
        """
        _check_process(lease)
        with self._database.write() as cursor:
            cursor.execute(self._statements.beat, {"its": lease.owner, "held": lease.epoch, "now": time.time()})
            if cursor.rowcount != 1:
                raise _fenced(lease)

    def release(self, lease: Lease) -> None:
        """Give the owner back, so that anybody may claim it at once; nothing happens when it was lost already."""
        _check_process(lease)
        with self._database.write() as cursor:
            cursor.execute(self._statements.let_go, {"its": lease.owner, "held": lease.epoch})

    def holder(self, owner: str) -> Holder | None:
        """Who holds an owner; None when nobody does."""
        with self._database.read() as cursor:
            row = cursor.execute(self._statements.owner, {"its": owner, "now": time.time()}).fetchone()
        if row is None or row[1] is None:
            return None
        epoch, text, heartbeat_at, age = row
        driver = _driver(text)
        return Holder(epoch=epoch, driver=driver, heartbeat_at=heartbeat_at, alive=_lives(driver, age))

    def owners(self, prefix: str = "") -> list[str]:
        """All owners whose name begins so, sorted."""
        with self._database.read() as cursor:
            between = {"low": prefix, "high": prefix + "\U0010ffff"}
            return [row[0] for row in cursor.execute(self._statements.owners, between).fetchall()]

    # what was decided

    def append(self, lease: Lease, events: Sequence[tuple[str, dict[str, Any]]]) -> int:
        """Append events in one transaction that checks the epoch.

        Args:
            lease: from `claim`.
            events: kind and body (plain JSON) of each.

        Returns:
            The sequence number of the last one; they are numbered without gaps.

        Raises:
            FencedError: somebody else took the work over; nothing was appended.

        Guarantees:
            All or none; when it returns they survive the death of every process.
        """
        _check_process(lease)
        at = time.time()
        rows = [
            {"owner": lease.owner, "epoch": lease.epoch, "kind": kind, "at": at, "body": encode(body).decode()}
            for kind, body in events
        ]
        with lease._lock:
            last = lease._last
            lease._last = None  # until it is known that the transaction was committed
            with self._database.write() as cursor:
                row = cursor.execute(self._statements.epoch_locked, {"its": lease.owner}).fetchone()
                if row is None or row[0] != lease.epoch:
                    raise _fenced(lease, row[0] if row else None)
                if last is None:
                    last = cursor.execute(self._statements.last, {"owner": lease.owner}).fetchone()[0] or 0
                for number, values in enumerate(rows, last + 1):
                    values["sequence"] = number
                if len(rows) == 1:
                    cursor.execute(self._statements.append, rows[0])
                elif rows:
                    cursor.executemany(self._statements.append, rows)
            lease._last = last + len(rows)
            return lease._last

    def events(self, owner: str, *, after: int = 0, kinds: Iterable[str] | None = None) -> list[Event]:
        """An owner's events in the order in which they were appended.

        Args:
            owner: whose.
            after: only those with a greater sequence number.
            kinds: only those of these kinds; None: all.
        """
        statement, values = self._statements.events, {"owner": owner, "after": after}
        if kinds is not None:
            wanted = {f"kind{number}": kind for number, kind in enumerate(sorted(set(kinds)))}
            if not wanted:
                return []
            statement, values = self._statements.events_of_kinds(len(wanted)), {**values, **wanted}
        with self._database.read() as cursor:
            rows = cursor.execute(statement, values).fetchall()
        return [
            Event(
                owner=owner,
                sequence=sequence,
                epoch=epoch,
                kind=kind,
                at=at,
                body=decode(body, dict[str, Any], where=f"event {sequence} of {owner}"),
            )
            for sequence, epoch, kind, at, body in rows
        ]

    # what there is, and what came from what

    def reserve(
        self, kind: str, name: str, *, lookup: str, body: dict[str, Any], expect: int | None = None
    ) -> tuple[Entry, bool]:
        """The newest version of a name when it has this lookup digest, else a new version; in one transaction.

        Args:
            kind: `manifest`, `dataset`, `train`, `model`, ...
            name: the user's name for it.
            lookup: digest of what it is made from.
            body: small JSON for listings, of a new version.
            expect: make version `expect + 1` whatever the digests say, if the newest is still `expect` (0: none yet);
                else the newest is returned.

        Returns:
            The entry, and whether this call made it.
        """
        return _catalogue.reserve(self._database, kind, name, lookup=lookup, body=body, expect=expect)

    def entry(self, kind: str, name: str, version: int | None = None) -> Entry | None:
        """A version of a name, None: the newest; None when there is none."""
        return _catalogue.entry(self._database, kind, name, version=version)

    def by_id(self, id: str) -> Entry | None:
        """The entry with an id `<kind>-<name>-<version>`, None when there is none."""
        return _catalogue.by_id(self._database, id)

    def entries(self, kind: str | None = None, name: str | None = None) -> list[Entry]:
        """All entries of a kind and a name, by kind, name and version."""
        return _catalogue.entries(self._database, kind=kind, name=name)

    def update_entry(self, id: str, body: dict[str, Any], *, lease: Lease | None = None) -> None:
        """Change what listings show of an entry: the given fields are replaced, those given as None removed.

        Args:
            id: the entry.
            body: new values of top-level fields.
            lease: also check its epoch in the same transaction.

        Raises:
            NotFoundError: there is no such entry.
            FencedError: the lease was lost.
        """
        with self._database.write() as cursor:
            if lease is not None:
                row = cursor.execute(self._statements.epoch_locked, {"its": lease.owner}).fetchone()
                if row is None or row[0] != lease.epoch:
                    raise _fenced(lease, row[0] if row else None)
            _catalogue.update_entry(cursor, self._database, id, body)

    def link(self, edges: Sequence[Edge]) -> None:
        """Record what came from what; edges that are there already stay as they are."""
        _catalogue.link(self._database, edges)

    def edges(self, source: str | None = None, target: str | None = None) -> list[Edge]:
        """Edges from a source, to a target, sorted; all of them when neither is given."""
        return _catalogue.edges(self._database, source=source, target=target)

    def check(self) -> list[str]:
        """What is wrong with the ledger, in plain sentences; [] when nothing is."""
        found = self._database.problems()
        with self._database.read() as cursor:
            for owner, first, last, count in cursor.execute(self._statements.gaps).fetchall():
                found.append(f"the events of {owner!r} have gaps: {count} events numbered {first} to {last}")
        return found

    def checkpoint(self) -> None:
        """Bring everything into the main file (SQLite), so that it alone is a whole copy."""
        self._database.checkpoint()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closing()


def _database(url: str, read_only: bool, synchronous: str, lock_timeout_s: float) -> Database:
    if synchronous not in ("NORMAL", "FULL"):
        raise ValueError(f"synchronous must be 'NORMAL' or 'FULL', got {synchronous!r}")
    if url.startswith(("postgresql:", "postgresql+psycopg:", "postgres:")):
        from headway.stores._postgres import PostgresDatabase

        return PostgresDatabase(url.replace("postgres:", "postgresql:", 1), read_only=read_only)
    if _BUCKETS.match(url):
        raise WorkspaceError(
            f"the ledger {url} would lie in a bucket, where SQLite cannot live: give a PostgreSQL ledger, "
            "ledger='postgresql://user@host/database'"
        )
    path = re.sub(r"^(sqlite:///|file://)", "", url)
    if "://" in path:
        raise ValueError(f"a ledger is the path of a SQLite file or a postgresql:// URL, got {url!r}")
    from headway.stores._sqlite import SqliteDatabase

    return SqliteDatabase(path, read_only=read_only, synchronous=synchronous, lock_timeout_s=lock_timeout_s)


def _driver(text: str) -> Driver:
    return decode(text, Driver, where="a driver in the ledger")


def _lives(driver: Driver, age_s: float) -> bool:
    alive = is_alive(driver)
    return float(age_s) < HEARTBEAT_TIMEOUT_S if alive is None else alive


def _check_process(lease: Lease) -> None:
    if lease._pid != os.getpid():
        raise WorkspaceError(f"{lease!r} belongs to process {lease._pid}: a forked child must claim for itself")


def _fenced(lease: Lease, epoch: int | None = None) -> FencedError:
    now = f" (epoch {epoch}, this lease has {lease.epoch})" if epoch is not None else ""
    return FencedError(
        f"another driver took over {lease.owner!r}{now}: nothing that this one does is published any more"
    )
