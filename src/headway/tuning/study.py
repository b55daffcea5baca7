"""The study as a pure state machine: events in, instructions out.

In: the events of one study in the order recorded (`headway.stores.ledger` keeps them). Out: `StudyState`, and with
`decide` what to do next. Nothing here reads a clock, draws a number or touches a file: a study is replayed after a
crash by applying its events again. `headway.tuning.loop` carries the instructions out.

Events (each body also has `at`, UTC seconds)::

    created {spec}                               first, once
    asked {number, parameters}                   a configuration was suggested; it is never computed again
    started {number, attempt}                    before the attempt really starts
    reported {number, attempt, values, step}     metrics of a running trial
    told {number, attempt, metrics, artifact}    it ended; what it reported last counts where metrics lack a name
    failed {number, attempt, error}              by the program's own fault; waits again while retries are left
    requeued {number, reason, paused}            its attempt was lost (no fault of its own) or gave its place to others
    stopped {number, reason}                     ended early by the scheduler; its last value counts
    parallel_changed {parallel}, extended {trials}, finished {reason}
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Any, cast, final

import msgspec

from headway.errors import StudyChangedError, WorkspaceError
from headway.records import Record, encode
from headway.tuning.objective import Maximize as Maximize
from headway.tuning.objective import Minimize as Minimize
from headway.tuning.objective import cost
from headway.tuning.objective import number as as_number
from headway.tuning.searcher import open_searcher
from headway.tuning.space import Parameters, SearchSpace
from headway.tuning.spec import StudySpec, check_trials, differences
from headway.tuning.trial import ENDED, History, Status, Trial, key

Event = tuple[str, dict[str, Any]]
"""Kind and body, as the ledger keeps them."""


@final
class Suggest(Record):
    """Ask the searcher for the configuration of this trial, and record it."""

    number: int


@final
class Start(Record):
    """Record `started`, then start this attempt."""

    number: int
    attempt: int
    parameters: Parameters


@final
class Finish(Record):
    """Every trial has ended: record `finished`."""

    reason: str


Instruction = Suggest | Start | Finish


@final
class StudyState:
    """What the events so far add up to.

    Changed in place by `apply` alone: one event costs the same in a study of ten and of ten thousand trials.

    Attributes:
        spec: the settings as recorded; `total` and `parallel` are what holds now.
        trials: number -> trial, in the order of the numbers.
        curves: number -> (step, value) of the objective.
        configurations: keys of everything that was suggested.
        metrics_seen: names of all metrics that any trial reported.
        ranked: (cost, number) of the ended trials that have a value, the best first, ties by number.
        num_events: how many events were applied.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.space = SearchSpace.from_json(spec.space)
        self.total = spec.trials
        self.parallel = spec.parallel
        self.finished: str | None = None
        self.trials: dict[int, Trial] = {}
        self.curves: dict[int, list[tuple[int, float]]] = {}
        self.configurations: set[bytes] = set()
        self.metrics_seen: set[str] = set()
        self.running: set[int] = set()
        self.counts: dict[Status, int] = {}
        self.ranked: list[tuple[float, int]] = []
        self.num_events = 1
        self._waiting: list[int] = []
        self._paused: list[int] = []
        self._reports: dict[int, int] = {}

    @staticmethod
    def replay(events: Iterable[Event]) -> StudyState:
        """The state after these events.

        Raises:
            WorkspaceError: they do not begin with `created`, or an event cannot follow the ones before it.
        """
        iterator = iter(events)
        kind, body = next(iterator, ("", {}))
        if not kind:
            raise WorkspaceError("this study has no events yet: it was stopped before it began; start it again")
        if kind != "created":
            raise WorkspaceError(f"a study's events begin with 'created', got {kind!r}")
        try:
            state = StudyState(msgspec.convert(body["spec"], StudySpec))
        except (KeyError, msgspec.ValidationError) as error:
            raise WorkspaceError(f"cannot read the recorded settings of a study: {error}") from error
        for event in iterator:
            state.apply(*event)
        return state

    @property
    def num_ended(self) -> int:
        """Trials that count against the total: ended, stopped, or failed in all their attempts."""
        return sum(self.counts.get(cast(Status, status), 0) for status in ENDED)

    @property
    def has_value(self) -> bool:
        """Whether any trial ended with a value of the objective."""
        return bool(self.ranked)

    @property
    def history(self) -> History:
        """What searchers and schedulers may look at, as of now."""
        spec = self.spec
        return History(self.space, spec.objective, spec.seed, self.trials, self.curves, self.configurations)

    def apply(self, kind: str, body: dict[str, Any]) -> None:
        """Take in one event.

        Raises:
            WorkspaceError: it cannot follow the events before it; the state is of no use then.
        """
        change = getattr(self, f"_on_{kind}", None)
        if change is None:
            raise WorkspaceError(f"study {self.spec.name!r}: unknown event {kind!r}; is it of a newer Headway?")
        try:
            change(body)
        except KeyError as error:
            raise WorkspaceError(f"study {self.spec.name!r}: event {kind!r} lacks {error}, got {body!r}") from error
        self.num_events += 1

    def _on_asked(self, body: dict[str, Any]) -> None:
        number = body["number"]
        if number != len(self.trials) + 1:
            raise WorkspaceError(f"study {self.spec.name!r}: trial {len(self.trials) + 1} comes next, got {number!r}")
        self._put(Trial(number=number, parameters=body["parameters"], asked_at=body.get("at", 0.0)))
        self.configurations.add(key(body["parameters"]))
        insort(self._waiting, number)

    def _on_started(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "waiting", "paused")
        if body["attempt"] != trial.attempt + 1:
            raise WorkspaceError(
                f"study {self.spec.name!r}: attempt {trial.attempt + 1} of trial {trial.number} comes next, "
                f"got {body['attempt']!r}"
            )
        (self._waiting if trial.status == "waiting" else self._paused).remove(trial.number)
        self.running.add(trial.number)
        self._reports[trial.number] = 0
        self._put(trial, status="running", attempt=body["attempt"], started_at=body.get("at"), note="")

    def _on_reported(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "running")
        values = {name: as_number(value) for name, value in body["values"].items()}
        self.metrics_seen.update(values)
        value = values.get(self.spec.objective.metric)
        if self.spec.objective.metric in values:
            self._reports[trial.number] += 1
        if value is not None:
            step = body.get("step")
            step = self._reports[trial.number] if step is None else step
            curve = self.curves.setdefault(trial.number, [])
            while curve and curve[-1][0] >= step:  # an attempt that goes on from a checkpoint says some steps again
                curve.pop()
            curve.append((step, value))
        self._put(trial, metrics=trial.metrics | values)

    def _on_told(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "running")
        values = {name: as_number(value) for name, value in body["metrics"].items()}
        self.metrics_seen.update(values)
        self.running.discard(trial.number)
        metrics = trial.metrics | values
        self._end(trial, body, "ended", metrics, "")

    def _on_stopped(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "running")
        self.running.discard(trial.number)
        self._end(trial, body, "stopped", trial.metrics, body["reason"])

    def _on_failed(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "running")
        self.running.discard(trial.number)
        failures = trial.failures + 1
        if failures <= self.spec.retries:
            insort(self._waiting, trial.number)
            self._put(trial, status="waiting", failures=failures, note=body["error"])
            return
        self._put(trial, failures=failures)
        self._end(self.trials[trial.number], body, "failed", trial.metrics, body["error"])

    def _on_requeued(self, body: dict[str, Any]) -> None:
        trial = self._trial(body, "running")
        self.running.discard(trial.number)
        if body.get("paused"):
            self._paused.append(trial.number)
        else:
            insort(self._waiting, trial.number)
        self._put(trial, status="paused" if body.get("paused") else "waiting", note=body["reason"])

    def _on_parallel_changed(self, body: dict[str, Any]) -> None:
        self.parallel = body["parallel"]

    def _on_extended(self, body: dict[str, Any]) -> None:
        self.total = max(self.total, body["trials"])
        self.finished = None

    def _on_finished(self, body: dict[str, Any]) -> None:
        self.finished = body["reason"]

    def _trial(self, body: dict[str, Any], *statuses: Status) -> Trial:
        trial = self.trials.get(body["number"])
        if trial is None or trial.status not in statuses or body.get("attempt", trial.attempt) < trial.attempt:
            raise WorkspaceError(
                f"study {self.spec.name!r}: an event needs trial {body['number']!r} {' or '.join(statuses)}, "
                f"got {trial!r} for {body!r}"
            )
        return trial

    def _put(self, trial: Trial, **changes: Any) -> None:
        old = self.trials.get(trial.number)
        if old is not None:
            self.counts[old.status] -= 1
        new = msgspec.structs.replace(trial, **changes)
        self.counts[new.status] = self.counts.get(new.status, 0) + 1
        self.trials[trial.number] = new

    def _end(
        self, trial: Trial, body: dict[str, Any], status: Status, metrics: dict[str, float | None], note: str
    ) -> None:
        metric = self.spec.objective.metric
        value = metrics.get(metric) if status != "failed" else None
        if status != "failed" and value is None:
            missing = f"{metric} was not a finite number" if metric in metrics else missing_metric(metric, metrics)
            note = f"{note}; {missing}" if note else missing
        at = body.get("at")
        wall_s = body.get("wall_s")
        if wall_s is None and at is not None and trial.started_at is not None:
            wall_s = max(0.0, at - trial.started_at)
        self._put(
            trial,
            status=status,
            metrics=metrics,
            value=value,
            note=note,
            ended_at=at,
            wall_s=wall_s,
            artifact=body.get("artifact"),
        )
        if value is not None:
            insort(self.ranked, (cost(self.spec.objective, value), trial.number))


def missing_metric(metric: str, seen: Iterable[str]) -> str:
    """The sentence for a trial that never reported the objective."""
    names = ", ".join(sorted(seen))
    return f"ended without the metric {metric!r}; " + (f"metrics seen: {names}" if names else "no metric was seen")


def decide(state: StudyState, *, draining: int = 0) -> list[Instruction]:
    """What to do now: trials to start and to ask for while there is room, or to finish.

    Args:
        draining: attempts that were told to stop and still take up room.

    Guarantees: carrying all of it out never has more than `parallel` attempts at once, nor more than `total` trials.
    """
    if state.finished is not None:
        return []
    if state.num_ended >= state.total:
        return [] if draining else [Finish(reason=f"{state.num_ended} trials ended")]
    room = max(0, state.parallel - len(state.running) - draining)
    instructions: list[Instruction] = [_start(state, number) for number in state._waiting[:room]]
    asked = len(state.trials)
    new = range(asked + 1, min(asked + room - len(instructions), state.total) + 1)
    instructions += [Suggest(number=number) for number in new]
    left = room - len(instructions)
    return instructions + [_start(state, number) for number in state._paused[: max(0, left)]]


def begin(spec: StudySpec, events: Sequence[Event], *, at: float) -> tuple[StudyState, list[Event]]:
    """The state of a study, new or opened again, and the events that this adds; the caller appends them.

    Args:
        spec: what is asked for now.
        events: what is recorded; empty for a new study.
        at: now, UTC seconds.

    Raises:
        StudyChangedError: the recorded study has other settings; the text lists them.
        ValueError: more trials than the searcher has configurations for.
    """
    if not events:
        created = ("created", {"spec": msgspec.to_builtins(spec), "at": at})
        return StudyState.replay([created]), [created]
    state = StudyState.replay(events)
    changed = differences(state.spec, spec)
    if changed:
        raise StudyChangedError(
            f"study {spec.name!r} was started with other settings:\n  " + "\n  ".join(changed) + "\n"
            "take another name, or new=True to start this name again from nothing"
        )
    added = changes(state, trials=spec.trials, parallel=spec.parallel, at=at)
    return state, added


def changes(state: StudyState, *, trials: int | None, parallel: int | None, at: float) -> list[Event]:
    """Extend a study or change how many trials run at once; applied to the state, and given to be appended.

    Raises:
        ValueError: more trials than the searcher has configurations for.
    """
    added: list[Event] = []
    if trials is not None and trials > state.total:
        check_trials(open_searcher(state.spec.searcher), state.space, trials=trials)
        added.append(("extended", {"trials": trials, "at": at}))
    if parallel is not None and parallel != state.parallel:
        if parallel < 1:
            raise ValueError(f"parallel must be at least 1, got {parallel!r}")
        added.append(("parallel_changed", {"parallel": parallel, "at": at}))
    for event in added:
        state.apply(*event)
    return added


def fingerprint(state: StudyState) -> bytes:
    """Canonical JSON of every configuration in order: equal for two studies that suggested the same."""
    return encode([[trial.number, trial.parameters] for trial in state.trials.values()])


def _start(state: StudyState, number: int) -> Start:
    trial = state.trials[number]
    return Start(number=number, attempt=trial.attempt + 1, parameters=trial.parameters)
