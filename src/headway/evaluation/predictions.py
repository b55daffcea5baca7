"""The table of all predictions of an evaluation: how it is made, digested and looked into.

In: predicted rows per channel. Out: a `pyarrow.Table` (channel, key, true, predicted, probability, probability_true),
its digest, and a few samples for people. Used by `headway.evaluation.entry` and `headway.evaluation.compare`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headway.evaluation.evaluation import Sample
from headway.evaluation.metrics import Scored

SCHEMA_NAMES = ("channel", "key", "true", "predicted", "probability", "probability_true")


def table_of(channel: str, keys: Sequence[str], scored: Scored, *, codes: Mapping[str, int] | None) -> pa.Table:
    """The rows of one channel.

    Args:
        keys: one per row.
        codes: label -> code: what positions are written as; None for regression, where values are written.
    """
    rows = np.arange(len(keys))
    if codes is not None:
        as_code = np.asarray([codes[name] for name in scored.names], dtype=np.int64)
        true, predicted = as_code[scored.true], as_code[scored.predicted]
    else:
        true, predicted = scored.true.astype(np.float64), scored.predicted.astype(np.float64)
    proba = scored.probabilities
    of_predicted = None if proba is None else proba[rows, scored.predicted]
    of_true = None if proba is None else proba[rows, scored.true]
    return pa.table(
        {
            "channel": pa.array([channel] * len(keys), pa.string()),
            "key": pa.array(list(keys), pa.string()),
            "true": pa.array(true),
            "predicted": pa.array(predicted),
            "probability": pa.array(of_predicted, pa.float64())
            if proba is not None
            else pa.nulls(len(keys), pa.float64()),
            "probability_true": pa.array(of_true, pa.float64())
            if proba is not None
            else pa.nulls(len(keys), pa.float64()),
        }
    )


def canonical(table: pa.Table) -> pa.Table:
    """The table in the order of channel and key (bytes of UTF-8), whatever workers and shards made it."""
    return table.sort_by([("channel", "ascending"), ("key", "ascending")]).combine_chunks()


def digest_predictions(table: pa.Table) -> str:
    """SHA-256 over channel, key and prediction of every row in canonical order; probabilities do not count."""
    ordered = canonical(table)
    digest = hashlib.sha256()
    for name in ("channel", "key"):
        texts = [text.encode() for text in ordered.column(name).to_pylist()]
        digest.update(np.asarray([len(text) for text in texts], dtype="<i8").tobytes())
        digest.update(b"".join(texts))
    predicted = ordered.column("predicted").to_numpy()
    digest.update(predicted.astype("<i8" if predicted.dtype.kind == "i" else "<f8").tobytes())
    return digest.hexdigest()


def choose_samples(table: pa.Table, *, count: int, names: Mapping[int, str] | None) -> tuple[Sample, ...]:
    """A few predictions for people: up to half are wrong ones, the surest first; the others are drawn by the digest
    of their key, so that the same predictions always give the same samples.

    Args:
        table: the predictions in canonical order.
        count: how many at most.
        names: code -> label; None for regression: then the largest errors come first.
    """
    wrongness = np.abs(table.column("true").to_numpy() - table.column("predicted").to_numpy())
    if names is not None:
        sureness = np.nan_to_num(table.column("probability").to_numpy(zero_copy_only=False).astype(np.float64))
        wrongness = np.where(wrongness > 0, 1.0 + sureness, 0.0)
    worst_first = np.argsort(-wrongness, kind="stable")
    num_wrong = int(np.count_nonzero(wrongness)) if names is not None else count // 2
    num_worst = min(num_wrong, max(count // 2, count - (table.num_rows - num_wrong)))
    worst, rest = worst_first[:num_worst], np.sort(worst_first[num_wrong:])
    spread = rest[np.linspace(0, len(rest) - 1, min(len(rest), 2_000)).astype(np.int64)]
    drawn: list[dict[str, Any]] = sorted(table.take(spread).to_pylist(), key=_drawn)
    chosen = [*table.take(worst).to_pylist(), *drawn[: count - num_worst]]
    return tuple(_sample(row, names) for row in chosen)


def _drawn(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{row['channel']}\0{row['key']}".encode()).hexdigest()


def _sample(row: Mapping[str, Any], names: Mapping[int, str] | None) -> Sample:
    def word(value: Any) -> str:
        return names[value] if names is not None else f"{value:.6g}"

    return Sample(
        channel=row["channel"],
        key=row["key"],
        true=word(row["true"]),
        predicted=word(row["predicted"]),
        probability=row["probability"],
    )
