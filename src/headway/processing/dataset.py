"""Processed data: what a transform made of a manifest, with every channel in shards.

In: results of the tasks (`headway.processing.entry`) through `write_index`; later an `index.json`. Out: `Dataset`, a
small record that other stages take, and `OpenDataset`, which reads its samples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from headway.errors import ChannelLeakError, DataChangedError, NotFoundError
from headway.processing.channel import ChannelData
from headway.processing.index import ChannelInfo, FieldInfo, PartResult, Problem, join_parts
from headway.records import Record, decode, digest_of

__all__ = ["ChannelData", "Dataset", "OpenDataset", "open_dataset", "write_index"]

TEST = "test"


class Dataset(Record):
    """A processed dataset: its channels and where it came from. Stored as `datasets/<name>/<version>/index.json`.

    Args:
        id: `dataset-<name>-<version>`.
        digest: of all samples of all channels and of the label codes; the same whatever the number of workers,
            shards and parts.
        manifest: id of the manifest; empty when there was none.
        labels: label -> code.
        transform: what made it: at least `name` and `digest` of the program, `hyperparameters`.
    """

    schema: int = 1
    id: str
    name: str
    version: int
    digest: str
    manifest: str = ""
    manifest_digest: str = ""
    channels: dict[str, ChannelInfo] = {}
    labels: dict[str, int] = {}
    transform: dict[str, Any] = {}

    @property
    def rows(self) -> dict[str, int]:
        """Number of samples in each channel."""
        return {name: channel.rows for name, channel in self.channels.items()}

    @property
    def problems(self) -> dict[str, tuple[Problem, ...]]:
        """Items of the manifest that are not in the dataset, by channel."""
        return {name: channel.problems for name, channel in self.channels.items() if channel.problems}

    @property
    def num_shards(self) -> int:
        """Number of shards of each channel."""
        return max((len(channel.shards) for channel in self.channels.values()), default=0)

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The fields of a sample; -1 in a shape where samples differ."""
        found: dict[str, FieldInfo] = {}
        for channel in self.channels.values():
            for shard in channel.shards:
                for part in shard.parts:
                    for name, field in part.fields.items():
                        found[name] = _widest(found.get(name), field)
        return found

    def channel_digest(self, name: str) -> str:
        """The digest of one channel's samples."""
        return _known(self, name).digest

    def open(self, files: Any) -> OpenDataset:
        """The samples, read from a workspace.

        Args:
            files: `headway.stores.files.Files` of the workspace.
        """
        return OpenDataset(self, files.local(f"datasets/{self.name}/{self.version}"))


@final
class OpenDataset:
    """A dataset whose samples can be read.

    Args:
        dataset: the record.
        root: folder of its `index.json`.
    """

    def __init__(self, dataset: Dataset, root: Path) -> None:
        self.dataset, self.root = dataset, root
        self._fields = dataset.fields

    def channel(self, name: str, *, shards: Sequence[int] | None = None, allow_test: bool = False) -> ChannelData:
        """The samples of a channel, or of some of its shards.

        Raises:
            ChannelLeakError: the test channel without `allow_test=True`.
            NotFoundError: no such channel.
        """
        info = _known(self.dataset, name)
        if name == TEST and not allow_test:
            raise ChannelLeakError(
                f"the test channel of {self.dataset.id} is for evaluation alone: score a model with ws.evaluate(model, "
                "dataset), or give allow_test=True, which is recorded, if this program must see it"
            )
        return ChannelData(
            self.root, name=name, info=info, labels=self.dataset.labels, fields=self._fields, shards=shards
        )


def open_dataset(index_path: str | os.PathLike[str]) -> OpenDataset:
    """A dataset by the path of its `index.json` (or of its folder).

    Raises:
        DataChangedError: there is no index.
        NewerSchemaError: it was written by a newer Headway.
    """
    path = Path(index_path)
    if path.is_dir():
        path = path / "index.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataChangedError(f"there is no dataset at {path}: process the manifest again, or check the path") from (
            error
        )
    return OpenDataset(decode(data, Dataset, where=str(path)), path.parent)


def write_index(
    results: Sequence[PartResult],
    *,
    name: str,
    version: int,
    channels: dict[str, int],
    labels: dict[str, int],
    manifest: str = "",
    manifest_digest: str = "",
    transform: dict[str, Any] | None = None,
) -> Dataset:
    """The record that goes into `index.json` (`headway.records.pretty`), from the results of all tasks. Pure.

    Args:
        results: one per part, in any order.
        channels: name -> number of shards.
        labels: label -> code, as the manifest has them.

    Raises:
        ProgramError: the transform gave different fields for different items.
    """
    joined = join_parts(list(results), channels=channels)
    digest = digest_of({"channels": {key: info.digest for key, info in joined.items()}, "labels": labels})
    return Dataset(
        id=f"dataset-{name}-{version}",
        name=name,
        version=version,
        digest=digest,
        manifest=manifest,
        manifest_digest=manifest_digest,
        channels=joined,
        labels=labels,
        transform=transform or {},
    )


def _known(dataset: Dataset, name: str) -> ChannelInfo:
    if name not in dataset.channels:
        raise NotFoundError("channel", name, dataset.channels, hint=f"{dataset.id} was asked for it")
    return dataset.channels[name]


def _widest(one: FieldInfo | None, other: FieldInfo) -> FieldInfo:
    """One description that is true of both."""
    if one is None or one.shape == other.shape:
        return one or other
    shape = tuple(a if a == b else -1 for a, b in zip(one.shape, other.shape, strict=False))
    return FieldInfo(kind=other.kind if one.kind == "dense" else one.kind, dtype=one.dtype, shape=shape, digest="")
