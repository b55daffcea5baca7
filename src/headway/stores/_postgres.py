"""The ledger's database in PostgreSQL, for workspaces in a bucket and for several machines.

In: a `postgresql://` URL. Out: `PostgresDatabase`. One connection per thread that is at work just now; row locks
serialise writers of one owner, advisory locks the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from sqlalchemy import make_url

from headway.errors import MissingExtraError, WorkspaceError
from headway.stores import _migrate
from headway.stores._database import Cursor, Database, T, Work
from headway.stores._schema import statements_for

RECONNECT_S = 30.0
"""How long a driver waits for a server that drops its connections, as in a restart."""

_inherited: list[Any] = []
_BEGIN = "SELECT pg_advisory_xact_lock(hashtextextended('headway schema', 7318))"


@final
class PostgresDatabase(Database):
    """One PostgreSQL database (or one schema of it, by `?options=-csearch_path%3Dname`)."""

    def __init__(self, url: str, *, read_only: bool = False, lock_timeout_s: float = 60.0) -> None:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self.name = parsed.render_as_string(hide_password=True)
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("psycopg", extra="postgres", purpose=f"the ledger {self.name}") from error
        self._psycopg = psycopg
        self._read_only, self._lock_timeout_s = read_only, lock_timeout_s
        self.dialect = parsed.get_dialect()()
        self._arguments = self.dialect.create_connect_args(parsed)
        self._idle: list[Any] = []
        self._closed = self._was_connected = False
        self.statements = statements_for(self.dialect)
        super().__init__()

    def write(self, work: Work[T], *, key: str = "", done: Work[T | None] | None = None) -> T:
        if self._read_only:
            raise WorkspaceError(f"the ledger {self.name} was opened for reading only")

        def transaction(connection: Any) -> T:
            cursor = connection.cursor()
            if key:
                cursor.execute(self.statements.lock, {"key": key})
            made = work(cursor)
            connection.commit()
            return made

        def again(connection: Any) -> T:
            found = done(connection.cursor()) if done is not None else None
            connection.rollback()
            return transaction(connection) if found is None else found

        return self._run(transaction, again)

    def read(self, work: Work[T]) -> T:
        def select(connection: Any) -> T:
            made = work(connection.cursor())
            connection.rollback()
            return made

        return self._run(select, select)

    def upgrade(self, *, create: bool) -> None:
        def newest(cursor: Cursor) -> bool:
            return _migrate.is_newest(cursor, self.statements, name=self.name, read_only=self._read_only)

        def make(connection: Any) -> None:
            _migrate.migrate(connection, self.dialect, self.statements, begin=_BEGIN)

        if self.read(newest):
            return
        may_make = create and not self._read_only
        if not may_make and self.read(lambda cursor: _migrate.schema_of(cursor, self.statements)) == 0:
            raise WorkspaceError(f"there is no ledger in {self.name}: create it first")
        self._run(make, make)

    def problems(self) -> list[str]:
        return []  # PostgreSQL's own checks (checksums, amcheck) belong to who runs the server

    def checkpoint(self) -> None:
        return None

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def before_fork(self) -> None:
        return None

    def after_fork_in_parent(self) -> None:
        return None

    def after_fork_in_child(self) -> None:
        _inherited.extend(self._idle)  # closing them would end the parent's sessions
        self._idle = []

    def _run(self, work: Callable[[Any], T], again: Callable[[Any], T]) -> T:
        """What `work` gives with a connection; `again` is run when the server dropped it, until it is back."""
        if self._closed:
            raise WorkspaceError(f"the ledger {self.name} was closed: open it again")
        deadline, pause = 0.0, 0.05
        while True:
            connection = None
            try:
                connection = self._idle.pop() if self._idle else self._connect()
                made = (again if deadline else work)(connection)
                self._idle.append(connection)
                return made
            except BaseException as error:
                lost = self._put_back(connection)
                if not isinstance(error, self._psycopg.Error):
                    raise
                now = time.monotonic()
                deadline = deadline or now + RECONNECT_S
                if not (lost and self._was_connected) or now > deadline:
                    raise WorkspaceError(f"the ledger {self.name} failed: {error}") from error
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _put_back(self, connection: Any) -> bool:
        """Roll back what a connection did; whether it was lost (or could not be made)."""
        if connection is not None and not connection.closed:
            try:
                connection.rollback()
            except self._psycopg.Error:
                connection.close()
            else:
                self._idle.append(connection)
        return connection is None or bool(connection.closed)

    def _connect(self) -> Any:
        arguments, options = self._arguments
        made = self._psycopg.connect(*arguments, **{"connect_timeout": 10, **options})
        limit = str(int(self._lock_timeout_s * 1000))  # one stopped inside a transaction must not hold others for ever
        settings = {"lock_timeout": limit, "idle_in_transaction_session_timeout": limit}
        for name, value in {**settings, "default_transaction_isolation": "'read committed'"}.items():
            made.execute(f"SET {name} = {value}")
        made.commit()
        self._was_connected = True
        return made
