"""The division of a manifest into shards and parts: what each worker will do, before anything runs.

In: a manifest's table, a number of shards, an algorithm of `headway.sharding`. Out: `ShardPlan`: for every channel
and shard its rows, cut into parts of some hundred rows; a part is the task that a worker takes. Pure: the files that
carry a plan to the workers are written by `headway.processing.listing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from headway.manifests.split import CHANNELS
from headway.records import Record
from headway.sharding.assignment import Rows, Shards, assign

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 500
"""Rows of a part at most: large enough that a task costs nothing, small enough that workers end together (measured)."""


class Part(Record):
    """A task: rows `start` to `stop` of a shard's rows."""

    channel: str
    shard: int
    part: int
    start: int
    stop: int


@final
class ShardPlan:
    """Which row of the table is in which shard and part.

    Args:
        num_shards: of every channel.
        algorithm: its name.
        rows: (channel, shard) -> numbers of the table's rows, in the order of their keys.
        channels: names of the channels, in the order of the manifest.
        part_rows: most rows of a part.
    """

    def __init__(
        self,
        *,
        num_shards: int,
        algorithm: str,
        rows: dict[tuple[str, int], NDArray[np.int64]],
        channels: list[str],
        part_rows: int,
    ) -> None:
        self.num_shards, self.algorithm, self.part_rows = num_shards, algorithm, part_rows
        self._rows, self.channel_names = rows, channels

    @property
    def channels(self) -> dict[str, int]:
        """Name -> number of shards, as `headway.processing.dataset.write_index` wants it."""
        return dict.fromkeys(self.channel_names, self.num_shards)

    @property
    def num_rows(self) -> int:
        """Rows of all channels."""
        return sum(len(rows) for rows in self._rows.values())

    def rows(self, channel: str, shard: int) -> NDArray[np.int64]:
        """Numbers of the table's rows in a shard, in the order of their keys.

        Shapes:
            returned: (rows of the shard,).
        """
        return self._rows[channel, shard]

    def parts(self) -> list[Part]:
        """All tasks: channel by channel, part by part, shard by shard, so that all shards grow alike."""
        found = []
        for channel in self.channel_names:
            cuts = [_cuts(len(self._rows[channel, shard]), self.part_rows) for shard in range(self.num_shards)]
            for part in range(max((len(cut) for cut in cuts), default=0)):
                found += [
                    Part(channel=channel, shard=shard, part=part, start=cut[part][0], stop=cut[part][1])
                    for shard, cut in enumerate(cuts)
                    if part < len(cut)
                ]
        return found


def plan(
    table: pa.Table,
    *,
    num_shards: int | None = None,
    ranks: int = 1,
    algorithm: str | Callable[[Rows, int], Shards] = "by_key",
    part_rows: int = PART_ROWS,
    channels: tuple[str, ...] = CHANNELS,
) -> ShardPlan:
    """The shards and parts of all channels.

    Args:
        table: of a manifest (`Manifest.table`): columns `key`, `channel`, `size_bytes`; rows without one of the
            channels (unreadable, without label) are left out.
        num_shards: shards of each channel; None: one for each rank of the training that the data feed.
        ranks: of that training.
        algorithm: name in `headway.sharding.assignment.ALGORITHMS`, or a function (rows, num_shards) -> shards.
        part_rows: rows of a part at most; the parts of a shard differ by at most one row.
        channels: which channels; a channel without rows has empty shards.

    Guarantees: each row of a channel is in exactly one part; the order of the table's rows does not matter.
    """
    if num_shards is None:
        num_shards = max(1, ranks)
    if part_rows < 1:
        raise ValueError(f"part_rows must be at least 1, got {part_rows!r}")
    if num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, got {num_shards!r}")
    by_key = _sorted_by_key(table)
    channel_of = _channels_of(table)[by_key]
    rows: dict[tuple[str, int], NDArray[np.int64]] = {}
    for channel in channels:
        chosen = by_key[channel_of == CHANNELS.index(channel)]
        shards = assign(_columns(table, chosen), num_shards=num_shards, algorithm=algorithm)
        grouped = np.argsort(shards, kind="stable")
        edges = np.searchsorted(shards[grouped], np.arange(num_shards + 1))
        for shard in range(num_shards):
            rows[channel, shard] = chosen[grouped[edges[shard] : edges[shard + 1]]]
    name = algorithm if isinstance(algorithm, str) else getattr(algorithm, "__qualname__", repr(algorithm))
    return ShardPlan(num_shards=num_shards, algorithm=name, rows=rows, channels=list(channels), part_rows=part_rows)


def _cuts(num_rows: int, part_rows: int) -> list[tuple[int, int]]:
    """Ranges of at most part_rows rows whose lengths differ by at most one."""
    num_parts = -(-num_rows // part_rows)
    return [(num_rows * i // num_parts, num_rows * (i + 1) // num_parts) for i in range(num_parts)]


def _sorted_by_key(table: Any) -> NDArray[np.int64]:
    """Numbers of the rows in the order of their keys; a manifest's table is in that order already."""
    import pyarrow.compute as pc

    from headway.manifests.columns import is_sorted, numbers, texts

    keys = texts(table.column("key"))
    if is_sorted(keys):
        return np.arange(len(keys), dtype=np.int64)
    return numbers(pc.sort_indices(keys)).astype(np.int64)


def _channels_of(table: Any) -> NDArray[np.int8]:
    """The place of each row's channel in CHANNELS; -1 for rows without one."""
    from headway.manifests.columns import channel_codes

    return channel_codes(table.column("channel"))


def _columns(table: Any, chosen: NDArray[np.int64]) -> Rows:
    from headway.manifests.columns import numbers, take, texts
    from headway.manifests.keyhash import hash_column

    keys = texts(take(texts(table.column("key")), chosen))
    return Rows(hashes=hash_column(keys), sizes=numbers(table.column("size_bytes"))[chosen].astype(np.int64))
