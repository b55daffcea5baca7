r"""What files there are: a folder or any fsspec URL, as columns sorted by key.

In: `Files` on the data. Out: `Listing`. Next: `headway.manifests.digests`, `headway.manifests.rules`.

Local folders are read with `os.scandir`. A link to a file counts as the file's content; a link to a folder is followed,
unless it leads back to a folder above it. Nothing is dropped in silence: folders that cannot be read, loops,
names that are no valid UTF-8, files that vanish, sockets and the like are rows or notes of their own.

Names that are no valid UTF-8: a manifest is JSON and goes to object stores, and both hold UTF-8 only. Such a file is a
row with status `unreadable`, its name written with backslashes (`caf\udce9.png`), and the note says to rename it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from headway.errors import ManifestError
from headway.manifests.columns import is_sorted, take, texts
from headway.stores.files import Files

STATUSES = ("ok", "empty", "unreadable", "unmatched", "conflict")
"""What a row of a manifest's table can be; only `ok` rows are in a channel. The place in this tuple is the code."""
OK, EMPTY, UNREADABLE, UNMATCHED, CONFLICT = range(5)

Progress = Callable[[str, int, int | None], None]
"""Called now and then with what is being done, how many files are done, and how many there are (None: not known)."""


@final
class Listing:
    """Files as columns, sorted by key (by the bytes of its UTF-8).

    Args:
        keys: `large_string`; the path below the root, with slashes.
        sizes: bytes.
        mtimes: nanoseconds since the epoch; 0 where the store keeps none.
        inodes: of local files, else 0.
        status: codes of `STATUSES`.
        digests: `large_string`, empty text where not known: SHA-256 of the content, or `etag:...` from an inventory.
        notes: key -> why it is not `ok`.
        folders: what was seen beside files: `unreadable`, `empty`, `loops`, `left_out` (the workspace itself);
            `not_there` (keys of a label table).
        listed_at: when the listing began, epoch seconds.
    """

    def __init__(
        self,
        *,
        keys: Any,
        sizes: npt.NDArray[np.int64],
        mtimes: npt.NDArray[np.int64],
        inodes: npt.NDArray[np.uint64],
        status: npt.NDArray[np.int8],
        digests: Any = None,
        notes: dict[str, str] | None = None,
        folders: dict[str, list[str]] | None = None,
        listed_at: float,
    ) -> None:
        self.keys, self.sizes, self.mtimes, self.inodes, self.status = keys, sizes, mtimes, inodes, status
        self.digests = digests
        self.notes, self.folders = notes or {}, folders or {}
        self.listed_at = listed_at

    def __len__(self) -> int:
        return len(self.keys)


class _Rows:
    """Rows as they are found, in any order."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.sizes: list[int] = []
        self.mtimes: list[int] = []
        self.inodes: list[int] = []
        self.status: list[int] = []
        self.notes: dict[str, str] = {}
        self.folders: dict[str, list[str]] = {"unreadable": [], "empty": [], "loops": [], "left_out": []}

    def add(self, key: str, size: int, mtime_ns: int, inode: int, status: int | None = None, note: str = "") -> None:
        if not key.isascii() and _is_broken(key):
            key = escaped(key)
            status, note = UNREADABLE, "its name is no valid UTF-8: rename the file (convmv does many at once)"
        self.keys.append(key)
        self.sizes.append(size)
        self.mtimes.append(mtime_ns)
        self.inodes.append(inode)
        self.status.append((EMPTY if size == 0 else OK) if status is None else status)
        if note:
            self.notes[key] = note

    def listing(self, listed_at: float) -> Listing:
        keys = texts(self.keys)
        order = None if is_sorted(keys) else np.argsort(np.array(self.keys, object), kind="stable")
        columns: list[npt.NDArray[Any]] = [
            np.array(self.sizes, np.int64),
            np.array(self.mtimes, np.int64),
            np.array(self.inodes, np.uint64),
            np.array(self.status, np.int8),
        ]
        if order is not None:
            keys = take(keys, order)
            columns = [column[order] for column in columns]
        sizes, mtimes, inodes, status = columns
        folders = {name: sorted(paths) for name, paths in self.folders.items() if paths}
        return Listing(
            keys=keys,
            sizes=sizes,
            mtimes=mtimes,
            inodes=inodes,
            status=status,
            notes=self.notes,
            folders=folders,
            listed_at=listed_at,
        )


def list_files(
    source: Files,
    *,
    leave_out: Files | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Listing:
    """All files below a root.

    Args:
        source: where the data lie.
        leave_out: a root whose files are no data even when it lies inside the source: the workspace.
        progress: see `Progress`.
        clock: gives the time.

    Raises:
        ManifestError: there is no such folder, it cannot be read, or no file is in it.
    """
    rows, listed_at = _Rows(), clock()
    try:
        if source.is_local:
            workspace = leave_out.local().resolve() if leave_out is not None and leave_out.is_local else None
            _walk_local(source.local(), rows, workspace=workspace, progress=progress)
        else:
            _walk_remote(source, rows, leave_out=leave_out, progress=progress)
    except FileNotFoundError as error:
        raise ManifestError(f"the data folder {source.url} does not exist: check the path or URL") from error
    except NotADirectoryError as error:
        raise ManifestError(f"the data folder {source.url} is a file: give the folder that holds the data") from error
    except PermissionError as error:
        raise ManifestError(f"the data folder {source.url} cannot be read ({error}): check its permissions") from error
    if not rows.keys:
        unreadable = rows.folders["unreadable"]
        seen = f"; folders that cannot be read: {', '.join(unreadable[:5])}" if unreadable else ""
        raise ManifestError(
            f"the data folder {source.url} has no files{seen}: put the files there, or give another folder"
        )
    return rows.listing(listed_at)


def _walk_local(root: Path, rows: _Rows, *, workspace: Path | None, progress: Progress | None) -> None:
    top = os.stat(root)
    if not stat.S_ISDIR(top.st_mode):
        raise NotADirectoryError(20, "not a folder", str(root))
    stack: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(str(root), "", ((top.st_dev, top.st_ino),))]
    while stack:
        folder, prefix, above = stack.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise
            rows.folders["unreadable"].append(f"{escaped(prefix)} ({error.strerror})")
            continue
        if not found:
            rows.folders["empty"].append(escaped(prefix) or "/")
        for entry in found:
            key = prefix + entry.name
            try:
                info = entry.stat()
            except OSError as error:
                reason = "a link that leads nowhere" if entry.is_symlink() else error.strerror or str(error)
                rows.add(key, 0, 0, 0, UNREADABLE, reason)
                continue
            if stat.S_ISREG(info.st_mode):
                rows.add(key, info.st_size, info.st_mtime_ns, info.st_ino)
            elif not stat.S_ISDIR(info.st_mode):
                rows.add(key, 0, info.st_mtime_ns, info.st_ino, UNREADABLE, "neither a file nor a folder")
            elif (info.st_dev, info.st_ino) in above:
                rows.folders["loops"].append(escaped(key))
            elif workspace is not None and Path(entry.path).resolve() == workspace:
                rows.folders["left_out"].append(escaped(key))
            else:
                stack.append((entry.path, key + "/", (*above, (info.st_dev, info.st_ino))))
        if progress:
            progress("listing", len(rows.keys), None)


def _walk_remote(source: Files, rows: _Rows, *, leave_out: Files | None, progress: Progress | None) -> None:
    skip = None
    if leave_out is not None and (leave_out.url.rstrip("/") + "/").startswith(source.url.rstrip("/") + "/"):
        skip = (leave_out.url.rstrip("/") + "/")[len(source.url.rstrip("/")) + 1 :]
    for entry in source.walk():
        if skip and entry.path.startswith(skip):
            rows.folders["left_out"] = [skip]
            continue
        rows.add(entry.path, entry.size_bytes, round(entry.mtime * 1e9), 0)
        if progress and len(rows.keys) % 10_000 == 0:
            progress("listing", len(rows.keys), None)


def _is_broken(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def escaped(name: str) -> str:
    r"""A name in which bytes that are no UTF-8 are written as `\udce9`."""
    return name.encode("utf-8", "backslashreplace").decode()
