"""Arrow string columns as what they are: one run of bytes and the offsets into it; everything fast is built on that.

In: Arrow arrays. Out: numpy views of them, and digests of columns that do not depend on how they are stored. Arrays are
made from buffers: `pa.array`, `pa.scalar` and `to_numpy` load pandas wherever it is installed (0.2 s, 50 MB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headway.manifests.split import CHANNELS
from headway.records import digest_of

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
Channels = npt.NDArray[np.int8]
Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

_ROWS = 131_072


def texts(values: Iterable[str] | Any) -> Any:
    """A `large_string` array of one chunk, from Python strings or from any Arrow text column."""
    if isinstance(values, pa.ChunkedArray):
        values = values.cast(pa.large_string())
        return values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(pa.large_string())
    values = list(values)
    data = "".join(values).encode()
    lengths = [len(text) for text in values]
    if len(data) != sum(lengths):  # letters of several bytes
        lengths = [len(text.encode()) for text in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.large_string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def text(value: str) -> Any:
    """One text as an Arrow scalar."""
    return texts([value])[0]


def arrow(values: npt.NDArray[Any], *, null: npt.NDArray[np.bool_] | None = None) -> Any:
    """A numpy column of numbers as an Arrow array, without a copy."""
    values = np.ascontiguousarray(values)
    mask = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [mask, pa.py_buffer(values)])


def numbers(column: Any) -> npt.NDArray[Any]:
    """An Arrow column of numbers without nulls as numpy; of one chunk without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if column.null_count:
        raise ValueError("a column of numbers has nulls")
    kind = column.type.to_pandas_dtype()
    return np.frombuffer(column.buffers()[1] or b"", kind)[column.offset : column.offset + len(column)]


def bools(column: Any) -> npt.NDArray[np.bool_]:
    """An Arrow column of truth values as numpy; null is False."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return numbers(without_nulls(column, False).cast(pa.uint8())).astype(np.bool_)


def take(column: Any, rows: npt.NDArray[np.int64]) -> Any:
    """The rows of an Arrow array, or of a table, in the order given."""
    return column.take(arrow(rows))


def parts(column: Any) -> tuple[Bytes, Offsets]:
    """The bytes of a `large_string` array and the n + 1 offsets into them, without a copy."""
    _, offsets, data = column.buffers()
    where = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1] if offsets else None
    if where is None or len(where) == 0:
        where = np.zeros(1, np.int64)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), where


def without_nulls(column: Any, value: Any) -> Any:
    """The column with its nulls filled; `fill_null` itself loads pandas where that is installed."""
    return column.fill_null(value) if column.null_count else column


def repeated(values: Hashes) -> Hashes:
    """The values that are there more than once, sorted; 0 counts as no value."""
    ranked = np.sort(values)
    twice = ranked[1:][(ranked[1:] == ranked[:-1]) & (ranked[1:] != 0)]
    return np.unique(twice) if len(twice) else twice


def is_sorted(column: Any) -> bool:
    """Whether texts rise strictly: sorted by their bytes, and none twice."""
    return len(column) < 2 or bool(pc.all(pc.less(column[:-1], column[1:])).as_py())


def digest_columns(columns: Mapping[str, Any]) -> str:
    """One SHA-256 for some columns of equal length: numpy arrays, or `large_string` arrays (lengths, then bytes)."""
    return digest_of({name: _digest_column(column) for name, column in columns.items()})


def _digest_column(column: Any) -> list[str]:
    if isinstance(column, np.ndarray):
        little = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
        return [hashlib.sha256(little.data).hexdigest()]
    lengths, data = hashlib.sha256(), hashlib.sha256()
    for first in range(0, len(column), _ROWS):
        block, offsets = parts(column[first : first + _ROWS])
        lengths.update(np.diff(offsets).astype("<i8").data)
        data.update(block[offsets[0] : offsets[-1]].data)
    return [lengths.hexdigest(), data.hexdigest()]


def lookup(keys: npt.NDArray[Any], values: npt.NDArray[Any], wanted: npt.NDArray[Any], *, missing: int) -> Any:
    """`values` at each of `wanted` in `keys` (the last of equal keys counts), `missing` where it is not there."""
    if len(keys) == 0:
        return np.full(len(wanted), missing, values.dtype)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    at = np.searchsorted(ranked, wanted, side="right") - 1
    found = (at >= 0) & (ranked[at] == wanted)
    return np.where(found, values[order[at]], np.asarray(missing, values.dtype))


def channel_codes(column: Any) -> Channels:
    """The codes of a column of channel names; -1 for none."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    table = np.array([CHANNELS.index(name) for name in column.dictionary.to_pylist()] + [-1], np.int8)
    codes: Channels = table[numbers(without_nulls(column.indices, len(table) - 1))]
    return codes
