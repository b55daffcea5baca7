"""The channels that a training sees: a worker's channels with their samples as arrays and batches.

In: the channels of a worker's context. Out: `TrainingChannel`, by name. Only the processed data of the job are opened,
and never the test channel, unless the job was started with `allow_test=True`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from headway.errors import ChannelLeakError

if TYPE_CHECKING:
    from headway.processing.channel import ChannelData

TEST = "test"


@final
class TrainingChannel:
    """One channel of the job's data, as this worker sees it.

    Args:
        inner: the worker's channel (`name`, `path`, `ticket`).
        seed: of the job; the default of the order of batches.
        rank, world_size: of this worker in its gang; 0 and 1 for independent workers.
        allow_test: whether the job may open the test channel.
    """

    def __init__(self, inner: Any, *, seed: int, rank: int, world_size: int, allow_test: bool) -> None:
        self._inner, self._seed, self._allow_test = inner, seed, allow_test
        self._rank, self._world_size = rank, world_size
        self._whole: ChannelData | None = None
        self.name: str = inner.name
        self.kind: str = inner.ticket.get("kind", "files")

    @property
    def path(self) -> str:
        """The folder with this worker's files of the channel, filled when this is first asked for."""
        return str(self._inner.path)

    def __len__(self) -> int:
        """Number of samples of the whole channel, over all ranks."""
        return len(self.data)

    @property
    def data(self) -> ChannelData:
        """All samples of the channel, of all ranks: fields, keys, labels.

        Raises:
            ProgramError: the channel has raw files, no processed samples.
        """
        if self._whole is None:
            self._whole = self._open(None)
        return self._whole

    def arrays(self) -> tuple[Any, Any]:
        """X and y of this rank: its own shards, or its slice where there are fewer shards than ranks.

        Shapes:
            X: (n, ...), or a dict of such arrays when there are several fields.
            y: (n,).
        """
        if self._world_size == 1:
            return self.data.arrays()
        shards = self._inner.ticket.get("shards")
        if shards is not None and self.data.num_shards >= self._world_size:
            return self._open(shards).arrays()
        import numpy as np

        from headway.sharding.order import rank_slice

        mine = rank_slice(len(self.data), rank=self._rank, world_size=self._world_size)
        return self.data.take(np.arange(mine.start, mine.stop))

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        start: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """(X, y) of this rank's share of each batch of an epoch.

        Args:
            size: samples in one step over all ranks together; this rank gets size / world_size of them.
            seed: of the order; None: the job's.
            epoch: counted from 0; each has its own order.
            start: number of batches that are done already: to go on inside an epoch after a crash.
            shuffle: False: in the order of shards.
            drop_last: leave out a last batch that is not full.

        Guarantees: the batches of all ranks together do not depend on the number of ranks; no sample comes twice in an
        epoch, also when it is interrupted and goes on with another number of ranks.
        """
        return self.data.batches(
            size,
            seed=self._seed if seed is None else seed,
            epoch=epoch,
            rank=self._rank,
            world_size=self._world_size,
            start=start,
            shuffle=shuffle,
            drop_last=drop_last,
        )

    def __repr__(self) -> str:
        return f"TrainingChannel({self.name!r}, kind={self.kind!r})"

    def _open(self, shards: list[int] | None) -> ChannelData:
        from headway.errors import ProgramError
        from headway.processing.dataset import open_dataset

        index = self._inner.ticket.get("index")
        if index is None:
            raise ProgramError(
                f"the channel {self.name!r} has raw files, no samples: read them from context.channels[{self.name!r}]"
                ".path, or process the manifest first (ws.process) and train on the dataset"
            )
        return open_dataset(index).channel(self.name, shards=shards, allow_test=self._allow_test)


@final
class Channels(Mapping[str, TrainingChannel]):
    """The channels by name; asking for one that is not there says what to do.

    Args:
        channels: the worker's, by name.
        where: the job, for errors; empty outside a job.
    """

    def __init__(self, channels: Mapping[str, TrainingChannel], *, where: str) -> None:
        self._channels, self._where = dict(channels), where

    def __getitem__(self, name: str) -> TrainingChannel:
        if name in self._channels:
            return self._channels[name]
        if not self._where:
            raise KeyError(
                f"no channel {name!r}: this program does not run as a job, so it has no channels; start it with "
                "ws.train(...), or read the data with headway.open().dataset(name)"
            )
        if name == TEST:
            raise ChannelLeakError(
                f"{self._where} asked for the test channel: it is for evaluation alone (ws.evaluate(model, dataset)); "
                "allow_test=True of ws.train gives it to a program that needs it, and records that"
            )
        known = ", ".join(sorted(self._channels)) or "none: it was started without data"
        raise KeyError(f"no channel {name!r} in {self._where}; it has {known}")

    def __contains__(self, name: object) -> bool:
        return name in self._channels

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)
