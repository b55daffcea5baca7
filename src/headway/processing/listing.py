"""Plans on their way to the workers: one file of rows per shard, of which each task reads its own range of bytes.

In: a `ShardPlan` and the manifest's table. Out: the payloads of the tasks (paths and numbers, never data), and the
rows and items that a worker reads back from them. Read by `headway.processing.entry`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headway.errors import DataChangedError
from headway.processing.plan import ShardPlan
from headway.records import Record

if TYPE_CHECKING:
    import pyarrow as pa


SETTLED_S = 2.0
"""A file written later than this before it was listed may have changed again without another modification time."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A row of a listing, one JSON array per line: what the manifest knows of a file.

    Args:
        label, code: of its class; None and -1 without one.
        inode: 0 when not known.
        digest: SHA-256 of the content; another text (an etag, nothing) when the content was not read.
    """

    key: str
    label: str | None
    code: int
    size_bytes: int
    mtime_ns: int
    inode: int
    digest: str


class Item(Record):
    """What a transform is called with.

    Args:
        key: of the file within its source, `shoe/1.png`.
        path: where the file can be read.
        label: the class, None without one.
        code: of the label; -1 without one.
    """

    key: str
    path: Path
    label: str | None
    code: int


def write_listings(
    plan: ShardPlan,
    table: pa.Table,
    *,
    folder: Path,
    root: str,
    dataset: Path,
    attempt: int,
    listed_at: float | None = None,
) -> list[dict[str, Any]]:
    """The payloads of all tasks, after the listings that they point into are written.

    Args:
        table: the one that the plan was made of.
        folder: where the listings go, one file per channel and shard.
        root: folder of the files; a row's path is `root/key`.
        dataset: folder of the dataset's version; parts go to `attempts/<attempt>/<channel>/shard-<k>/` in it.
        attempt: number of the attempt.
        listed_at: when the manifest's files were listed (`Manifest.listed_at`); files that were written less than two
            seconds before may have changed again without another time, so their content is read; None: times are
            believed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spans: dict[tuple[str, int], tuple[Path, list[bytes]]] = {}
    for channel in plan.channel_names:
        for shard in range(plan.num_shards):
            lines = _lines(table, plan.rows(channel, shard))
            path = folder / f"{channel}-{shard:05d}.jsonl"
            path.write_bytes(b"".join(lines))
            spans[channel, shard] = path, lines
    settled_ns = None if listed_at is None else int((listed_at - SETTLED_S) * 1e9)
    shared = {"root": root, "out": str(dataset), "attempt": attempt, "settled_ns": settled_ns}
    return _payloads(plan, spans, shared)


def read_rows(payload: Mapping[str, Any]) -> list[Row]:
    """The rows of a task.

    Raises:
        DataChangedError: the listing is not the one that the task was made with.
    """
    with open(payload["listing"], "rb") as file:
        data = os.pread(file.fileno(), payload["stop"] - payload["start"], payload["start"])
    if hashlib.sha256(data).hexdigest() != payload["rows_digest"]:
        raise DataChangedError(f"the listing {payload['listing']} changed after the run began: start the run again")
    return msgspec.json.Decoder(Row).decode_lines(data)


def item_of(row: Row, *, root: str) -> Item:
    """The item that the transform gets for a row."""
    return Item(key=row.key, path=Path(root, row.key), label=row.label, code=row.code)


def part_path(payload: Mapping[str, Any]) -> str:
    """Path of a part's files without their endings, relative to the dataset's folder."""
    name = f"{payload['channel']}/shard-{payload['shard']:05d}/part-{payload['part']:05d}"
    return f"attempts/{payload['attempt']}/{name}"


def _lines(table: Any, rows: NDArray[np.int64]) -> list[bytes]:
    """The rows as JSON lines. Columns are read as buffers: Arrow itself would load pandas where it is installed."""
    from headway.manifests.columns import numbers, take, texts

    encode = msgspec.json.Encoder().encode
    labels = table.column("label").combine_chunks()
    names = [*labels.dictionary.to_pylist(), None]
    label_of = _filled(labels.indices, len(names) - 1)[rows]
    codes = _filled(table.column("code"), -1)[rows]
    columns = [
        texts(take(texts(table.column("key")), rows)).to_pylist(),
        [names[number] for number in label_of.tolist()],
        codes.tolist(),
        *(numbers(table.column(name))[rows].tolist() for name in ("size_bytes", "mtime_ns", "inode")),
        texts(take(texts(table.column("digest")), rows)).to_pylist(),
    ]
    return [encode(values) + b"\n" for values in zip(*columns, strict=True)]


def _filled(column: Any, value: int) -> NDArray[np.int64]:
    """An Arrow column of numbers with its nulls filled."""
    from headway.manifests.columns import numbers, without_nulls

    return numbers(without_nulls(column, value)).astype(np.int64)


def _payloads(
    plan: ShardPlan,
    spans: dict[tuple[str, int], tuple[Path, list[bytes]]],
    shared: dict[str, Any],
) -> list[dict[str, Any]]:
    payloads = []
    ends: dict[tuple[str, int], int] = {}
    for part in plan.parts():  # the parts of a shard come in order
        path, lines = spans[part.channel, part.shard]
        data = b"".join(lines[part.start : part.stop])
        start = ends.get((part.channel, part.shard), 0)
        ends[part.channel, part.shard] = start + len(data)
        payloads.append(
            {
                "channel": part.channel,
                "shard": part.shard,
                "part": part.part,
                "rows": part.stop - part.start,
                "listing": str(path),
                "start": start,
                "stop": start + len(data),
                "rows_digest": hashlib.sha256(data).hexdigest(),
                **shared,
            }
        )
    return payloads
