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

from headway.manifests.columns import arrow, channel_codes, is_sorted, parts, take, text, texts
from headway.manifests.split import CHANNELS
from headway.records import encode

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
_METADATA = b"headway"
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
    codes = channel_codes(table["channel"])
    for code, name in enumerate(CHANNELS):
        rows = np.flatnonzero(codes == code)
        with create(f"{name}.manifest") as stream:
            stream.write(b"[\n" + json.dumps({"prefix": prefix}, ensure_ascii=False).encode())
            for first in range(0, len(rows), _ROWS):
                stream.write(b',\n"' + _joined(take(keys, rows[first : first + _ROWS])) + b'"')
            stream.write(b"\n]\n")


def _joined(keys: Any) -> Any:
    """The keys as JSON texts, one per line, without the first and the last quotation mark."""
    data, offsets = parts(keys)
    block = data[offsets[0] : offsets[-1]]
    if bool(((block < 32) | (block == 34) | (block == 92)).any()):
        keys = texts([json.dumps(key, ensure_ascii=False)[1:-1] for key in keys.to_pylist()])
    whole = pa.ListArray.from_arrays(arrow(np.array([0, len(keys)], np.int32)), keys)
    return pc.binary_join(whole, text('",\n"'))[0].as_buffer()


def write_labels(labels: Mapping[str, int], stream: BinaryIO) -> None:
    """The codes of the labels as a JSON object, in the order of the codes."""
    stream.write(
        json.dumps(dict(sorted(labels.items(), key=lambda item: item[1])), ensure_ascii=False, indent=2).encode()
    )
    stream.write(b"\n")


def with_metadata(table: Any, *, prefix: str, labels: Mapping[str, int]) -> Any:
    """The table with the prefix and all label codes in its metadata: what `rebuild` needs beside the rows."""
    return table.replace_schema_metadata({_METADATA: encode({"prefix": prefix, "labels": dict(labels)})})


def rebuild(table: Any, *, create: Opener, prefix: str | None = None) -> None:
    """The channels' manifest files and `labels.json` again, from nothing but the table: the same bytes.

    Args:
        table: `table.parquet`, or what a dataframe or spreadsheet made of it: the columns `key`, `label`, `code`,
            `channel` count.
        create: opens a file of that name for writing.
        prefix: what stands before every key; None: as recorded in the table (a dataframe loses that).

    Raises:
        ValueError: the table does not record the prefix, and none was given.
    """
    known = (table.schema.metadata or {}).get(_METADATA)
    facts: dict[str, Any] = json.loads(known) if known else {"labels": {}}
    if prefix is None and "prefix" not in facts:
        raise ValueError("the table does not record where its keys lie (a dataframe loses that): give prefix=")
    if not is_sorted(texts(table["key"])):
        table = table.sort_by("key")
    write_channels(table, prefix=prefix if prefix is not None else facts["prefix"], create=create)
    pairs = table.select(["label", "code"]).group_by(["label", "code"]).aggregate([]).to_pylist()
    found = {row["label"]: int(row["code"]) for row in pairs if row["label"] is not None and row["code"] is not None}
    with create("labels.json") as stream:
        write_labels({**facts["labels"], **found}, stream)
