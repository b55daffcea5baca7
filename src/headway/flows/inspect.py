"""Looking at what there is: listings, one thing in full, two side by side, and why.

In: a session and an id. Out: plain rows and dicts, for the command line, pages and people.
"""

from __future__ import annotations

from typing import Any

from headway.errors import MissingExtraError, NotFoundError, WorkspaceError
from headway.execution.job import job_status
from headway.execution.session import Session
from headway.jobs.folder import JobFolder
from headway.lineage import graph
from headway.records import decode, plain
from headway.registry.lookup import resolve
from headway.stores import commit
from headway.stores.ledger import Entry

MODEL = "model"
JOB_KINDS = ("process", "train", "tune", "trial", "evaluate", "predict")


def find(session: Session, text: str, *, kinds: tuple[str, ...] | None = None) -> Entry:
    """The catalogue entry that people mean by an id, `name@version`, `name@alias`, or a name alone (the newest).

    Raises:
        NotFoundError: lists what there is.
    """
    entries = [e for e in session.ledger.entries() if kinds is None or e.kind in kinds]
    for entry in entries:
        if entry.id == text:
            return entry
    name, _, version = text.partition("@")
    same = [e for e in entries if e.name == name and (not version or str(e.version) == version)]
    same = same or [e for e in entries if f"{e.kind}-{e.name}" == name]
    if same:
        return max(same, key=lambda e: (e.created_at, e.version))
    if version and (kinds is None or MODEL in kinds) and any(e.kind == MODEL for e in entries):
        found = session.ledger.by_id(resolve(session.files, session.ledger, text).id)
        if found is not None:
            return found
    what = "job" if kinds == JOB_KINDS else kinds[0] if kinds and len(kinds) == 1 else "thing"
    raise NotFoundError(what, text, [e.id for e in entries])


def jobs(session: Session) -> list[dict[str, Any]]:
    """One row per job, oldest first: id, kind, status, attempts, seconds, metrics."""
    entries = sorted(session.ledger.entries(), key=lambda entry: entry.created_at)
    return [_row_or_damage(session, entry) for entry in entries if entry.kind in JOB_KINDS]


def _row_or_damage(session: Session, entry: Entry) -> dict[str, Any]:
    """The row of a job; of one whose files are damaged what the ledger knows."""
    try:
        return job_row(session, entry)
    except WorkspaceError:
        known = {"id": entry.id, "kind": entry.kind, "name": entry.name, "version": entry.version}
        rest: dict[str, Any] = {
            "status": "damaged",
            "attempts": None,
            "created_at": entry.created_at,
            "duration_s": None,
            "metrics": {},
        }
        return known | rest


def jobs_frame(session: Session) -> Any:
    """The same rows as a pandas DataFrame; metrics as columns `metric:NAME`.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("pandas", extra="pandas", purpose="a table of jobs") from error
    rows = jobs(session)
    return pandas.DataFrame([row | {f"metric:{k}": v for k, v in row.pop("metrics").items()} for row in rows])


def job_row(session: Session, entry: Entry) -> dict[str, Any]:
    """The row of one job."""
    result = commit.result(session.files, f"jobs/{entry.id}")
    body = result.body if result else {}
    began, ended = body.get("started_at"), body.get("ended_at")
    return {
        "id": entry.id,
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.version,
        "status": job_status(session, entry.id),
        "attempts": len(JobFolder(session.files, entry.id).attempts()),
        "created_at": entry.created_at,
        "duration_s": round(ended - began, 3) if began and ended else None,
        "metrics": body.get("metrics", {}),
    }


def show(session: Session, text: str) -> dict[str, Any]:
    """Everything worth knowing of one job, manifest, dataset or model version."""
    entry = find(session, text)
    shown: dict[str, Any] = {"id": entry.id, "kind": entry.kind, "created_at": entry.created_at}
    if entry.kind in JOB_KINDS:
        folder = JobFolder(session.files, entry.id)
        spec = folder.spec()
        result = commit.result(session.files, f"jobs/{entry.id}")
        row = job_row(session, entry)
        shown |= row | {
            "program": spec.program.name,
            "hyperparameters": spec.hyperparameters,
            "workers": spec.workers,
            "resources": plain(spec.resources),
            "seed": spec.seed,
            "engine": spec.engine,
            "inputs": plain(spec.inputs),
            "attempt": result.attempt if result else None,
            "warnings": (result.body if result else {}).get("warnings", []),
            "use": (result.body if result else {}).get("use", []),
            "why": why(session, entry.id)["created"],
            "folder": session.files.url_of(f"jobs/{entry.id}"),
            "python": spec.environment.get("python"),
        }
        if row["status"] != "succeeded":
            shown["errors"] = last_errors(session, entry.id)
        return shown
    shown |= {"name": entry.name, "version": entry.version, "body": entry.body}
    shown["from"] = graph.upstream(session.ledger, entry.id)
    shown["used_by"] = graph.downstream(session.ledger, entry.id)
    return shown


def last_errors(session: Session, job_id: str) -> list[dict[str, Any]]:
    """The workers' errors of the newest failure that was recorded."""
    events = session.ledger.events(job_id, kinds=["failed"])
    return list(events[-1].body.get("errors", [])) if events else []


def compare(session: Session, one: str, other: str) -> dict[str, Any]:
    """Two jobs side by side: status, and the parameters, metrics and inputs in which they differ."""
    left, right = show(session, one), show(session, other)

    def rows(name: str) -> list[dict[str, Any]]:
        a, b = left.get(name) or {}, right.get(name) or {}
        return [
            {"name": k, left["id"]: a.get(k), right["id"]: b.get(k), "differs": a.get(k) != b.get(k)}
            for k in sorted(a | b)
        ]

    inputs = [{i["role"]: i["id"] for i in side.get("inputs", [])} for side in (left, right)]
    names = sorted(inputs[0] | inputs[1])
    return {
        "ids": [left["id"], right["id"]],
        "status": [left.get("status"), right.get("status")],
        "duration_s": [left.get("duration_s"), right.get("duration_s")],
        "parameters": rows("hyperparameters"),
        "metrics": rows("metrics"),
        "inputs": [
            {
                "name": n,
                left["id"]: inputs[0].get(n),
                right["id"]: inputs[1].get(n),
                "differs": inputs[0].get(n) != inputs[1].get(n),
            }
            for n in names
        ],
    }


def why(session: Session, text: str) -> dict[str, Any]:
    """Why a piece of work ran, ran again, or was answered by what was there: `{"id", "created", "last"}`."""
    entry = find(session, text)
    path = f"jobs/{entry.id}/why.json"
    if entry.kind not in JOB_KINDS or not session.files.exists(path):
        makers = [row for row in graph.upstream(session.ledger, entry.id) if row.get("role") == "job"]
        reasons = list(entry.body.get("reasons", [])) or [f"made by {row['id']}" for row in makers]
        return {"id": entry.id, "created": {"decision": "new", "reasons": reasons}, "last": {}}
    why: dict[str, Any] = decode(session.files.read(path), dict, where=path)
    return {"id": entry.id, "created": why.get("created", {}), "last": why.get("last", {})}


def lineage(session: Session, text: str) -> dict[str, Any]:
    """What a thing came from and what came of it, over all steps."""
    entry = find(session, text)
    return {
        "id": entry.id,
        "upstream": graph.upstream(session.ledger, entry.id),
        "downstream": graph.downstream(session.ledger, entry.id),
    }
