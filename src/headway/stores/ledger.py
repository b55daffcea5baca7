"""The ledger: what was decided, as an append-only log under epochs; what there is; what came from what.

In: a path (SQLite) or a URL (PostgreSQL). Out: `Ledger`, which only drivers write (workers write files of their own).
Whoever takes work over raises its epoch; every append checks the epoch in its own transaction, so that a driver that
slept and wakes again publishes nothing.
"""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, final

from headway.errors import WorkspaceError
from headway.records import decode, encode
from headway.stores import _catalogue
from headway.stores._catalogue import Edge, Entry, check_name
from headway.stores._database import Cursor, Database
from headway.stores.driver import HEARTBEAT_TIMEOUT_S, Driver, is_alive, this_driver
from headway.stores.lease import Event, Holder, Lease

__all__ = [
    "HEARTBEAT_TIMEOUT_S",
    "Driver",
    "Edge",
    "Entry",
    "Event",
    "Holder",
    "Lease",
    "Ledger",
    "check_name",
    "is_alive",
    "this_driver",
]

_BUCKETS = re.compile(r"(s3a?|gs|gcs|abfss?|az|adl|wasbs?|hdfs|https?|r2|oss|cos|memory)://", re.IGNORECASE)


@final
class Ledger:
    """One ledger. Safe in threads; a forked child opens connections of its own.

    Use `Ledger.open`. As a context manager it closes itself.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = database.statements
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
            lock_timeout_s: how long to wait for another process that writes.

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
        mine = encode(driver).decode()

        def work(cursor: Cursor) -> Lease | None:
            cursor.execute(statements.new_owner, {"its": owner})
            epoch, holder, _, age = cursor.execute(statements.owner_locked, {"its": owner, "now": now}).fetchone()
            if holder is not None and not force and _lives(_driver(holder), age):
                return None
            cursor.execute(statements.take, {"its": owner, "held": epoch + 1, "driver": mine, "now": now})
            last = cursor.execute(statements.last, {"owner": owner}).fetchone()[0]
            taken.append(Lease(owner, epoch + 1, driver, last=last or 0))
            return taken[-1]

        def done(cursor: Cursor) -> Lease | None:
            row = cursor.execute(statements.owner, {"its": owner, "now": now}).fetchone()
            return taken[-1] if taken and row is not None and row[:2] == (taken[-1].epoch, mine) else None

        taken: list[Lease] = []
        return self._database.write(work, done=done)

    def heartbeat(self, lease: Lease) -> None:
        """Say that the driver lives; at least every 10 s where other machines may look.

        Raises:
            FencedError: somebody else took the work over.
        """
        lease.check_process()

        def work(cursor: Cursor) -> None:
            cursor.execute(self._statements.beat, {"its": lease.owner, "held": lease.epoch, "now": time.time()})
            if cursor.rowcount != 1:
                raise lease.fenced()

        self._database.write(work)

    def release(self, lease: Lease) -> None:
        """Give the owner back, so that anybody may claim it at once; nothing happens when it was lost already."""
        lease.check_process()
        values = {"its": lease.owner, "held": lease.epoch}
        self._database.write(lambda cursor: cursor.execute(self._statements.let_go, values) and None)

    def holder(self, owner: str) -> Holder | None:
        """Who holds an owner; None when nobody does."""
        values = {"its": owner, "now": time.time()}
        row = self._database.read(lambda cursor: cursor.execute(self._statements.owner, values).fetchone())
        if row is None or row[1] is None:
            return None
        epoch, text, heartbeat_at, age = row
        driver = _driver(text)
        return Holder(epoch=epoch, driver=driver, heartbeat_at=heartbeat_at, alive=_lives(driver, age))

    def owners(self, prefix: str = "") -> list[str]:
        """All owners whose name begins so, sorted."""
        between = {"low": prefix, "high": prefix + "\U0010ffff"}
        return [row[0] for row in self._database.read(lambda c: c.execute(self._statements.owners, between).fetchall())]

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
        lease.check_process()
        at = time.time()
        rows: list[dict[str, Any]] = [
            {"owner": lease.owner, "epoch": lease.epoch, "kind": kind, "at": at, "body": encode(body).decode()}
            for kind, body in events
        ]

        def work(cursor: Cursor) -> int:
            lease.check_epoch(cursor.execute(self._statements.epoch_locked, {"its": lease.owner}).fetchone())
            before = last
            if before is None:
                before = cursor.execute(self._statements.last, {"owner": lease.owner}).fetchone()[0] or 0
            for number, values in enumerate(rows, before + 1):
                values["sequence"] = number
            if len(rows) == 1:
                cursor.execute(self._statements.append, rows[0])
            elif rows:
                cursor.executemany(self._statements.append, rows)
            return int(before) + len(rows)

        def done(cursor: Cursor) -> int | None:
            """The number of the last one, when they are there: only this lease can have written them."""
            if not rows or "sequence" not in rows[-1]:
                return None
            values = {"owner": lease.owner, "after": int(rows[-1]["sequence"]) - 1}
            row = cursor.execute(self._statements.events, values).fetchone()
            return int(row[0]) if row is not None and row[1] == lease.epoch else None

        with lease._lock:
            last, lease._last = lease._last, None  # None until it is known that the transaction was committed
            lease._last = self._database.write(work, done=done)
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
        rows = self._database.read(lambda cursor: cursor.execute(statement, values).fetchall())
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

        def work(cursor: Cursor) -> None:
            if lease is not None:
                lease.check_epoch(cursor.execute(self._statements.epoch_locked, {"its": lease.owner}).fetchone())
            _catalogue.update_entry(cursor, self._database, id, body)

        self._database.write(work)

    def link(self, edges: Sequence[Edge]) -> None:
        """Record what came from what; edges that are there already stay as they are."""
        _catalogue.link(self._database, edges)

    def edges(self, source: str | None = None, target: str | None = None) -> list[Edge]:
        """Edges from a source, to a target, sorted; all of them when neither is given."""
        return _catalogue.edges(self._database, source=source, target=target)

    def check(self) -> list[str]:
        """What is wrong with the ledger, in plain sentences; [] when nothing is."""
        gaps = self._database.read(lambda cursor: cursor.execute(self._statements.gaps).fetchall())
        return self._database.problems() + [
            f"the events of {owner!r} have gaps: {count} events numbered {first} to {last}"
            for owner, first, last, count in gaps
        ]

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

        return PostgresDatabase(
            url.replace("postgres:", "postgresql:", 1), read_only=read_only, lock_timeout_s=lock_timeout_s
        )
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
