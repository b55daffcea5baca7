"""Tuning by name: admit the study's job, replay its events, run the trials that are missing, keep the best models.

In: a program, data, a space, an objective. Out: a `Study`. The decisions are `headway.tuning`'s.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import msgspec

from headway.engines.engine import Engine, Launch, Pool
from headway.errors import JobFailedError, StoppedError, StudyChangedError
from headway.execution import stopping
from headway.execution.admit import Admission, admit
from headway.execution.job import Job
from headway.execution.run import as_driver
from headway.execution.session import Session
from headway.execution.settle import keep_digests
from headway.execution.tickets import make_launch
from headway.flows.channels import Data, Feed, feed
from headway.flows.data_of import data_of
from headway.flows.study import PREFIX, Study, study_events
from headway.flows.trials import JobTrials, PoolTrials, trial_report
from headway.jobs.code import snapshot
from headway.jobs.folder import JobFolder
from headway.jobs.hyperparameters import check_hyperparameters
from headway.jobs.metrics import compile_patterns
from headway.jobs.program import Script, as_program
from headway.jobs.spec import UNPACKED, JobSpec, ProgramRecord, Resources
from headway.planning.fit import check_fits
from headway.stores import commit
from headway.stores.commit import Result
from headway.stores.ledger import Lease
from headway.tuning import report
from headway.tuning.loop import TrialReport, run_study
from headway.tuning.objective import Objective
from headway.tuning.scheduler import open_scheduler
from headway.tuning.searcher import open_searcher
from headway.tuning.spec import StudySpec, differences, specify
from headway.tuning.study import Event, StudyState, begin

RUNNER = "headway.training.entry:run_trials"


def tune(
    session: Session,
    name: str,
    program: Any,
    data: Data | None,
    *,
    space: Mapping[str, Any],
    objective: Objective,
    trials: int,
    parallel: int,
    searcher: Any,
    scheduler: Any,
    hyperparameters: Mapping[str, Any],
    resources: Resources | None,
    max_attempts: int,
    keep_best: int,
    seed: int,
    engine: str | Engine | None,
    new: bool,
) -> Study:
    """The study of that name, run until `trials` trials have ended.

    Raises:
        StudyChangedError: one of other settings, code or data has this name.
        ProgramError, CapabilityError, ValueError: before anything starts.
        JobFailedError, StoppedError: how it ended otherwise.
    """
    kept: Any = keep_best
    if isinstance(kept, bool) or not isinstance(kept, int) or kept < 0:
        raise ValueError(f"keep_best must be a whole number of at least 0, got {kept!r}")
    chosen = as_program(program)
    where = session.engine(engine)
    resources = resources or Resources()
    check_fits(where.capabilities(), resources, workers=parallel, coupled=False)
    fixed = check_hyperparameters(UNPACKED, hyperparameters)
    compile_patterns(dict(chosen.metrics))
    given = feed(session, data, channels=None)
    study = specify(
        name,
        space=space,
        objective=objective,
        trials=trials,
        parallel=parallel,
        retries=max_attempts - 1,
        seed=seed,
        searcher=searcher,
        scheduler=scheduler,
        settings={"hyperparameters": fixed},
    )
    is_script = isinstance(chosen, Script)
    draft = _draft(study, given, resources=resources, patterns=dict(chosen.metrics), is_script=is_script)
    draft = msgspec.structs.replace(draft, engine=session.engine_url(engine))
    draft = msgspec.structs.replace(draft, options=draft.options | {"keep_best": keep_best})

    def pack(into: Path) -> ProgramRecord:
        packed = snapshot(chosen, into, runner=None if is_script else RUNNER)
        check_hyperparameters(packed, fixed | dict.fromkeys(space, 0), given_by_runner=[])
        return packed

    admission = _admit(session, draft, pack, new=new)
    return _run(session, admission.spec, study, given, engine=where)


def _draft(
    study: StudySpec, given: Feed, *, resources: Resources, patterns: dict[str, str], is_script: bool
) -> JobSpec:
    """The specification of the study's job."""
    recorded = msgspec.to_builtins(study)
    lookup = {k: v for k, v in recorded.items() if k not in ("trials", "parallel", "settings")}
    return JobSpec(
        id="",
        version=0,
        kind="tune",
        name=study.name,
        mode="run" if is_script else "items",
        program=UNPACKED,
        hyperparameters=study.settings["hyperparameters"],
        channels=given.refs,
        inputs=given.inputs,
        workers=study.parallel,
        resources=resources,
        seed=study.seed,
        metrics=patterns,
        options={"study": recorded, "lookup": lookup},
    )


def _admit(session: Session, draft: JobSpec, pack: Any, *, new: bool) -> Admission:
    """The job of the study; an error when the name is taken by a study of other settings."""
    newest = session.ledger.entry("tune", draft.name)
    admission = admit(session.files, session.ledger, draft, pack, fresh=new, allow_new=new or newest is None)
    if admission.decision == "refused" and newest is not None:
        raise StudyChangedError(
            f"study {draft.name!r} ({newest.id}) was begun with other settings:\n  "
            + "\n  ".join(_what_differs(session, newest.id, draft, admission.reasons))
            + "\ntake another name, or begin a new version of this one: new=True (--new) on this call"
        )
    if admission.decision == "resumed":
        session.progress.note(admission.note)
    return admission


def _what_differs(session: Session, old: str, draft: JobSpec, reasons: Sequence[str]) -> list[str]:
    """The settings that differ, in the words of `Workspace.tune`, then code, data and environment."""
    before = JobFolder(session.files, old).spec().options["study"]
    settings = differences(msgspec.convert(before, StudySpec), msgspec.convert(draft.options["study"], StudySpec))
    rest = [reason for reason in reasons if not reason.startswith(("option ", "lookup", "study.", "argument "))]
    return [*settings, *rest] or list(reasons)


def go_on(
    session: Session, spec: JobSpec, *, trials: int | None, parallel: int | None, engine: str | Engine | None
) -> Study:
    """Run a recorded study further, from its own snapshot of the code."""
    study = msgspec.convert(spec.options["study"], StudySpec)
    state = StudyState.replay(study_events(session, spec.id)) if study_events(session, spec.id) else None
    total = trials or (state.total if state else study.trials)
    study = msgspec.structs.replace(
        study, trials=total, parallel=parallel or (state.parallel if state else study.parallel)
    )
    data = data_of(session, spec)
    return _run(session, spec, study, feed(session, data, channels=None), engine=session.engine(engine or spec.engine))


def _run(session: Session, spec: JobSpec, study: StudySpec, given: Feed, *, engine: Engine) -> Study:
    """Bring the study to its end as its driver, or follow the driver that has it."""
    work = _Work(session, spec, study, given, engine=engine)
    as_driver(session, spec.id, work.run, folder=f"jobs/{spec.id}", again=True)
    return Study(session, spec)


@final
class _Work:
    """One driver's work on one study."""

    def __init__(self, session: Session, spec: JobSpec, study: StudySpec, given: Feed, *, engine: Engine) -> None:
        self._session, self._spec, self._study, self._given, self._engine = session, spec, study, given, engine
        self._folder = JobFolder(session.files, spec.id)
        self._attempt = 0
        self._removed: set[int] = set()

    def run(self, lease: Lease) -> Result:
        """From the recorded events to the published result."""
        session, spec = self._session, self._spec

        def append(events: Sequence[Event]) -> None:
            session.ledger.append(lease, [(PREFIX + kind, body) for kind, body in events])

        state, added = begin(self._study, study_events(session, spec.id), at=time.time())
        if added:
            append(added)
        if state.finished is not None:
            session.progress.note(f"{spec.id}: finished before; nothing that it ran or read has changed")
            return self._publish(lease, state)
        for handle in self._engine.find(spec.id):
            self._engine.stop(handle, grace_s=0)
        self._attempt = max(self._folder.attempts(), default=0) + 1
        self._adopt(state, append)
        self._drive(lease, state, append)
        return self._publish(lease, state)

    def _drive(self, lease: Lease, state: StudyState, append: Any) -> None:
        """Run what is missing."""
        session, spec = self._session, self._spec
        stopping.clear(session.files, spec.id)
        session.ledger.append(lease, [("reopened", {}), ("intended", {"attempt": self._attempt})])
        session.progress.begin(spec.id, f"tune {spec.name}", total=state.total, done=state.num_ended)
        runner = self._runner()
        control = _Control(session, spec.id)
        ended = "stopped"
        try:
            run_study(
                state,
                runner=runner,
                append=append,
                searcher=open_searcher(state.spec.searcher),
                scheduler=open_scheduler(state.spec.scheduler),
                clock=time.time,
                progress=self._progress,
                control=control,
            )
            if not report.ranking(state):
                metric = state.spec.objective.metric
                raise JobFailedError(
                    f"{spec.id}: no trial ended with a finite value of {metric!r}; see headway study show {spec.name}",
                    job_id=spec.id,
                )
            ended = "succeeded"
        except KeyboardInterrupt:
            session.progress.note(f"stopping {spec.id}; the same call goes on with it")
            session.ledger.append(lease, [("stop_requested", {"by": "Ctrl-C"}), ("stopped", {})])
            raise
        except StoppedError:
            session.ledger.append(lease, [("stop_requested", {"by": "headway stop"}), ("stopped", {})])
            stopping.clear(session.files, spec.id)
            raise
        except Exception as error:
            ended = "failed"
            if isinstance(error, JobFailedError):
                error.job_id = spec.id
            session.ledger.append(lease, [("failed", {"reason": str(error), "errors": getattr(error, "errors", [])})])
            raise
        finally:
            runner.close()
            keep_digests(self._folder, self._attempt)
            session.progress.end(spec.id, report.sentence(state))
            session.ledger.update_entry(spec.id, {"status": ended} | report.summary(state))

    def _runner(self) -> PoolTrials | JobTrials:
        """Warm workers for functions, a job for each trial of a script."""
        if self._spec.mode == "run":
            return JobTrials(self._session, self._start_job)
        return PoolTrials(
            self._pool, seed=self._spec.seed, place=self._place, grace_s=self._spec.grace_s, tell=self._tell
        )

    def _pool(self) -> Pool:
        workers = min(self._study.parallel, self._study.trials)
        return self._engine.pool(self._launch(workers))

    def _launch(self, workers: int) -> Launch:
        return make_launch(
            self._session,
            self._spec,
            attempt=self._attempt,
            channels=self._given.sources,
            forbidden=self._given.forbidden,
            workers=workers,
            options={"labels": self._labels()},
        )

    def _labels(self) -> dict[str, int]:
        data = data_of(self._session, self._spec)
        return dict(data.labels) if data is not None else {}

    def _tell(self, text: str) -> None:
        self._session.progress.note(f"{self._spec.id}: {text}")

    def _place(self, number: int, result: Mapping[str, Any]) -> str | None:
        """Where a trial's model lies, relative to the workspace; None when it saved none."""
        return self._place_in(self._attempt, number, result)

    def _place_in(self, attempt: int, number: int, result: Mapping[str, Any]) -> str | None:
        if not result.get("model"):
            return None
        folder = f"{self._folder.attempt(attempt)}/items/{number}/model"
        return folder if self._session.files.exists(folder) else None

    def _adopt(self, state: StudyState, append: Any) -> None:
        """Trials whose workers had finished when their driver died: their records are there, so they count."""
        records = {
            (record["number"], record["attempt"]): (attempt, record)
            for attempt in self._folder.attempts()
            for record in self._folder.tasks(attempt)
        }
        events: list[Event] = []
        for number in sorted(state.running):
            found = records.get((number, state.trials[number].attempt))
            if found is None or not found[1].get("ok"):
                continue
            attempt, record = found
            told = trial_report(
                number,
                record["attempt"],
                ok=True,
                result=record["result"],
                error=None,
                usage=record.get("usage", {}),
                place=lambda n, r, a=attempt: self._place_in(a, n, r),  # type: ignore[misc]
            )
            events.append(("told", _told(told)))
        for event in events:
            state.apply(*event)
        if events:
            append(events)

    def _start_job(self, number: int, attempt: int, parameters: dict[str, Any], watch: Any) -> Job:
        """One trial as a job of its own."""
        from headway.flows.trial_job import run_trial_job

        return run_trial_job(
            self._session,
            self._spec,
            number=number,
            parameters=parameters,
            given=self._given,
            engine=self._engine,
            watch=watch,
        )

    def _progress(self, state: StudyState) -> None:
        """Show how far it is, and drop the models that are no longer among the best."""
        self._session.progress.advance(self._spec.id, done=state.num_ended, text=report.news(state))
        for number in report.surplus(state, keep_best=self._spec.options["keep_best"]):
            artifact = state.trials[number].artifact
            if number not in self._removed and artifact is not None:
                self._removed.add(number)
                shutil.rmtree(self._session.files.local(artifact), ignore_errors=True)

    def _publish(self, lease: Lease, state: StudyState) -> Result:
        """The result: the best trials and where their models lie."""
        files, home = self._session.files, f"jobs/{self._spec.id}"
        if (found := commit.result(files, home)) is not None:
            return found  # of the study before it was extended: what counts is in its events
        attempts = self._folder.attempts() or [1]
        attempt = attempts[-1]
        files.local(self._folder.output(attempt)).mkdir(parents=True, exist_ok=True)
        best = report.best(state)
        body = {
            "status": "succeeded",
            "metrics": {k: v for k, v in best.metrics.items() if v is not None},
            "model": False,
            "best": best.number,
            "parameters": best.parameters,
            "trials": state.num_ended,
            "attempts": attempts,
            "warnings": [],
            "started_at": min(t.asked_at for t in state.trials.values()),
            "ended_at": time.time(),
        }
        sealed = commit.seal(files, home, attempt=attempt, only=["output"])
        return commit.publish(files, self._session.ledger, lease, home, sealed, body=body)


def _told(told: TrialReport) -> dict[str, Any]:
    """The event of a trial that ended."""
    body = {"number": told.number, "attempt": told.attempt, "metrics": dict(told.values), "artifact": told.artifact}
    return body | ({} if told.wall_s is None else {"wall_s": told.wall_s}) | {"at": time.time()}


@final
class _Control:
    """Stop requests from other processes."""

    def __init__(self, session: Session, job_id: str) -> None:
        self._session, self._job_id = session, job_id

    def stop_reason(self) -> str | None:
        """Who asked for a stop."""
        asked = stopping.requested(self._session.files, self._job_id)
        return None if asked is None else str(asked.get("by", "headway stop"))

    def parallel(self) -> int | None:
        """Unchanged."""
        return None
