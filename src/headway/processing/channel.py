"""The samples of one channel of a dataset: as arrays, as batches, as files.

In: a channel's record and the folder of its index. Out: numpy arrays, for training and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from headway.errors import DataChangedError, NotFoundError
from headway.processing.columns import Array, DenseColumn, RaggedColumn, column
from headway.processing.index import ChannelInfo, FieldInfo, PartInfo
from headway.records import Record, decode
from headway.sharding import order

ENDINGS = {
    "dense": (".npy",),
    "ragged": (".npy", ".offsets.npy", ".shapes.npy"),
    "bytes": (".npy", ".offsets.npy"),
}
"""Kind of a field -> endings of its files behind `<part>.<field>`."""


class RowNames(Record):
    """What the file `<part>.keys.json` holds: key and label code of each row."""

    keys: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()


@final
class ChannelData:
    """The samples of a channel, or of some of its shards, in the order of shards and parts.

    Args:
        root: folder of `index.json`.
        name: of the channel.
        info: its record.
        labels: label -> code.
        fields: the fields of the dataset, for a channel that has no sample of its own.
        shards: numbers of the shards to give; None for all.

    Safe to use from several threads; after a fork, too.
    """

    def __init__(
        self,
        root: Path,
        *,
        name: str,
        info: ChannelInfo,
        labels: dict[str, int],
        fields: dict[str, FieldInfo],
        shards: Sequence[int] | None = None,
    ) -> None:
        chosen = range(len(info.shards)) if shards is None else shards
        for number in chosen:
            if not 0 <= number < len(info.shards):
                raise ValueError(f"channel {name!r} has {len(info.shards)} shards, there is no shard {number!r}")
        self._root, self._labels, self._fields = root, dict(labels), dict(fields)
        self._parts: list[PartInfo] = [part for number in chosen for part in info.shards[number].parts]
        self._columns: dict[str, DenseColumn | RaggedColumn] = {}
        self._names: RowNames | None = None
        self.name, self.digest, self.num_shards = name, info.digest, len(info.shards)

    def __len__(self) -> int:
        return sum(part.rows for part in self._parts)

    @property
    def field_names(self) -> list[str]:
        """Names of the fields, sorted; `y` is the label's code or what the transform gave as `y`."""
        return sorted(self._fields)

    def field_info(self, name: str) -> FieldInfo:
        """Type and shape of a field; -1 in the shape where samples differ."""
        if name not in self._fields:
            raise NotFoundError("field", name, self._fields, hint=f"channel {self.name!r} was asked for it")
        return self._fields[name]

    def arrays(self) -> tuple[Any, Any]:
        """X and y: X is the array of the only field, or a dict name -> array of several; y the label codes.

        Shapes:
            X: (n, ...), memory-mapped where there is one part; a sequence of arrays when samples differ in shape.
            y: (n,), or what the transform gave as field `y`.
        """
        return self._xy({name: self.field(name) for name in self._fields})

    def field(self, name: str) -> Any:
        """One field: an array (n, ...), or a sequence of n arrays (or bytes) when samples differ in shape."""
        return self._column(name).whole()

    def keys(self) -> list[str]:
        """The key of each row, as the manifest has it."""
        return list(self._row_names().keys)

    def codes(self) -> NDArray[np.int64]:
        """The label's code of each row, also when the transform gave a `y` of its own."""
        return np.asarray(self._row_names().codes, dtype=np.int64)

    def labels(self) -> list[str | None]:
        """The label of each row; None for rows without one."""
        names = {code: label for label, code in self._labels.items()}
        return [names.get(code) for code in self._row_names().codes]

    def batches(
        self,
        size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """(X, y) of this rank's share of each batch of an epoch, in the order of `headway.sharding.order`.

        Args:
            size: samples in one step over all ranks together; a rank gets size / world_size of them.
            start: number of batches to leave out at the beginning: to go on inside an epoch.
            drop_last: leave out a last batch that is not full.

        Guarantees: the batches over all ranks are the same for every world size, and no sample comes twice.
        """
        for rows in order.batches(
            len(self),
            size,
            seed=seed,
            epoch=epoch,
            rank=rank,
            world_size=world_size,
            start=start,
            shuffle=shuffle,
            drop_last=drop_last,
        ):
            yield self.take(rows)

    def take(self, rows: Array) -> tuple[Any, Any]:
        """(X, y) of the samples with these numbers, counted from 0 within this channel, in the order given."""
        return self._xy({name: self._column(name).take(rows) for name in self._fields})

    def files(self) -> list[Path]:
        """All files of the samples, in the order of parts: what a script wrote, or the arrays and their keys."""
        found: list[Path] = []
        for part in self._parts:
            found += [self._root / part.path / name for name in part.files]
            for name, field in sorted(part.fields.items()):
                found += [self._root / f"{part.path}.{name}{ending}" for ending in ENDINGS[field.kind]]
            if part.rows:
                found.append(self._root / f"{part.path}.keys.json")
        return found

    def _xy(self, values: dict[str, Any]) -> tuple[Any, Any]:
        y = values.pop("y", None)
        return (next(iter(values.values())) if len(values) == 1 else values), y

    def _column(self, name: str) -> DenseColumn | RaggedColumn:
        known = self.field_info(name)
        if name not in self._columns:
            parts = [(part.path, part.rows, part.fields[name]) for part in self._parts]
            if parts:
                self._columns[name] = column(self._root, parts, name=name)
            else:
                shape = tuple(max(0, side) for side in known.shape)
                self._columns[name] = DenseColumn([], [], shape=shape, dtype=known.dtype)
        return self._columns[name]

    def _row_names(self) -> RowNames:
        if self._names is None:
            keys: list[str] = []
            codes: list[int] = []
            for part in self._parts:
                names = read_names(self._root / f"{part.path}.keys.json") if part.rows else RowNames()
                keys += names.keys
                codes += names.codes
            self._names = RowNames(keys=tuple(keys), codes=tuple(codes))
        return self._names


def read_names(path: Path) -> RowNames:
    """Keys and codes of a part's rows.

    Raises:
        DataChangedError: the file is missing.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataChangedError(f"cannot read {path} of a dataset: {error}; process the manifest again") from error
    return decode(data, RowNames, where=str(path))
