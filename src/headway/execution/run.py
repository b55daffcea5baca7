"""The whole way of a job of mode `run`: claim it or follow its driver, then bring it to its result.

In: an admitted specification. Out: the published result. This is what the flows call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from headway.engines.engine import Engine
from headway.execution.drive import Drive, MakeLaunch, Watch
from headway.execution.follow import follow, published
from headway.execution.session import Session
from headway.jobs.spec import JobSpec
from headway.planning.fit import check_fits
from headway.stores.commit import Result
from headway.stores.ledger import Lease

T = TypeVar("T")


def run_job(
    session: Session, spec: JobSpec, *, launch: MakeLaunch, engine: Engine, watch: Watch | None = None
) -> Result:
    """The result of a job: the one that is there, or the one that this driver, or another live one, brings about.

    Args:
        launch: makes the launch of an attempt.
        watch: told of every report of a worker, instead of the session's progress.

    Raises:
        CapabilityError: the engine can never run it; nothing has started.
        JobFailedError, StoppedError, ChannelLeakError: how it ended otherwise.
    """
    for warning in check_fits(engine.capabilities(), spec.resources, workers=spec.workers, coupled=spec.coupled):
        session.progress.note(f"{spec.id}: {warning}")

    def drive(lease: Lease) -> Result:
        return Drive(session, spec, lease, launch=launch, engine=engine, watch=watch).run()

    return as_driver(session, spec.id, drive, folder=f"jobs/{spec.id}")


def as_driver(
    session: Session, owner: str, work: Callable[[Lease], Result], *, folder: str, again: bool = False
) -> Result:
    """The result of `owner`: found, followed, or made by `work` under a lease.

    Args:
        work: makes and publishes the result; called only while this driver holds the lease.
        folder: where the result lies.
        again: call `work` although there is a result (it looks at it itself).
    """
    while True:
        with session.lease(owner) as lease:
            if lease is not None:
                return (None if again else published(session, owner, folder)) or work(lease)
        found = follow(session, owner, folder=folder)
        if found is not None:
            return found
