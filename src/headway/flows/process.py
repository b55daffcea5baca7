"""Processing by name: a manifest becomes a dataset, its parts made by independent workers.

In: a manifest and a transform. Out: a `Dataset`. The way: plan the shards, admit the job, run its parts through warm
workers, write the index, publish.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import msgspec

from headway.engines.engine import Engine, Launch, Task
from headway.errors import CapabilityError, DataChangedError, JobFailedError
from headway.execution.admit import admit
from headway.execution.items import ItemsDrive, ItemsOutcome
from headway.execution.run import as_driver
from headway.execution.session import Session
from headway.execution.tickets import make_launch
from headway.flows.channels import local_root
from headway.flows.inspect import find
from headway.jobs.code import snapshot
from headway.jobs.hyperparameters import check_hyperparameters
from headway.jobs.program import as_program
from headway.jobs.spec import UNPACKED, InputRef, JobSpec, ProgramRecord, Resources
from headway.manifests.manifest import Manifest
from headway.planning.fit import check_fits
from headway.processing.dataset import Dataset, open_dataset, write_index
from headway.processing.index import PartResult
from headway.processing.listing import write_listings
from headway.processing.plan import PART_ROWS, ShardPlan, plan
from headway.processing.progress import poisoned_item
from headway.records import pretty
from headway.stores import commit
from headway.stores.commit import Result
from headway.stores.ledger import Edge, Lease

RUNNER = "headway.processing.entry:run"
LOST_TRIES = 3


def process(
    session: Session,
    name: str,
    manifest: Manifest,
    transform: Any,
    *,
    workers: int,
    shards: int | None,
    sharding: str,
    hyperparameters: Mapping[str, Any],
    resources: Resources | None,
    max_failed: int,
    engine: str | Engine | None,
    fresh: bool,
) -> Dataset:
    """The dataset of that name: the one that is there, or the one that is made now.

    Raises:
        ProgramError, CapabilityError: before anything starts.
        JobFailedError: more than `max_failed` items failed; the finished parts stay, and the same call tries the rest.
        DataChangedError: a file is not the one of the manifest any more.
    """
    counts: list[tuple[str, Any, int]] = [("shards", shards, 1), ("max_failed", max_failed, 0)]
    for what, value, least in counts:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}")
    where = session.engine(engine)
    resources = resources or Resources()
    program = as_program(transform)
    for warning in check_fits(where.capabilities(), resources, workers=workers, coupled=False):
        session.progress.note(f"process {name}: {warning}")
    session.check_disk(resources, workers=workers)
    num_shards = 1 if shards is None else shards
    settings = {"shards": num_shards, "sharding": sharding, "part_rows": PART_ROWS}
    draft = JobSpec(
        id="",
        version=0,
        kind="process",
        name=name,
        mode="items",
        program=UNPACKED,
        workers=workers,
        hyperparameters=check_hyperparameters(UNPACKED, hyperparameters),
        resources=resources,
        retries=1,
        engine=session.engine_url(engine),
        inputs=(InputRef(id=manifest.id, digest=manifest.digest, role="manifest"),),
        options={"lookup": settings},
    )

    def pack(into: Path) -> ProgramRecord:
        packed = snapshot(program, into, runner=RUNNER)
        check_hyperparameters(packed, draft.hyperparameters, given_by_runner=packed.required_names[:1])
        return packed

    admission = admit(session.files, session.ledger, draft, pack, fresh=fresh)
    spec = admission.spec
    if admission.note:
        session.progress.note(admission.note)
    work = _Work(session, spec, manifest, engine=where, max_failed=max_failed)
    result = as_driver(session, spec.id, work.run, folder=f"jobs/{spec.id}")
    return load_dataset(session, str(result.body["dataset"]))


@final
class _Work:
    """One driver's work on one processing job."""

    def __init__(self, session: Session, spec: JobSpec, manifest: Manifest, *, engine: Engine, max_failed: int) -> None:
        self._session, self._spec, self._manifest = session, spec, manifest
        self._engine, self._max_failed = engine, max_failed
        self._entry, _ = session.ledger.reserve("dataset", spec.name, lookup=spec.id, body={"job": spec.id})
        self._home = f"datasets/{self._entry.name}/{self._entry.version}"

    @functools.cached_property
    def _table(self) -> Any:
        return self._manifest.table(self._session.files)

    @functools.cached_property
    def _plan(self) -> ShardPlan:
        settings = self._spec.options["lookup"]
        return plan(
            self._table, num_shards=settings["shards"], algorithm=settings["sharding"], part_rows=settings["part_rows"]
        )

    def run(self, lease: Lease) -> Result:
        """From what earlier attempts left to the published dataset."""
        spec, session = self._spec, self._session
        drive = ItemsDrive(
            session, spec, lease, launch=self._launch, engine=self._engine, retry=self._retry, whole=_is_whole
        )
        try:
            outcome = drive.run(len(self._plan.parts()), self._payloads, title=f"process {spec.name}")
            self._check(outcome)
        except (JobFailedError, DataChangedError, CapabilityError) as error:
            reason = str(error).splitlines()[0]
            session.ledger.append(lease, [("failed", {"reason": reason, "errors": getattr(error, "errors", [])})])
            session.ledger.update_entry(spec.id, {"status": "failed"})
            raise
        dataset = self._publish_dataset(lease, outcome)
        self._tell_shapes(dataset)
        return self._publish_job(lease, outcome, dataset)

    def _tell_shapes(self, dataset: Dataset) -> None:
        """Say when the samples of a field differ in shape: sometimes meant, often a broken file."""
        for name, field in dataset.fields.items():
            if field.kind == "ragged":
                self._session.progress.note(
                    f"{dataset.id}: the samples of {name!r} differ in shape, {field.shape} with -1 where they do; "
                    "models that take one array cannot use them: if it is not meant, let the transform raise for such"
                )

    def _payloads(self, attempt: int) -> list[dict[str, Any]]:
        """The tasks of an attempt; their listings lie in its folder."""
        files = self._session.files
        return write_listings(
            self._plan,
            self._table,
            folder=files.local(f"jobs/{self._spec.id}/attempts/{attempt}/listings"),
            root=str(local_root(self._manifest)),
            dataset=files.local(self._home),
            attempt=attempt,
            listed_at=self._manifest.listed_at,
        )

    def _launch(self, attempt: int, workers: int) -> Launch:
        return make_launch(
            self._session,
            self._spec,
            attempt=attempt,
            channels={},
            workers=workers,
            known=[str(local_root(self._manifest))],
        )

    def _retry(self, task: Task, error: Mapping[str, Any]) -> Any:
        """Another try for a part whose worker died; the item that it died of is left out from the second time on."""
        payload = dict(task.payload)
        found_out = len(payload.get("exclude", ()))
        if not error.get("lost") or task.attempt >= LOST_TRIES + 2 * found_out:
            return None
        folder = self._session.files.local(f"jobs/{self._spec.id}/attempts/{payload['attempt']}/{error['worker']}")
        item = poisoned_item(folder, number=task.number)
        if item is not None and item["key"] is None:
            payload["alone"] = True
        elif item is not None:
            suspects = list(payload.get("suspects", []))
            if item["key"] in suspects:
                payload["exclude"] = payload.get("exclude", {}) | {item["key"]: str(error.get("message", ""))}
            payload["suspects"] = sorted({*suspects, item["key"]})
        return payload

    def _check(self, outcome: ItemsOutcome) -> None:
        """Raise when too much failed."""
        failed = [
            problem
            for result in outcome.results.values()
            for problem in result["problems"]
            if problem["reason"] != "skipped"
        ]
        errors = [
            {
                "worker": e["worker"],
                "attempt": e["attempt"],
                "message": e.get("message", ""),
                "log": "",
                "traceback": e.get("traceback", ""),
                "type": e.get("type", ""),
            }
            for e in outcome.errors.values()
        ] + [
            {
                "worker": p["key"],
                "attempt": outcome.attempt,
                "message": p["message"],
                "traceback": p["traceback"],
                "log": p.get("log") or "",
            }
            for p in failed
        ]
        if not outcome.errors and len(failed) <= self._max_failed:
            if self._plan.num_rows and not any(
                r["info"]["rows"] or r["info"]["files"] for r in outcome.results.values()
            ):
                text = (
                    f"{self._spec.id}: the transform gave nothing: it returned None for all {self._plan.num_rows} items"
                )
                raise JobFailedError(f"{text}; return an array for those to keep", job_id=self._spec.id)
            return
        changed = next((e for e in errors if str(e.get("type")).endswith("DataChangedError")), None)
        if changed is not None:
            raise DataChangedError(str(changed["message"]))
        first = errors[0]
        what = f"{len(outcome.errors)} parts" if outcome.errors else f"{len(failed)} of {self._plan.num_rows} items"
        text = f"{self._spec.id}: {what} failed; the first: {first['worker']}: {first['message']}"
        if first["traceback"]:
            text += "\n" + str(first["traceback"]).rstrip()
        text += (
            "\nthe finished parts are kept: mend it and call again, or leave items out with "
            f"max_failed={len(failed)}"
            f"\nsee: headway show {self._spec.id}"
        )
        raise JobFailedError(text, job_id=self._spec.id, errors=errors)

    def _publish_dataset(self, lease: Lease, outcome: ItemsOutcome) -> Dataset:
        """The index, sealed and chosen; a copy at the top for readers."""
        files, manifest, spec = self._session.files, self._manifest, self._spec
        found = commit.result(files, self._home)
        if found is not None:
            return open_dataset(files.local(f"{self._home}/index.json")).dataset
        results = [msgspec.convert(result, PartResult) for result in outcome.results.values()]
        dataset = write_index(
            results,
            name=self._entry.name,
            version=self._entry.version,
            channels=self._plan.channels,
            labels=manifest.labels,
            manifest=manifest.id,
            manifest_digest=manifest.digest,
            transform={
                "job": spec.id,
                "name": spec.program.name,
                "digest": spec.program.digest,
                "hyperparameters": spec.hyperparameters,
            },
        )
        files.write(f"{self._home}/attempts/{outcome.attempt}/index.json", pretty(dataset))
        files.write(f"{self._home}/index.json", pretty(dataset))
        self._session.ledger.link(
            [
                Edge(source=manifest.id, target=dataset.id, role="manifest"),
                Edge(source=spec.id, target=dataset.id, role="job"),
            ]
        )
        sealed = commit.seal(files, self._home, attempt=outcome.attempt, only=["index.json"])
        commit.publish(files, self._session.ledger, lease, self._home, sealed, body={"dataset": dataset.id})
        return dataset

    def _publish_job(self, lease: Lease, outcome: ItemsOutcome, dataset: Dataset) -> Result:
        """The job's own result."""
        files, spec = self._session.files, self._spec
        rows = sum(dataset.rows.values())
        began = self._session.ledger.events(spec.id)[0].at
        body = {
            "status": "succeeded",
            "dataset": dataset.id,
            "metrics": {f"rows:{c}": n for c, n in dataset.rows.items()},
            "workers": spec.workers,
            "attempts": list(range(1, outcome.attempt + 1)),
            "started_at": began,
            "ended_at": time.time(),
            "wall_s": round(outcome.wall_s, 3),
            "throughput": {
                "rows_per_s": round(rows / outcome.wall_s, 1) if outcome.wall_s and not outcome.reused else None,
                "busy_share": round(outcome.busy_s / max(outcome.wall_s * spec.workers, 1e-9), 3),
            },
            "warnings": [f"{len(p)} items of {c} are not in the dataset" for c, p in dataset.problems.items()],
        }
        sealed = commit.seal(files, f"jobs/{spec.id}", attempt=outcome.attempt, only=["output"])
        result = commit.publish(files, self._session.ledger, lease, f"jobs/{spec.id}", sealed, body=body)
        self._session.ledger.update_entry(spec.id, {"status": "succeeded", "metrics": body["metrics"]})
        return result


def _is_whole(result: Any) -> bool:
    """Whether a part has no item that failed, or killed its worker, and deserves another try."""
    return all(problem["reason"] == "skipped" for problem in result["problems"])


def load_dataset(session: Session, ref: str) -> Dataset:
    """A dataset by name (the newest that is finished), `name@2` or id."""
    entry = find(session, ref, kinds=("dataset",))
    return open_dataset(session.files.local(f"datasets/{entry.name}/{entry.version}/index.json")).dataset
