"""The values of a job's life: its state, its attempts, how workers ended, and what a driver is told to do.

In: nothing but records. Out: the types that `headway.jobs.life` takes and gives; it says what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from headway.records import Record

Phase = Literal["intended", "running", "settled", "abandoned"]
Ending = Literal["succeeded", "failed", "stopped"]


class EventLike(Protocol):
    """What is read of an event; `headway.stores.ledger.Event` is one."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def body(self) -> Mapping[str, Any]:
        """Its details."""

    @property
    def at(self) -> float:
        """When it was appended, in epoch seconds."""


class LifeEvent(Record):
    """An event as plain values: what a driver applies after it appended it, and what tests use.

    Args:
        at: epoch seconds; the back-off counts from it.
    """

    kind: str
    body: dict[str, Any] = {}
    at: float


class WorkerEnd(Record):
    """How one worker of an attempt ended.

    Args:
        details: all else that the event said: `message`, `traceback`, `log`, `usage`, ...
        told_to: whether it was being stopped when it ended, so that it is no cause.
    """

    attempt: int
    rank: int
    exit_code: int | None = None
    signal: str | None = None
    text: str = ""
    details: dict[str, Any] = {}
    told_to: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.exit_code == 0 and self.signal is None

    def error(self) -> dict[str, Any]:
        """This end as one of `JobFailedError.errors`."""
        how = f"killed by {self.signal}" if self.signal else f"ended with exit code {self.exit_code}"
        return {
            "message": self.text or how,
            **self.details,
            "worker": f"algo-{self.rank + 1}",
            "attempt": self.attempt,
            "exit_code": self.exit_code,
            "signal": self.signal,
        }


class AttemptState(Record):
    """One attempt.

    Args:
        ends: of its workers, in the order in which they were seen.
        cut: what cut it short (the time limit, a request to stop) while workers still ran; empty if nothing did.
        cut_after: how many workers had ended by then; all of them: then it was not cut.
        ok: what `settled` said.
        errors: what `settled` found: of each worker that failed; () leaves the ends to speak for themselves.
        ended_at: when it was settled or abandoned.
    """

    number: int
    phase: Phase = "intended"
    handle: dict[str, Any] | None = None
    ends: tuple[WorkerEnd, ...] = ()
    timed_out: bool = False
    cut: str = ""
    cut_after: int = 0
    ok: bool = False
    text: str = ""
    errors: tuple[dict[str, Any], ...] = ()
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def live(self) -> bool:
        """Whether processes of it may exist."""
        return self.phase in ("intended", "running")


class JobState(Record):
    """All that the events so far say of a job.

    Args:
        history: its attempts in order; only the last one can be live.
        stop_by: who asked for a stop; None if nobody did.
        stop_grace_s: a grace shorter than the specification's, asked for with the stop.
        retries_from: attempts before this place do not use up retries (the job was reopened after them).
        ending: how it ended; None while it has not.
        chosen: the attempt that counts.
        reason: why it failed.
        errors: as in `JobFailedError.errors`.
    """

    history: tuple[AttemptState, ...] = ()
    stop_by: str | None = None
    stop_grace_s: float | None = None
    retries_from: int = 0
    ending: Ending | None = None
    chosen: int | None = None
    reason: str = ""
    errors: tuple[dict[str, Any], ...] = ()

    @property
    def attempts(self) -> int:
        """The number of the newest attempt; 0 before the first."""
        return self.history[-1].number if self.history else 0

    @property
    def live_attempt(self) -> AttemptState | None:
        """The attempt of which processes may exist, if there is one."""
        return self.history[-1] if self.history and self.history[-1].live else None

    @property
    def live(self) -> int | None:
        """Its number."""
        return self.live_attempt.number if self.live_attempt is not None else None

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.ending is not None

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked for a stop."""
        return self.stop_by is not None

    @property
    def status(self) -> str:
        """`new`, `running`, `succeeded`, `failed` or `stopped`, for listings."""
        return self.ending or ("running" if self.history else "new")


class Start(Record):
    """Append `intended`, start this attempt (not before that time), append `started`.

    Given again for an attempt that was intended and of which no start is known: engines start an attempt only once.
    """

    attempt: int
    not_before: float


class StopAll(Record):
    """Stop all workers of the live attempt. Given until they are gone: carry out each different one once."""

    attempt: int
    reason: str
    grace_s: float


class Settle(Record):
    """See that no worker is left, look at the outcomes, and append `settled`."""

    attempt: int


class Succeed(Record):
    """Publish this attempt; `chosen` is the event of it. If its outputs turn out damaged: append `settled`, not ok."""

    attempt: int


class Fail(Record):
    """Append `failed` with this reason and these errors (of the last attempt first, in it the first cause first)."""

    reason: str
    errors: tuple[dict[str, Any], ...] = ()


class Stopped(Record):
    """Append `stopped`."""

    by: str = ""


Instruction = Start | StopAll | Settle | Succeed | Fail | Stopped
