"""A trial that is a job of its own: the study's code with this trial's parameters.

In: the study's job and one trial. Out: the trial's `Job`, brought to its end.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from headway.engines.engine import Engine, Launch
from headway.execution.admit import admit
from headway.execution.drive import Watch
from headway.execution.job import Job
from headway.execution.run import run_job
from headway.execution.session import Session
from headway.execution.tickets import make_launch
from headway.flows.channels import Feed
from headway.jobs.spec import InputRef, JobSpec, ProgramRecord


def run_trial_job(
    session: Session,
    study: JobSpec,
    *,
    number: int,
    parameters: dict[str, Any],
    given: Feed,
    engine: Engine,
    watch: Watch,
) -> Job:
    """The job of a trial; a finished one is found again, an interrupted one goes on from its checkpoints."""
    draft = msgspec.structs.replace(
        study,
        id="",
        version=0,
        kind="trial",
        name=f"{study.name}-{study.version}-{number:04d}",
        mode="run",
        workers=1,
        hyperparameters=study.hyperparameters | parameters,
        lookup="",
        options={"lookup": [study.id, number]},
        inputs=(*study.inputs, InputRef(id=study.id, digest=study.lookup, role="study")),
    )

    def pack(into: Path) -> ProgramRecord:
        shutil.copytree(session.files.local(f"jobs/{study.id}/code"), into, copy_function=_link_or_copy)
        return study.program

    admission = admit(session.files, session.ledger, draft, pack)
    spec = admission.spec

    def launch(attempt: int) -> Launch:
        return make_launch(
            session,
            spec,
            attempt=attempt,
            channels=given.sources,
            forbidden=given.forbidden,
            options={"labels": {}},
        )

    if admission.decision != "reused":
        run_job(session, spec, launch=launch, engine=engine, watch=watch)
    return Job(session, spec)


def _link_or_copy(source: str, target: str) -> None:
    """The snapshot never changes, so a hard link serves where the file system has them."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
