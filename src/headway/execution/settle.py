"""Settling: what an attempt's workers left behind, judged and summed up.

In: the folder of an ended attempt. Out: `Verdict` and the body of the job's result. Success is exit code 0 *and* the
outcome file of every worker, and no open of a forbidden path.
"""

from __future__ import annotations

import json
from typing import Any

from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.planning.usage import sentence
from headway.records import Record
from headway.stores.files import Files

TAIL_LINES = 12


class Verdict(Record):
    """Whether an attempt counts.

    Args:
        ok: every worker ended well.
        errors: one dict per worker that did not: `worker`, `attempt`, `exit_code`, `signal`, `message`, `traceback`,
            `log`, `at`.
        leaks: forbidden paths that were opened.
    """

    ok: bool
    errors: tuple[dict[str, Any], ...] = ()
    leaks: tuple[str, ...] = ()


def judge(files: Files, spec: JobSpec, attempt: int, ended: dict[int, dict[str, Any]], *, workers: int) -> Verdict:
    """The verdict on an attempt.

    Args:
        ended: what the engine saw of each rank's end: `exit_code`, `signal`, `text`.
    """
    folder = JobFolder(files, spec.id)
    errors, leaks = [], []
    for rank in range(workers):
        seen = ended.get(rank, {})
        outcome = read_outcome(files, folder, attempt, rank)
        leaks += (outcome or {}).get("leaks", [])
        if outcome is not None and outcome.get("ok") and seen.get("exit_code") == 0 and not outcome.get("leaks"):
            continue
        error = (outcome or {}).get("error") or {}
        errors.append({
            "worker": f"algo-{rank + 1}", "attempt": attempt, "exit_code": seen.get("exit_code"),
            "signal": seen.get("signal"), "message": _message(seen, outcome), "type": error.get("type", ""),
            "traceback": error.get("traceback", ""), "log": files.url_of(folder.log(attempt, rank)),
            "at": (outcome or {}).get("ended_at") or seen.get("at") or 0.0, "asked": bool(seen.get("asked")),
        })  # fmt: skip
    errors.sort(key=lambda e: (e["asked"], e["at"]))
    return Verdict(ok=not errors, errors=tuple(errors), leaks=tuple(dict.fromkeys(leaks)))


def _message(seen: dict[str, Any], outcome: dict[str, Any] | None) -> str:
    """One line that says how a worker failed."""
    if outcome is not None and outcome.get("leaks"):
        return f"it opened {outcome['leaks'][0]}, which belongs to the test channel"
    if outcome is not None and not outcome.get("ok") and outcome.get("message"):
        return str(outcome["message"])
    if seen.get("text") and seen.get("exit_code") != 0:
        return str(seen["text"])
    if seen.get("exit_code") == 0:
        return (
            "it exited with code 0 but wrote no outcome (os._exit, or killed in its last moment), "
            "so its outputs cannot be trusted"
        )
    return f"it ended with exit code {seen.get('exit_code')}"


def read_outcome(files: Files, folder: JobFolder, attempt: int, rank: int) -> dict[str, Any] | None:
    """A worker's outcome file; None when it wrote none, or a torn one."""
    try:
        value = json.loads(files.read(f"{folder.worker(attempt, rank)}/outcome.json"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def summary(files: Files, spec: JobSpec, attempt: int, ended: dict[int, dict[str, Any]], *, workers: int) -> dict[str, Any]:
    """The body of a successful job's result: last value of every metric, use of resources, warnings."""
    folder = JobFolder(files, spec.id)
    rows = folder.metrics(attempt)
    metrics: dict[str, float] = {}
    for row in rows:
        metrics[row["name"]] = row["value"]
    for rank in range(workers):
        metrics |= (read_outcome(files, folder, attempt, rank) or {}).get("metrics", {})
    usage = [dict(ended.get(rank, {}).get("usage", {})) for rank in range(workers)]
    model = files.local(f"{folder.attempt(attempt)}/model")
    has_model = model.is_dir() and any(model.iterdir())
    return {
        "status": "succeeded", "metrics": metrics, "usage": usage, "workers": workers, "model": has_model,
        "use": [sentence(spec.resources, one) for one in usage if one],
        "warnings": _warnings(files, spec, folder, attempt, rows, has_model),
    }  # fmt: skip


def _warnings(
    files: Files, spec: JobSpec, folder: JobFolder, attempt: int, rows: list[dict[str, Any]], has_model: bool
) -> list[str]:
    """What a user should know of a job that succeeded."""
    said = []
    seen = {row["name"] for row in rows}
    missing = [name for name in spec.metrics if name not in seen]
    if missing:
        tail = "\n".join(f"    {line}" for line in log_tail(files, folder, attempt, 0)) or "    (the log is empty)"
        for name in missing:
            said.append(f"metric {name!r} never matched: no line of the log matches {spec.metrics[name]!r}; the log ends with\n{tail}")
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


def failure_text(spec: JobSpec, errors: list[dict[str, Any]], tail: list[str]) -> str:
    """What the caller of a failed job reads: the first cause, its traceback or last lines, and where to look on."""
    if not errors:
        return f"{spec.id} failed"
    first = errors[0]
    text = f"{spec.id} failed on {first['worker']} (attempt {first['attempt']}): {first['message']}"
    if first.get("traceback"):
        text += "\n" + str(first["traceback"]).rstrip()
    elif tail:
        text += "\nlast lines of its log:\n" + "\n".join(f"    {line}" for line in tail)
    others = [f"{e['worker']}: {e['message']}" for e in errors[1:] if not e.get("asked")]
    if others:
        text += "\nalso failed: " + "; ".join(others)
    return f"{text}\nlog: {first['log']}\nsee: headway logs {spec.id} --worker {first['worker']}"
