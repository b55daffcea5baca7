"""Parts on disk, each file whole or absent.

In: the columns of a part. Out: `<part>.<field>.npy`, `<part>.keys.json` and, last, `<part>.part.json` with the result:
a part is there when that file is. Read by `headway.processing.channel`; `finished` finds what need not be done again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.processing.channel import RowNames
from headway.processing.collect import Filled
from headway.processing.index import FieldInfo, PartResult
from headway.records import Record, decode, encode

RESULT = ".part.json"


class Finished(Record):
    """What `<part>.part.json` holds: the result and of which rows it is."""

    rows_digest: str
    exclude: tuple[str, ...] = ()
    result: PartResult


def write_columns(stem: Path, columns: Mapping[str, Filled]) -> tuple[dict[str, FieldInfo], int]:
    """The fields of a part as records, and the bytes written, after all of them are on disk."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    infos: dict[str, FieldInfo] = {}
    size = 0
    for name, filled in columns.items():
        size += _write_array(Path(f"{stem}.{name}.npy"), filled.values)
        if filled.offsets is not None:
            size += _write_array(Path(f"{stem}.{name}.offsets.npy"), filled.offsets)
        if filled.shapes is not None:
            size += _write_array(Path(f"{stem}.{name}.shapes.npy"), filled.shapes)
        infos[name] = FieldInfo(
            kind=filled.kind,
            dtype=filled.values.dtype.str,
            shape=filled.shape,
            digest=hashlib.sha256(b"".join(filled.row_digests)).hexdigest(),
        )
    return infos, size


def write_names(stem: Path, keys: Iterable[str], codes: Iterable[int]) -> int:
    """Bytes of `<part>.keys.json`, after it is on disk."""
    data = encode(RowNames(keys=tuple(keys), codes=tuple(codes)))
    write_whole(Path(f"{stem}.keys.json"), [data])
    return len(data)


def write_result(stem: Path, finished: Finished) -> None:
    """Say that a part is complete: the last thing that is written of it."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(f"{stem}{RESULT}"), [encode(finished)])


def read_result(stem: Path) -> Finished | None:
    """The result of a complete part; None when it is not complete."""
    path = Path(f"{stem}{RESULT}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return decode(data, Finished, where=str(path))


def finished(stem: Path, *, rows_digest: str, exclude: Collection[str]) -> PartResult | None:
    """The result of a part that was completed before, if it was of the same rows with the same items left out."""
    found = read_result(stem)
    if found is None or found.rows_digest != rows_digest or set(found.exclude) != set(exclude):
        return None
    return found.result


def write_whole(path: Path, chunks: Iterable[Any]) -> None:
    """Write a file so that it is there whole or not at all, also after a power failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_array(path: Path, array: Any) -> int:
    array = np.ascontiguousarray(array)
    header = _Sink()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    write_whole(path, [*header.chunks, array.reshape(-1).view(np.uint8).data])
    return sum(map(len, header.chunks)) + int(array.nbytes)


class _Sink:
    """A file in memory, for the header of a .npy file."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.chunks.append(data)
