"""A processed dataset, and contexts of workers that train on it, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_desk import Desk

from headway.processing.dataset import OpenDataset
from headway.worker.context import Context


def values(item: Any) -> Any:
    """Four numbers that tell the class, and the item's own."""
    number = int(item.path.stem)
    return np.array([number % 3, (number % 3) ** 2, 1, number / 1000], "float32")


@pytest.fixture(scope="session")
def trained_on(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    desk = Desk(tmp_path_factory.mktemp("training"))
    desk.digits(90)
    return desk.process(values, desk.manifest(), num_shards=3, part_rows=10)


@pytest.fixture
def worker(tmp_path: Path, trained_on: OpenDataset) -> Callable[..., Context]:
    """Makes the context of a worker; `channels` names those of the dataset that it gets."""

    def make(
        *, channels: tuple[str, ...] = ("train", "validation"), rank: int = 0, world_size: int = 1, attempt: int = 1,
        index: str | None = None, shards: list[int] | None = None, reports: list[Any] | None = None, **ticket: Any,
    ) -> Context:  # fmt: skip
        attempts = tmp_path / "jobs/train-t-1/attempts"
        folder = attempts / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        index = str(trained_on.root / "index.json") if index is None else index
        channel = {"kind": "dataset", "index": index, "shards": shards, "mode": "link"}
        own = {name: str(folder / name) for name in ("model", "output", "scratch", "checkpoints")}
        earlier = [str(attempts / str(n) / "checkpoints") for n in range(attempt - 1, 0, -1)]
        whole = {
            "job": "train-t-1", "attempt": attempt, "rank": rank, "world_size": world_size, "coupled": world_size > 1,
            "hosts": [f"algo-{n + 1}" for n in range(world_size)], "hyperparameters": {}, "seed": 7, "options": {},
            "channels": {name: dict(channel) for name in channels},
            "folders": {
                **own, "job": str(attempts.parent), "attempt": str(folder), "worker": str(folder / f"algo-{rank + 1}"),
                "previous_checkpoints": earlier,
            },
            **ticket,
        }  # fmt: skip
        told = [] if reports is None else reports
        return Context(whole, report=lambda values, step: told.append((dict(values), step)), should_stop=bool)

    return make
