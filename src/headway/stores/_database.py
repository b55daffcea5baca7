"""What the ledger needs of a database: transactions, and reads beside them.

In: a path or URL. Out: DBAPI cursors handed to the functions that `write` and `read` are given. SQLite is in
`headway.stores._sqlite`, PostgreSQL in `headway.stores._postgres`.

Functions instead of `with` blocks: an interrupt (Ctrl-C) can arrive between any two steps of a Python-written context
manager and would leave its lock taken; a `with` on a `threading.Lock` has no such gap, and a transaction given as a
function can be run again when a server drops the connection.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from headway.stores._schema import Statements  # SQLAlchemy is imported when a ledger is opened

T = TypeVar("T")
Cursor = Any
Work = Callable[[Cursor], T]


class Database(ABC):
    """One database. Safe in threads; no connection is used on both sides of a fork."""

    name: str
    """For errors; without a password."""
    statements: Statements

    def __init__(self) -> None:
        _watch(self)

    @abstractmethod
    def write(self, work: Work[T], *, key: str = "", done: Work[T | None] | None = None) -> T:
        """What `work` gives, run in a transaction that is committed when it returns and rolled back when it raises.

        Args:
            key: transactions with one key come one after the other also where the database would let them overlap.
            done: asked when the connection was lost while committing: what `work` gave if it is recorded, else None,
                and `work` is run again; without it `work` must be safe to run twice.
        """

    @abstractmethod
    def read(self, work: Work[T]) -> T:
        """What `work` gives, run on what is committed."""

    @abstractmethod
    def upgrade(self, *, create: bool) -> None:
        """Make the tables of a new ledger, or lead an older one to the newest schema.

        Raises:
            NewerSchemaError: it was written by a newer Headway.
        """

    @abstractmethod
    def problems(self) -> list[str]:
        """What the database's own check of its integrity finds."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Bring everything into the main file, where there is such a thing."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent."""

    @abstractmethod
    def before_fork(self) -> None:
        """Get ready: no transaction is under way until one of the two below is called."""

    @abstractmethod
    def after_fork_in_parent(self) -> None:
        """Go on."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """Go on in the child, with connections of its own."""


_open: weakref.WeakSet[Database] = weakref.WeakSet()
_forking: list[Database] = []
_watching = threading.Lock()
_registered = False


def _watch(database: Database) -> None:
    global _registered
    with _watching:
        _open.add(database)
        if not _registered:
            os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
            _registered = True


def _before_fork() -> None:
    _watching.acquire()
    for database in sorted(_open, key=id):
        database.before_fork()
        _forking.append(database)


def _after_in_parent() -> None:
    for database in _forking:
        database.after_fork_in_parent()
    _forking.clear()
    _watching.release()


def _after_in_child() -> None:
    for database in _forking:
        database.after_fork_in_child()
    _forking.clear()
    _watching.release()
