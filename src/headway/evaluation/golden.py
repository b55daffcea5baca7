"""Golden predictions: a few rows, what the model made of them, and a check that it still does.

In: rows of a channel and their predictions. Out: a folder with `golden.json` and `golden.npz` that travels with the
model wherever it goes, so that a wheel on another machine can be tested without data. Written by
`headway.evaluation.entry`, kept by `headway.registry`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import DataChangedError
from headway.models.answers import ask_classes, ask_numbers
from headway.models.model import LoadedModel
from headway.records import Record, decode, pretty

MAX_BYTES = 4_000_000
TOLERANCE = 1e-6


class GoldenRow(Record):
    """One row and its prediction.

    Args:
        channel, key: where the row comes from.
        label: predicted label (classification).
        value: predicted number (regression).
        probability: of the predicted label.
    """

    channel: str
    key: str
    label: str | None = None
    value: float | None = None
    probability: float | None = None


class Golden(Record):
    """What `golden.json` says.

    Args:
        fields: names of the rows' fields; empty: a row is one array.
        labels: label -> code of the data.
    """

    schema: int = 1
    rows: tuple[GoldenRow, ...]
    fields: tuple[str, ...] = ()
    labels: dict[str, int] = {}


def write_golden(folder: Path, golden: Golden, samples: Sequence[Any]) -> Golden:
    """Write rows and predictions; what was written: rows beyond `MAX_BYTES` in all are left out.

    Args:
        samples: one per row: an array, bytes, or a dict name -> those.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    total = 0
    kept: list[GoldenRow] = []
    for row, sample in zip(golden.rows, samples, strict=True):
        parts = {name: _as_array(sample[name]) for name in golden.fields} if golden.fields else {"": _as_array(sample)}
        total += sum(part.nbytes for part in parts.values())
        if total > MAX_BYTES:
            break
        arrays.update({f"{len(kept)}.{name}": part for name, part in parts.items()})
        kept.append(row)
    written = Golden(rows=tuple(kept), fields=golden.fields, labels=golden.labels)
    with (folder / "golden.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)
        os.fsync(file.fileno())
    (folder / "golden.json").write_bytes(pretty(written))
    return written


def read_golden(folder: Path) -> tuple[Golden, list[Any]]:
    """The rows' predictions, and the rows.

    Raises:
        DataChangedError: a file is missing or damaged.
    """
    try:
        golden = decode((folder / "golden.json").read_bytes(), Golden, where=str(folder / "golden.json"))
        with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
            rows = [_sample(arrays, number, golden.fields) for number in range(len(golden.rows))]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataChangedError(f"cannot read the golden predictions in {folder}: {error!r}: register again") from error
    return golden, rows


def differences(model: LoadedModel, golden: Golden, samples: Sequence[Any]) -> list[str]:
    """What the model predicts otherwise now, as sentences; empty when all is as it was."""
    if not golden.rows:
        return []
    rows = stack(samples, golden.fields)
    if golden.rows[0].label is None:
        return [
            f"{row.key}: predicted {row.value!r} then, {float(value)!r} now"
            for row, value in zip(golden.rows, ask_numbers(model, rows), strict=True)
            if row.value is None or not _close(row.value, float(value))
        ]
    answers = ask_classes(model, rows, labels=golden.labels)
    found = []
    for number, row in enumerate(golden.rows):
        position = int(answers.predicted[number])
        label = answers.names[position]
        probability = None if answers.probabilities is None else float(answers.probabilities[number, position])
        same = (row.probability is None) == (probability is None)
        if label != row.label or not same or not _close(row.probability or 0.0, probability or 0.0):
            found.append(f"{row.key}: {row.label!r} ({row.probability}) then, {label!r} ({probability}) now")
    return found


def stack(samples: Sequence[Any], fields: Sequence[str] = ()) -> Any:
    """Rows as a model takes them: one array where all have one shape, else a list; a dict of those for fields."""
    if fields:
        return {name: stack([sample[name] for sample in samples]) for name in fields}
    values = list(samples)
    if any(isinstance(value, bytes) for value in values):
        return values
    same = len({(np.shape(value), np.asarray(value).dtype) for value in values}) == 1
    return np.stack([np.asarray(value) for value in values]) if same else values


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _as_array(value: Any) -> Any:
    return np.void(value) if isinstance(value, bytes) else np.asarray(value)


def _sample(arrays: Any, number: int, fields: Sequence[str]) -> Any:
    if fields:
        return {name: _value(arrays[f"{number}.{name}"]) for name in fields}
    return _value(arrays[f"{number}."])


def _value(array: Any) -> Any:
    return array.tobytes() if array.dtype.kind == "V" else array
