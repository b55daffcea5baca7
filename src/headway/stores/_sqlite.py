"""The ledger's database in one SQLite file.

In: a path on a local file system. Out: `SqliteDatabase`. WAL mode; one lock file lets one process write or checkpoint
at a time (SQLite before 3.51.3 is reported to corrupt a file when two connections write and checkpoint at once), so
nobody ever sees "database is locked"; automatic checkpoints are off.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from typing import final
from urllib.parse import quote

from sqlalchemy.dialects import sqlite

from headway.errors import WorkspaceError
from headway.stores import _migrate
from headway.stores._database import Cursor, Database, T, Work
from headway.stores._mounts import network_kind
from headway.stores._schema import statements_for

LOCK_TIMEOUT_S = 60.0
BUSY_TIMEOUT_S = 10.0
"""How long a read waits while another process recovers or closes the file; and a write for other programs."""
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
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._closed = False
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._wal_limit = WAL_BYTES
        self.dialect = sqlite.dialect(paramstyle="named")
        self.statements = statements_for(self.dialect)
        super().__init__()

    def write(self, work: Work[T], *, key: str = "", done: Work[T | None] | None = None) -> T:
        def transaction(connection: sqlite3.Connection) -> T:
            cursor = connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                made = work(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            self._checkpoint_when_due(connection)
            return made

        return self._alone(transaction)

    def read(self, work: Work[T]) -> T:
        with self._reading:
            try:
                self._check_open()
                if self._reader is None:
                    self._reader = self._connect()
                cursor = self._reader.cursor()
                try:
                    return work(cursor)
                finally:
                    cursor.close()
            except (sqlite3.Error, OSError) as error:
                raise self._explained(error) from error

    def upgrade(self, *, create: bool) -> None:
        there = os.path.exists(self.name)
        if not there and (self._read_only or not create):
            raise WorkspaceError(f"there is no ledger at {self.name}: give the folder of a workspace, or create one")
        refuse_network(self.name)
        if not self._read_only:
            try:
                self._check_writable(there)
            except OSError as error:
                raise self._explained(error) from error

        def newest(cursor: Cursor) -> bool:
            return _migrate.is_newest(cursor, self.statements, name=self.name, read_only=self._read_only)

        def make(connection: sqlite3.Connection) -> None:
            if not newest(connection.cursor()):
                connection.execute("PRAGMA journal_mode=WAL")
                _migrate.migrate(connection, self.dialect, self.statements, begin="BEGIN IMMEDIATE")

        if there and self.read(newest):
            return
        if self._read_only:
            raise WorkspaceError(f"the ledger {self.name} is empty, and was opened for reading only")
        self._alone(make)

    def problems(self) -> list[str]:
        found = self.read(lambda cursor: [str(row[0]) for row in cursor.execute("PRAGMA integrity_check").fetchall()])
        return [] if found == ["ok"] else found

    def checkpoint(self) -> None:
        self._alone(self._checkpoint)

    def close(self) -> None:
        with self._writing, self._reading:
            self._closed = True
            self._disconnect()

    def before_fork(self) -> None:
        self._writing.acquire()
        self._reading.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        self._reading.release()
        self._writing.release()

    def after_fork_in_child(self) -> None:
        self.after_fork_in_parent()

    def _alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives while no other thread or process writes."""
        if self._read_only:
            raise WorkspaceError(f"the ledger {self.name} was opened for reading only")
        with self._writing:
            try:
                self._check_open()
                if not self._take(self._lock_timeout_s):
                    raise WorkspaceError(self._held_by())
                if self._writer is None:
                    self._writer = self._connect()
                elif self._writer.in_transaction:  # an interrupt came in between
                    self._writer.rollback()
                return work(self._writer)
            except (sqlite3.Error, OSError) as error:
                raise self._explained(error) from error
            finally:
                if self._lock_file is not None:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _check_open(self) -> None:
        if self._closed:
            raise WorkspaceError(f"the ledger {self.name} was closed: open it again")

    def _disconnect(self) -> None:
        """Close everything; both locks are held."""
        connections = [connection for connection in (self._reader, self._writer) if connection is not None]
        self._reader = self._writer = None
        try:
            if connections and not self._read_only:
                self._take(1.0)  # the last one to close checkpoints; SQLite's own locks guard that too
        except OSError:
            pass  # the folder has gone or may not be written any more; nothing is to be brought into the file
        finally:
            for connection in connections:
                connection.close()
            if self._copy is not None:
                self._copy.cleanup()
                self._copy = None
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._read_only_address() if self._read_only else f"file:{quote(self.name)}?mode=rwc",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
        )
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    def _read_only_address(self) -> str:
        """Where to read from. In a folder that cannot be written SQLite cannot make the shared memory that it needs
        for a write-ahead log: without a log the file is opened as immutable, with one a copy of both is."""
        has_log = _size(self.name + "-wal") > 0
        if os.access(os.path.dirname(self.name), os.W_OK) or (has_log and os.path.exists(self.name + "-shm")):
            return f"file:{quote(self.name)}?mode=ro"
        if not has_log:
            return f"file:{quote(self.name)}?immutable=1"
        if self._copy is None:
            self._copy = tempfile.TemporaryDirectory(prefix="headway-ledger-")
            for suffix in ("", "-wal"):
                shutil.copyfile(self.name + suffix, os.path.join(self._copy.name, "ledger.sqlite" + suffix))
        return f"file:{quote(os.path.join(self._copy.name, 'ledger.sqlite'))}?mode=ro"

    def _check_writable(self, there: bool) -> None:
        folder = os.path.dirname(self.name)
        os.makedirs(folder, exist_ok=True)
        for path in (self.name, folder) if there else (folder,):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied", path)

    def _take(self, timeout_s: float) -> bool:
        """Take the lock file. Who has waited longer asks more often, so that nobody starves; after half a second it is
        no queue but a long transaction or a stopped process, and asking costs more than it gains."""
        if self._lock_file is None:
            self._lock_file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        began, waited, pause = 0.0, 0.0, 0.0004
        while True:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                began = began or time.monotonic()
                waited = time.monotonic() - began
            if waited > timeout_s:
                return False
            time.sleep(pause if waited < 0.5 else 0.005)
            pause = max(pause / 2, 0.00002)

    def _held_by(self) -> str:
        pid = _lock_holder(self._lock_path)
        who = f"process {pid}" if pid else "another process"
        return (
            f"cannot write to {self.name}: {who} has held {self._lock_path} for {self._lock_timeout_s:g} s; "
            "if it was stopped (Ctrl-Z, SIGSTOP), continue it (kill -CONT) or end it, and run again"
        )

    def _checkpoint_when_due(self, connection: sqlite3.Connection) -> None:
        size = _size(self.name + "-wal")
        if size >= self._wal_limit:
            try:
                emptied = self._checkpoint(connection)
            except sqlite3.Error:
                emptied = False  # a full disk, say: what was committed is safe in the log, and is brought in later
            self._wal_limit = WAL_BYTES if emptied else size + WAL_BYTES

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Whether the whole log went into the main file; a long read elsewhere can keep it from that."""
        connection.execute("PRAGMA busy_timeout=100")
        try:
            return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}")

    def _explained(self, error: sqlite3.Error | OSError) -> Exception:
        """An error of SQLite or of the system, with the ledger's name and what to do next."""
        if isinstance(error, OSError):
            where = error.filename or self.name
            return WorkspaceError(f"the ledger {self.name} failed: {error.strerror}: {where}{_advice(str(error))}")
        return WorkspaceError(f"the ledger {self.name} failed: {error}{_advice(str(error))}")


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


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _lock_holder(path: str) -> int | None:
    """The process that holds a lock file, where the system tells."""
    try:
        inode = str(os.stat(path).st_ino)
        with open("/proc/locks", encoding="utf-8") as file:
            rows = [line.split() for line in file]
    except OSError:
        return None
    held = (int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode)
    return next(held, None) or None


def _advice(text: str) -> str:
    lowered = text.lower()
    if "full" in lowered or "space" in lowered or "quota" in lowered:
        return ". The disk is full: free space and run again; what was recorded before is safe"
    if "readonly" in lowered or "read-only" in lowered or "permission" in lowered or "unable to open" in lowered:
        return ". This user cannot write there: change the permissions, or open it with read_only=True"
    if "locked" in lowered:
        return ". Another program has it open (a SQLite shell?): close that, and run again"
    if "malformed" in lowered or "not a database" in lowered:
        return ". The file is damaged: restore a copy of the workspace"
    return ""
