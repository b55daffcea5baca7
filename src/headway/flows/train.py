"""Training by name: pack the program, find or admit the job, run it.

In: a program, data, settings. Out: a `Job`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headway.engines.engine import Engine, Launch
from headway.execution.admit import admit
from headway.execution.job import Job
from headway.execution.run import run_job
from headway.execution.session import Session
from headway.execution.tickets import make_launch
from headway.flows.channels import Data, Feed, feed
from headway.flows.inspect import JOB_KINDS, find
from headway.jobs.code import snapshot
from headway.jobs.folder import JobFolder
from headway.jobs.hyperparameters import check_hyperparameters
from headway.jobs.metrics import compile_patterns
from headway.jobs.program import Script, as_program
from headway.jobs.secrets import resolve
from headway.jobs.spec import UNPACKED, ChannelMode, JobSpec, ProgramRecord, Resources
from headway.planning.fit import check_fits
from headway.records import Record

RUNNER = "headway.training.entry:run"
EVERY = ("train", "validation", "test")


class TrainOptions(Record):
    """How a training job is to run; the arguments of `Workspace.train` of the same names."""

    hyperparameters: dict[str, Any]
    workers: int
    resources: Resources
    retries: int
    timeout_s: float | None
    seed: int
    secrets: dict[str, str]
    metrics: dict[str, str]
    mode: ChannelMode
    allow_test: bool


def train(
    session: Session,
    name: str,
    program: Any,
    data: Data | None,
    options: TrainOptions,
    *,
    engine: str | Engine | None,
    fresh: bool,
    wait: bool,
) -> Job:
    """The job of that name that answers this call: finished already, gone on with, or new.

    Raises:
        ProgramError, CapabilityError, TypeError: before anything starts.
        JobFailedError, StoppedError, ChannelLeakError: how it ended.
    """
    chosen = as_program(program)
    where = session.engine(engine)
    check_fits(where.capabilities(), options.resources, workers=options.workers, coupled=options.workers > 1)
    session.check_disk(options.resources, workers=options.workers)
    given = feed(session, data, channels=EVERY if options.allow_test else None, mode=options.mode)
    draft = _draft(name, options, given, patterns=options.metrics | dict(chosen.metrics))
    draft = msgspec.structs.replace(draft, engine=session.engine_url(engine))

    def pack(into: Path) -> ProgramRecord:
        packed = snapshot(chosen, into, runner=None if isinstance(chosen, Script) else RUNNER)
        check_hyperparameters(packed, draft.hyperparameters, given_by_runner=[])
        return packed

    admission = admit(session.files, session.ledger, draft, pack, fresh=fresh)
    spec = admission.spec
    if admission.note:
        session.progress.note(admission.note)
    labels = dict(data.labels) if data is not None else {}

    def launch(attempt: int) -> Launch:
        return make_launch(
            session,
            spec,
            attempt=attempt,
            channels=given.sources,
            forbidden=given.forbidden,
            options={"labels": labels},
        )

    def work() -> Any:
        return run_job(session, spec, launch=launch, engine=where)

    job = Job(session, spec, work=work, reasons=admission.reasons)
    if admission.decision == "reused":
        return job
    return job.run() if wait else job.start()


def _draft(name: str, options: TrainOptions, given: Feed, *, patterns: dict[str, str]) -> JobSpec:
    """The specification, checked as far as it can be before the program is packed."""
    compile_patterns(patterns)
    resolve(options.secrets)
    return JobSpec(
        id="",
        version=0,
        kind="train",
        name=name,
        program=UNPACKED,
        hyperparameters=check_hyperparameters(UNPACKED, options.hyperparameters),
        channels=given.refs,
        inputs=given.inputs,
        workers=options.workers,
        coupled=options.workers > 1,
        resources=options.resources,
        retries=options.retries,
        timeout_s=options.timeout_s,
        seed=options.seed,
        metrics=patterns,
        secrets=options.secrets,
        allow_test=options.allow_test,
    )


def load_job(session: Session, ref: str) -> Job:
    """A job by id, or the newest of a name."""
    entry = find(session, ref, kinds=JOB_KINDS)
    return Job(session, JobFolder(session.files, entry.id).spec())
