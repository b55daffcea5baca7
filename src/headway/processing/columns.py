"""Columns of a dataset on disk: one field over many parts, read by row without loading what is not asked for.

In: `FieldInfo` of each part and the folder. Out: numpy arrays. Used by `headway.processing.channel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from headway.errors import DataChangedError
from headway.processing.index import FieldInfo

Array = NDArray[Any]
_SMALL = 64 * 2**20
"""Bytes of a column up to which it is kept in memory once rows of it were asked for: copying rows then costs least."""
_WIDE, _FEW = 1024, 8
"""Samples are copied one by one from so many bytes on, or when fewer than so many are asked of each part (measured)."""


def load(path: Path, *, mapped: bool = True) -> Array:
    """The array in a .npy file, memory-mapped read-only or read whole.

    Raises:
        DataChangedError: the file is missing, cut short or not what it was.
    """
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataChangedError(
            f"cannot read {path} of a dataset: {type(error).__name__}: {error}; the file was whole when the dataset "
            "was published: process the manifest again to make it anew"
        ) from error
    return np.asarray(array)


@final
class DenseColumn:
    """A field whose samples all have one shape, over any number of parts.

    Args:
        paths: the .npy files, in order.
        rows: samples in each.
        shape: of one sample.
        dtype: as numpy spells it.
    """

    def __init__(self, paths: Sequence[Path], rows: Sequence[int], *, shape: tuple[int, ...], dtype: str) -> None:
        self._paths = list(paths)
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(rows, dtype=np.int64))]).astype(np.int64)
        self._parts: list[Array | None] = [None] * len(self._paths)
        self.shape = (int(self._starts[-1]), *shape)
        self.dtype = np.dtype(dtype)
        self._kept: Array | None = None
        self._small = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize <= _SMALL

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> Array:
        return self.take(np.asarray([range(len(self))[row]]))[0]  # type: ignore[no-any-return]

    def whole(self) -> Array:
        """All samples: memory-mapped where there is one part, else read into one array."""
        if len(self._paths) == 1:
            return self._part(0)
        out = np.empty(self.shape, dtype=self.dtype)
        for number, path in enumerate(self._paths):
            out[self._starts[number] : self._starts[number + 1]] = self._checked(load(path), number)
        return out

    def take(self, rows: Array) -> Array:
        """The samples with these numbers, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(self._paths) == 1:
            return np.asarray(self._part(0)[rows])
        if self._small:
            self._kept = self.whole() if self._kept is None else self._kept
            return np.asarray(self._kept[rows])
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        places = rows - self._starts[owners]
        few = len(rows) < _FEW * len(self._paths)
        if few or out[:1].nbytes >= _WIDE:  # row by row costs less than gathering by part and then spreading
            for row, (number, place) in enumerate(zip(owners.tolist(), places.tolist(), strict=True)):
                out[row] = self._part(number)[place]
            return out
        by_part = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[by_part])) + 1
        for group in np.split(by_part, edges) if len(rows) else []:
            out[group] = self._part(int(owners[group[0]]))[places[group]]
        return out

    def _part(self, number: int) -> Array:
        part = self._parts[number]
        if part is None:
            part = self._parts[number] = self._checked(load(self._paths[number]), number)
        return part

    def _checked(self, array: Array, number: int) -> Array:
        expected = (int(self._starts[number + 1] - self._starts[number]), *self.shape[1:])
        if array.shape != expected or array.dtype != self.dtype:
            raise DataChangedError(
                f"{self._paths[number]} holds {array.shape} {array.dtype}, the index says {expected} {self.dtype}: "
                "process the manifest again to make it anew"
            )
        return array


@final
class RaggedColumn(Sequence[Any]):
    """A field whose samples differ in shape, or are bytes: a sequence of arrays (or of bytes).

    Args:
        stems: paths of the parts without `.<field>.npy`.
        rows: samples in each part.
        infos: how each part stores the field; parts whose samples happen to be equal in shape are dense.
        name: of the field.
    """

    def __init__(self, stems: Sequence[Path], rows: Sequence[int], infos: Sequence[FieldInfo], *, name: str) -> None:
        self._stems, self._infos, self._name = list(stems), list(infos), name
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(rows, dtype=np.int64))]).astype(np.int64)
        self._parts: list[tuple[Array, Array | None, Array | None] | None] = [None] * len(self._stems)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[number] for number in range(len(self))[row]]
        row = range(len(self))[row]
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        values, offsets, shapes = self._part(number)
        local = row - int(self._starts[number])
        if offsets is None:
            return values[local]
        sample = values[int(offsets[local]) : int(offsets[local + 1])]
        if self._infos[number].kind == "bytes":
            return sample.tobytes()
        return sample if shapes is None else sample.reshape(tuple(shapes[local]))

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: Array) -> list[Any]:
        """The samples with these numbers, in the order given."""
        return [self[int(row)] for row in rows]

    def whole(self) -> RaggedColumn:
        """The column itself: samples are read when asked for."""
        return self

    def _part(self, number: int) -> tuple[Array, Array | None, Array | None]:
        part = self._parts[number]
        if part is None:
            stem, kind = str(self._stems[number]), self._infos[number].kind
            values = load(Path(f"{stem}.{self._name}.npy"))
            offsets = None if kind == "dense" else load(Path(f"{stem}.{self._name}.offsets.npy"))
            shapes = load(Path(f"{stem}.{self._name}.shapes.npy")) if kind == "ragged" else None
            part = self._parts[number] = (values, offsets, shapes)
        return part


def column(root: Path, parts: Sequence[tuple[str, int, FieldInfo]], *, name: str) -> DenseColumn | RaggedColumn:
    """One field over parts: dense where all samples have one shape.

    Args:
        root: folder of `index.json`.
        parts: (path of the part, rows, field) of each.
    """
    stems, rows, infos = [root / p for p, _, _ in parts], [r for _, r, _ in parts], [i for _, _, i in parts]
    dense = all(info.kind == "dense" and info.shape == infos[0].shape for info in infos)
    if not dense:
        return RaggedColumn(stems, rows, infos, name=name)
    paths = [Path(f"{stem}.{name}.npy") for stem in stems]
    return DenseColumn(paths, rows, shape=infos[0].shape, dtype=infos[0].dtype)
