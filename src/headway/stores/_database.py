"""What the ledger needs of a database: transactions that one process after the other makes, and reads beside them.

In: a path or URL. Out: DBAPI cursors inside `write()` and `read()`. SQLite is in `headway.stores._sqlite`, PostgreSQL
in `headway.stores._postgres`.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

from headway.errors import WorkspaceError
from headway.stores._schema import Statements


@final
class Gate:
    """Counts who is inside, and can be shut, so that nobody is inside while a process forks or a database closes."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._shut = False

    def enter(self) -> None:
        """Wait until the gate is open, go in."""
        with self._condition:
            while self._shut:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        """Go out."""
        with self._condition:
            self._inside -= 1
            if self._shut and not self._inside:
                self._condition.notify_all()

    def shut(self) -> None:
        """Keep everybody out and wait until nobody is inside."""
        with self._condition:
            while self._shut:
                self._condition.wait()
            self._shut = True
            while self._inside:
                self._condition.wait()

    def reopen(self) -> None:
        """Let them in again."""
        with self._condition:
            self._shut = False
            self._condition.notify_all()


class Database(ABC):
    """One database. Safe in threads; connections are closed before the process forks, since none survives a fork, and
    opened again when they are needed."""

    name: str
    """For errors; without a password."""
    statements: Statements

    def __init__(self) -> None:
        self._gate = Gate()
        self._closed = False
        _watch(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Keep the database open for the time of the block."""
        self._gate.enter()
        try:
            if self._closed:
                raise WorkspaceError(f"the ledger {self.name} was closed: open it again")
            yield
        finally:
            self._gate.leave()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._gate.shut()
        try:
            self._closed = True
            self.disconnect()
        finally:
            self._gate.reopen()

    def after_fork_in_child(self) -> None:
        """Locks that other threads of the parent held are made anew."""
        self._gate = Gate()

    @abstractmethod
    def write(self, key: str = "") -> AbstractContextManager[Any]:
        """A cursor in a transaction that is committed when the block ends, rolled back when it fails.

        Args:
            key: transactions with one key come one after the other also where the database would let them overlap.
        """

    @abstractmethod
    def read(self) -> AbstractContextManager[Any]:
        """A cursor that sees what is committed."""

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
    def disconnect(self) -> None:
        """Close all connections; nobody is inside."""


_open: weakref.WeakSet[Database] = weakref.WeakSet()
_shut: list[Database] = []
_registering = threading.Lock()
_registered = False


def _watch(database: Database) -> None:
    global _registered
    with _registering:
        _open.add(database)
        if not _registered:
            os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
            _registered = True


def _before_fork() -> None:
    _registering.acquire()
    for database in sorted(_open, key=id):
        database._gate.shut()
        _shut.append(database)
        database.disconnect()


def _after_in_parent() -> None:
    for database in _shut:
        database._gate.reopen()
    _shut.clear()
    _registering.release()


def _after_in_child() -> None:
    for database in _shut:
        database.after_fork_in_child()
    _shut.clear()
    _registering.release()
