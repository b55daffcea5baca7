"""Settling: what an attempt's workers left behind, judged and summed up.

In: the folder of an ended attempt. Out: `Verdict` and the body of the job's result. Success is exit code 0 *and* the
outcome file of every worker, and no open of a forbidden path.
"""

from __future__ import annotations

import json
from typing import Any

from headway.engines.engine import Observation
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.lineage.trace import fill_in
from headway.planning.usage import sentence
from headway.records import Record
from headway.stores.files import Files

TAIL_LINES = 12


LEAKED = "which belongs to the test channel"


class Verdict(Record):
    """Whether an attempt counts, and if not, why."""

    ok: bool
    text: str = ""


def end_of(files: Files, spec: JobSpec, seen: Observation) -> dict[str, Any]:
    """The event of a worker's end: what the engine saw, and what the worker said of itself."""
    folder = JobFolder(files, spec.id)
    rank = seen.rank or 0
    outcome = read_outcome(files, folder, seen.attempt, rank)
    fill_in(files.local(folder.trace(seen.attempt, rank)))
    error = (outcome or {}).get("error") or {}
    body: dict[str, Any] = {
        "attempt": seen.attempt,
        "rank": rank,
        "exit_code": seen.exit_code,
        "signal": seen.signal,
        "text": seen.text,
        "usage": seen.usage,
        "log": str(files.local(folder.log(seen.attempt, rank))),
        "message": _message(seen, outcome),
        "type": error.get("type", ""),
        "traceback": error.get("traceback", ""),
    }
    if seen.exit_code == 0 and not _is_well(outcome):
        body["exit_code"] = 1  # the process said 0, its outcome does not: only both together are success
    return body


def keep_digests(folder: JobFolder, attempt: int) -> None:
    """Add to the traces of an attempt's workers the digests of what they read outside the packed code."""
    for path in folder.traces(attempt):
        fill_in(path)


def judge(files: Files, spec: JobSpec, attempt: int, ended: dict[int, dict[str, Any]]) -> Verdict:
    """The verdict on an attempt whose workers have all ended.

    Args:
        ended: rank -> what `end_of` made of its end.
    """
    folder = JobFolder(files, spec.id)
    for rank in range(spec.workers):
        seen = ended.get(rank)
        if seen is None or seen["exit_code"] != 0 or not _is_well(read_outcome(files, folder, attempt, rank)):
            text = seen["message"] if seen else "it was never seen to end"
            return Verdict(ok=False, text=f"algo-{rank + 1}: {text}")
    return Verdict(ok=True)


def _is_well(outcome: dict[str, Any] | None) -> bool:
    """Whether an outcome file says success."""
    return outcome is not None and bool(outcome.get("ok")) and not outcome.get("leaks")


def _message(seen: Observation, outcome: dict[str, Any] | None) -> str:
    """One line that says how a worker failed; empty for one that did not."""
    if outcome is not None and outcome.get("leaks"):
        return f"it opened {outcome['leaks'][0]}, {LEAKED}"
    if outcome is not None and not outcome.get("ok") and outcome.get("message"):
        return str(outcome["message"])
    if seen.exit_code != 0:
        return seen.text or f"it ended with exit code {seen.exit_code}"
    if outcome is None:
        return (
            "it exited with code 0 but wrote no outcome (os._exit, or killed in its last moment), "
            "so its outputs cannot be trusted"
        )
    return ""


def read_outcome(files: Files, folder: JobFolder, attempt: int, rank: int) -> dict[str, Any] | None:
    """A worker's outcome file; None when it wrote none, or a torn one."""
    try:
        value = json.loads(files.read(f"{folder.worker(attempt, rank)}/outcome.json"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def summary(files: Files, spec: JobSpec, attempt: int, ended: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The body of a successful job's result: last value of every metric, use of resources, warnings."""
    folder = JobFolder(files, spec.id)
    rows = folder.metrics(attempt)
    metrics: dict[str, float] = {}
    for row in rows:
        metrics[row["name"]] = row["value"]
    for rank in range(spec.workers):
        metrics |= (read_outcome(files, folder, attempt, rank) or {}).get("metrics", {})
    usage = [dict(ended.get(rank, {}).get("usage", {})) for rank in range(spec.workers)]
    model = files.local(f"{folder.attempt(attempt)}/model")
    has_model = model.is_dir() and any(model.iterdir())
    return {
        "status": "succeeded",
        "metrics": metrics,
        "usage": usage,
        "workers": spec.workers,
        "model": has_model,
        "use": [sentence(spec.resources, one) for one in usage if one],
        "warnings": _warnings(files, spec, folder, attempt, rows, has_model),
    }


def _warnings(
    files: Files, spec: JobSpec, folder: JobFolder, attempt: int, rows: list[dict[str, Any]], has_model: bool
) -> list[str]:
    """What a user should know of a job that succeeded."""
    said = []
    seen = {row["name"] for row in rows}
    missing = [name for name in spec.metrics if name not in seen]
    if missing:
        tail = "\n".join(f"    {line}" for line in log_tail(files, folder, attempt, 0)) or "    (the log is empty)"
        said += [
            f"metric {name!r} never matched: no line matches {spec.metrics[name]!r}; the log ends with\n{tail}"
            for name in missing
        ]
    if spec.kind == "train" and not has_model:
        said.append(
            "no model was saved: a script saves one into the folder named by SM_MODEL_DIR, a function returns it; "
            "this job cannot be evaluated or registered"
        )
    return said


def log_tail(files: Files, folder: JobFolder, attempt: int, rank: int, *, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a worker's log, reading at most 64 KB of it."""
    path = files.local(folder.log(attempt, rank))
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 65536))
        return stream.read().decode("utf-8", "replace").splitlines()[-lines:]


def failure_text(spec: JobSpec, reason: str, errors: list[dict[str, Any]], tail: list[str]) -> str:
    """What the caller of a failed job reads: the first cause, its traceback or last lines, and where to look on."""
    if not errors or not errors[0].get("worker"):
        return f"{spec.id} failed: {reason}\nsee: headway show {spec.id}"
    first = errors[0]
    text = f"{spec.id} failed on {first['worker']} (attempt {first['attempt']}): {first.get('message') or reason}"
    if "time limit" in reason:
        text = f"{spec.id} failed: {reason}"
    if first.get("traceback"):
        text += "\n" + str(first["traceback"]).rstrip()
    elif tail:
        text += "\nlast lines of its log:\n" + "\n".join(f"    {line}" for line in tail)
    others = [
        f"{e['worker']}: {e.get('message')}"
        for e in errors[1:]
        if e.get("worker") and e["attempt"] == first["attempt"] and e.get("type")
    ]
    if others:
        text += "\nalso failed: " + "; ".join(others)
    return f"{text}\nlog: {first.get('log', '')}\nsee: headway logs {spec.id} --worker {first['worker']}"
