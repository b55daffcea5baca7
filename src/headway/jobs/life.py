"""The life of a job as a pure state machine: event in, instructions out; no clock, no file, no process.

In: the job's events from the ledger, in their order, and its specification. Out: what the driver
(`headway.execution`) shall do next. A crash is replayed: the same events give the same state, whoever reads them.

Events (`kind` and `body`):

- `intended {attempt}`: a start was decided, before it happens. `started {attempt, handle}`: the engine took it.
  `running {attempt}` (may be left out): it left the engine's queue; the time limit counts from here.
- `worker_ended {attempt, rank, exit_code, signal, text, usage}` and more that is kept with the error (`message`,
  `traceback`, `log`). `timed_out {attempt}`. `stop_requested {by, grace_s}`: a second one may shorten the grace.
- `settled {attempt, ok, text, errors}`: all workers are gone and what they left was looked at; `errors` (may be left
  out) are what became known then. `abandoned {attempt, text}`: its driver died and nobody can observe it.
- `chosen {attempt}`, `failed {reason, errors}`, `stopped`: the end. `reopened {by}`: run an ended job again.

Rules: one worker dies -> all stop -> a new attempt after a back-off while retries are left; an abandoned attempt uses
up no retry; a stop wins over a retry, and over a success that it cut short; at most one attempt lives at a time.
Events that do not fit the state (late ones, unknown kinds) change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from headway.jobs.attempts import (
    AttemptState,
    EventLike,
    Fail,
    Instruction,
    JobState,
    LifeEvent,
    Settle,
    Start,
    StopAll,
    Stopped,
    Succeed,
    WorkerEnd,
)
from headway.jobs.spec import JobSpec

__all__ = [
    "AttemptState",
    "EventLike",
    "Fail",
    "Instruction",
    "JobState",
    "LifeEvent",
    "Settle",
    "Start",
    "StopAll",
    "Stopped",
    "Succeed",
    "WorkerEnd",
    "apply",
    "back_off_s",
    "deadline",
    "decide",
    "errors",
    "replay",
]

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0


def replay(events: Iterable[EventLike], *, state: JobState | None = None) -> JobState:
    """The state after all these events."""
    state = state or JobState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: JobState, event: EventLike) -> JobState:
    """The state after one more event."""
    body = event.body
    if event.kind == "reopened":
        return _reopened(state)
    if state.ending is not None:
        return state
    if event.kind in _ENDINGS:
        return _ENDINGS[event.kind](state, body)
    if event.kind == "stop_requested":
        return _stop_requested(state, body)
    if event.kind == "intended":
        return _intended(state, int(body["attempt"]), event.at)
    step = _ATTEMPT_STEPS.get(event.kind)
    if step is None:
        return state
    number = int(body["attempt"])
    attempts = tuple(step(one, body, event.at) if one.number == number else one for one in state.history)
    return replace(state, history=attempts)


def _reopened(state: JobState) -> JobState:
    if state.ending not in ("failed", "stopped"):
        return state
    return JobState(history=state.history, retries_from=len(state.history))


def _chosen(state: JobState, body: Mapping[str, Any]) -> JobState:
    return replace(state, ending="succeeded", chosen=int(body["attempt"]))


def _failed(state: JobState, body: Mapping[str, Any]) -> JobState:
    return replace(state, ending="failed", reason=str(body.get("reason", "")), errors=tuple(body.get("errors", ())))


def _stopped(state: JobState, body: Mapping[str, Any]) -> JobState:
    return replace(state, ending="stopped", stop_by=str(body.get("by") or state.stop_by or ""))


_ENDINGS = {"chosen": _chosen, "failed": _failed, "stopped": _stopped}


def _stop_requested(state: JobState, body: Mapping[str, Any]) -> JobState:
    by = state.stop_by or str(body.get("by", "")) or "request"
    graces = [float(grace) for grace in (state.stop_grace_s, body.get("grace_s")) if grace is not None]
    attempts = tuple(_cut(one, f"stopped by {by}") if one.live else one for one in state.history)
    return replace(state, stop_by=by, stop_grace_s=min(graces, default=None), history=attempts)


def _intended(state: JobState, number: int, at: float) -> JobState:
    if state.history and number <= state.history[-1].number:
        return state
    before = tuple(
        replace(one, phase="abandoned", text="another attempt took its place", ended_at=at) if one.live else one
        for one in state.history
    )
    attempt = AttemptState(number=number)
    if state.stop_by is not None:
        attempt = _cut(attempt, f"stopped by {state.stop_by}")
    return replace(state, history=(*before, attempt))


def _cut(attempt: AttemptState, why: str) -> AttemptState:
    return attempt if attempt.cut else replace(attempt, cut=why, cut_after=len(attempt.ends))


def _on_started(attempt: AttemptState, body: Mapping[str, Any], at: float) -> AttemptState:
    if not attempt.live:
        return attempt
    handle = body.get("handle", attempt.handle)
    return replace(attempt, phase="running", handle=handle, started_at=attempt.started_at or at)


def _on_running(attempt: AttemptState, _body: Mapping[str, Any], at: float) -> AttemptState:
    return replace(attempt, phase="running", started_at=at) if attempt.live else attempt


def _on_worker_ended(attempt: AttemptState, body: Mapping[str, Any], _at: float) -> AttemptState:
    rank = int(body["rank"])
    if not attempt.live or any(end.rank == rank for end in attempt.ends):
        return attempt
    known = ("attempt", "rank", "exit_code", "signal", "text")
    end = WorkerEnd(
        attempt=attempt.number,
        rank=rank,
        exit_code=body.get("exit_code"),
        signal=body.get("signal"),
        text=str(body.get("text") or ""),
        details={name: value for name, value in body.items() if name not in known},
        told_to=bool(attempt.cut) or any(not one.ok for one in attempt.ends),
    )
    return replace(attempt, phase="running", ends=(*attempt.ends, end))


def _on_timed_out(attempt: AttemptState, _body: Mapping[str, Any], _at: float) -> AttemptState:
    return _cut(replace(attempt, timed_out=True), "the time limit passed") if attempt.live else attempt


def _on_settled(attempt: AttemptState, body: Mapping[str, Any], at: float) -> AttemptState:
    # A second one may only take success back: the outputs were damaged before they were published.
    if attempt.phase == "abandoned" or (attempt.phase == "settled" and (not attempt.ok or body.get("ok"))):
        return attempt
    ok, text = bool(body.get("ok")), str(body.get("text") or "")
    found = tuple(body.get("errors") or ())
    return replace(attempt, phase="settled", ok=ok, text=text, errors=found, ended_at=at)


def _on_abandoned(attempt: AttemptState, body: Mapping[str, Any], at: float) -> AttemptState:
    if not attempt.live:
        return attempt
    return replace(attempt, phase="abandoned", text=str(body.get("text") or "its driver died"), ended_at=at)


_ATTEMPT_STEPS = {
    "started": _on_started,
    "running": _on_running,
    "worker_ended": _on_worker_ended,
    "timed_out": _on_timed_out,
    "settled": _on_settled,
    "abandoned": _on_abandoned,
}


def decide(state: JobState, spec: JobSpec, *, now: float) -> list[Instruction]:
    """What the driver shall do now; nothing when it only has to wait for events.

    Args:
        state: after all events so far.
        spec: of the job; `workers`, `mode`, `retries`, `timeout_s` and `grace_s` are read.
        now: epoch seconds, of the same clock as the events' times.

    Guarantees: the same arguments give the same instructions; at most one instruction today.
    """
    if state.ending is not None:
        return []
    live = state.live_attempt
    if live is not None:
        return _decide_live(state, live, spec, now=now)
    last = state.history[-1] if state.history else None
    if last is not None and _succeeded(last, spec):
        return [Succeed(attempt=last.number)]
    if state.stop_by is not None:
        return [Stopped(by=state.stop_by)]
    failed = [one for one in state.history[state.retries_from :] if one.phase == "settled"]
    if len(failed) > spec.retries:
        return [Fail(reason=_reason(failed, spec), errors=errors(state))]
    number = last.number + 1 if last is not None else 1
    return [Start(attempt=number, not_before=_not_before(failed, now))]


def _decide_live(state: JobState, live: AttemptState, spec: JobSpec, *, now: float) -> list[Instruction]:
    if live.phase == "intended":
        # No start is known: start it (again), or, when nobody wants it any more, see that nothing of it is there.
        return [Settle(attempt=live.number)] if live.cut else [Start(attempt=live.number, not_before=now)]
    if len(live.ends) >= spec.workers:
        return [Settle(attempt=live.number)]
    failed = next((end for end in live.ends if not end.ok), None)
    if live.cut:
        reason = live.cut
    elif failed is not None and spec.mode == "run":
        reason = f"{_how(failed)}: the others stop with it"
    else:
        return []
    grace_s = spec.grace_s if state.stop_grace_s is None else min(spec.grace_s, state.stop_grace_s)
    return [StopAll(attempt=live.number, reason=reason, grace_s=grace_s)]


def deadline(state: JobState, spec: JobSpec) -> float | None:
    """When the live attempt runs past its time limit, so that `timed_out` is due; None without a limit or attempt."""
    live = state.live_attempt
    if live is None or live.started_at is None or spec.timeout_s is None or live.timed_out:
        return None
    return live.started_at + spec.timeout_s


def back_off_s(num_failed: int) -> float:
    """Seconds between an attempt's failure and the next start: 0 before any, then 1, 2, 4, ... at most 60."""
    if num_failed < 1:
        return 0.0
    return min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(num_failed - 1, 16))


def errors(state: JobState) -> tuple[dict[str, Any], ...]:
    """Every worker's error, newest attempt first; within one, causes in the order seen, then those told to stop."""
    found: list[dict[str, Any]] = []
    for attempt in reversed(state.history):
        if attempt.errors:
            found += attempt.errors
            continue
        ends = sorted((end for end in attempt.ends if not end.ok), key=lambda end: end.told_to)
        found += [end.error() for end in ends]
        if not ends and not attempt.live and (attempt.cut or not attempt.ok):
            message = attempt.text or attempt.cut or "ended without success"
            found.append({"message": message, "attempt": attempt.number, "worker": None, "exit_code": None})
    return tuple(found)


def _succeeded(attempt: AttemptState, spec: JobSpec) -> bool:
    if attempt.phase != "settled" or not attempt.ok or (attempt.cut and attempt.cut_after < spec.workers):
        return False
    return spec.mode == "items" or all(end.ok for end in attempt.ends)


def _not_before(failed: list[AttemptState], now: float) -> float:
    if not failed or failed[-1].ended_at is None:
        return now
    # At most one back-off from now: the event may come from a machine whose clock is ahead.
    wait_s = back_off_s(len(failed))
    return min(max(now, failed[-1].ended_at + wait_s), now + wait_s)


def _reason(failed: list[AttemptState], spec: JobSpec) -> str:
    last = failed[-1]
    cause = next((end for end in last.ends if not end.ok and not end.told_to), None)
    if last.timed_out:
        text = f"ran past its time limit of {spec.timeout_s:g} s" if spec.timeout_s else last.cut
    elif cause is not None:
        text = _how(cause) + (f": {cause.text}" if cause.text else "")
    else:
        text = last.text or (str(last.errors[0].get("message")) if last.errors else "ended without success")
    return text + (f" (the last of {len(failed)} attempts)" if len(failed) > 1 else "")


def _how(end: WorkerEnd) -> str:
    return (
        f"algo-{end.rank + 1} was killed by {end.signal}"
        if end.signal
        else (f"algo-{end.rank + 1} ended with exit code {end.exit_code}")
    )
