"""A store behind fsspec: S3 and its like, memory, and whatever fsspec knows.

In: checked relative paths from `headway.stores.files`. Out: bytes, streams, entries. Small objects go up in one put;
streams are spooled and go up when they are closed, because closing a half-written fsspec file would publish it.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, cast, final

from headway.errors import MissingExtraError, WorkspaceError
from headway.stores.files import TEMPORARY, Backend, Entry, Mode

_ONE_PUT_BYTES = 32 << 20
_OBJECT_STORES = {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
_inherited: list[Any] = []  # the parent's connections: closing them in a forked child takes a second each, and fails
_exclusive = threading.Lock()  # stores in memory have no exclusive write of their own


@final
class RemoteBackend(Backend):
    """A folder of an fsspec file system as a root."""

    def __init__(self, url: str, *, options: dict[str, Any]) -> None:
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self._options = {"use_listings_cache": False, "skip_instance_cache": True, **options}
        self._made: tuple[int, Any, str] | None = None
        self._connect()

    def _connect(self) -> tuple[Any, str]:
        """The file system of this process (they do not survive a fork), and the root's path in it."""
        made = self._made
        if made is not None:
            if made[0] == os.getpid():
                return made[1], made[2]
            _inherited.append(made[1])
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url, **self._options)
        except ImportError as error:
            if self.url.startswith(("s3:", "s3a:")):
                raise MissingExtraError("s3fs", extra="s3", purpose=f"opening {self.url}") from error
            raise WorkspaceError(f"cannot open {self.url}: {error}") from error
        except ValueError as error:
            raise WorkspaceError(f"cannot open {self.url}: {error}") from error
        self._made = (os.getpid(), system, root.rstrip("/"))
        return system, root.rstrip("/")

    @contextmanager
    def _at(self, path: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; its errors are told as a local file's would be."""
        system, root = self._connect()
        try:
            yield system, f"{root}/{path}" if path else root
        except Exception as error:
            told = _told(error, f"{self.url}/{path}" if path else self.url)
            if told is None:
                raise
            raise told from error

    def read(self, path: str) -> bytes:
        with self._at(path) as (system, target):
            return cast(bytes, system.cat_file(target))

    def write(self, path: str, data: bytes) -> None:
        with self._at(path) as (system, target):
            _pipe(system, target, data)

    def create(self, path: str, data: bytes) -> bool:
        with self._at(path) as (system, target):
            for _ in range(5):
                try:
                    with _exclusive:
                        _pipe(system, target, data, exclusive=True)
                    return True
                except FileExistsError:
                    return False
                except OSError as error:
                    if _status(error) not in (409, 412):
                        raise
                # 412: it is there; 409: another writer is at it just now, so ask again unless it is there
                if self.info(path) is not None:
                    return False
            raise OSError(errno.EBUSY, "the store kept reporting a conflict", target)

    def open(self, path: str, mode: Mode) -> BinaryIO:
        with self._at(path) as (system, target):
            if mode == "ab":
                raise OSError(errno.ENOTSUP, "cannot append: only local folders have appends", target)
            if mode == "wb":
                return cast(
                    BinaryIO, SpooledWriter(system, target, f"{self.url}/{path}", *tempfile.mkstemp(prefix="headway-"))
                )
            if "memory" in system.protocol:  # it would hand out the stored buffer itself, position and all
                return io.BytesIO(system.cat_file(target))
            return cast(BinaryIO, system.open(target, "rb"))

    def info(self, path: str) -> Entry | None:
        with self._at(path) as (system, target):
            system.invalidate_cache()
            try:
                found = system.info(target)
            except FileNotFoundError:
                return None
            return _entry(path, found)

    def scan(self, path: str, *, deep: bool) -> Iterator[Entry]:
        with self._at(path) as (system, target):
            system.invalidate_cache()
            found = list(system.find(target, detail=True).values()) if deep else system.ls(target, detail=True)
        prefix = target.strip("/") + "/"
        entries = []
        for item in found:
            name = item["name"].strip("/")
            if name.startswith(prefix) and not item["name"].endswith("/"):
                inner = name[len(prefix) :]
                entries.append(_entry(f"{path}/{inner}" if path else inner, item))
        if not entries:
            there = self.info(path)
            if there is None:
                raise FileNotFoundError(errno.ENOENT, "no such folder", target)
            if not there.is_folder:
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", target)
        yield from sorted(entries, key=lambda entry: entry.path + "/" * entry.is_folder)

    def remove(self, path: str) -> None:
        entry = self.info(path)
        with self._at(path) as (system, target):
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, "no such file or folder", target)
            if not entry.is_folder:
                system.rm_file(target)
                return
            # one by one: fsspec's own recursion takes `*` and `[` in names for patterns, and removes other folders
            inner = system.find(target, withdirs=True, detail=True)
            found = [name for name, entry in inner.items() if entry["type"] != "directory"]
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda name: _remove(system, name), found))
            if not _puts_whole(system):
                folders = {target, *(name for name in inner if name not in found)}
                for name in sorted(folders, key=len, reverse=True):
                    system.rmdir(name)


@final
class SpooledWriter(io.BufferedRandom):
    """A stream that goes up as one object when closed, and not at all when a `with` block fails or it is forgotten."""

    def __init__(self, system: Any, target: str, url: str, descriptor: int, spool: str) -> None:
        self._system, self._target, self._url, self._spool = system, target, url, spool
        super().__init__(io.FileIO(descriptor, "w+b"), buffer_size=1 << 18)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        self.discard()

    def close(self) -> None:
        """Send what was written."""
        if self.closed:
            return
        try:
            self.flush()
            if os.path.getsize(self._spool) <= _ONE_PUT_BYTES or not _puts_whole(self._system):
                self.seek(0)
                _pipe(self._system, self._target, self.read())
            else:
                self._system.put_file(self._spool, self._target)
        except Exception as error:
            told = _told(error, self._url)
            if told is None:
                raise
            raise told from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        if not self.closed:
            os.unlink(self._spool)
            self.raw.close()


def _puts_whole(system: Any) -> bool:
    """Whether an object of this store appears whole or not at all, so that it needs no temporary name."""
    protocol = system.protocol
    return bool({protocol} & _OBJECT_STORES if isinstance(protocol, str) else set(protocol) & _OBJECT_STORES)


def _pipe(system: Any, target: str, data: bytes, *, exclusive: bool = False) -> None:
    if _puts_whole(system):
        system.pipe_file(target, data, mode="create" if exclusive else "overwrite")
        return
    folder = target.rpartition("/")[0]
    temporary = f"{folder}/{TEMPORARY}{secrets.token_hex(8)}"
    system.makedirs(folder, exist_ok=True)
    try:
        system.pipe_file(temporary, data)
        if exclusive and system.exists(target):
            raise FileExistsError(errno.EEXIST, "is there already", target)
        system.mv(temporary, target)
    except BaseException:
        if system.exists(temporary):
            system.rm_file(temporary)
        raise


def _remove(system: Any, target: str) -> None:
    try:
        system.rm_file(target)
    except FileNotFoundError:
        pass  # somebody else was faster


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of an object store."""
    response = getattr(error.__cause__, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None


def _entry(path: str, found: dict[str, Any]) -> Entry:
    folder = found.get("type") == "directory"
    when = next((found[key] for key in ("LastModified", "mtime", "created") if found.get(key)), 0.0)
    mtime = when.timestamp() if hasattr(when, "timestamp") else float(when)
    return Entry(path=path, size_bytes=0 if folder else int(found.get("size") or 0), is_folder=folder, mtime=mtime)


_NUMBERS: dict[type[BaseException], int] = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    TimeoutError: errno.ETIMEDOUT,
}


def _told(error: Exception, url: str) -> OSError | None:
    """An error of a store as the one that a local file would raise, naming the URL; None leaves it as it is."""
    origin = type(error).__module__.partition(".")[0]
    if isinstance(error, OSError):
        if error.filename is not None:
            return None
        number = error.errno or next((n for kind, n in _NUMBERS.items() if isinstance(error, kind)), errno.EIO)
    elif type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"):
        number = errno.EACCES
    elif origin in ("botocore", "aiobotocore", "aiohttp"):
        number = errno.EIO
    else:
        return None
    text = str((isinstance(error, OSError) and error.strerror) or error).rstrip(".")
    if number in (errno.EACCES, errno.EPERM):
        text += ": check the credentials (the options of the store, or the environment)"
    return OSError(number, text or os.strerror(number), url)
