"""The ledger's database in one SQLite file.

In: a path on a local file system. Out: `SqliteDatabase`. WAL mode; one lock file lets one process write or checkpoint
at a time (SQLite before 3.51.3 is reported to corrupt a file when two connections write and checkpoint at once), so
nobody ever sees "database is locked"; automatic checkpoints are off.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final
from urllib.parse import quote

from sqlalchemy.dialects import sqlite

from headway.errors import WorkspaceError
from headway.stores import _migrate
from headway.stores._database import Database
from headway.stores._mounts import network_kind
from headway.stores._schema import Statements

LOCK_TIMEOUT_S = 60.0
WAL_BYTES = 16 << 20
"""The write-ahead log is brought into the main file when it has grown to this."""


@final
class SqliteDatabase(Database):
    """One SQLite file, its write-ahead log, and the lock file beside it."""

    def __init__(
        self, path: str, *, read_only: bool = False, synchronous: str = "NORMAL", lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self.name = os.path.abspath(path)
        self._read_only, self._synchronous, self._lock_timeout_s = read_only, synchronous, lock_timeout_s
        self._lock_path = os.path.splitext(self.name)[0] + ".lock"
        self._lock_file: int | None = None
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._wal_limit = WAL_BYTES
        self.dialect = sqlite.dialect(paramstyle="named")
        self.statements = Statements(self.dialect)
        super().__init__()

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._writing = threading.Lock()

    @contextmanager
    def write(self, key: str = "") -> Iterator[sqlite3.Cursor]:
        if self._read_only:
            raise WorkspaceError(f"the ledger {self.name} was opened for reading only")
        with self.inside(), self._told(), self._locked():
            if self._writer is None:
                self._writer = self._connect()
            cursor = self._writer.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.rollback()
                raise
            self._checkpoint_when_due()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Cursor]:
        with self.inside(), self._told():
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection.cursor()
            finally:
                self._readers.append(connection)

    def upgrade(self, *, create: bool) -> None:
        refuse_network(self.name)
        if create and not self._read_only:
            self._make_folder()
        elif not os.path.exists(self.name):
            raise WorkspaceError(f"there is no ledger at {self.name}: give the folder of a workspace, or create one")
        with self.inside(), self._told():
            if os.path.exists(self.name):
                reader = self._connect()
                self._readers.append(reader)
                if _migrate.is_newest(reader.cursor(), self.statements, name=self.name, read_only=self._read_only):
                    return
            if self._read_only:
                raise WorkspaceError(f"the ledger {self.name} is empty, and was opened for reading only")
            with self._locked():
                self._writer = self._writer or self._connect()
                if not _migrate.is_newest(self._writer.cursor(), self.statements, name=self.name, read_only=False):
                    self._writer.execute("PRAGMA journal_mode=WAL")
                    self._writer.execute("BEGIN IMMEDIATE")
                    try:
                        _migrate.migrate(self._writer, self.dialect, self.statements)
                        self._writer.execute("COMMIT")
                    except BaseException:
                        self._writer.rollback()
                        raise

    def problems(self) -> list[str]:
        with self.read() as cursor:
            found = [str(row[0]) for row in cursor.execute("PRAGMA integrity_check").fetchall()]
        return [] if found == ["ok"] else found

    def checkpoint(self) -> None:
        with self.inside(), self._told(), self._locked():
            self._writer = self._writer or self._connect()
            self._checkpoint()

    def disconnect(self) -> None:
        connections = [*self._readers, self._writer] if self._writer else list(self._readers)
        self._readers, self._writer = [], None
        try:
            if connections and not self._read_only:
                self._lock()  # the last one to close brings the log into the file
        except OSError:
            pass  # SQLite's own locks allow it too; the lock file is only a second guard here
        finally:
            for connection in connections:
                connection.close()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        connection = sqlite3.connect(
            f"file:{quote(self.name)}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10.0,
        )
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One thread of one process at a time."""
        if not self._writing.acquire(timeout=self._lock_timeout_s):
            raise WorkspaceError(f"another thread has been writing to {self.name} for {self._lock_timeout_s:g} s")
        try:
            self._lock()
            yield
        finally:
            if self._lock_file is not None:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)
            self._writing.release()

    def _lock(self) -> None:
        if self._lock_file is None:
            self._lock_file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        deadline, pause = 0.0, 0.00005
        while True:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + self._lock_timeout_s
                if now > deadline:
                    raise WorkspaceError(self._held_by()) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.002)

    def _held_by(self) -> str:
        return (
            f"cannot write to {self.name}: another process has held {self._lock_path} for {self._lock_timeout_s:g} s; "
            f"a stopped one (Ctrl-Z, SIGSTOP) must be continued or ended: fuser {self._lock_path} names it"
        )

    def _checkpoint_when_due(self) -> None:
        try:
            size = os.stat(self.name + "-wal").st_size
        except FileNotFoundError:
            return
        if size >= self._wal_limit:
            self._wal_limit = WAL_BYTES if self._checkpoint() else size + WAL_BYTES

    def _checkpoint(self) -> bool:
        """Whether the whole log went into the main file; a long read elsewhere can keep it from that."""
        assert self._writer is not None
        self._writer.execute("PRAGMA busy_timeout=100")
        try:
            busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._writer.execute("PRAGMA busy_timeout=10000")
        return not busy

    def _make_folder(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.name), exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot make the folder of the ledger {self.name}: {error.strerror}") from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of SQLite told with the ledger's name and what to do next."""
        try:
            yield
        except sqlite3.Error as error:
            raise WorkspaceError(f"the ledger {self.name} failed: {error}{_advice(str(error))}") from error
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise
            raise WorkspaceError(f"the ledger {self.name} failed: {error.strerror}{_advice(str(error))}") from error


def refuse_network(path: str) -> None:
    """Refuse a SQLite file on a file system over a network.

    Raises:
        WorkspaceError: with the kind of file system.
    """
    kind = network_kind(os.path.dirname(path))
    if kind:
        raise WorkspaceError(
            f"the ledger {path} would lie on a network file system ({kind}): SQLite needs shared memory and locks that "
            "those do not give, and would be corrupted sooner or later. Put the workspace on a local disk, or give a "
            "PostgreSQL ledger: ledger='postgresql://user@host/database'"
        )


def _advice(text: str) -> str:
    lowered = text.lower()
    if "full" in lowered or "space" in lowered or "quota" in lowered:
        return ". The disk is full: free space and run again; what was recorded before is safe"
    if "readonly" in lowered or "read-only" in lowered or "permission" in lowered or "unable to open" in lowered:
        return ". This user cannot write there: change the permissions, or open it with read_only=True"
    if "malformed" in lowered or "not a database" in lowered:
        return ". The file is damaged: restore a copy of the workspace"
    return ""
