"""The table of a manifest (one row per file that was seen) and the files that are written from it.

In: the columns that `headway.manifests.build` made. Out: `table.parquet`, one manifest file per channel, `labels.json`.
A channel's file has the S3 manifest schema: a JSON array, first `{"prefix": ...}`, then the keys below that prefix, one
per line, sorted. The same table always gives the same bytes (`rebuild`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headway.manifests.columns import parts, texts
from headway.manifests.split import CHANNELS
from headway.records import encode, pretty

SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), nullable=False),
        pa.field("label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("code", pa.int32()),
        pa.field("channel", pa.dictionary(pa.int8(), pa.string())),
        pa.field("unit", pa.uint64()),
        pa.field("digest", pa.large_string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("inode", pa.uint64(), nullable=False),
        pa.field("status", pa.dictionary(pa.int8(), pa.string()), nullable=False),
    ]
)
"""Columns of `table.parquet`. `label`, `code`, `channel`, `unit` are null for files that are in no channel (`label` and
`code` stay where a label was found). `unit` is the hash of what the split goes by; `status` one of
`headway.manifests.listing.STATUSES`."""

_ROWS = 65_536
Opener = Callable[[str], BinaryIO]


def write_table(table: Any, stream: BinaryIO) -> None:
    """The table as Parquet, readable by pandas, polars, DuckDB and spreadsheets."""
    writer = pq.ParquetWriter(
        stream,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in ("label", "channel", "status") if name in table.schema.names],
        column_encoding={"key": "DELTA_BYTE_ARRAY"} if "key" in table.schema.names else None,
        write_statistics=["key"],
        store_schema=True,
    )
    with writer:
        for first in range(0, max(1, len(table)), _ROWS):
            writer.write_table(table.slice(first, _ROWS))


def write_channels(table: Any, *, prefix: str, create: Opener) -> None:
    """One manifest file per channel, `<channel>.manifest`.

    Args:
        table: with `key` and `channel`, sorted by key.
        prefix: what stands before every key: the data's URL with a slash at its end.
        create: opens a file of that name for writing.
    """
    keys = texts(table["key"])
    channel = table["channel"]
    channel = channel.combine_chunks() if isinstance(channel, pa.ChunkedArray) else channel
    names = channel.dictionary.to_pylist()
    codes = np.asarray(channel.indices.fill_null(-1))
    for name in CHANNELS:
        rows = np.flatnonzero(codes == names.index(name)) if name in names else np.zeros(0, np.int64)
        with create(f"{name}.manifest") as stream:
            stream.write(b"[\n" + encode({"prefix": prefix}))
            for first in range(0, len(rows), _ROWS):
                stream.write(b',\n"' + _joined(keys.take(pa.array(rows[first : first + _ROWS]))) + b'"')
            stream.write(b"\n]\n")


def _joined(keys: Any) -> Any:
    """The keys as JSON texts without the outer quotation marks, with `",\\n"` between them."""
    data, offsets = parts(keys)
    block = data[offsets[0] : offsets[-1]]
    if bool(((block < 32) | (block == 34) | (block == 92)).any()):
        keys = texts([json.dumps(key, ensure_ascii=False)[1:-1] for key in keys.to_pylist()])
    whole = pa.ListArray.from_arrays(pa.array([0, len(keys)], pa.int32()), keys)
    return pc.binary_join(whole, pa.scalar('",\n"', pa.large_string()))[0].as_buffer()


def write_labels(labels: Mapping[str, int], stream: BinaryIO) -> None:
    """The codes of the labels as a JSON object, in the order of the codes."""
    stream.write(
        json.dumps(dict(sorted(labels.items(), key=lambda item: item[1])), ensure_ascii=False, indent=2).encode()
    )
    stream.write(b"\n")


def write_json(value: Any, stream: BinaryIO) -> None:
    """A record or plain value as JSON for people."""
    stream.write(pretty(value))


def rebuild(table: Any, *, prefix: str, create: Opener) -> None:
    """The channels' manifest files and `labels.json` again, from nothing but the table.

    Labels that no file has any more are not in the table; their codes stay in the manifest's own `labels.json`.
    """
    write_channels(table, prefix=prefix, create=create)
    label = table["label"]
    label = label.combine_chunks() if isinstance(label, pa.ChunkedArray) else label
    codes = np.asarray(table["code"].fill_null(-1))
    found = np.asarray(label.indices.fill_null(-1))
    pairs = np.unique(np.stack([found, codes], 1)[(found >= 0) & (codes >= 0)], axis=0)
    names = label.dictionary.to_pylist()
    with create("labels.json") as stream:
        write_labels({names[name]: int(code) for name, code in pairs.tolist()}, stream)
