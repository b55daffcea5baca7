"""Pruning: old attempts and left-overs go; what a result, a dataset or a registered model needs stays.

In: a session. Out: rows of what was (or would be) removed, with sizes.
"""

from __future__ import annotations

import time
from typing import Any

from headway.errors import NotFoundError
from headway.execution.job import job_status
from headway.execution.session import Session
from headway.flows.inspect import JOB_KINDS, find
from headway.stores import commit

GRACE_S = 3600.0


def prune(
    session: Session, *, job: str | None = None, older_than_s: float = GRACE_S, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Remove attempts that no result names, packed code that no job took, and temporary files.

    Args:
        job: only this one; None for all jobs and datasets.
        older_than_s: only what has not been touched for so long.
        dry_run: only tell.

    Guarantees: never removes the chosen attempt of a job, an attempt that a dataset's index names, a registered model,
    or anything of work that has not ended.
    """
    entries = [find(session, job, kinds=JOB_KINDS)] if job else session.ledger.entries()
    rows = []
    for entry in entries:
        if entry.kind in JOB_KINDS and job_status(session, entry.id) == "succeeded":
            rows += _prune_job(session, entry.id, older_than_s, dry_run=dry_run)
    if job is None:
        rows += _remove_old(session, "incoming", older_than_s, dry_run=dry_run)
    return rows


def _prune_job(session: Session, job_id: str, older_than_s: float, *, dry_run: bool) -> list[dict[str, Any]]:
    """Attempts of one job that its result does not name."""
    result = commit.result(session.files, f"jobs/{job_id}")
    if result is None:
        raise NotFoundError("result", job_id)
    keep = {str(result.attempt)} | {str(n) for n in result.body.get("attempts", [])}
    return [
        _remove(session, entry.path, "attempt without a result", dry_run=dry_run)
        for entry in session.files.list(f"jobs/{job_id}/attempts")
        if entry.path.rsplit("/", 1)[-1] not in keep and time.time() - (entry.mtime or 0.0) >= older_than_s
    ]


def _remove_old(session: Session, folder: str, older_than_s: float, *, dry_run: bool) -> list[dict[str, Any]]:
    """Everything directly in a folder that has not been touched for a while."""
    if not session.files.exists(folder):
        return []
    return [
        _remove(session, entry.path, "left over by a driver that died", dry_run=dry_run)
        for entry in session.files.list(folder)
        if time.time() - entry.mtime >= older_than_s
    ]


def _remove(session: Session, path: str, reason: str, *, dry_run: bool) -> dict[str, Any]:
    size = sum(entry.size_bytes for entry in session.files.walk(path))
    if not dry_run:
        session.files.remove(path)
    return {"path": path, "reason": reason, "size_bytes": size, "removed": not dry_run}
