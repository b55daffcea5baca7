"""Is a file still the one that the manifest describes? Sizes and times are believed, else the content decides.

In: rows of a manifest's table and where the data lie. Out: nothing, or `DataChangedError`; for many files a list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from headway.errors import DataChangedError
from headway.stores.files import Files

NEXT = "build the manifest again: the new version keeps every other file in its channel"
_CHUNK = 1 << 20


def check_file(source: Files, row: Mapping[str, Any]) -> None:
    """Raise unless a file is the one of its row.

    Args:
        source: where the data lie, `Files(manifest.source_url)`.
        row: `key`, `size_bytes`, `mtime_ns`, `digest` of the manifest's table.

    Raises:
        DataChangedError: it is gone or has other content; the text names the key.
    """
    why = difference(source, row)
    if why:
        raise DataChangedError(f"{row['key']!r} {why} ({source.url}): {NEXT}")


def difference(source: Files, row: Mapping[str, Any]) -> str:
    """How a file differs from its row, in words; empty when it does not."""
    try:
        info = source.info(row["key"])
    except (FileNotFoundError, NotADirectoryError):
        return "is in the manifest and not there any more"
    except OSError as error:
        return f"cannot be looked at: {error}"
    return differs(source, row, size_bytes=info.size_bytes, mtime_ns=round(info.mtime * 1e9))


def differs(source: Files, row: Mapping[str, Any], *, size_bytes: int, mtime_ns: int, believe_time: bool = True) -> str:
    """The same for a file whose size and time are known already.

    Args:
        source: as in `check_file`.
        row: as in `check_file`.
        size_bytes: what the file has now.
        mtime_ns: what the file has now.
        believe_time: whether an equal time means an equal content; else the content is read.
    """
    if size_bytes != row["size_bytes"]:
        return f"has {size_bytes} bytes, and had {row['size_bytes']} when the manifest was built"
    if source.is_local and mtime_ns != row["mtime_ns"]:
        mtime_ns = source.local(row["key"]).stat().st_mtime_ns  # exact; listings may have rounded it
    known = len(row["digest"]) == 64
    if not known:  # an etag says nothing that can be checked here
        return "" if row["mtime_ns"] in (0, mtime_ns) else "was written since the manifest was built"
    if believe_time and row["mtime_ns"] == mtime_ns:
        return ""
    try:
        same = digest_of_file(source, row["key"]) == row["digest"]
    except OSError as error:
        return f"cannot be read: {error}"
    return "" if same else "has other content than when the manifest was built"


def digest_of_file(source: Files, key: str) -> str:
    """The SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with source.open(key, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
