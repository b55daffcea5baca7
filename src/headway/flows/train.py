"""Training by name: pack the program, find or admit the job, run it.

In: a program, data, settings. Out: a `Job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headway.engines.engine import Engine, Launch
from headway.execution.admit import admit
from headway.execution.job import Job
from headway.execution.run import run_job
from headway.execution.session import Session
from headway.execution.tickets import make_launch
from headway.flows.channels import Data, feed
from headway.flows.inspect import JOB_KINDS, find
from headway.jobs.code import snapshot
from headway.jobs.folder import JobFolder
from headway.jobs.hyperparameters import check_hyperparameters
from headway.jobs.metrics import compile_patterns
from headway.jobs.program import Script, as_program
from headway.jobs.secrets import resolve
from headway.jobs.spec import ChannelMode, JobKind, JobSpec, ProgramRecord, Resources
from headway.planning.fit import check_fits

RUNNER = "headway.training.entry:run"
UNPACKED = ProgramRecord(kind="function", name="", digest="")


def train(
    session: Session,
    name: str,
    program: Any,
    data: Data | None,
    *,
    hyperparameters: Mapping[str, Any],
    workers: int,
    resources: Resources | None,
    retries: int,
    timeout_s: float | None,
    seed: int,
    secrets: Mapping[str, str],
    metrics: Mapping[str, str],
    mode: ChannelMode,
    allow_test: bool,
    engine: str | Engine | None,
    fresh: bool,
    wait: bool,
    kind: JobKind = "train",
) -> Job:
    """The job of that name that answers this call: finished already, gone on with, or new.

    Raises:
        ProgramError, CapabilityError, TypeError: before anything starts.
        JobFailedError, StoppedError, ChannelLeakError: how it ended.
    """
    chosen = as_program(program)
    patterns = dict(metrics) | (dict(chosen.metrics) if isinstance(chosen, Script) else {})
    compile_patterns(patterns)
    resolve(secrets)
    where = session.engine(engine)
    resources = resources or Resources()
    check_fits(where.capabilities(), resources, workers=workers, coupled=workers > 1)
    channels = None if not allow_test else ("train", "validation", "test")
    given = feed(session, data, channels=channels, mode=mode)
    draft = JobSpec(
        id="",
        version=0,
        kind=kind,
        name=name,
        program=UNPACKED,
        hyperparameters=check_hyperparameters(UNPACKED, hyperparameters),
        channels=given.refs,
        inputs=given.inputs,
        workers=workers,
        coupled=workers > 1,
        resources=resources,
        retries=retries,
        timeout_s=timeout_s,
        seed=seed,
        metrics=patterns,
        secrets=dict(secrets),
        allow_test=allow_test,
        engine=session.engine_url(engine),
    )

    def pack(into: Path) -> ProgramRecord:
        packed = snapshot(chosen, into, runner=None if isinstance(chosen, Script) else RUNNER)
        check_hyperparameters(packed, draft.hyperparameters, given_by_runner=[])
        return packed

    admission = admit(session.files, session.ledger, draft, pack, fresh=fresh)
    spec = admission.spec
    if admission.note:
        session.progress.note(admission.note)

    def launch(attempt: int) -> Launch:
        return make_launch(
            session.files,
            spec,
            attempt=attempt,
            channels=given.sources,
            forbidden=given.forbidden,
            options={"labels": _labels(data)},
        )

    def work() -> Any:
        return run_job(session, spec, launch=launch, engine=where)

    job = Job(session, spec, work=work, reasons=admission.reasons)
    if admission.decision == "reused":
        return job
    return job.run() if wait else job.start()


def _labels(data: Data | None) -> dict[str, int]:
    """Label -> code of the data, for the model."""
    return dict(data.labels) if data is not None else {}


def load_job(session: Session, ref: str) -> Job:
    """A job by id, or the newest of a name."""
    entry = find(session, ref, kinds=JOB_KINDS)
    return Job(session, JobFolder(session.files, entry.id).spec())
