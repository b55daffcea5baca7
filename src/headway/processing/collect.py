"""What a transform returned, item by item, gathered into columns.

In: one value per item (array, number, dict of those, bytes, None). Out: `Gathered`: columns ready to be written, the
digest of each row. Used by `headway.processing.entry`; `headway.processing.store` writes the columns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from headway.errors import ProgramError
from headway.processing.index import FieldKind
from headway.records import Record

Array = NDArray[Any]
FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_KINDS = "biufcmM"


class Filled(Record):
    """One field of a part, complete.

    Args:
        kind, shape: as in `headway.processing.index.FieldInfo`.
        values: dense: (n, ...); ragged and bytes: all values in one row.
        offsets: (n + 1,) where each sample begins in `values`; None when dense.
        shapes: (n, ndim) of ragged samples.
        row_digests: SHA-256 of each row's bytes.
    """

    kind: FieldKind
    shape: tuple[int, ...]
    values: Any
    offsets: Any = None
    shapes: Any = None
    row_digests: tuple[bytes, ...] = ()


@final
class Column:
    """The samples of one field: in one array while their shapes are equal, else one by one.

    Args:
        name: of the field.
        num_rows: most samples that can come.
        spare: a buffer of an earlier part, to be used again (fresh memory costs more than the copy into it).
    """

    def __init__(self, name: str, *, num_rows: int, spare: Array | None = None) -> None:
        self.name, self._num_rows, self._spare = name, num_rows, spare
        self._dense: Array | None = None
        self._room: Array | None = None
        self._loose: dict[int, Any] | None = None
        self._first: tuple[str, Any] | None = None
        self._rows: set[int] = set()

    def put(self, row: int, value: Any, *, key: str) -> None:
        """Take the sample of an item.

        Raises:
            ProgramError: it is of another type than that of an earlier item (both are named).
        """
        if self._first is None:
            self._first = key, value
            if isinstance(value, bytes):
                self._loose = {}
            else:
                self._room, self._dense = _room((self._num_rows, *value.shape), value.dtype, self._spare)
        if _type(value) != _type(self._first[1]):
            raise ProgramError(
                f"the transform must return one type for the field {self.name!r}: for {self._first[0]!r} it returned "
                f"{_type(self._first[1])}, for {key!r} {_type(value)}; "
                "give the type, as in np.asarray(value, 'float32')"
            )
        if self._dense is not None and value.shape != self._dense.shape[1:]:
            self._loose = {done: self._dense[done].copy() for done in sorted(self._rows)}
            self._dense = None
        self._rows.add(row)
        if self._dense is not None:
            self._dense[row] = value
        elif self._loose is not None:
            self._loose[row] = value if isinstance(value, bytes) else value.copy()

    def fill(self) -> Filled:
        """The field over all rows that came, in their order."""
        rows = sorted(self._rows)
        if self._dense is not None:
            values = self._dense[: len(rows)] if rows[-1] == len(rows) - 1 else self._dense[rows]
            return Filled(kind="dense", shape=values.shape[1:], values=values, row_digests=tuple(_row_digests(values)))
        loose = [(self._loose or {})[row] for row in rows]
        if isinstance(loose[0], bytes):
            flat = np.frombuffer(b"".join(loose), dtype=np.uint8)
            digests = tuple(hashlib.sha256(value).digest() for value in loose)
            return Filled(
                kind="bytes", shape=(-1,), values=flat, offsets=_offsets(map(len, loose)), row_digests=digests
            )
        shapes = np.asarray([value.shape for value in loose], dtype=np.int64)
        common = tuple(int(side) if (shapes[:, axis] == side).all() else -1 for axis, side in enumerate(shapes[0]))
        return Filled(
            kind="ragged",
            shape=common,
            values=np.concatenate([value.reshape(-1) for value in loose]),
            offsets=_offsets(value.size for value in loose),
            shapes=shapes,
            row_digests=tuple(hashlib.sha256(np.ascontiguousarray(value).data).digest() for value in loose),
        )

    @property
    def buffer(self) -> Array | None:
        """The memory that another part may fill once this one is written."""
        return self._room


def fields_of(value: Any) -> dict[str, Any]:
    """What a transform returned for one item, as a dict of arrays and bytes; a single value is the field `x`.

    Raises:
        TypeError: it is nothing that can be stored as numbers or bytes.
        ValueError: a field's name cannot be part of a file's name.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or not FIELD.fullmatch(name):
                raise ValueError(f"a field's name must match {FIELD.pattern}, the transform returned {name!r}")
        if not value:
            raise TypeError("the transform returned an empty dict: return None for an item that is to be left out")
        return {name: _stored(name, part) for name, part in value.items()}
    return {"x": _stored("x", value)}


def _stored(name: str, value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        raise TypeError(f"the transform returned a str for {name!r}: return bytes, text.encode('utf-8')")
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS:
        raise TypeError(
            f"the transform returned {array.dtype} for {name!r} (a {type(value).__name__}): only numbers, times and "
            "bytes are stored; objects would be pickles that no other program can read"
        )
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and np.little_endian is False):
        array = array.astype(array.dtype.newbyteorder("<"))
    return array


@final
class Gather:
    """The values of the items of a part, taken one by one in any order of rows.

    Args:
        num_rows: of the part.
        spare: buffers by field; those of this part are left in it by `keep_buffers`.
    """

    def __init__(self, num_rows: int, *, spare: dict[str, Array]) -> None:
        self._num_rows, self._spare = num_rows, spare
        self._columns: dict[str, Column] = {}
        self._first_key = ""
        self.rows: set[int] = set()

    def add(self, row: int, value: Any, *, key: str) -> None:
        """Take what the transform returned for an item; None is no value.

        Raises:
            TypeError, ValueError: it cannot be stored.
            ProgramError: it has other fields or types than an earlier item (both are named).
        """
        if value is None:
            return
        fields = fields_of(value)
        if not self._columns:
            self._first_key = key
            for name in fields:
                self._columns[name] = Column(name, num_rows=self._num_rows, spare=self._spare.pop(name, None))
        if fields.keys() != self._columns.keys():
            raise ProgramError(
                f"the transform must return the same fields for every item: for {self._first_key!r} it returned "
                f"{sorted(self._columns)}, for {key!r} {sorted(fields)}"
            )
        for name, part in fields.items():
            self._columns[name].put(row, part, key=key)
        self.rows.add(row)

    def fill(self) -> dict[str, Filled]:
        """All fields over the rows that have a value, in their order."""
        return {name: column.fill() for name, column in self._columns.items()}

    def keep_buffers(self) -> None:
        """Leave the buffers to the next part; the columns given by `fill` are not to be used any more."""
        for name, column in self._columns.items():
            if column.buffer is not None:
                self._spare[name] = column.buffer


def dense(values: Array) -> Filled:
    """A field whose samples have one shape, from all of them."""
    return Filled(kind="dense", shape=values.shape[1:], values=values, row_digests=tuple(_row_digests(values)))


def row_sum(keys: list[str], codes: list[int], columns: Mapping[str, Filled]) -> str:
    """The sum of the rows' digests modulo 2**256 (see `headway.processing.index.channel_digest`)."""
    names = sorted(columns)
    heads = {name: _head(name, columns[name]) for name in names}
    total = 0
    for row, (key, code) in enumerate(zip(keys, codes, strict=True)):
        digest = hashlib.sha256(f"{len(key.encode())}:{key}:{code}".encode())
        for name in names:
            filled = columns[name]
            shape = filled.shape if filled.kind == "dense" else _shape_of(filled, row)
            digest.update(b"%s%s:" % (heads[name], ",".join(map(str, shape)).encode()))
            digest.update(filled.row_digests[row])
        total += int.from_bytes(digest.digest(), "big")
    return f"{total % (1 << 256):064x}"


def _head(name: str, filled: Filled) -> bytes:
    return f"|{name}:{'bytes' if filled.kind == 'bytes' else filled.values.dtype.str}:".encode()


def _shape_of(filled: Filled, row: int) -> tuple[int, ...]:
    if filled.kind == "bytes":
        return ()
    return tuple(int(side) for side in filled.shapes[row])


def _row_digests(values: Array) -> list[bytes]:
    if values.size == 0:
        return [hashlib.sha256().digest()] * len(values)
    flat = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8).reshape(len(values), -1)
    return [hashlib.sha256(row.data).digest() for row in flat]


def _offsets(lengths: Any) -> NDArray[np.int64]:
    sizes = np.fromiter(lengths, dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int64)


def _room(shape: tuple[int, ...], dtype: Any, spare: Array | None) -> tuple[Array, Array]:
    """Memory, and an array of that shape in it: the spare memory where it is large enough."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = spare if spare is not None and spare.nbytes >= size else np.empty(size, dtype=np.uint8)
    return room, room[:size].view(dtype).reshape(shape)


def _type(value: Any) -> str:
    return "bytes" if isinstance(value, bytes) else f"{value.dtype.str} with {value.ndim} dimensions"
