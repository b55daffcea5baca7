"""Launches of small programs for tests of engines: folders made, tickets filled, observations collected.

In: Python source as text. Out: `Launch` values, and what an engine says until the work has ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from headway.engines.engine import Engine, Handle, Launch, Observation, Pool, TaskNews
from headway.jobs.spec import Resources

LIMIT_S = 60.0
JOB = "train-contract-1"


def launch_of(
    folder: Path,
    source: str,
    *,
    function: str | None = None,
    workers: int = 1,
    coupled: bool = False,
    mode: str = "run",
    job: str = JOB,
    attempt: int = 1,
    resources: Resources | None = None,
    secrets: Mapping[str, str] | None = None,
    preload: Sequence[str] = (),
    fresh: bool = False,
    runner: str | None = None,
    **fields: Any,
) -> Launch:
    """The launch of a small program, with its folders made.

    Args:
        folder: of the job.
        source: Python source of the script, or of the module `program` that holds the function.
        function: name of the function; None: the source is a script.
        fields: laid over each ticket.
    """
    resources = resources or Resources()
    code, base = folder / "code", folder / "attempts" / str(attempt)
    code.mkdir(parents=True, exist_ok=True)
    name = "train.py" if function is None else "program.py"
    (code / name).write_text(dedent(source))
    program = {
        "kind": "script" if function is None else "function",
        "name": name if function is None else f"program:{function}",
        "module": "program", "qualname": function, "pickle": None, "runner": runner, "code": str(code),
        "entry_point": name if function is None else None,
    }  # fmt: skip
    tickets = []
    for rank in range(workers):
        worker = base / f"algo-{rank + 1}"
        folders: dict[str, Any] = {"job": folder, "attempt": base, "worker": worker, "scratch": worker / "scratch"}
        folders |= {part: base / part for part in ("model", "output", "checkpoints")}
        for part in ("worker", "model", "output", "checkpoints"):
            folders[part].mkdir(parents=True, exist_ok=True)
        ticket = {
            "schema": 1, "job": job, "attempt": attempt, "rank": rank, "world_size": workers, "mode": mode,
            "coupled": coupled, "program": program, "hyperparameters": {}, "channels": {},
            "resources": {"cpus": resources.cpus, "gpus": resources.gpus, "gpu_ids": [], "memory_bytes": None},
            "folders": {part: str(path) for part, path in folders.items()} | {"previous_checkpoints": []},
            "hosts": [f"algo-{k + 1}" for k in range(workers)], "master_addr": "127.0.0.1", "master_port": 0,
            "metrics": {}, "seed": 0, "allow_test": False, "forbidden": [], "trace_roots": [],
            "secret_names": sorted(secrets or {}), "environment": {}, "timeout_s": None, "grace_s": 10.0, "options": {},
        }  # fmt: skip
        tickets.append(ticket | fields)
    return Launch(
        job=job, attempt=attempt, tickets=tuple(tickets), resources=resources, secrets=dict(secrets or {}),
        preload=tuple(preload), fresh=fresh,
    )  # fmt: skip


def until(
    engine: Engine, handle: Handle, found: Callable[[list[Observation]], bool], *, limit_s: float = LIMIT_S
) -> list[Observation]:
    """Observe until `found(all observations)`; they come out."""
    seen: list[Observation] = []
    end = time.monotonic() + limit_s
    while not found(seen):
        assert time.monotonic() < end, f"it did not happen within {limit_s} s; seen: {seen}"
        seen += engine.observe([handle], timeout_s=0.5)
    return seen


def run(engine: Engine, launch: Launch, *, limit_s: float = LIMIT_S) -> list[Observation]:
    """Start and observe until every worker has ended."""
    return until(engine, engine.start(launch), lambda seen: len(ends(seen)) == len(launch.tickets), limit_s=limit_s)


def ends(seen: Sequence[Observation]) -> list[Observation]:
    """The ends of workers, by rank."""
    return sorted((one for one in seen if one.kind == "ended"), key=lambda one: one.rank or 0)


def worker_file(launch: Launch, name: str, *, rank: int = 0) -> str:
    """A file of a worker's folder as text; "" if there is none."""
    path = Path(launch.tickets[rank]["folders"]["worker"]) / name
    return path.read_text(errors="replace") if path.exists() else ""


def outcome(launch: Launch, *, rank: int = 0) -> dict[str, Any]:
    """The outcome file of a worker; {} if there is none."""
    return dict(json.loads(worker_file(launch, "outcome.json", rank=rank) or "{}"))


def drain(pool: Pool, count: int, *, limit_s: float = LIMIT_S) -> list[TaskNews]:
    """News until `count` tasks have ended; all news come out."""
    found: list[TaskNews] = []
    end = time.monotonic() + limit_s
    while sum(news.kind == "ended" for news in found) < count:
        assert time.monotonic() < end, f"only {found} within {limit_s} s"
        found += pool.news(0.5)
    return found
