"""A small source, its real manifest, and the tasks of a process job done in this process with the worker's context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headway.manifests.build import build
from headway.manifests.manifest import Manifest
from headway.manifests.split import Split
from headway.processing.dataset import OpenDataset, open_dataset, write_index
from headway.processing.entry import run
from headway.processing.index import PartResult
from headway.processing.listing import write_listings
from headway.processing.plan import plan
from headway.records import pretty
from headway.stores.files import Files
from headway.stores.ledger import Ledger
from headway.worker.context import Context


class Desk:
    """A workspace, a source folder and what a driver does, one step after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        self.files = Files(str(folder / "ws"))
        self.source.mkdir()
        self._ledger: Ledger | None = None
        self.reported: list[Mapping[str, float]] = []

    def write(self, contents: Mapping[str, bytes]) -> None:
        for key, data in contents.items():
            path = self.source / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def digits(self, num: int = 60, *, size: int = 4) -> None:
        """`num` files of `size` bytes in three classes; no two are equal."""
        self.write({f"{'abc'[i % 3]}/{i:04d}.bin": i.to_bytes(size, "little") for i in range(num)})

    def manifest(self, **split: Any) -> Manifest:
        if self._ledger is None:
            (self.folder / "ws").mkdir(exist_ok=True)
            self._ledger = Ledger.open(str(self.folder / "ws" / "ledger.sqlite"))
        return build(self.files, self._ledger, "small", str(self.source), split=Split(**split))

    def ticket(
        self, *, hyperparameters: Mapping[str, Any] | None = None, options: Any = None, **more: Any
    ) -> dict[str, Any]:
        attempt = self.folder / "ws/jobs/process-small-1/attempts/1"
        worker = attempt / "algo-1"
        worker.mkdir(parents=True, exist_ok=True)
        folders = {
            "job": str(attempt.parent.parent),
            "attempt": str(attempt),
            "worker": str(worker),
            "model": str(attempt / "model"),
            "output": str(attempt / "output"),
            "scratch": str(worker / "scratch"),
            "checkpoints": str(attempt / "checkpoints"),
            "previous_checkpoints": [],
        }
        place = {"job": "process-small-1", "attempt": 1, "rank": 0, "world_size": 1, "hosts": ["algo-1"], "seed": 0}
        given = {"hyperparameters": dict(hyperparameters or {}), "options": options or {}, "channels": {}}
        return {**place, **given, "folders": folders, "program": {"kind": "function"}, **more}

    def context(self, **ticket: Any) -> Context:
        return Context(
            self.ticket(**ticket), report=lambda values, step: self.reported.append(values), should_stop=bool
        )

    def payloads(self, manifest: Manifest, *, attempt: int = 1, name: str = "d", **settings: Any) -> Any:
        table = manifest.table(self.files)
        planned = plan(table, **settings)
        payloads = write_listings(
            planned, table, folder=self.folder / f"listings-{name}-{attempt}", root=manifest.source_url,
            dataset=self.folder / name, attempt=attempt, listed_at=manifest.listed_at,
        )  # fmt: skip
        return planned, payloads

    def do(self, transform: Any, payloads: Sequence[Mapping[str, Any]], **ticket: Any) -> list[PartResult]:
        """The results of all tasks, each in the JSON form in which it travels."""
        context = self.context(**ticket)
        work = run(context, transform)
        return [msgspec.convert(work(payload, self.task(number, context)), PartResult)
                for number, payload in enumerate(payloads)]  # fmt: skip

    def task(self, number: int, context: Context | None = None, *, should_stop: Callable[[], bool] = bool) -> Context:
        context = context or self.context()
        return context.for_task(number, attempt=1, report=lambda values, step: None, should_stop=should_stop)

    def process(
        self, transform: Any, manifest: Manifest, *, name: str = "d", ticket: Any = None, **settings: Any
    ) -> OpenDataset:
        planned, payloads = self.payloads(manifest, name=name, **settings)
        results = self.do(transform, payloads, **(ticket or {}))
        return self.publish(results, planned, manifest, name=name)

    def publish(
        self, results: Sequence[PartResult], planned: Any, manifest: Manifest, *, name: str = "d"
    ) -> OpenDataset:
        dataset = write_index(results, name=name, version=1, channels=planned.channels, labels=manifest.labels,
                              manifest=manifest.id, manifest_digest=manifest.digest)  # fmt: skip
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "index.json").write_bytes(pretty(dataset))
        return open_dataset(self.folder / name / "index.json")
