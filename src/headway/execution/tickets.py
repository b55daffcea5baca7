"""Tickets: a job's specification turned into one JSON object per worker, for one attempt.

In: a `JobSpec`, the folders of an attempt, and where its channels lie (`ChannelSource`, made by the flows). Out: a
`Launch` for the engine. `headway.worker.ticket` describes the fields.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headway.engines.engine import Launch
from headway.execution.session import Session
from headway.jobs.folder import JobFolder
from headway.jobs.secrets import resolve
from headway.jobs.spec import JobSpec
from headway.records import Record, pretty
from headway.stores.files import Files


class ChannelSource(Record):
    """Where a channel's files lie on this machine.

    Args:
        kind: `dataset` or `files`.
        mode: `copy`, `link` or `stream`.
        root: folder that `files` are relative to.
        files: per shard, the pairs (path below `root`, path in the channel's folder).
        index: the dataset's index file, for `context.channels[...].arrays()`.
    """

    kind: str
    mode: str
    root: str
    files: tuple[tuple[tuple[str, str], ...], ...]
    index: str | None = None


def make_launch(
    session: Session,
    spec: JobSpec,
    *,
    attempt: int,
    channels: Mapping[str, ChannelSource],
    forbidden: Sequence[str] = (),
    workers: int | None = None,
    options: Mapping[str, Any] | None = None,
    known: Sequence[str] = (),
    preload: bool = True,
) -> Launch:
    """The launch of one attempt; its folders and tickets are written.

    Args:
        attempt: number of the attempt; its folder must be new.
        channels: by name. In a gang of at most as many workers as there are shards, rank r gets shards r, r + workers,
            ...; otherwise every worker gets all.
        forbidden: absolute paths (folders end with a slash) whose opening fails the job.
        workers: how many to start; None for the specification's number.
        options: laid over the specification's options.
        known: folders whose files have digests of their own (a manifest's), so that reading them is not traced.
        preload: whether a fork server may load the program's third-party imports beforehand.

    Raises:
        ProgramError: a secret is missing.
    """
    files = session.files
    folder = JobFolder(files, spec.id)
    secrets = resolve(spec.secrets)
    num_workers = spec.workers if workers is None else workers
    base = files.local(folder.attempt(attempt))
    for part in ("model", "output", "checkpoints", "channels"):
        (base / part).mkdir(parents=True, exist_ok=True)
    tickets = []
    for rank in range(num_workers):
        (base / f"algo-{rank + 1}").mkdir(parents=True, exist_ok=True)
        shown = {
            name: _channel(base / "channels", name, source, rank=rank, world=num_workers if spec.coupled else 1)
            for name, source in channels.items()
        }
        ticket = _ticket(files, spec, base, attempt=attempt, rank=rank, workers=num_workers)
        ticket |= {"channels": shown, "forbidden": list(forbidden), "secret_names": sorted(secrets)}
        ticket["trace_excluded"] += known
        ticket["options"] = dict(spec.options) | dict(options or {})
        (base / f"ticket-{rank + 1}.json").write_bytes(pretty(ticket))
        tickets.append(ticket)
    return Launch(
        job=spec.id,
        attempt=attempt,
        tickets=tuple(tickets),
        resources=spec.resources,
        secrets=secrets,
        preload=_preload(spec) if preload else (),
        python=sys.executable,
        withhold=tuple(sorted((session.secret_variables | _sources(spec.secrets)) - set(secrets))),
    )


def _sources(references: Mapping[str, str]) -> set[str]:
    """The variables of this process that references to secrets name."""
    return {one.removeprefix("env:") for one in references.values() if one.startswith("env:")}


def _preload(spec: JobSpec) -> tuple[str, ...]:
    """What a fork server imports beforehand: what the program imports, and our own runner."""
    runner = (spec.program.runner or "").partition(":")[0]
    ours = [runner, "numpy"] if runner.startswith("headway.") else []  # our runners seed numpy and give arrays
    return tuple(dict.fromkeys([*spec.program.imports, *ours]))


def _ticket(files: Files, spec: JobSpec, base: Path, *, attempt: int, rank: int, workers: int) -> dict[str, Any]:
    """The fields that come from the specification alone."""
    job = files.local(f"jobs/{spec.id}")
    program = {
        name: getattr(spec.program, name)
        for name in ("kind", "name", "module", "qualname", "pickle", "entry_point", "runner", "argument_names")
    }
    earlier = [job / "attempts" / str(n) / "checkpoints" for n in range(attempt - 1, 0, -1)]
    hosts = [f"algo-{k + 1}" for k in range(workers)]
    return {
        "schema": 1,
        "job": spec.id,
        "attempt": attempt,
        "rank": rank,
        "world_size": workers,
        "mode": spec.mode,
        "coupled": spec.coupled,
        "program": program | {"code": str(job / "code")},
        "hyperparameters": spec.hyperparameters,
        "resources": {
            "cpus": spec.resources.cpus,
            "gpus": spec.resources.gpus,
            "gpu_ids": [],
            "memory_bytes": spec.resources.memory_bytes,
        },
        "folders": {
            "job": str(job),
            "attempt": str(base),
            "worker": str(base / f"algo-{rank + 1}"),
            "model": str(base / "model"),
            "output": str(base / "output"),
            "checkpoints": str(base / "checkpoints"),
            "previous_checkpoints": [str(path) for path in earlier if path.is_dir()],
            "scratch": str(base / f"algo-{rank + 1}" / "scratch"),
        },
        "hosts": hosts,
        "master_addr": "127.0.0.1",
        "master_port": 0,
        "metrics": spec.metrics,
        "seed": spec.seed,
        "allow_test": spec.allow_test,
        "trace_roots": [],
        "trace_excluded": [str(files.local("."))],
        "environment": {},
        "timeout_s": spec.timeout_s,
        "grace_s": spec.grace_s,
    }


def _channel(folder: Path, name: str, source: ChannelSource, *, rank: int, world: int) -> dict[str, Any]:
    """One channel as a ticket names it; its listing is written once per distinct set of shards."""
    shards = list(range(len(source.files)))
    spread = 1 < world <= len(shards)
    mine = [shard for shard in shards if shard % world == rank] if spread else shards
    listing = folder / (f"{name}.json" if not spread else f"{name}.rank-{rank}.json")
    if not listing.exists():
        pairs = [list(pair) for shard in mine for pair in source.files[shard]]
        listing.write_bytes(pretty({"root": source.root, "files": pairs}))
    return {
        "kind": source.kind,
        "mode": source.mode,
        "listing": str(listing),
        "index": source.index,
        "shards": mine if source.kind == "dataset" else None,
        "options": {},
    }
