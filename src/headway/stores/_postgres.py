"""The ledger's database in PostgreSQL, for workspaces in a bucket and for several machines.

In: a `postgresql://` URL. Out: `PostgresDatabase`. One connection per thread that is at work just now; row locks
serialise writers of one owner, advisory locks the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from sqlalchemy import make_url

from headway.errors import MissingExtraError, WorkspaceError
from headway.stores import _migrate
from headway.stores._database import Database
from headway.stores._schema import Statements

_BEGIN = "SELECT pg_advisory_xact_lock(hashtextextended('headway schema', 7318))"


@final
class PostgresDatabase(Database):
    """One PostgreSQL database (or one schema of it, by `?options=-csearch_path%3Dname`)."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self.name = parsed.render_as_string(hide_password=True)
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("psycopg", extra="postgres", purpose=f"the ledger {self.name}") from error
        self._psycopg = psycopg
        self._read_only = read_only
        self.dialect = parsed.get_dialect()()
        self._arguments = self.dialect.create_connect_args(parsed)
        self._idle: list[Any] = []
        self.statements = Statements(self.dialect)
        super().__init__()

    @contextmanager
    def write(self, key: str = "") -> Iterator[Any]:
        if self._read_only:
            raise WorkspaceError(f"the ledger {self.name} was opened for reading only")
        with self.inside(), self._connection() as connection:
            cursor = connection.cursor()
            try:
                if key:
                    cursor.execute(self.statements.lock, {"key": key})
                yield cursor
                connection.commit()
            except BaseException:
                if not connection.closed:
                    connection.rollback()
                raise

    @contextmanager
    def read(self) -> Iterator[Any]:
        with self.inside(), self._connection() as connection:
            try:
                yield connection.cursor()
            finally:
                if not connection.closed:
                    connection.rollback()

    def upgrade(self, *, create: bool) -> None:
        with self.read() as cursor:
            if _migrate.is_newest(cursor, self.statements, name=self.name, read_only=self._read_only):
                return
        if self._read_only:
            raise WorkspaceError(f"there is no ledger in {self.name}, and it was opened for reading only")
        if not create:
            with self.read() as cursor:
                if _migrate.schema_of(cursor, self.statements) == 0:
                    raise WorkspaceError(f"there is no ledger in {self.name}: create it first")
        with self.inside(), self._connection() as connection:
            _migrate.migrate(connection, self.dialect, self.statements, begin=_BEGIN)

    def problems(self) -> list[str]:
        return []  # PostgreSQL's own checks (checksums, amcheck) belong to who runs the server

    def checkpoint(self) -> None:
        return None

    def disconnect(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                yield connection
            finally:
                if connection.closed or connection.broken:
                    connection.close()
                else:
                    self._idle.append(connection)
        except self._psycopg.Error as error:
            raise WorkspaceError(f"the ledger {self.name} failed: {error}") from error

    def _connect(self) -> Any:
        arguments, options = self._arguments
        return self._psycopg.connect(*arguments, **{"connect_timeout": 10, **options})
