"""The loop that carries a study out: a thin shell round `headway.tuning.study`.

In: a `StudyState`, a `TrialRunner` that really runs trials (the workspace supplies it: warm workers, or a job for each
trial), and `append`, which makes events durable (the ledger, under the epoch). Out: the state once every trial has
ended. Every event is appended before what follows from it is done, so that a driver that is killed at any point loses
no finished trial and never computes a suggestion twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, final

from headway.errors import JobFailedError, ProgramError, StoppedError
from headway.records import Record
from headway.tuning.objective import number as as_number
from headway.tuning.scheduler import Decision, Report, Scheduler
from headway.tuning.searcher import Searcher
from headway.tuning.study import Event, Finish, Start, StudyState, Suggest, changes, decide, missing_metric
from headway.tuning.trial import Trial

GIVE_UP_AFTER = 5
"""Trials that may fail, in one run and before any has ended, until the study is stopped: the program is at fault."""


@final
class TrialReport(Record):
    """What a runner says of one attempt of a trial.

    Args:
        kind: `reported` while it runs (values, step); `ended` with success (values: the final metrics, artifact);
            `failed` (error).
        number, attempt: as given to `TrialRunner.start`.
        values: metric -> value; what is not a finite number is recorded as having none.
        step: the program's own step, if it named one.
        error: what went wrong, for people, the first line says it all.
        artifact: where the trial's model lies (path inside the workspace), if it made one.
        wall_s: how long the attempt ran, without waiting for a free place; None: from its start until now.
    """

    kind: Literal["reported", "ended", "failed"]
    number: int
    attempt: int
    values: Mapping[str, Any] = {}
    step: int | None = None
    error: str = ""
    artifact: str | None = None
    wall_s: float | None = None


class TrialRunner(Protocol):
    """What really runs trials."""

    def start(self, number: int, attempt: int, parameters: dict[str, Any]) -> None:
        """Start an attempt, or hand it to a queue; returns at once. An attempt has its number for itself alone."""

    def reports(self, timeout_s: float) -> list[TrialReport]:
        """What happened since the last call; waits at most `timeout_s` for the first of it; [] when nothing did.

        Guarantees: every attempt that was started is reported as ended or failed once, also after `stop`.
        """

    def stop(self, number: int, reason: str) -> None:
        """Ask the running attempt of a trial to stop, with grace; returns at once."""


class Control(Protocol):
    """What people change while a study runs."""

    def stop_reason(self) -> str | None:
        """Why the study is to stop now (Ctrl-C, `headway stop`); None to go on."""

    def parallel(self) -> int | None:
        """How many trials may run at once from now on; None to leave it."""


@final
class NoControl:
    """Nothing is changed while the study runs."""

    def stop_reason(self) -> str | None:
        """Never."""
        return None

    def parallel(self) -> int | None:
        """Never changed."""
        return None


def run_study(
    state: StudyState,
    *,
    runner: TrialRunner,
    append: Callable[[Sequence[Event]], object],
    searcher: Searcher,
    scheduler: Scheduler,
    clock: Callable[[], float],
    progress: Callable[[StudyState], object] | None = None,
    control: Control | None = None,
) -> StudyState:
    """The state of the study once all its trials have ended; the same object, brought up to date.

    Guarantees: at most `parallel` attempts at once; every number ends once; a state replayed from the appended events
    goes on where this one was, with the same configurations.

    Args:
        append: makes events durable, all or none, before it returns; what it raises ends the study here.
        clock: UTC seconds.
        progress: called after every change that was made durable.

    Raises:
        ProgramError: trials end without the objective; the text lists the metrics that were seen.
        JobFailedError: the first trials all failed, or every trial did.
        StoppedError: `control` asked for it; the running trials are put back and run again on resuming.
    """
    return _Run(state, runner, append, searcher, scheduler, clock, progress, control or NoControl()).run()


@final
class _Run:
    """One driver's part in a study."""

    def __init__(
        self,
        state: StudyState,
        runner: TrialRunner,
        append: Callable[[Sequence[Event]], object],
        searcher: Searcher,
        scheduler: Scheduler,
        clock: Callable[[], float],
        progress: Callable[[StudyState], object] | None,
        control: Control,
    ) -> None:
        self.state = state
        self.runner = runner
        self.append = append
        self.searcher = searcher
        self.scheduler = scheduler
        self.clock = clock
        self.progress = progress
        self.control = control
        self.outbox: list[Event] = []
        self.draining: set[tuple[int, int]] = set()
        self.failed_here: list[int] = []

    def run(self) -> StudyState:
        """Act and listen in turns until the study is finished."""
        for number in sorted(self.state.running):
            self._record("requeued", number=number, reason="its driver ended")
        self._check_sense()
        while True:
            self._act()
            if self.state.finished is not None:
                self._check_outcome()
                return self.state
            for report in self.runner.reports(0.2):
                self._take(report)
            self._flush()
            self._check_sense()
            self._obey()

    def _act(self) -> None:
        """Carry out instructions until there are none: all events of one round become durable in one append."""
        starts: list[Start] = []
        while instructions := decide(self.state, draining=len(self.draining)):
            for instruction in instructions:
                if isinstance(instruction, Suggest):
                    parameters = self.searcher.suggest(self.state.history, instruction.number)
                    self._record("asked", number=instruction.number, parameters=parameters)
                elif isinstance(instruction, Start):
                    self._record("started", number=instruction.number, attempt=instruction.attempt)
                    starts.append(instruction)
                elif isinstance(instruction, Finish):
                    self._record("finished", reason=instruction.reason)
        self._flush()
        for start in starts:
            self.runner.start(start.number, start.attempt, dict(start.parameters))

    def _take(self, report: TrialReport) -> None:
        trial = self.state.trials.get(report.number)
        place = (report.number, report.attempt)
        if place in self.draining:
            if report.kind != "reported":
                self.draining.discard(place)
            return
        if trial is None or trial.status != "running" or trial.attempt != report.attempt:
            return  # of an attempt that does not count any more
        values = {name: as_number(value) for name, value in report.values.items()}
        more: dict[str, Any] = {} if report.wall_s is None else {"wall_s": report.wall_s}
        if report.kind == "reported":
            if not values:
                return
            self._record("reported", number=trial.number, attempt=trial.attempt, values=values, step=report.step)
            self._judge(trial.number, values)
        elif report.kind == "ended":
            more["artifact"] = report.artifact
            self._record("told", number=trial.number, attempt=trial.attempt, metrics=values, **more)
        else:
            self._record("failed", number=trial.number, attempt=trial.attempt, error=report.error, **more)
            if self.state.trials[trial.number].status == "failed":
                self.failed_here.append(trial.number)

    def _judge(self, number: int, values: Mapping[str, float | None]) -> None:
        """Let the scheduler decide on a trial that has just reported its objective."""
        if values.get(self.state.spec.objective.metric) is None:
            return
        step, value = self.state.curves[number][-1]
        trial = self.state.trials[number]
        decision, reason = self.scheduler.decide(trial, Report(step=step, value=value), self.state.history)
        if decision is Decision.CONTINUE:
            return
        if decision is Decision.STOP:
            self._record("stopped", number=number, reason=reason)
        else:
            self._record("requeued", number=number, reason=reason or "paused by the scheduler", paused=True)
        self._flush()
        self._drain(trial, reason)

    def _drain(self, trial: Trial, reason: str) -> None:
        self.draining.add((trial.number, trial.attempt))
        self.runner.stop(trial.number, reason)

    def _record(self, kind: str, **body: Any) -> None:
        event = (kind, {**body, "at": self.clock()})
        self.state.apply(*event)
        self.outbox.append(event)

    def _flush(self) -> None:
        if not self.outbox:
            return
        self.append(self.outbox)
        self.outbox = []
        if self.progress is not None:
            self.progress(self.state)

    def _obey(self) -> None:
        reason = self.control.stop_reason()
        if reason is not None:
            self._stop_all(reason)
            raise StoppedError(
                f"study {self.state.spec.name!r} was stopped ({reason}) with {self.state.num_ended} of "
                f"{self.state.total} trials ended; run it again under the same name to go on"
            )
        for event in changes(self.state, trials=None, parallel=self.control.parallel(), at=self.clock()):
            self.outbox.append(event)

    def _stop_all(self, reason: str) -> None:
        """Put the running trials back and wait until nothing runs any more."""
        for number in sorted(self.state.running):
            trial = self.state.trials[number]
            self._record("requeued", number=number, reason=reason)
            self._drain(trial, reason)
        self._flush()
        while self.draining:
            for report in self.runner.reports(1.0):
                self._take(report)

    def _check_sense(self) -> None:
        """Stop a search that cannot find anything, with what is wrong."""
        state, metric = self.state, self.state.spec.objective.metric
        if state.counts.get("ended") and metric not in state.metrics_seen:
            self._stop_all("the objective was never reported")
            raise ProgramError(
                f"study {state.spec.name!r}: the first trial {missing_metric(metric, state.metrics_seen)}. "
                "Report it (context.report, a returned dictionary, or metrics={name: pattern}) or name one that is "
                "there as objective=, and start again with new=True"
            )
        if len(self.failed_here) >= GIVE_UP_AFTER and state.num_ended == state.counts.get("failed", 0):
            self._stop_all("every trial failed")
            raise self._failure(f"the first {len(self.failed_here)} trials all failed, so the search was stopped")

    def _check_outcome(self) -> None:
        if self.state.num_ended == self.state.counts.get("failed", 0):
            raise self._failure(f"all {self.state.num_ended} trials failed")

    def _failure(self, what: str) -> JobFailedError:
        name = self.state.spec.name
        failed = [trial for trial in self.state.trials.values() if trial.status == "failed"]
        errors: list[dict[str, object]] = [
            {"worker": f"trial {trial.number}", "attempt": trial.attempt, "message": trial.note} for trial in failed
        ]
        first = f"; trial {failed[0].number}: {failed[0].note}" if failed else ""
        text = f"study {name!r}: {what}{first}. All errors: headway study show {name}"
        return JobFailedError(text, job_id=f"study-{name}", errors=errors)
