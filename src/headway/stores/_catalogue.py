"""The catalogue and the edges of the ledger: what there is, by kind, name and version, and what came from what.

In: a database of `headway.stores._database`. Out: `Entry` and `Edge` values, through `headway.stores.ledger.Ledger`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from headway.errors import NotFoundError
from headway.records import Record, decode, encode
from headway.stores._database import Cursor, Database

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Entry(Record):
    """One version of something in the catalogue.

    Args:
        id: `<kind>-<name>-<version>`.
        version: counted from 1.
        lookup: the digest under which finished work is found again.
        body: small JSON for listings: status, metrics.
        created_at: UTC epoch seconds.
    """

    kind: str
    name: str
    version: int
    id: str
    lookup: str
    body: dict[str, Any]
    created_at: float


class Edge(Record):
    """`target` was made from `source`, which it used as `role`; both are ids."""

    source: str
    target: str
    role: str


def check_name(name: str, *, what: str = "name") -> str:
    """The name, if it is one.

    Raises:
        ValueError: it is not of the form that names of jobs, manifests, models, ... have.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} must be 1 to 80 letters, digits, '.', '_' or '-', the first a letter or digit; got {name!r}"
        )
    return name


def reserve(
    database: Database, kind: str, name: str, *, lookup: str, body: dict[str, Any], expect: int | None
) -> tuple[Entry, bool]:
    """See `Ledger.reserve`."""
    if not _KIND.fullmatch(kind):
        raise ValueError(f"kind must be lower-case letters, digits and '_', got {kind!r}")
    check_name(name)
    statements = database.statements
    text = encode(body).decode()

    def work(cursor: Cursor) -> tuple[Entry, bool]:
        row = cursor.execute(statements.newest, {"kind": kind, "name": name}).fetchone()
        version = row[2] if row else 0
        if row and ((expect is None and row[4] == lookup) or (expect is not None and expect != version)):
            return _entry(row), False
        if not row and expect:
            raise NotFoundError(f"{kind} of version {expect}", name)
        made = {"kind": kind, "name": name, "version": version + 1, "id": f"{kind}-{name}-{version + 1}"}
        made |= {"lookup": lookup, "body": text, "created_at": time.time()}
        cursor.execute(statements.new_entry, made)
        return _entry(tuple(made.values())), True

    return database.write(work, key=f"entry {kind} {name}")


def entry(database: Database, kind: str, name: str, *, version: int | None) -> Entry | None:
    """See `Ledger.entry`."""
    statement = database.statements.newest if version is None else database.statements.entry
    values = {"kind": kind, "name": name, "version": version}
    row = database.read(lambda cursor: cursor.execute(statement, values).fetchone())
    return _entry(row) if row else None


def by_id(database: Database, id: str) -> Entry | None:
    """See `Ledger.by_id`."""
    row = database.read(lambda cursor: cursor.execute(database.statements.by_id, {"id": id}).fetchone())
    return _entry(row) if row else None


def entries(database: Database, *, kind: str | None, name: str | None) -> list[Entry]:
    """See `Ledger.entries`."""
    statements = database.statements
    table = {
        (False, False): statements.entries,
        (True, False): statements.entries_of_kind,
        (False, True): statements.entries_of_name,
        (True, True): statements.entries_of_both,
    }
    which = table[kind is not None, name is not None]
    rows = database.read(lambda cursor: cursor.execute(which, {"kind": kind, "name": name}).fetchall())
    return [_entry(row) for row in rows]


def update_entry(cursor: Cursor, database: Database, id: str, body: dict[str, Any]) -> None:
    """See `Ledger.update_entry`; inside a transaction."""
    row = cursor.execute(database.statements.by_id_locked, {"id": id}).fetchone()
    if row is None:
        raise NotFoundError("entry", id)
    merged = {**decode(row[5], dict[str, Any], where=f"the entry {id}"), **body}
    text = encode({key: value for key, value in merged.items() if value is not None}).decode()
    cursor.execute(database.statements.set_body, {"entry": id, "new_body": text})


def link(database: Database, edges: Sequence[Edge]) -> None:
    """See `Ledger.link`."""
    if edges:
        rows = [{"source": edge.source, "target": edge.target, "role": edge.role} for edge in edges]
        rows.sort(key=lambda row: tuple(row.values()))  # one order everywhere, so that writers cannot wait in a ring
        database.write(lambda cursor: cursor.executemany(database.statements.link, rows) and None)


def edges(database: Database, *, source: str | None, target: str | None) -> list[Edge]:
    """See `Ledger.edges`."""
    statements = database.statements
    table = {
        (False, False): statements.edges,
        (True, False): statements.edges_from,
        (False, True): statements.edges_to,
        (True, True): statements.edges_between,
    }
    which = table[source is not None, target is not None]
    rows = database.read(lambda cursor: cursor.execute(which, {"source": source, "target": target}).fetchall())
    return [Edge(source=row[0], target=row[1], role=row[2]) for row in rows]


def _entry(row: Sequence[Any]) -> Entry:
    kind, name, version, its_id, lookup, body, created_at = row
    return Entry(
        kind=kind,
        name=name,
        version=version,
        id=its_id,
        lookup=lookup,
        body=decode(body, dict[str, Any], where=f"the entry {its_id}"),
        created_at=created_at,
    )
