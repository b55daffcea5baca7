"""The content digest of each file: read in chunks by some threads, or taken from the version before.

In: a `Listing` and where its files lie; the table of the parent version. Out: the digests, and status `unreadable` for
files that cannot be read. Before: `headway.manifests.listing`; next: `headway.manifests.assign`.

A digest is taken over when path, size, modification time and inode are the same, and the file was not changed within
two seconds before the parent's listing began (a file may change twice within one tick of a file system's clock).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from headway.manifests.columns import bools, lookup, numbers, take, texts
from headway.manifests.keyhash import hash_column
from headway.manifests.listing import EMPTY, OK, UNREADABLE, Listing, Progress
from headway.stores.files import Files

EMPTY_DIGEST = hashlib.sha256().hexdigest()
SETTLED_S = 2.0
"""A file changed later than this before the listing may change again without another modification time."""

_CHUNK = 1 << 20
_BATCH = 256


def add_digests(
    listing: Listing,
    source: Files,
    *,
    parent: Any = None,
    parent_listed_at: float = 0.0,
    progress: Progress | None = None,
) -> int:
    """Fill in `listing.digests`; files that cannot be read become `unreadable`, with a note.

    Args:
        listing: changed in place.
        source: where its files lie.
        parent: table of the version before, or None.
        parent_listed_at: when that version was listed, epoch seconds.
        progress: see `Progress`.

    Returns:
        How many digests were taken over from the parent.
    """
    rows = np.flatnonzero(listing.status == OK)
    known, reused = np.zeros(len(rows), np.bool_), None
    if parent is not None and len(rows):
        known, reused = _from_parent(listing, rows, parent, parent_listed_at)
    digests: list[str] = [""] * len(listing)
    if reused is not None:
        for row, digest in zip(rows[known].tolist(), reused.to_pylist(), strict=True):
            digests[row] = digest
    _read(listing, source, rows[~known], digests, progress)
    for row in np.flatnonzero(listing.status == EMPTY).tolist():
        digests[row] = EMPTY_DIGEST
    listing.digests = texts(digests)
    return int(known.sum())


def _from_parent(
    listing: Listing, rows: npt.NDArray[np.int64], parent: Any, parent_listed_at: float
) -> tuple[npt.NDArray[np.bool_], Any]:
    """Which rows the parent knows unchanged, and their digests."""
    keys = texts(parent["key"])
    digests = texts(parent["digest"])
    mine = texts(take(listing.keys, rows))
    at = lookup(hash_column(keys), np.arange(len(keys)), hash_column(mine), missing=-1)
    there = at >= 0
    index = np.maximum(at, 0)

    def column(name: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = numbers(parent[name])[index]
        return values

    mtimes = column("mtime_ns")
    same = there & (column("size_bytes") == listing.sizes[rows]) & (mtimes == listing.mtimes[rows])
    same &= (column("inode") == listing.inodes[rows]) & (mtimes > 0)
    same &= mtimes < (parent_listed_at - SETTLED_S) * 1e9
    same &= bools(pc.and_(pc.equal(take(keys, index), mine), pc.equal(pc.utf8_length(take(digests, index)), 64)))
    return same, take(digests, index[same])


def _read(
    listing: Listing, source: Files, rows: npt.NDArray[np.int64], digests: list[str], progress: Progress | None
) -> None:
    batches = [rows[first : first + _BATCH] for first in range(0, len(rows), _BATCH)]
    if not batches:
        return
    root = str(source.local()) if source.is_local else None
    done = 0

    def read(batch: npt.NDArray[np.int64]) -> list[tuple[int, str | OSError, os.stat_result | None]]:
        out: list[tuple[int, str | OSError, os.stat_result | None]] = []
        for row, key in zip(batch.tolist(), take(listing.keys, batch).to_pylist(), strict=True):
            try:
                out.append(
                    (row, *(_digest_local(f"{root}/{key}") if root is not None else _digest_remote(source, key)))
                )
            except OSError as error:
                out.append((row, error, None))
        return out

    threads = min(4 if source.is_local else 16, len(batches), 2 * (os.cpu_count() or 1) if source.is_local else 16)
    with ThreadPoolExecutor(threads, thread_name_prefix="headway-digest") as pool:
        for results in pool.map(read, batches):
            _fill_in(listing, results, digests)
            done += len(results)
            if progress:
                progress("reading", done, len(rows))


def _fill_in(
    listing: Listing, results: Sequence[tuple[int, str | OSError, os.stat_result | None]], digests: list[str]
) -> None:
    for row, digest, info in results:
        if isinstance(digest, OSError):
            listing.status[row] = UNREADABLE
            listing.notes[listing.keys[row].as_py()] = _reason(digest)
            continue
        digests[row] = digest
        if info is not None:  # what was read may be newer than what was listed
            listing.sizes[row], listing.mtimes[row] = info.st_size, info.st_mtime_ns
            listing.inodes[row] = info.st_ino
            if info.st_size == 0:
                listing.status[row] = EMPTY


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it vanished while the manifest was built"
    return error.strerror or str(error)


def _digest_local(path: str) -> tuple[str, os.stat_result]:
    """The digest of a file that stood still while it was read, and what it was then.

    Raises:
        OSError: it cannot be read, or it changed three times in a row.
    """
    for _ in range(3):
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.sha256()
            if before.st_size < _CHUNK:
                digest.update(file.readall())
            else:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return digest.hexdigest(), after
    raise OSError(11, "it changes while it is read: wait until whatever writes it has ended")


def _digest_remote(source: Files, key: str) -> tuple[str, None]:
    digest = hashlib.sha256()
    with source.open(key, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest(), None
