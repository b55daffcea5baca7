"""Datasets, evaluations and registered models for tests, made with the package's own functions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headway.evaluation.entry import evaluate
from headway.evaluation.evaluation import Evaluation
from headway.models.model import save
from headway.processing.collect import Gather, row_sum
from headway.processing.dataset import Dataset, write_index
from headway.processing.index import PartInfo, PartResult
from headway.processing.store import write_columns, write_names
from headway.records import decode, pretty
from headway.stores import commit
from headway.stores.files import Files
from headway.stores.ledger import Ledger
from headway.worker.context import Context

Rows = tuple[Sequence[str], Sequence[int], Sequence[Any]]


def worker_context(job: str, *, channels: Mapping[str, Any], options: Mapping[str, Any], output: Path) -> Context:
    """The context of the only worker of a job."""
    folders = {"model": str(output / "model"), "output": str(output), "scratch": str(output / "scratch")}
    ticket = {
        "job": job,
        "attempt": 1,
        "rank": 0,
        "world_size": 1,
        "hosts": ["algo-1"],
        "hyperparameters": {},
        "channels": dict(channels),
        "options": dict(options),
        "folders": {**folders, "checkpoints": str(output / "checkpoints")},
    }
    return Context(ticket, report=lambda values, step: None, should_stop=bool)


def write_dataset(
    root: Path, channels: Mapping[str, Rows], *, labels: dict[str, int], name: str = "arrays", parts: int = 1
) -> Dataset:
    """A dataset in a folder: keys, codes and values per channel, in as many parts as asked for."""
    results = []
    for channel, (keys, codes, values) in channels.items():
        for part, rows in enumerate(np.array_split(np.arange(len(keys)), parts)):
            path = f"attempts/1/{channel}/shard-00000/part-{part:05d}"
            info = PartInfo(path=path, rows=0)
            if len(rows):
                info = _part(
                    root, path, [keys[n] for n in rows], [int(codes[n]) for n in rows], [values[n] for n in rows]
                )
            results.append(PartResult(channel=channel, shard=0, part=part, info=info))
    dataset = write_index(
        results, name=name, version=1, channels=dict.fromkeys(channels, 1), labels=labels, manifest="manifest-data-1"
    )
    root.mkdir(parents=True, exist_ok=True)
    (root / "index.json").write_bytes(pretty(dataset))
    return dataset


def _part(root: Path, path: str, keys: list[str], codes: list[int], values: list[Any]) -> PartInfo:
    gather = Gather(len(keys), spare={})
    for row, value in enumerate(values):
        gather.add(row, value, key=keys[row])
    columns = gather.fill()
    if "y" not in columns:
        labels = Gather(len(keys), spare={})
        for row, code in enumerate(codes):
            labels.add(row, {"y": np.int64(code)}, key=keys[row])
        columns["y"] = labels.fill()["y"]
    fields, size = write_columns(root / path, columns)
    size += write_names(root / path, keys, codes)
    return PartInfo(path=path, rows=len(keys), fields=fields, sum=row_sum(keys, codes, columns), size_bytes=size)


def run_evaluation(
    dataset_root: Path, model_folder: Path, output: Path, *, job: str = "evaluate-a-1", **options: Any
) -> Evaluation:
    """The evaluation that the runner writes."""
    output.mkdir(parents=True, exist_ok=True)
    channels = {name: {"index": str(dataset_root / "index.json")} for name in ("validation", "test")}
    given = {"model": str(model_folder), **options}
    evaluate(worker_context(job, channels=channels, options=given, output=output))
    return decode((output / "evaluation.json").read_bytes(), Evaluation, where="evaluation.json")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The real digits of scikit-learn: (1797, 8, 8) float32 from 0 to 16, and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.float32), data.target


def digit_channels(images: Any, target: Any, *, train: int = 300, held: int = 80) -> dict[str, Rows]:
    """Train, validation and test out of the digits, with keys like those of a class folder."""
    names = ("train", "validation", "test")
    cuts = np.split(np.arange(train + 2 * held), [train, train + held])
    return {
        name: (
            [f"{target[n]}/digit {n:04d}.png" for n in rows],
            [int(target[n]) for n in rows],
            [images[n] for n in rows],
        )
        for name, rows in zip(names, cuts, strict=True)
    }


DIGIT_LABELS = {str(digit): digit for digit in range(10)}


def png(image: Any) -> bytes:
    """A picture of a digit."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray((255 - image / 16 * 255).astype(np.uint8), mode=None).save(out, "PNG")
    return out.getvalue()


def store_evaluation(
    files: Files, ledger: Ledger, dataset_root: Path, model_folder: Path, *, name: str, **options: Any
) -> Evaluation:
    """An evaluation as a finished job of the workspace."""
    entry, _ = ledger.reserve("evaluate", name, lookup=name, body={}, expect=0)
    folder = f"jobs/{entry.id}"
    evaluation = run_evaluation(
        dataset_root, model_folder, files.local(f"{folder}/attempts/1/output"), job=entry.id, **options
    )
    lease = ledger.claim(entry.id)
    assert lease is not None
    commit.publish(files, ledger, lease, folder, commit.seal(files, folder, attempt=1))
    ledger.release(lease)
    return evaluation


def save_in_job(files: Files, model: Any, *, job: str, **given: Any) -> str:
    """A model saved as a training job would; its folder in the workspace."""
    folder = f"jobs/{job}/attempts/1/model"
    save(model, files.local(folder), **given)
    return folder
