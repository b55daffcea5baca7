"""Metrics as lines of `metrics.jsonl`: written by the worker's reports, by patterns on the log, and from a file.

In: names and numbers. Out: one JSON object per line, `{"name", "value", "step", "at", "source"}`, appended whole. A
value that JSON cannot hold (NaN, infinity) is written as null with its text beside it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, final


def number(value: Any) -> float | None:
    """The value as a float, or None if it is not a number (texts are not)."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def line(name: str, value: float, *, step: int | None, at: float, source: str) -> bytes:
    """One line of a metrics file."""
    row: dict[str, Any] = {"name": name, "value": value, "step": step, "at": at, "source": source}
    if not math.isfinite(value):
        row |= {"value": None, "text": str(value)}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def shown(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values as JSON can hold them."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def append(path: str, data: bytes) -> None:
    """Append whole lines in one write, so that lines of several writers never mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        written = os.write(file, data)
    finally:
        os.close(file)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes could be appended to {path}: is the disk full?")


@final
class Tail:
    """Reads the whole lines that were appended to a file since the last look."""

    def __init__(self, path: str, *, offset: int = 0) -> None:
        self.path, self._offset, self._rest = path, offset, b""

    def read(self) -> list[bytes]:
        """New lines without their ends; [] when there is nothing new or no file."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            if os.fstat(file).st_size < self._offset:
                self._offset, self._rest = 0, b""
            data = b""
            while piece := os.pread(file, 1 << 20, self._offset):
                self._offset += len(piece)
                data += piece
        finally:
            os.close(file)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def parse(text: bytes) -> list[tuple[str, float, int | None]]:
    """Name, value and step of each metric on a line; both `{"name": "loss", "value": 1}` and `{"loss": 1, "step": 3}`.

    Lines that are no JSON object give nothing.
    """
    try:
        row = json.loads(text)
    except ValueError:
        return []
    if not isinstance(row, dict):
        return []
    step = row.get("step") if isinstance(row.get("step"), int) else None
    if "name" in row and "value" in row:
        text_value = row.get("text")
        value = (
            float(text_value) if row["value"] is None and text_value in ("nan", "inf", "-inf") else number(row["value"])
        )
        return [] if value is None else [(str(row["name"]), value, step)]
    named = [(name, number(value), step) for name, value in row.items() if name not in ("step", "at", "source")]
    return [(name, value, step) for name, value, step in named if value is not None]
