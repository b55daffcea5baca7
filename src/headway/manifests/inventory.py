"""A ready listing as input: a Parquet or CSV file with the columns `key`, `size` and, if there is one, `etag`.

In: the URL of the inventory; its keys count from the folder in which it lies. Out: a `Listing`, as if the files had
been listed. Their content is known by its etag, if at all (`etag:...` in the digest column): good for keeping copies
together, not for checking what is read later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import ManifestError
from headway.manifests.columns import bools, is_sorted, numbers, take, text, texts, without_nulls
from headway.manifests.listing import EMPTY, OK, Listing
from headway.stores.files import Files

_ENDINGS = (".parquet", ".csv")


def is_inventory(url: str | Path) -> bool:
    """Whether the URL names an inventory, not a folder of files."""
    return str(url).lower().endswith(_ENDINGS)


def folder_of_inventory(url: str) -> Files:
    """The folder in which an inventory lies."""
    folder, slash, _ = url.rpartition("/")
    return Files(folder or ("/" if slash else "."))


def read_inventory(url: str, *, clock: Callable[[], float] = time.time) -> Listing:
    """The files that an inventory lists.

    Raises:
        ManifestError: it cannot be read, lacks a column, is empty, or has a key twice.
    """
    listed_at = clock()
    try:
        with folder_of_inventory(url).open(url.rpartition("/")[2], "rb") as stream:
            table = _read_parquet(stream) if url.lower().endswith(".parquet") else _read_csv(stream)
        _check_columns(table)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        why = error.args[0] if isinstance(error, KeyError) else error
        raise ManifestError(
            f"the inventory {url} cannot be read: {why}; it is a Parquet or CSV file with the columns key, size and "
            "(if there is one) etag"
        ) from error
    if not len(table):
        raise ManifestError(f"the inventory {url} lists no files: make it again, or give the folder itself")
    keys, order = texts(table.column("key")), None
    if keys.null_count:
        raise ManifestError(f"the inventory {url} has {keys.null_count} rows without a key: make it again")
    if not is_sorted(keys):
        order = numbers(pc.sort_indices(keys))
        keys = take(keys, order)
        if not is_sorted(keys):
            twice = keys[int(np.argmax(bools(pc.equal(keys[1:], keys[:-1]))))].as_py()
            raise ManifestError(f"the inventory {url} lists the key {twice!r} twice: remove one row")
    sizes = numbers(without_nulls(table.column("size"), 0).cast(pa.int64()))
    digests = texts(table.column("etag")) if "etag" in table.column_names else None
    del table
    pa.default_memory_pool().release_unused()  # what reading took is given back to the system
    if order is not None:
        sizes = sizes[order]
        digests = take(digests, order) if digests is not None else None
    if digests is None:
        digests = pa.repeat(text(""), len(keys))
    else:
        digests = without_nulls(pc.binary_join_element_wise(text("etag:"), digests, text("")), text(""))
    return Listing(
        keys=keys,
        sizes=sizes,
        mtimes=np.zeros(len(keys), np.int64),
        inodes=np.zeros(len(keys), np.uint64),
        status=np.where(sizes == 0, EMPTY, OK).astype(np.int8),
        digests=digests,
        listed_at=listed_at,
    )


def _read_parquet(stream: Any) -> Any:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream, pre_buffer=False)
    names = file.schema_arrow.names
    return file.read(columns=[name for name in ("key", "size", "etag") if name in names])


def _read_csv(stream: Any) -> Any:
    from pyarrow import csv

    options = csv.ConvertOptions(column_types={"key": pa.large_string(), "size": pa.int64(), "etag": pa.large_string()})
    table = csv.read_csv(stream, convert_options=options)
    return table.select([name for name in ("key", "size", "etag") if name in table.column_names])


def _check_columns(table: Any) -> None:
    for name in ("key", "size"):
        if name not in table.column_names:
            raise KeyError(f"it has no column {name!r}")
