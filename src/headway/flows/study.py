"""A study as the caller holds it: trials, the best, rankings by any metric, going on.

In: a job of kind `tune` and its events. Out: `Study` and `StudyTrial`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from headway.execution.job import Job, ModelRef, job_status
from headway.execution.session import Session
from headway.flows.inspect import find
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.records import Record
from headway.tuning import report
from headway.tuning.objective import Objective
from headway.tuning.study import Event, StudyState
from headway.tuning.trial import Trial

if TYPE_CHECKING:
    from headway.engines.engine import Engine

PREFIX = "study."


class StudyTrial(Record):
    """One trial, with its model where that was kept."""

    number: int
    status: str
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    value: float | None
    model: ModelRef | None


@final
class Study:
    """A study of this workspace; what it gives is read anew from the ledger each time."""

    def __init__(self, session: Session, spec: JobSpec) -> None:
        self.spec, self.id, self.name = spec, spec.id, spec.name
        self._session = session

    def __repr__(self) -> str:
        return f"Study({self.id!r}, {report.sentence(self.state())!r})"

    @property
    def status(self) -> str:
        """As of a job: `new`, `running`, `succeeded`, `failed`, `stopped` or `interrupted`."""
        return study_status(self._session, self.id)

    @property
    def job(self) -> Job:
        """The job that runs it, for logs and stopping."""
        return Job(self._session, self.spec)

    def state(self) -> StudyState:
        """All that its events add up to."""
        return StudyState.replay(study_events(self._session, self.id))

    def trials(self) -> list[dict[str, Any]]:
        """One row per trial in the order of the numbers."""
        return report.rows(self.state())

    def df(self) -> Any:
        """The same rows as a pandas DataFrame."""
        return report.frame(self.state())

    def durations(self) -> list[dict[str, Any]]:
        """How long trials took, as a histogram; slow ones are marked in `trials()`."""
        return report.durations(self.state())

    def summary(self) -> dict[str, Any]:
        """One small dict: how far it is, the best so far, slow trials."""
        return report.summary(self.state())

    def best(self, *, by: Objective | None = None) -> StudyTrial:
        """The best trial by the study's objective, or by any other metric that was reported."""
        return self._as_trial(report.best(self.state(), by=by))

    def ranking(self, *, by: Objective | None = None) -> list[StudyTrial]:
        """Ended trials, the best first."""
        return [self._as_trial(trial) for trial in report.ranking(self.state(), by=by)]

    def resume(
        self, *, trials: int | None = None, parallel: int | None = None, engine: str | Engine | None = None
    ) -> Study:
        """Go on until `trials` trials have ended in all (None: as many as were asked for)."""
        from headway.flows.tune import go_on

        return go_on(self._session, self.spec, trials=trials, parallel=parallel, engine=engine)

    def _as_trial(self, trial: Trial) -> StudyTrial:
        model = None
        if trial.artifact is not None and self._session.files.exists(trial.artifact):
            parameters = self.spec.hyperparameters | dict(trial.parameters)
            code = f"jobs/{self.id}/code"
            data = next((i.id for i in self.spec.inputs if i.role in ("dataset", "manifest")), "")
            source = f"{self.id}/{trial.number}"
            model = ModelRef(source=source, folder=trial.artifact, code=code, dataset=data, parameters=parameters)
        return StudyTrial(
            number=trial.number,
            status=trial.status,
            parameters=trial.parameters,
            metrics=trial.metrics,
            value=trial.value,
            model=model,
        )


def study_status(session: Session, job_id: str) -> str:
    """The status of a study: a study that was extended after it had succeeded runs again."""
    status = job_status(session, job_id)
    if status == "succeeded" and StudyState.replay(study_events(session, job_id)).finished is None:
        holder = session.ledger.holder(job_id)
        return "running" if holder is not None and holder.alive else "interrupted"
    return status


def study_events(session: Session, job_id: str) -> list[Event]:
    """The study's own events out of its job's stream."""
    return [
        (event.kind.removeprefix(PREFIX), event.body)
        for event in session.ledger.events(job_id)
        if event.kind.startswith(PREFIX)
    ]


def load_study(session: Session, ref: str) -> Study:
    """A study by name (the newest) or id."""
    entry = find(session, ref, kinds=("tune",))
    return Study(session, JobFolder(session.files, entry.id).spec())
