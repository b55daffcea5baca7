"""Stop requests: how one process asks the driver of a job, which may be another process, to stop it.

A request is a small file in the job's folder, created once; the driver looks for it while it observes. If no driver is
alive the asker settles the job itself.
"""

from __future__ import annotations

import time

from headway.records import decode, pretty
from headway.stores.files import Files


def request(files: Files, job_id: str, *, by: str, grace_s: float | None = None) -> bool:
    """Ask for a stop; False when it was asked for already.

    Args:
        by: who asks, for the record.
        grace_s: overrides the job's own grace.
    """
    body = {"schema": 1, "by": by, "at": time.time(), "grace_s": grace_s}
    return files.create(_path(job_id), pretty(body))


def requested(files: Files, job_id: str) -> dict[str, object] | None:
    """The request for a job, if there is one."""
    try:
        data = files.read(_path(job_id))
    except FileNotFoundError:
        return None
    value: dict[str, object] = decode(data, dict, where=_path(job_id))
    return value


def clear(files: Files, job_id: str) -> None:
    """Forget a request, once it was served or the job is started again."""
    if files.exists(_path(job_id)):
        files.remove(_path(job_id))


def _path(job_id: str) -> str:
    return f"jobs/{job_id}/stop.json"
