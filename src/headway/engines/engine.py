"""The seam to where jobs run: five methods to write, plus an optional pool of warm workers.

In: a `Launch` (tickets and resources, from `headway.execution`). Out: `Observation` values. An engine decides nothing
about retries, success or the ledger: it starts, watches and stops processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from headway.errors import CapabilityError
from headway.jobs.spec import Resources
from headway.records import Record

Handle = dict[str, Any]
"""What an engine needs to find an attempt again: a JSON value, at least `{"job": id, "attempt": n}`."""


class Capabilities(Record):
    """What an engine can honour; what it cannot is an error before anything starts.

    Args:
        name: for errors, `local`.
        max_workers: most workers of one gang (None: no limit).
        cpus, gpus, memory_bytes: the most that one attempt can ever get, all workers together (None: not known).
        isolation: whether workers are processes of their own (they can be killed, limited and timed out).
        pool: whether `pool` is offered.
        channel_modes: the modes of channels that it can honour.
    """

    name: str
    max_workers: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory_bytes: int | None = None
    isolation: bool = True
    pool: bool = False
    channel_modes: tuple[str, ...] = ("copy", "link", "stream")


class Launch(Record):
    """One attempt of a job, ready to start.

    Args:
        tickets: one per worker, in the order of ranks: the JSON values that `headway.worker.ticket` describes.
        secrets: environment variable -> value. Never written anywhere.
        preload: modules that a fork server may import beforehand.
        fresh: whether each worker must be a new interpreter; else it may be forked from a server.
        python: interpreter for the workers; None for the one that runs the driver.
        withhold: variables of the driver's environment that the workers do not get: secrets of other jobs.
    """

    job: str
    attempt: int
    tickets: tuple[dict[str, Any], ...]
    resources: Resources = Resources()
    secrets: dict[str, str] = {}
    preload: tuple[str, ...] = ()
    fresh: bool = False
    python: str | None = None
    withhold: tuple[str, ...] = ()


class Observation(Record):
    """Something that an engine saw of an attempt.

    Args:
        job, attempt: which attempt.
        rank: which worker; None for the attempt as a whole.
        kind: `waiting` (text: why), `started` (pid), `reported` (values, step), `line` (text; only for progress, the
            log file is the record), `ended` (exit_code or signal, text: reason, usage).
        exit_code: of an ended worker; None when it was killed by a signal.
        signal: name of the signal that ended it, `SIGKILL`.
        usage: `peak_memory_bytes`, `cpu_s`, `wall_s`.
    """

    job: str
    attempt: int
    rank: int | None = None
    kind: str
    text: str = ""
    pid: int | None = None
    values: dict[str, float] = {}
    step: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    usage: dict[str, float] = {}


class Task(Record):
    """One item handed to a pool.

    Args:
        number: the item's number in its job, counted from 0.
        attempt: the item's own attempt, counted from 1.
        payload: JSON value that the runner understands: paths, ranges, parameters; never data.
    """

    number: int
    attempt: int = 1
    payload: Any = None


class TaskNews(Record):
    """What a pool says of a task.

    Args:
        kind: `reported` (values, step), `ended`; `waiting` (text: why no worker runs yet; number is -1).
        worker: which worker, counted from 1 (`algo-1`).
        ok: whether it ended with a result.
        result: JSON value returned by the runner.
        error: for a failure, `{"message", "traceback", "type"}`, and `"lost": True` when the worker died with it,
            `"cancelled": True` when it was cancelled.
        usage: `wall_s`, `cpu_s`.
    """

    number: int
    attempt: int
    kind: str
    worker: int = 0
    ok: bool = False
    result: Any = None
    error: dict[str, Any] | None = None
    values: dict[str, float] = {}
    step: int | None = None
    usage: dict[str, float] = {}
    text: str = ""


class Pool(ABC):
    """Warm workers of one job that take tasks; a dead worker costs only the task it had, and is replaced."""

    @abstractmethod
    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks; they wait in the order given until a worker is free."""

    @abstractmethod
    def news(self, timeout_s: float) -> list[TaskNews]:
        """What happened since the last call; waits at most `timeout_s` for the first of it; [] when nothing did.

        Raises:
            CapabilityError: no worker can be started any more.
        """

    @abstractmethod
    def cancel(self, number: int, *, grace_s: float) -> None:
        """Ask a running task to stop (`context.should_stop`), end its worker after the grace; drop a waiting one.

        Either way `news` tells of its end.
        """

    @abstractmethod
    def close(self, *, grace_s: float) -> None:
        """End all workers. Idempotent."""


class Engine(ABC):
    """Where attempts run. Safe to use from several threads."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this engine can honour."""

    @abstractmethod
    def start(self, launch: Launch) -> Handle:
        """Start all workers of an attempt, or queue them until they fit; returns at once.

        Guarantees: idempotent: a second call for the same job and attempt gives the handle of the first.

        Raises:
            CapabilityError: it can never fit, or needs what this engine lacks.
        """

    @abstractmethod
    def observe(self, handles: Sequence[Handle], *, timeout_s: float) -> list[Observation]:
        """What happened to these attempts since the last call; waits at most `timeout_s` for the first of it."""

    @abstractmethod
    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Ask all workers to stop (SIGTERM and the stop file), kill what is left after the grace. Returns at once."""

    @abstractmethod
    def find(self, job_id: str) -> list[Handle]:
        """Attempts of a job that still run and that this engine can observe (also after a restart of the driver)."""

    def pool(self, launch: Launch) -> Pool:
        """Warm workers for the items of a job; `launch.tickets` has one ticket per worker.

        Raises:
            CapabilityError: this engine has no warm workers.
        """
        raise CapabilityError(f"the engine {self.capabilities().name!r} has no warm workers; use engine='local://'")

    def close(self) -> None:
        """End whatever the engine still keeps running. Idempotent."""
