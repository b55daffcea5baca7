"""What a model answers, checked and put into words: labels instead of codes, probabilities by label, or plain numbers.

In: a `LoadedModel`, rows, and the labels of the data. Out: `Answers` (classes) or an array (numbers). Used by
`headway.evaluation` and `headway.registry.predictor`, so that both read a model in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from headway.errors import ProgramError
from headway.models.model import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Classes predicted for rows.

    Attributes:
        names: every label of the data in the order of codes, then those that only the model knows.
        predicted: position in `names` of each row's prediction.
        probabilities: (rows, names), or None when the model gives none.
        notes: what is odd, as sentences.
    """

    names: tuple[str, ...]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def ask_classes(model: LoadedModel, rows: Any, *, labels: Mapping[str, int]) -> Answers:
    """The model's classes for rows.

    A model may answer with codes (of the labels that it was saved with, else of the data's), with labels, or with one
    column per class, of which the largest wins.

    Args:
        rows: as the model takes them; `len(rows)` answers are expected (of a dict of fields: of its first field).
        labels: label -> code, of the data.

    Raises:
        ProgramError: another number of answers than rows, an answer that is not a number or label, NaN.
    """
    raw = _answers(model, rows)
    names = Names(model, labels)
    if raw.ndim == 2 and raw.shape[1] > 1:
        return _from_columns(model, raw, names=names)
    flat = raw.reshape(len(raw))
    positions = np.fromiter((names.position(value) for value in _whole(model, flat)), dtype=np.int64, count=len(flat))
    table, notes = _probabilities(model, rows, names=names)
    return Answers(names=names.all(), predicted=positions, probabilities=_widen(table, names), notes=notes)


def ask_numbers(model: LoadedModel, rows: Any) -> NDArray[np.float64]:
    """The model's numbers for rows: (rows,).

    Raises:
        ProgramError: another number of answers than rows, or an answer that is not a finite number.
    """
    raw = _answers(model, rows)
    flat = raw.reshape(len(raw)) if raw.size == len(raw) else raw
    if flat.ndim != 1 or not (np.issubdtype(flat.dtype, np.number) or flat.dtype == bool):
        raise ProgramError(
            f"the {model.info.kind} must predict one number per row, got {flat.dtype} of shape {raw.shape}"
        )
    values = flat.astype(np.float64)
    _no_nan(model, values)
    return values


@final
class Names:
    """The labels of the data by position, and those that the model adds.

    Args:
        model: its own labels, if it was saved with some, say what its codes mean.
        labels: label -> code, of the data.
    """

    def __init__(self, model: LoadedModel, labels: Mapping[str, int]) -> None:
        own = model.info.labels if model.info.labels is not None else labels
        self._by_code = {code: label for label, code in own.items()}
        self._positions = {label: n for n, label in enumerate(sorted(labels, key=lambda label: labels[label]))}

    def position(self, value: Any) -> int:
        """Position of a code or label; one that was never seen is added at the end."""
        label = value if isinstance(value, str) else self._by_code.get(int(value), str(int(value)))
        return self._positions.setdefault(label, len(self._positions))

    def all(self) -> tuple[str, ...]:
        """Every label so far, in order."""
        return tuple(self._positions)


def count_rows(rows: Any) -> int:
    """How many rows there are in an array, a sequence or a dict of fields."""
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)


def _answers(model: LoadedModel, rows: Any) -> NDArray[Any]:
    answers = np.asarray(model.predict(rows))
    expected = count_rows(rows)
    if answers.ndim == 0 or len(answers) != expected:
        got = "one value" if answers.ndim == 0 else f"{len(answers)} answers"
        raise ProgramError(
            f"the {model.info.kind} was asked to predict {expected} rows and gave {got}: it must give one per row"
        )
    return answers


def _whole(model: LoadedModel, answers: NDArray[Any]) -> Sequence[Any]:
    """Codes as integers, labels as text."""
    if answers.dtype.kind in "US":
        return [str(value) for value in answers.astype(str)]
    if answers.dtype == object:
        return [value if isinstance(value, str) else int(value) for value in answers]
    if answers.dtype.kind == "f":
        _no_nan(model, answers)
        if not np.array_equal(answers, np.rint(answers)):
            odd = answers[answers != np.rint(answers)][0]
            raise ProgramError(f"the {model.info.kind} must predict classes (codes or labels), got the number {odd!r}")
    elif answers.dtype.kind not in "iub":
        raise ProgramError(f"the {model.info.kind} must predict codes or labels, got values of type {answers.dtype}")
    codes: list[int] = answers.astype(np.int64).tolist()
    return codes


def _no_nan(model: LoadedModel, answers: NDArray[Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(answers))
    if len(bad):
        raise ProgramError(
            f"the {model.info.kind} predicted {answers[bad[0]]} for {len(bad)} of {len(answers)} rows (the first is "
            f"row {bad[0]}): it cannot be scored so; look for values that overflow in its training, or at the rows"
        )


def _from_columns(model: LoadedModel, raw: NDArray[Any], *, names: Names) -> Answers:
    """Answers of a model that gives one column per class."""
    _no_nan(model, raw.reshape(-1))
    classes = model.classes or list(range(raw.shape[1]))
    if len(classes) != raw.shape[1]:
        raise ProgramError(f"the {model.info.kind} gave {raw.shape[1]} columns for {len(classes)} classes")
    where = np.asarray([names.position(c) for c in classes], dtype=np.int64)
    sums_to_one = bool(np.all(raw >= 0)) and bool(np.allclose(raw.sum(axis=1), 1.0, atol=1e-3))
    table = _spread(raw.astype(np.float64), where, len(names.all())) if sums_to_one else None
    return Answers(names=names.all(), predicted=where[np.argmax(raw, axis=1)], probabilities=table)


def _probabilities(
    model: LoadedModel, rows: Any, *, names: Names
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    found = model.predict_proba(rows)
    if found is None:
        return None, ()
    table = np.asarray(found, dtype=np.float64)
    classes = model.classes or list(range(table.shape[1] if table.ndim == 2 else 0))
    if table.shape != (count_rows(rows), len(classes)):
        return None, (
            f"probabilities were left out: expected shape {(count_rows(rows), len(classes))}, got {table.shape}",
        )
    if not np.all(np.isfinite(table)):
        bad = int(np.count_nonzero(~np.isfinite(table).all(axis=1)))
        return None, (f"probabilities were left out: {bad} rows have NaN or infinite ones",)
    where = np.asarray([names.position(c) for c in classes], dtype=np.int64)
    return _spread(table, where, len(names.all())), ()


def _spread(table: NDArray[np.float64], where: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Columns moved to the positions of their labels; labels that the model does not know get 0."""
    spread = np.zeros((len(table), width))
    spread[:, where] = table
    return spread


def _widen(table: NDArray[np.float64] | None, names: Names) -> NDArray[np.float64] | None:
    width = len(names.all())
    if table is None or table.shape[1] == width:
        return table
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))
