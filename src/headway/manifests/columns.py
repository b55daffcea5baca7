"""Arrow string columns as what they are: one run of bytes and the offsets into it; everything fast is built on that.

In: Arrow arrays. Out: numpy views of them, and digests of columns that do not depend on how they are stored.
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

_ROWS = 131_072


def texts(values: Iterable[str] | Any) -> Any:
    """A `large_string` array of one chunk, from Python strings or from any Arrow text column."""
    if isinstance(values, pa.ChunkedArray):
        values = values.cast(pa.large_string())
        return values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(pa.large_string())
    return pa.array(values, pa.large_string())


def parts(column: Any) -> tuple[Bytes, Offsets]:
    """The bytes of a `large_string` array and the n + 1 offsets into them, without a copy."""
    _, offsets, data = column.buffers()
    where = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1] if offsets else None
    if where is None or len(where) == 0:
        where = np.zeros(1, np.int64)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), where


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
    codes: Channels = table[np.asarray(column.indices.fill_null(len(table) - 1))]
    return codes
