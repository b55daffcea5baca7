"""What a dataset is made of, as values: fields, parts, shards, channels, and their digests.

In: the results of the tasks of `headway.processing.entry`. Out: records for `index.json`, read by
`headway.processing.channel`. Pure: no file is opened here.
"""

from __future__ import annotations

from typing import Any, Literal

from headway.errors import ProgramError
from headway.records import Record, digest_of

FieldKind = Literal["dense", "ragged", "bytes"]


class FieldInfo(Record):
    """One field of a part, as it lies on disk beside `path` of its part.

    Args:
        kind: `dense`: `<path>.<field>.npy`, one array with a row per sample; `ragged`: `<path>.<field>.npy` holds all
            values in one row, `<path>.<field>.offsets.npy` (n + 1) where each sample begins, and
            `<path>.<field>.shapes.npy` (n, ndim) its shape; `bytes`: like ragged, values uint8, without shapes.
        dtype: as numpy spells it, `<f4`.
        shape: of one sample; -1 where samples differ.
        digest: of the values in the order of rows, however they are stored.
    """

    kind: FieldKind = "dense"
    dtype: str
    shape: tuple[int, ...]
    digest: str


class Problem(Record):
    """An item that is not in the dataset, and why.

    Args:
        key: the item.
        reason: `failed` (the transform raised twice), `skipped` (it returned None), `excluded` (set aside beforehand).
        message: type and text of the exception.
        traceback: the whole of it.
        log: path of the file with traceback and output, relative to the attempt's folder; None when there is none.
    """

    key: str
    reason: Literal["failed", "skipped", "excluded"]
    message: str = ""
    traceback: str = ""
    log: str | None = None


class PartInfo(Record):
    """Some hundred rows of a shard: what one task made.

    Args:
        path: of the part's files without their endings, relative to the folder of `index.json`.
        rows: number of samples.
        fields: name -> where and how; `y` (the label codes, unless the transform gave a `y`) is among them.
        sum: sum of the digests of the rows modulo 2**256, as 64 hexadecimal digits: see `channel_digest`.
        size_bytes: bytes of the files on disk.
        files: names of other files that a script wrote, relative to the folder `<path>/`.
    """

    path: str
    rows: int
    fields: dict[str, FieldInfo] = {}
    sum: str = "0" * 64
    size_bytes: int = 0
    files: tuple[str, ...] = ()


class ShardInfo(Record):
    """One shard: its parts in order; a shard may be empty."""

    parts: tuple[PartInfo, ...] = ()
    rows: int = 0


class ChannelInfo(Record):
    """One channel of a dataset.

    Args:
        rows: number of samples over all shards.
        digest: of the samples, whatever the number of shards, parts and workers: see `channel_digest`.
        problems: items of the manifest that are not here.
    """

    shards: tuple[ShardInfo, ...] = ()
    rows: int = 0
    digest: str = ""
    problems: tuple[Problem, ...] = ()


class PartResult(Record):
    """What the runner returns for one task (see `headway.processing.entry`)."""

    channel: str
    shard: int
    part: int
    info: PartInfo
    first_key: str | None = None
    problems: tuple[Problem, ...] = ()
    read_bytes: int = 0
    wall_s: float = 0.0


def channel_digest(parts: list[PartInfo]) -> str:
    """The digest of a channel's samples, the same for every division into shards and parts and every order of rows.

    A row's digest is SHA-256 over its key, its label's code, and name, type, shape and bytes of each of its fields.
    The rows are combined by adding their digests modulo 2**256 (keys are unique, so no two rows have equal digests).

    Source: M. Bellare, D. Micciancio, "A new paradigm for collision-free hashing", 1997 (AdHash). Good against
    accidents, as wanted here; it is not meant against somebody who chooses millions of rows to make two sums equal.
    """
    total = sum(int(part.sum, 16) for part in parts) % (1 << 256)
    return digest_of({"rows": sum(part.rows for part in parts), "sum": f"{total:064x}"})


def join_parts(results: list[PartResult], *, channels: dict[str, int]) -> dict[str, ChannelInfo]:
    """The channels of a dataset from the results of all its tasks, in any order.

    Args:
        results: one per part.
        channels: name -> number of shards; shards without a part are recorded as empty.

    Raises:
        ProgramError: the transform gave other fields or types in one part than in another (names an item of both).
        ValueError: a part is there twice or names a shard that there is not.
    """
    _same_fields(results)
    found: dict[tuple[str, int], dict[int, PartResult]] = {}
    for result in results:
        if result.channel not in channels or not 0 <= result.shard < channels[result.channel]:
            raise ValueError(f"the result for {result.channel} shard {result.shard} is of no shard of {channels!r}")
        parts = found.setdefault((result.channel, result.shard), {})
        if result.part in parts:
            raise ValueError(f"{result.channel} shard {result.shard} part {result.part} has two results")
        parts[result.part] = result
    return {
        name: _join_channel([found.get((name, shard), {}) for shard in range(num_shards)])
        for name, num_shards in channels.items()
    }


def _join_channel(shards: list[dict[int, PartResult]]) -> ChannelInfo:
    infos, problems = [], []
    for by_number in shards:
        ordered = [by_number[number] for number in sorted(by_number)]
        parts = tuple(result.info for result in ordered if result.info.rows or result.info.files)
        problems += [problem for result in ordered for problem in result.problems]
        infos.append(ShardInfo(parts=parts, rows=sum(part.rows for part in parts)))
    return ChannelInfo(
        shards=tuple(infos),
        rows=sum(info.rows for info in infos),
        digest=channel_digest([part for info in infos for part in info.parts]),
        problems=tuple(sorted(problems, key=lambda problem: problem.key)),
    )


def _same_fields(results: list[PartResult]) -> None:
    """Compare every part with the first one that has rows."""
    first: PartResult | None = None
    for result in sorted(results, key=lambda r: (r.channel, r.shard, r.part)):
        if not result.info.rows or not result.info.fields:
            continue
        if first is None:
            first = result
            continue
        one, other = _types(first.info), _types(result.info)
        if one != other:
            raise ProgramError(
                "the transform must return the same fields for every item; "
                f"for {first.first_key!r} it returned {_show(one)}, for {result.first_key!r} {_show(other)}"
            )


def _types(info: PartInfo) -> dict[str, tuple[Any, ...]]:
    return {name: (field.kind == "bytes", field.dtype, len(field.shape)) for name, field in info.fields.items()}


def _show(types: dict[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} ({'bytes' if t[0] else f'{t[1]}, {t[2]}-d'})" for name, t in sorted(types.items()))
