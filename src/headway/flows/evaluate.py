"""Evaluation by name: one model scored on validation and test, as a job; the only way to the test channel.

In: a model (of a job, a trial or the registry) and a dataset. Out: an `Evaluation`, with its page beside the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from headway.engines.engine import Engine, Launch
from headway.evaluation.compare import Comparison, compare_stored
from headway.evaluation.evaluation import Evaluation, load_evaluation
from headway.evaluation.page import page
from headway.execution.admit import admit
from headway.execution.job import Job, ModelRef
from headway.execution.run import run_job
from headway.execution.session import Session
from headway.execution.tickets import make_launch
from headway.flows.channels import feed, local_root
from headway.flows.process import load_dataset
from headway.jobs.code import snapshot
from headway.jobs.program import Function
from headway.jobs.spec import UNPACKED, InputRef, JobSpec, ProgramRecord
from headway.manifests.manifest import Manifest
from headway.models.description import describe
from headway.processing.dataset import Dataset
from headway.records import decode, pretty
from headway.registry.lookup import resolve

ENTRY = "headway.evaluation.entry:evaluate"
CHANNELS = ("validation", "test")
COMPARISON = "comparison.json"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is evaluated: where its files and code lie, and how it is called in records."""

    ref: str
    folder: Path
    code: Path | None
    digest: str
    source: str


def evaluate(
    session: Session,
    model: ModelRef | Job | str,
    data: Dataset,
    *,
    against: str | None,
    metrics: Sequence[str] | None,
    engine: str | Engine | None,
    fresh: bool,
) -> Evaluation:
    """The evaluation of a model on a dataset; the one that is there when nothing has changed.

    Raises:
        NotFoundError: no such model.
        JobFailedError: scoring failed.
    """
    subject = subject_of(session, model)
    found = _evaluate(session, subject, data, metrics=metrics, engine=engine, fresh=fresh)
    if against is not None:
        other = _evaluate(session, subject_of(session, against), data, metrics=metrics, engine=engine, fresh=False)
        comparison = compare_stored(session.files, found, other)
        session.files.write(f"jobs/{found.id}/{COMPARISON}", pretty(comparison))
        session.progress.note(comparison.text)
    return found


def subject_of(session: Session, model: ModelRef | Job | str) -> Subject:
    """What people may name as a model."""
    if isinstance(model, Job):
        model = model.model
    if isinstance(model, ModelRef):
        folder = model.path(session.files)
        return Subject(
            ref=model.source,
            folder=folder,
            code=session.files.local(model.code),
            digest=model_digest(folder),
            source=model.job,
        )
    version = resolve(session.files, session.ledger, model)
    home = version.path(session.files)
    code = None if version.bundle.code is None else home / version.bundle.code
    return Subject(
        ref=version.id,
        folder=home / "model",
        code=code,
        digest=version.digest,
        source=version.id,
    )


def model_digest(folder: Path) -> str:
    """The digest of a saved model's files; also of one that a script left without a description."""
    return describe(folder).digest


def _evaluate(
    session: Session,
    subject: Subject,
    data: Dataset,
    *,
    metrics: Sequence[str] | None,
    engine: str | Engine | None,
    fresh: bool,
) -> Evaluation:
    """One evaluation as a job."""
    where = session.engine(engine)
    given = feed(session, data, channels=CHANNELS)
    names = list(metrics) if metrics is not None else None
    options = {"model_ref": subject.ref, "dataset": {"id": data.id, "digest": data.digest}, "metrics": names}
    draft = JobSpec(
        id="",
        version=0,
        kind="evaluate",
        name=subject.ref.replace("/", "-")[:80],
        program=UNPACKED,
        channels=given.refs,
        allow_test=True,
        engine=session.engine_url(engine),
        inputs=(*given.inputs, InputRef(id=subject.source, digest=subject.digest, role="model")),
        options={"lookup": options},
    )

    def pack(into: Path) -> ProgramRecord:
        return snapshot(Function(ENTRY), into, runner=ENTRY)

    admission = admit(session.files, session.ledger, draft, pack, fresh=fresh)
    spec = admission.spec
    if admission.note:
        session.progress.note(admission.note)

    def launch(attempt: int) -> Launch:
        wanted = {name: value for name, value in options.items() if value is not None}
        place = {"model": str(subject.folder), "code": None if subject.code is None else str(subject.code)}
        return make_launch(
            session,
            spec,
            attempt=attempt,
            channels=given.sources,
            options=wanted | place,
        )

    run_job(session, spec, launch=launch, engine=where)
    return load_evaluation(session.files, spec.id)


def write_page(session: Session, evaluation: Evaluation) -> Path:
    """The page of sample predictions, with the raw pictures where they can be read; its path."""
    data = load_dataset(session, evaluation.dataset)
    manifest = Manifest.load(session.files, session.ledger, data.manifest) if data.manifest else None
    root = local_root(manifest) if manifest is not None else None

    def raw(key: str) -> bytes | None:
        if root is None:
            return None
        try:
            return (root / key).read_bytes()
        except OSError:
            return None

    path = f"jobs/{evaluation.id}/page.html"
    comparison = None
    compared = f"jobs/{evaluation.id}/{COMPARISON}"
    if session.files.exists(compared):
        comparison = decode(session.files.read(compared), Comparison, where=compared)
    session.files.write(path, page(evaluation, raw=raw, comparison=comparison).encode())
    return session.files.local(path)
