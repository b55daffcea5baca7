"""A channel predicted by a model, in batches, true and predicted values on one scale.

In: a `LoadedModel` and a channel. Out: keys and `Scored` rows. Used by `headway.evaluation.entry`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.evaluation.evaluation import Task
from headway.evaluation.metrics import Scored
from headway.models.answers import Answers, ask_classes, ask_numbers
from headway.models.model import LoadedModel
from headway.processing.channel import ChannelData

BATCH_BYTES = 64_000_000
MAX_BATCH_ROWS = 65_536


def score(
    model: LoadedModel, channel: ChannelData, *, task: Task, labels: Mapping[str, int]
) -> tuple[list[str], Scored, list[str]]:
    """Keys, rows and notes of a channel, in the order of the keys, so that sums come out the same for any shards.

    Args:
        labels: label -> code of the data; empty for regression.
    """
    if task == "regression":
        values = np.concatenate([ask_numbers(model, rows) for rows, _ in _batches(channel)])
        true = np.concatenate([np.asarray(y, dtype=np.float64).reshape(-1) for _, y in _batches(channel)])
        return _in_order(*_finite(channel.keys(), true, values))
    parts = [(ask_classes(model, rows, labels=labels), np.asarray(y)) for rows, y in _batches(channel)]
    return _in_order(*_classes(channel.keys(), parts, labels=labels, own=model.info.labels))


def _in_order(keys: list[str], scored: Scored, notes: list[str]) -> tuple[list[str], Scored, list[str]]:
    order = sorted(range(len(keys)), key=lambda row: keys[row].encode())
    probabilities = None if scored.probabilities is None else scored.probabilities[order]
    ordered = Scored(
        true=scored.true[order], predicted=scored.predicted[order], probabilities=probabilities, names=scored.names
    )
    return [keys[row] for row in order], ordered, notes


def _classes(
    keys: list[str],
    parts: list[tuple[Answers, NDArray[Any]]],
    *,
    labels: Mapping[str, int],
    own: Mapping[str, int] | None,
) -> tuple[list[str], Scored, list[str]]:
    names = tuple(dict.fromkeys(name for answers, _ in parts for name in answers.names))
    place = {name: n for n, name in enumerate(names)}
    true_codes = np.concatenate([np.asarray(y, dtype=np.int64).reshape(-1) for _, y in parts])
    by_code = {code: place[label] for label, code in labels.items()}
    unknown = sorted(set(np.unique(true_codes).tolist()) - set(by_code) - {-1})
    for code in unknown:
        by_code[code] = place.setdefault(str(code), len(place))
    names = tuple(place)
    predicted = np.concatenate([np.asarray([place[n] for n in a.names])[a.predicted] for a, _ in parts])
    probabilities = _join([a for a, _ in parts], place)
    known = true_codes != -1
    positions = np.asarray([by_code.get(int(code), -1) for code in true_codes], dtype=np.int64)
    notes = list(dict.fromkeys(note for a, _ in parts for note in a.notes))
    if not known.all():
        notes.append(f"{int(np.count_nonzero(~known))} rows have no label and are not scored")
    missing = [n for n in labels if own is not None and n not in own and np.any(positions == place[n])]
    if missing:
        rows = int(np.isin(positions, [place[n] for n in missing]).sum())
        shown = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        notes.append(f"the model was trained without {shown}: the {rows} rows of it count as wrong")
    scored = Scored(
        true=positions[known],
        predicted=predicted[known],
        probabilities=None if probabilities is None else probabilities[known],
        names=names,
    )
    return [key for key, keep in zip(keys, known.tolist(), strict=True) if keep], scored, notes


def _join(parts: list[Answers], place: Mapping[str, int]) -> NDArray[np.float64] | None:
    tables = []
    for answers in parts:
        if answers.probabilities is None:
            return None
        table = np.zeros((len(answers.predicted), len(place)))
        table[:, [place[name] for name in answers.names]] = answers.probabilities
        tables.append(table)
    return np.concatenate(tables)


def _finite(
    keys: list[str], true: NDArray[np.float64], predicted: NDArray[np.float64]
) -> tuple[list[str], Scored, list[str]]:
    known = np.isfinite(true)
    notes = [] if known.all() else [f"{int(np.count_nonzero(~known))} rows have no finite y and are not scored"]
    kept = [key for key, keep in zip(keys, known.tolist(), strict=True) if keep]
    return kept, Scored(true=true[known], predicted=predicted[known]), notes


def _batches(channel: ChannelData) -> Iterator[tuple[Any, Any]]:
    """(X, y) over all rows in order, in pieces that fit into memory."""
    first, _ = channel.take(np.arange(min(1, len(channel))))
    fields = list(first.values()) if isinstance(first, dict) else [first]
    row_bytes = sum(np.asarray(f[0]).nbytes if not isinstance(f[0], bytes) else len(f[0]) for f in fields)
    size = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // max(1, row_bytes)))
    for start in range(0, len(channel), size):
        yield channel.take(np.arange(start, min(start + size, len(channel))))
