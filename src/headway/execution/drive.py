"""The driver of a job whose program runs once per worker: intent, start, observe, settle, publish.

In: a specification that was admitted, and what makes the launch of an attempt. Out: the published result. Every
decision is made by `headway.jobs.life` and appended to the ledger under this driver's epoch before it takes effect, so
that another driver can go on from the events alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from headway.engines.engine import Engine, Handle, Launch, Observation
from headway.errors import ChannelLeakError, JobFailedError, StoppedError
from headway.execution import settle, stopping
from headway.execution.progress import Progress, Silent
from headway.execution.session import Session
from headway.jobs import life
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.stores import commit
from headway.stores.ledger import Lease

OBSERVE_S = 0.2
SHOWN = 3
"""Metrics that progress shows at once."""
MakeLaunch = Callable[[int], Launch]
Watch = Callable[[Observation], None]


@final
class Drive:
    """One driver's work on one job, from taking it over to its result or failure.

    Args:
        launch: makes the launch (folders, tickets) of an attempt.
        engine: where it runs.
        watch: told of every report of a worker, instead of the session's progress.
    """

    def __init__(
        self,
        session: Session,
        spec: JobSpec,
        lease: Lease,
        *,
        launch: MakeLaunch,
        engine: Engine,
        watch: Watch | None = None,
    ) -> None:
        self._session, self._spec, self._lease, self._engine = session, spec, lease, engine
        self._make_launch, self._watch = launch, watch
        self._progress: Progress = session.progress if watch is None else Silent()
        self._folder = JobFolder(session.files, spec.id)
        self._handle: Handle | None = None
        self._ended: dict[int, dict[str, Any]] = {}
        self._interrupts = 0
        self._said_waiting = ""
        self._said_exit = False
        self._stopped: life.StopAll | None = None
        self._state = life.replay(session.ledger.events(spec.id))

    def run(self) -> commit.Result:
        """Bring the job to its end.

        Raises:
            JobFailedError, StoppedError, ChannelLeakError, FencedError: how it ended otherwise.
            KeyboardInterrupt: Ctrl-C; all workers have been stopped.
        """
        stopping.clear(self._session.files, self._spec.id)
        self._reclaim()
        self._progress.begin(self._spec.id, self._spec.id)
        try:
            while True:
                try:
                    result = self._step()
                except KeyboardInterrupt:
                    self._interrupted()
                    continue
                if result is not None:
                    return result
        except StoppedError:
            if self._interrupts:
                raise KeyboardInterrupt from None
            raise
        finally:
            if self._handle is not None:  # fenced, or something went wrong here: nobody drives it any more
                self._engine.stop(self._handle, grace_s=0)
            self._progress.end(self._spec.id, self._closing())

    def _reclaim(self) -> None:
        """What an earlier driver left: an attempt that nobody drives any more, or an ended life that begins again."""
        if self._state.ended:
            self._append("reopened", {})
        if self._state.live is not None:
            attempt = self._state.live
            for handle in self._engine.find(self._spec.id):
                self._engine.stop(handle, grace_s=0)
            self._append("abandoned", {"attempt": attempt, "text": "its driver died"})

    def _step(self) -> commit.Result | None:
        """One round: decide, do, observe."""
        for instruction in life.decide(self._state, self._spec, now=time.time()):
            result = self._do(instruction)
            if result is not None:
                return result
        self._observe()
        self._look_around()
        return None

    def _do(self, instruction: life.Instruction) -> commit.Result | None:
        """Carry out one instruction."""
        match instruction:
            case life.Start(attempt=attempt, not_before=not_before):
                self._start(attempt, not_before)
            case life.StopAll(grace_s=grace_s):
                if self._handle is not None and instruction != self._stopped:
                    self._stopped = instruction
                    self._engine.stop(self._handle, grace_s=grace_s)
            case life.Settle(attempt=attempt):
                self._settle(attempt)
            case life.Succeed(attempt=attempt):
                return self._publish(attempt)
            case life.Fail(reason=reason, errors=errors):
                self._append("failed", {"reason": reason, "errors": list(errors)})
                raise self._failure(reason, list(errors))
            case life.Stopped():
                self._append("stopped", {})
                stopping.clear(self._session.files, self._spec.id)
                raise StoppedError(f"{self._spec.id} was stopped on request; the same call goes on with it")
        return None

    def _start(self, attempt: int, not_before: float) -> None:
        """Begin an attempt: the intent is in the ledger before anything starts."""
        if time.time() < not_before:
            self._progress.advance(
                self._spec.id, done=0, text=f"attempt {attempt} begins in {not_before - time.time():.0f} s"
            )
            threading.Event().wait(min(OBSERVE_S, not_before - time.time()))
            return
        self._append("intended", {"attempt": attempt})
        self._ended, self._stopped = {}, None
        self._handle = self._engine.start(self._make_launch(attempt))
        self._append("started", {"attempt": attempt, "handle": self._handle})

    def _observe(self) -> None:
        """Take in what the engine saw."""
        if self._handle is None:
            return
        for seen in self._engine.observe([self._handle], timeout_s=OBSERVE_S):
            self._take(seen)

    def _take(self, seen: Observation) -> None:
        """One observation."""
        match seen.kind:
            case "waiting":
                if seen.text != self._said_waiting:
                    self._said_waiting = seen.text
                    self._progress.note(f"{self._spec.id} waits: {seen.text}")
            case "started":
                if seen.rank in (None, 0):
                    self._append("running", {"attempt": seen.attempt})
            case "reported":
                if self._watch is not None:
                    self._watch(seen)
                shown = _shown(seen.values)
                self._progress.advance(self._spec.id, done=0, text=shown)
            case "ended" if seen.rank is not None and seen.rank not in self._ended:
                body = settle.end_of(self._session.files, self._spec, seen)
                self._ended[seen.rank] = body
                self._append("worker_ended", body)

    def _look_around(self) -> None:
        """Limits and requests from outside."""
        live = self._state.live
        if live is None:
            return
        due = life.deadline(self._state, self._spec)
        if due is not None and time.time() > due:
            self._append("timed_out", {"attempt": live})
        asked = stopping.requested(self._session.files, self._spec.id)
        if asked is not None and not self._state.stop_requested:
            self._append("stop_requested", {"by": asked.get("by", "?"), "grace_s": asked.get("grace_s")})
        if not threading.main_thread().is_alive() and not self._said_exit:
            self._said_exit = True
            self._progress.note(f"this program waits for {self._spec.id} to end; Ctrl-C stops it")

    def _interrupted(self) -> None:
        """Ctrl-C: once stops with grace, twice at once."""
        self._interrupts += 1
        if self._interrupts > 1 and self._handle is not None:
            self._engine.stop(self._handle, grace_s=0)
        elif not self._state.stop_requested:
            self._progress.note(f"stopping {self._spec.id} (Ctrl-C again to stop at once)")
            self._append("stop_requested", {"by": "Ctrl-C"})

    def _settle(self, attempt: int) -> None:
        """Judge an attempt whose workers have all ended."""
        verdict = settle.judge(self._session.files, self._spec, attempt, self._ended)
        self._append("settled", {"attempt": attempt, "ok": verdict.ok, "text": verdict.text})
        self._handle = None

    def _publish(self, attempt: int) -> commit.Result:
        """Seal the attempt, choose it, write the result."""
        files, home = self._session.files, f"jobs/{self._spec.id}"
        body = settle.summary(files, self._spec, attempt, self._ended)
        body |= {"started_at": self._state.history[-1].started_at, "ended_at": time.time()}
        outcome = commit.seal(files, home, attempt=attempt, body={}, only=["model", "output"])
        result = commit.publish(files, self._session.ledger, self._lease, home, outcome, body=body)
        self._state = life.apply(self._state, life.LifeEvent(kind="chosen", body={"attempt": attempt}, at=time.time()))
        self._session.ledger.update_entry(self._spec.id, {"status": "succeeded", "metrics": body["metrics"]})
        for warning in body["warnings"]:
            self._progress.note(f"{self._spec.id}: {warning}")
        return result

    def _failure(self, reason: str, errors: Sequence[dict[str, Any]]) -> Exception:
        """The error that the caller gets."""
        self._session.ledger.update_entry(self._spec.id, {"status": "failed", "reason": reason})
        if any(settle.LEAKED in str(e.get("message", "")) for e in errors):
            leak = next(e for e in errors if settle.LEAKED in str(e.get("message", "")))
            return ChannelLeakError(
                f"{self._spec.id}: {leak['message']}; only ws.evaluate opens the test channel "
                "(a script that must: train(..., allow_test=True), which is recorded)"
            )
        tail: list[str] = []
        if errors and errors[0].get("worker"):
            rank = int(str(errors[0]["worker"]).removeprefix("algo-")) - 1
            tail = settle.log_tail(self._session.files, self._folder, int(errors[0]["attempt"]), rank)
        return JobFailedError(
            settle.failure_text(self._spec, reason, list(errors), tail), job_id=self._spec.id, errors=errors
        )

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        """One decision into the ledger, then into the state."""
        self._session.ledger.append(self._lease, [(kind, body)])
        self._state = life.apply(self._state, life.LifeEvent(kind=kind, body=body, at=time.time()))

    def _closing(self) -> str:
        """What progress says at the end."""
        status = self._state.ending or "interrupted"
        metrics = _shown({row["name"]: row["value"] for row in self._last_metrics()})
        return f"{status}{'  ' + metrics if metrics and status == 'succeeded' else ''}"

    def _last_metrics(self) -> list[dict[str, Any]]:
        """The last row of the first few metrics."""
        attempts = self._folder.attempts()
        rows = {row["name"]: row for row in self._folder.metrics(attempts[-1])} if attempts else {}
        return list(rows.values())[:SHOWN]


def _shown(values: Mapping[str, float | None]) -> str:
    """The first few metrics on one line; a value that is no finite number is shown as such."""
    few = list(values.items())[:SHOWN]
    return "  ".join(f"{name} {'nan' if value is None else format(value, '.4g')}" for name, value in few)
