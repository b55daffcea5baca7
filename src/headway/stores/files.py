"""Files below one root, on a local folder or any fsspec URL, whole or absent.

In: a URL (`photos/`, `/data/ws`, `memory://ws`, `s3://bucket/ws`). Out: `Files`, which the commit protocol
(`headway.stores.commit`) and every stage above read and write through. Local folders go straight to `os`
(`headway.stores._local`); fsspec is imported only for other URLs (`headway.stores._remote`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, final
from urllib.parse import unquote, urlsplit

from headway.errors import WorkspaceError
from headway.records import Record

Mode = Literal["rb", "wb", "ab"]

TEMPORARY = ".tmp-"
"""How the names of files begin that are still being written; they are never listed and are swept after a while."""


class Entry(Record):
    """One file or folder in a listing.

    Args:
        path: relative to the root of the `Files` that listed it, POSIX.
        size_bytes: 0 for folders.
        mtime: last change, UTC epoch seconds; 0.0 where the store keeps none.
    """

    path: str
    size_bytes: int
    is_folder: bool
    mtime: float


class Backend(ABC):
    """What differs between a local folder and a store behind fsspec; paths are checked already, relative, POSIX."""

    url: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """All bytes of a file."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """The file replaced, whole or not at all."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Whether the file was made; False when there is one already."""

    @abstractmethod
    def open(self, path: str, mode: Mode) -> BinaryIO:
        """A stream; what is written appears when it is closed without an error."""

    @abstractmethod
    def info(self, path: str) -> Entry | None:
        """What lies at a path, None when nothing does."""

    @abstractmethod
    def scan(self, path: str, *, deep: bool) -> Iterator[Entry]:
        """What lies below a folder, in the order of paths, temporary files too; `deep`: all files, no folders."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """A file, or a folder with all that lies below it, removed."""


@final
class Files:
    """One root; every path is relative to it, POSIX, and stays inside it.

    Errors are those that a local file would raise (`FileNotFoundError`, `PermissionError`, `OSError`), on every store.

    Args:
        url: a local path, or a URL that fsspec knows.
        options: what the file system needs: endpoint, key, secret, ... Kept in memory only.

    Guarantees:
        Safe in threads and after a fork. Listings are never taken from a cache. A file appears whole or not at all.
    """

    def __init__(self, url: str | Path, *, options: Mapping[str, Any] | None = None) -> None:
        self._backend = _backend(url, options)

    def __repr__(self) -> str:
        return f"Files({self.url!r})"

    @property
    def url(self) -> str:
        """The root: an absolute path for a local folder, else a URL."""
        return self._backend.url

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self._backend.url

    def local(self, path: str = "") -> Path:
        """The path on this machine.

        Raises:
            WorkspaceError: the root is not a local folder.
        """
        if not self.is_local:
            raise WorkspaceError(
                f"{self.url_of(path)} is not a local file: programs that need a path need a workspace in a local folder"
            )
        return Path(self.url_of(path))

    def url_of(self, path: str) -> str:
        """The full URL of a path: what other programs open; an absolute path for a local folder."""
        path = _inside(path)
        root = self._backend.url
        return (root if root.endswith("/") else root + "/") + path if path else root

    def under(self, path: str) -> Files:
        """The same store with a folder of this one as its root."""
        path = _inside(path)
        inner = Files.__new__(Files)
        inner._backend = _Below(self._backend, path, self.url_of(path)) if path else self._backend
        return inner

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        return self._backend.read(_file(path))

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all; replaces what is there, makes folders above it."""
        self._backend.write(_file(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Whether this call made the file; False, and nothing changed, when there is one already.

        Guarantees: of several processes that create one path at once exactly one gets True (local: hard link; S3:
        conditional put; stores without conditional writes: as good as their exclusive open).
        """
        return self._backend.create(_file(path), data)

    def open(self, path: str, mode: Mode = "rb") -> BinaryIO:
        """A binary stream.

        Args:
            path: the file.
            mode: `rb`; `wb`: the file appears when the stream is closed, and not when a `with` block fails or the
                process dies; `ab`: append at once (local folders only).
        """
        if mode not in ("rb", "wb", "ab"):
            raise ValueError(f"mode must be 'rb', 'wb' or 'ab', got {mode!r}")
        return self._backend.open(_file(path), mode)

    def exists(self, path: str) -> bool:
        """Whether a file or folder lies there."""
        return self._backend.info(_inside(path)) is not None

    def info(self, path: str) -> Entry:
        """Size, kind and time of a file or folder.

        Raises:
            FileNotFoundError: nothing lies there.
        """
        entry = self._backend.info(_inside(path))
        if entry is None:
            raise FileNotFoundError(2, "no such file or folder", self.url_of(path))
        return entry

    def size(self, path: str) -> int:
        """Size of a file in bytes."""
        return self.info(path).size_bytes

    def list(self, path: str = "") -> list[Entry]:
        """Files and folders directly in a folder, sorted by path, never cached; without temporary files.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        return [entry for entry in self._backend.scan(_inside(path), deep=False) if not is_temporary(entry.path)]

    def walk(self, path: str = "") -> Iterator[Entry]:
        """All files below a folder, sorted by path, never cached; without temporary files. Links to folders are not
        followed, so that loops end.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        return (entry for entry in self._backend.scan(_inside(path), deep=True) if not is_temporary(entry.path))

    def leftovers(self, path: str = "") -> Iterator[Entry]:
        """Temporary files below a folder: what writers that died have left, and what others are writing just now."""
        return (entry for entry in self._backend.scan(_inside(path), deep=True) if is_temporary(entry.path))

    def remove(self, path: str, *, missing_ok: bool = False) -> None:
        """Remove a file, or a folder with all that lies below it.

        Raises:
            FileNotFoundError: nothing lies there and `missing_ok` is False.
        """
        try:
            self._backend.remove(_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise


def is_temporary(path: str) -> bool:
    """Whether a path is that of a file still being written."""
    return path.rpartition("/")[2].startswith(TEMPORARY)


@final
class _Below(Backend):
    """A folder of another backend as a root of its own."""

    def __init__(self, outer: Backend, folder: str, url: str) -> None:
        self._outer, self._folder, self.url = outer, folder, url

    def _at(self, path: str) -> str:
        return f"{self._folder}/{path}" if path else self._folder

    def _back(self, entry: Entry) -> Entry:
        return Entry(
            path=entry.path[len(self._folder) + 1 :],
            size_bytes=entry.size_bytes,
            is_folder=entry.is_folder,
            mtime=entry.mtime,
        )

    def read(self, path: str) -> bytes:
        return self._outer.read(self._at(path))

    def write(self, path: str, data: bytes) -> None:
        self._outer.write(self._at(path), data)

    def create(self, path: str, data: bytes) -> bool:
        return self._outer.create(self._at(path), data)

    def open(self, path: str, mode: Mode) -> BinaryIO:
        return self._outer.open(self._at(path), mode)

    def info(self, path: str) -> Entry | None:
        entry = self._outer.info(self._at(path))
        return entry and self._back(entry)

    def scan(self, path: str, *, deep: bool) -> Iterator[Entry]:
        return map(self._back, self._outer.scan(self._at(path), deep=deep))

    def remove(self, path: str) -> None:
        self._outer.remove(self._at(path))


def _backend(url: str | Path, options: Mapping[str, Any] | None) -> Backend:
    text = str(url)
    if not text:
        raise ValueError("url must name a folder, got ''")
    scheme, separator, _ = text.partition("://")
    if isinstance(url, Path) or not separator or scheme in ("file", "local"):
        from headway.stores._local import LocalBackend

        return LocalBackend(unquote(urlsplit(text).path) if separator and not isinstance(url, Path) else text)
    from headway.stores._remote import RemoteBackend

    return RemoteBackend(text, options=dict(options or {}))


def _inside(path: str) -> str:
    """A path checked to be relative and inside the root; `.` and trailing slashes are taken away."""
    if not isinstance(path, str):
        raise TypeError(f"a path inside a store must be a str, got {path!r}")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"a path inside a store must be relative and stay inside it, got {path!r}")
    return "/".join(parts)


def _file(path: str) -> str:
    inside = _inside(path)
    if not inside:
        raise ValueError(f"a path inside a store must name a file, got {path!r}")
    return inside
