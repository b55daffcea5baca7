"""The result of scoring one model on one dataset, as a value, and how it is read back from its job.

In: a job's folder (`jobs/<id>/attempts/<n>/output/`). Out: `Evaluation` and its table of predictions. Before:
`headway.evaluation.entry` writes them in a worker. After: gates, comparison, the page, `headway.registry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headway.errors import DataChangedError, NotFoundError
from headway.records import Record, decode, digest_of

if TYPE_CHECKING:
    from headway.stores.files import Files

EVALUATION_FILE = "output/evaluation.json"
PREDICTIONS_FILE = "output/predictions.parquet"
GOLDEN_FOLDER = "output/golden"

Task = Literal["classification", "regression"]


class Confusion(Record):
    """How often each true label was predicted as each: `counts[true][predicted]`, both in the order of `labels`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Sample(Record):
    """One prediction, for people: the key of the raw file, true and predicted label, probability of the predicted."""

    channel: str
    key: str
    true: str
    predicted: str
    probability: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the prediction is the true label."""
        return self.true == self.predicted


class Evaluation(Record):
    """One model scored on one dataset.

    Args:
        id: the id of the evaluation's job.
        model: what was scored: the id of the job or model version that it came from.
        model_digest: digest of the model's files.
        dataset: id of the dataset.
        dataset_digest: digest of its content: only evaluations of equal digests can be compared.
        task: what the metrics mean.
        metrics: `<channel>:<name>` -> value, `test:accuracy`.
        rows: channel -> number of rows scored.
        labels: label -> code of every label that is true or predicted.
        confusion: channel -> matrix; empty for regression.
        samples: a few predictions, wrong ones first.
        predictions_digest: digest of all predictions in the order of channel and key; the same on every engine.
        notes: what could not be computed or is odd, as sentences.
    """

    schema: int = 1
    id: str
    model: str
    model_digest: str
    dataset: str
    dataset_digest: str
    task: Task
    metrics: dict[str, float]
    rows: dict[str, int] = {}
    labels: dict[str, int] = {}
    confusion: dict[str, Confusion] = {}
    samples: tuple[Sample, ...] = ()
    predictions_digest: str = ""
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of what was scored and what came out, whatever job did it; of the metrics only their names count, as
        their values follow from the rest but for the last bits."""
        return digest_of(
            {
                "model": self.model_digest,
                "dataset": self.dataset_digest,
                "metrics": sorted(self.metrics),
                "predictions": self.predictions_digest,
            }
        )

    def metric(self, name: str) -> float:
        """The value of a metric.

        Raises:
            NotFoundError: it was not computed; lists what was, and the note that says why it was left out.
        """
        if name not in self.metrics:
            short = name.partition(":")[2] or name
            why = " ".join(note for note in self.notes if short in note)
            raise NotFoundError("metric", name, self.metrics, hint=why)
        return self.metrics[name]


def output_folder(files: Files, job_id: str) -> str:
    """The folder of the attempt that counts, of an evaluation's job.

    Raises:
        NotFoundError: the job has no result.
    """
    from headway.stores.commit import result

    chosen = result(files, f"jobs/{job_id}")
    if chosen is None:
        known = [e.path.rpartition("/")[2] for e in files.list("jobs") if "/evaluate-" in e.path]
        raise NotFoundError("finished evaluation", job_id, known)
    return f"jobs/{job_id}/attempts/{chosen.attempt}"


def load_evaluation(files: Files, job_id: str) -> Evaluation:
    """The evaluation that a finished job made."""
    path = f"{output_folder(files, job_id)}/{EVALUATION_FILE}"
    return decode(files.read(path), Evaluation, where=path)


def load_predictions(files: Files, evaluation: Evaluation) -> Any:
    """All predictions as a `pyarrow.Table` (channel, key, true, predicted, probability, probability_true).

    Raises:
        DataChangedError: the table is not the one that the evaluation was made of.
    """
    import io

    import pyarrow.parquet as pq

    from headway.evaluation.predictions import digest_predictions

    path = f"{output_folder(files, evaluation.id)}/{PREDICTIONS_FILE}"
    table = pq.read_table(io.BytesIO(files.read(path)))
    found = digest_predictions(table)
    if found != evaluation.predictions_digest:
        raise DataChangedError(
            f"{path} is not the table that {evaluation.id} was made of: expected digest "
            f"{evaluation.predictions_digest[:12]}, got {found[:12]}; evaluate again"
        )
    return table
