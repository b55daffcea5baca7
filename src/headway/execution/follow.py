"""Following: wait for work that another live driver does, and take it over once that driver is gone.

In: an owner in the ledger. Out: the result when it appears, the failure when the other driver recorded one, or None
when its driver is gone, so that the caller claims the work and goes on with it.
"""

from __future__ import annotations

import threading

from headway.errors import JobFailedError, StoppedError
from headway.execution.session import Session
from headway.stores import commit

POLL_S = 0.2


def follow(session: Session, owner: str, *, folder: str) -> commit.Result | None:
    """Wait while a live driver holds `owner`.

    Raises:
        JobFailedError, StoppedError: the other driver recorded that end while we followed.
    """
    seen = max((event.sequence for event in session.ledger.events(owner)), default=0)
    holder = session.ledger.holder(owner)
    who = f"process {holder.driver.pid} on {holder.driver.host}" if holder else "another driver"
    session.progress.note(f"{owner} is being done by {who}: following it")
    pause = threading.Event()
    while True:
        found = commit.result(session.files, folder)
        if found is not None:
            return found
        for event in session.ledger.events(owner, after=seen):
            seen = event.sequence
            if event.kind == "failed":
                reason = str(event.body.get("reason", "failed"))
                raise JobFailedError(
                    f"{owner} failed: {reason}\nsee: headway logs {owner}",
                    job_id=owner,
                    errors=list(event.body.get("errors", ())),
                )
            if event.kind == "stopped":
                raise StoppedError(f"{owner} was stopped on request")
        holder = session.ledger.holder(owner)
        if holder is None or not holder.alive:
            return None
        pause.wait(POLL_S)


def published(session: Session, owner: str, folder: str) -> commit.Result | None:
    """The result of an owner; written again from the ledger when a driver died between the append and the file."""
    found = commit.result(session.files, folder)
    if found is None and any(e.kind == "chosen" for e in session.ledger.events(owner, kinds=["chosen"])):
        found = commit.republish(session.files, session.ledger, owner, folder)
    return found
