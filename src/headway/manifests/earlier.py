"""What earlier versions placed and the newest one has no more: kept, so that what comes back returns to its channel.

In: the parent's table and its `earlier.parquet`, and the columns of now. Out: the next `earlier.parquet`. A file whose
content changed leaves its old content here: a copy of it that turns up later goes to the same channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headway.manifests.columns import Hashes, arrow, channel_codes, take, texts
from headway.manifests.keyhash import hash_column

COLUMNS = ("key", "label", "code", "channel", "unit", "digest")
SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), nullable=False),
        pa.field("label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("code", pa.int32()),
        pa.field("channel", pa.dictionary(pa.int8(), pa.string())),
        pa.field("unit", pa.uint64()),
        pa.field("digest", pa.large_string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
    ]
)
"""Columns of `earlier.parquet`; `version` is the last version that had the file."""


def nothing_earlier() -> Any:
    """The table of a first version."""
    return pa.Table.from_batches([], schema=SCHEMA)


def earlier_rows(*, parent: Any, before: Any, version: int, keys: Any, digests: Any) -> Any:
    """The table of what is not there any more.

    Args:
        parent: table of the parent.
        before: the parent's own `earlier` table.
        version: the parent's version.
        keys: of the files that have a channel now.
        digests: theirs.
    """
    rows = np.flatnonzero(channel_codes(parent["channel"]) >= 0)
    left = take(parent.select(list(COLUMNS)), rows)
    left = left.append_column("version", arrow(np.full(len(rows), version, np.int32)))
    everything = pa.concat_tables([table.cast(SCHEMA) for table in (before, left)])
    there = _pairs(keys, digests)
    gone = ~np.isin(_pairs(texts(everything["key"]), texts(everything["digest"])), there)
    return take(everything, np.flatnonzero(gone)).unify_dictionaries().combine_chunks()


def _pairs(keys: Any, digests: Any) -> Hashes:
    """One hash per key and content."""
    return hash_column(keys) * np.uint64(0x9E3779B97F4A7C15) + hash_column(digests)
