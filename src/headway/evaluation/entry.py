"""What an evaluation job runs: score one model on the channels validation and test of one dataset.

In: the context of a worker, whose channels carry the `index` of the dataset and whose options say which model. Out:
`output/evaluation.json` (an `Evaluation`), `output/predictions.parquet`, `output/golden/`, and the metrics. Before:
training, tuning. After: gates, comparison, `headway.registry`. Nothing but this opens the test channel.

Options of the job (plain JSON):
    model: absolute path of the model's folder.
    model_ref: id of the job or version that it came from; missing: told by the path.
    code: absolute path of the code that the model's classes come from; may be missing.
    metrics: names; missing: the default ones.
    samples: number of sample predictions (24).
    task: `classification` or `regression`; missing: told by the labels and the type of `y`.
    dataset: `{"id", "digest"}` for the record; missing: as the index says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headway.errors import DataChangedError, ManifestError
from headway.evaluation.evaluation import EVALUATION_FILE, GOLDEN_FOLDER, PREDICTIONS_FILE, Confusion, Evaluation, Task
from headway.evaluation.golden import Golden, GoldenRow, write_golden
from headway.evaluation.metrics import Scored, choose, compute, confusion_counts
from headway.evaluation.predictions import canonical, choose_samples, digest_predictions, table_of
from headway.evaluation.scoring import score
from headway.models.model import LoadedModel, load
from headway.processing.channel import ChannelData
from headway.processing.dataset import OpenDataset, open_dataset
from headway.records import pretty

CHANNELS = ("validation", "test")
MAX_CLASSES = 100
NUM_GOLDEN = 8


class EvaluationContext(Protocol):
    """What is used of `headway.worker.context.Context`."""

    @property
    def job(self) -> str:
        """Id of the job."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the job was given."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """Name -> channel, with its part of the ticket."""

    @property
    def output_dir(self) -> Any:
        """Folder for what is made."""


@dataclass(slots=True)
class _Results:
    """What the channels gave so far."""

    metrics: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    confusion: dict[str, Confusion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    tables: list[pa.Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(context: EvaluationContext, target: Any = None) -> dict[str, float]:
    """Score the model; the metrics as `<channel>:<name>`.

    Args:
        context: of the worker.
        target: not used; there so that the worker's runtime can call this as a runner.

    Raises:
        ManifestError: no channel has a row.
        ProgramError: the model cannot be loaded, or predicts something that cannot be scored.
    """
    del target
    options = context.options
    model = load(options["model"], code=options.get("code"))
    dataset = _dataset(context)
    channels = {name: dataset.channel(name, allow_test=True) for name in CHANNELS if name in dataset.dataset.channels}
    task = _task(options, dataset, channels)
    results = _Results()
    if task == "classification":
        _name_labels(dataset, channels, results)
    names = choose(task, options.get("metrics"))
    for name in CHANNELS:
        _score_channel(name, channels.get(name), model=model, task=task, metrics=names, results=results)
    if not results.tables:
        raise ManifestError(
            f"there is nothing to score: the channels {' and '.join(CHANNELS)} of {dataset.dataset.id} are empty; "
            "build the manifest with Split(validation=..., test=...) above 0 and process it again"
        )
    return _write(context, model=model, dataset=dataset, channels=channels, task=task, results=results)


def _dataset(context: EvaluationContext) -> OpenDataset:
    tickets = [context.channels[name].ticket for name in CHANNELS if name in context.channels]
    indexes = {str(ticket["index"]) for ticket in tickets if ticket.get("index")}
    if len(indexes) != 1:
        raise DataChangedError(
            f"{context.job} must be given the channels validation and test of one processed dataset, got indexes "
            f"{sorted(indexes)!r}: process the manifest first"
        )
    return open_dataset(indexes.pop())


def _task(options: Mapping[str, Any], dataset: OpenDataset, channels: Mapping[str, ChannelData]) -> Task:
    given = options.get("task")
    if given in ("classification", "regression"):
        return given  # type: ignore[no-any-return]
    if given is not None:
        raise ValueError(f"task must be 'classification' or 'regression', got {given!r}")
    for channel in channels.values():
        if len(channel):
            return "regression" if _numbers(channel).dtype.kind == "f" else "classification"
    return "classification" if dataset.dataset.labels else "regression"


def _name_labels(dataset: OpenDataset, channels: Mapping[str, ChannelData], results: _Results) -> None:
    """The manifest's labels, unless the transform gave classes of its own: those are named by their numbers."""
    for channel in channels.values():
        own = np.asarray(channel.field("y")).reshape(-1) if len(channel) else np.zeros(0)
        if not np.array_equal(own, channel.codes()):
            results.notes.append("the transform gave classes of its own (y): they are named by their numbers")
            return
    results.labels.update(dataset.dataset.labels)


def _numbers(channel: ChannelData) -> Any:
    return np.asarray(channel.take(np.arange(1))[1])


def _score_channel(
    name: str,
    channel: ChannelData | None,
    *,
    model: LoadedModel,
    task: Task,
    metrics: tuple[str, ...],
    results: _Results,
) -> None:
    """Add one channel to the results; an empty or missing one adds a note."""
    if channel is None or len(channel) == 0:
        results.notes.append(f"the channel {name} {'is empty' if channel is not None else 'is missing'}: not scored")
        return
    keys, scored, notes = score(model, channel, task=task, labels=results.labels)
    results.notes += [f"{name}: {note}" for note in notes]
    if not keys:
        return
    for label in scored.names:
        results.labels.setdefault(label, max(results.labels.values(), default=-1) + 1)
    results.tables.append(table_of(name, keys, scored, codes=results.labels if task == "classification" else None))
    results.rows[name] = len(keys)
    values, left_out = compute(metrics, scored)
    results.metrics.update({f"{name}:{metric}": value for metric, value in values.items()})
    results.notes += [f"{name}: {note}" for note in left_out]
    if task == "classification":
        _add_confusion(name, scored, results)


def _add_confusion(name: str, scored: Scored, results: _Results) -> None:
    present = np.unique(np.concatenate([scored.true, scored.predicted]))
    if len(np.unique(scored.true)) == 1:
        results.notes.append(f"{name}: all rows are {scored.names[int(scored.true[0])]!r}: these scores say little")
    if len(present) > MAX_CLASSES:
        wrong = np.bincount(scored.true[scored.true != scored.predicted], minlength=len(scored.names))
        present = np.sort(np.argsort(-wrong, kind="stable")[:MAX_CLASSES])
        results.notes.append(f"{name}: the confusion matrix shows the {MAX_CLASSES} labels that are wrong most often")
    counts = confusion_counts(scored, present.tolist())
    labels = tuple(scored.names[int(n)] for n in present)
    results.confusion[name] = Confusion(labels=labels, counts=tuple(tuple(row) for row in counts))


def _write(
    context: EvaluationContext,
    *,
    model: LoadedModel,
    dataset: OpenDataset,
    channels: Mapping[str, ChannelData],
    task: Task,
    results: _Results,
) -> dict[str, float]:
    """Write table, golden predictions and, last, the evaluation."""
    options = context.options
    output = Path(context.output_dir)
    table = canonical(pa.concat_tables(results.tables))
    names = {code: label for label, code in results.labels.items()} if task == "classification" else None
    given = options.get("dataset") or {}
    evaluation = Evaluation(
        id=context.job,
        model=str(options.get("model_ref") or _origin(Path(options["model"]))),
        model_digest=model.info.digest,
        dataset=str(given.get("id") or dataset.dataset.id),
        dataset_digest=str(given.get("digest") or dataset.dataset.digest),
        task=task,
        metrics=results.metrics,
        rows=results.rows,
        labels=results.labels,
        confusion=results.confusion,
        samples=choose_samples(_last(table), count=int(options.get("samples", 24)), names=names),
        predictions_digest=digest_predictions(table),
        notes=tuple(results.notes),
    )
    pq.write_table(table, output / Path(PREDICTIONS_FILE).name)
    _write_golden(output / Path(GOLDEN_FOLDER).name, table, channels, names=names, labels=results.labels)
    temporary = output / ".tmp-evaluation.json"
    temporary.write_bytes(pretty(evaluation))
    os.replace(temporary, output / Path(EVALUATION_FILE).name)
    return results.metrics


def _origin(folder: Path) -> str:
    """Id of the job that a model's folder belongs to, else the folder's name: records hold no path of a machine."""
    parts = folder.parts
    return parts[parts.index("jobs") + 1] if "jobs" in parts[:-1] else folder.name


def _last(table: pa.Table) -> pa.Table:
    """The rows of the test channel, or of validation where test has none."""
    channels = set(table.column("channel").to_pylist())
    chosen = "test" if "test" in channels else "validation"
    return table.filter(pa.compute.equal(table.column("channel"), chosen))


def _write_golden(
    folder: Path,
    table: pa.Table,
    channels: Mapping[str, ChannelData],
    *,
    names: Mapping[int, str] | None,
    labels: dict[str, int],
) -> None:
    part = _last(table)
    spread = np.unique(np.linspace(0, part.num_rows - 1, min(part.num_rows, NUM_GOLDEN)).astype(np.int64))
    rows = part.take(spread).to_pylist()
    channel = channels[rows[0]["channel"]]
    where = {key: number for number, key in enumerate(channel.keys())}
    taken, _ = channel.take(np.asarray([where[row["key"]] for row in rows], dtype=np.int64))
    fields = tuple(sorted(taken)) if isinstance(taken, dict) else ()
    samples = [{f: taken[f][n] for f in fields} if fields else taken[n] for n in range(len(rows))]
    golden = Golden(
        rows=tuple(
            GoldenRow(
                channel=row["channel"],
                key=row["key"],
                label=names[row["predicted"]] if names is not None else None,
                value=None if names is not None else row["predicted"],
                probability=row["probability"],
            )
            for row in rows
        ),
        fields=fields,
        labels=labels,
    )
    write_golden(folder, golden, samples)
