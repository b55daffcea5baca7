"""Are the files still those of the manifest? Checked before and after a transform reads them.

In: rows of a listing and the files. Out: nothing, or `DataChangedError`.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from headway.errors import DataChangedError
from headway.processing.listing import Row

_SHA256 = re.compile("[0-9a-f]{64}")
_NEXT = "build the manifest again (the new version keeps every file that did not change in its channel), then process"


def check_file(path: Path, row: Row, *, settled_ns: int | None = None) -> os.stat_result:
    """The file's status, after a check that it is the one that the manifest describes.

    Size, time and inode as recorded are believed; otherwise the content is read and compared with the digest.

    Args:
        settled_ns: files modified after this are read even so; None: times are believed.

    Raises:
        DataChangedError: the file is gone or has other content (or other size or time, where no digest is known).
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise DataChangedError(f"{row.key!r} is in the manifest, but there is no file {path}: {_NEXT}") from error
    same_inode = not row.inode or row.inode == status.st_ino
    same_time = status.st_mtime_ns == row.mtime_ns
    known = _SHA256.fullmatch(row.digest) is not None
    settled = settled_ns is None or status.st_mtime_ns < settled_ns or not known
    if status.st_size == row.size_bytes and same_time and same_inode and settled:
        return status
    if status.st_size != row.size_bytes:
        raise DataChangedError(
            f"{row.key!r} changed since the manifest was built: {status.st_size} bytes instead of {row.size_bytes} "
            f"({path}): {_NEXT}"
        )
    if not known and not same_time and row.mtime_ns:
        raise DataChangedError(f"{row.key!r} was written since the manifest was built ({path}): {_NEXT}")
    if known and _digest(path) != row.digest:
        raise DataChangedError(f"{row.key!r} has other content than when the manifest was built ({path}): {_NEXT}")
    return status


def check_still(path: Path, before: os.stat_result, *, key: str) -> None:
    """See that a file was not written while it was read.

    Raises:
        DataChangedError: it was.
    """
    try:
        after = os.stat(path)
    except FileNotFoundError as error:
        raise DataChangedError(f"{key!r} was removed while it was processed ({path}): {_NEXT}") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise DataChangedError(f"{key!r} was written while it was processed ({path}): {_NEXT}")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
