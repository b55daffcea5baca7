"""The engine of one machine: every worker is a process of its own, started by a host process.

In: launches. Out: observations. Capacity is shared with other drivers on the machine; what does not fit waits in the
order of asking. When this process dies, however it dies, its host processes end everything they started.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from headway.engines import machine
from headway.engines.attempt import LocalAttempt, LocalWorker
from headway.engines.capacity import Capacity, ask_for, machine_folder, machine_total
from headway.engines.engine import Capabilities, Engine, Handle, Launch, Observation, Pool
from headway.engines.pool import LocalPool
from headway.engines.starter import Starter, no_interpreter, verdict
from headway.errors import CapabilityError

CLOSE_GRACE_S = 1.0
RETRY_S = 0.1
"""How often those who wait look whether another driver gave something back."""


@final
class LocalEngine(Engine):
    """Workers as processes of this machine.

    Args:
        cpus, gpus, memory_bytes: capacity of the machine, where it is not what the system says.
    """

    def __init__(self, *, cpus: int | None = None, gpus: int | None = None, memory_bytes: int | None = None) -> None:
        total = machine_total(cpus=cpus, gpus=gpus, memory_bytes=memory_bytes)
        self._capacity = Capacity(total, folder=machine_folder())
        self._starter = Starter()
        self._attempts: dict[tuple[str, int], LocalAttempt] = {}
        self._pools: list[LocalPool] = []
        self._changed = threading.Condition(threading.RLock())
        self._retry: threading.Thread | None = None
        self._freed = threading.Event()
        self._closed = False

    def capabilities(self) -> Capabilities:
        """What this machine has."""
        total = self._capacity.total
        return Capabilities(
            name="local", cpus=total.cpus, gpus=len(total.gpus), memory_bytes=total.memory_bytes, pool=True
        )

    def start(self, launch: Launch) -> Handle:
        """Start the workers, or queue them; a gang starts all or none."""
        key = (launch.job, launch.attempt)
        with self._changed:
            if self._closed:
                raise CapabilityError(f"{launch.job}: this engine has been closed; open another one")
            if key in self._attempts:
                return self._attempts[key].handle
            attempt = LocalAttempt(launch)
            self._queue(attempt)
            self._attempts[key] = attempt
            self._place(attempt)
            self._changed.notify_all()
        return attempt.handle

    def observe(self, handles: Sequence[Handle], *, timeout_s: float) -> list[Observation]:
        """What happened to these attempts since the last call."""
        until = time.monotonic() + timeout_s
        with self._changed:
            attempts = [self._attempts[key] for key in map(_key, handles) if key in self._attempts]
            while True:
                found = [attempt.news.popleft() for attempt in attempts for _ in range(len(attempt.news))]
                left = until - time.monotonic()
                if found or left <= 0:
                    return found
                self._changed.wait(left)

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Ask all workers to stop, kill what is left after the grace."""
        with self._changed:
            attempt = self._attempts.get(_key(handle))
            if attempt is None:
                return
            attempt.stopped = True
            self._drop_waiting(attempt, text="stopped before it started")
            for worker in attempt.workers:
                if worker.running and not worker.ended:
                    self._starter.stop(worker.name, ticket=worker.ticket, grace_s=grace_s)
            self._changed.notify_all()

    def find(self, job_id: str) -> list[Handle]:
        """Attempts of a job that run in this process's hosts; those of a driver that is gone are gone with it."""
        with self._changed:
            return [a.handle for (job, _), a in self._attempts.items() if job == job_id and not a.ended]

    def pool(self, launch: Launch) -> Pool:
        """Warm workers for the items of a job."""
        pool = LocalPool(launch, starter=self._starter, capacity=self._capacity)
        with self._changed:
            self._pools = [one for one in self._pools if not one.closed] + [pool]
        return pool

    def close(self) -> None:
        """End all workers and the host processes."""
        with self._changed:
            self._closed = True
            pools, self._pools = self._pools, []
            for attempt in self._attempts.values():
                self._drop_waiting(attempt, text="the engine was closed before it started")
            self._changed.notify_all()
        self._freed.set()
        for pool in pools:
            pool.close(grace_s=CLOSE_GRACE_S)
        self._starter.close(grace_s=CLOSE_GRACE_S)

    def _drop_waiting(self, attempt: LocalAttempt, *, text: str) -> None:
        """End the workers that wait for capacity."""
        for ask, workers in list(attempt.waiting.values()):
            self._capacity.release(ask.id)
            for worker in workers:
                self._end(worker, text=text)
        attempt.waiting.clear()

    def _queue(self, attempt: LocalAttempt) -> None:
        """What the attempt asks for: a gang at once, independent workers each for itself.

        Raises:
            CapabilityError: it can never fit.
        """
        together = [attempt.workers] if attempt.coupled else [[worker] for worker in attempt.workers]
        for workers in together:
            ask = ask_for(attempt.launch, workers=len(workers), ports=len(workers) + 1 if attempt.coupled else 0)
            reason = self._capacity.never(ask) or _disk(attempt.launch) or no_interpreter(attempt.launch)
            if reason:
                raise CapabilityError(reason)
            attempt.waiting[ask.id] = (ask, workers)

    def _place(self, attempt: LocalAttempt) -> None:
        """Start what fits now; the rest waits, and a thread looks again."""
        for ask, workers in list(attempt.waiting.values()):
            grant = self._capacity.reserve(ask, holders=[machine.owner(os.getpid())])
            if isinstance(grant, str):
                attempt.tell_waiting(grant)
                if self._retry is None:
                    self._retry = threading.Thread(target=self._look_again, name="headway-waiting", daemon=True)
                    self._retry.start()
                return
            del attempt.waiting[ask.id]
            attempt.equip(grant, workers, hide_gpus=bool(self._capacity.total.gpus))
            for worker in workers:
                self._launch(worker)

    def _look_again(self) -> None:
        """Try to place those who wait, in the order of asking, until nobody waits."""
        while True:
            self._freed.wait(RETRY_S)
            self._freed.clear()
            with self._changed:
                waiting = [attempt for attempt in self._attempts.values() if attempt.waiting]
                if self._closed or not waiting:
                    self._retry = None
                    return
                for attempt in waiting:
                    self._place(attempt)
                self._changed.notify_all()

    def _launch(self, worker: LocalWorker) -> None:
        """Start one worker of an attempt that has got its capacity."""
        worker.running = True
        link = self._starter.start(
            worker.name, launch=worker.attempt.launch, ticket=worker.ticket,
            listener=lambda message: self._heard(worker, message),
        )  # fmt: skip
        self._capacity.hold(worker.ask_id, holder=link.owner, mark=link.mark)

    def _heard(self, worker: LocalWorker, message: dict[str, Any]) -> None:
        """News of a worker, in a thread of the host's reader."""
        with self._changed:
            attempt, rank = worker.attempt, worker.rank
            match message["did"]:
                case "started":
                    attempt.tell("started", rank=rank, pid=message["pid"])
                case "line":
                    attempt.tell("line", rank=rank, text=message["text"])
                case "reported":
                    attempt.tell("reported", rank=rank, values=message["values"], step=message["step"])
                case "ended":
                    self._end(
                        worker, text=verdict(message, worker.ticket), exit_code=message["exit_code"],
                        signal=message["signal"], usage=message["usage"],
                    )  # fmt: skip
            self._changed.notify_all()

    def _end(self, worker: LocalWorker, **fields: Any) -> None:
        """A worker has ended: tell it, give back what it had."""
        if worker.ended:
            return
        worker.ended = True
        worker.attempt.tell("ended", rank=worker.rank, **fields)
        mates = [one for one in worker.attempt.workers if one.ask_id == worker.ask_id]
        if worker.ask_id and all(one.ended for one in mates):
            self._capacity.release(worker.ask_id)
            self._freed.set()


def _key(handle: Handle) -> tuple[str, int]:
    return str(handle["job"]), int(handle["attempt"])


def _disk(launch: Launch) -> str:
    """Why the disk is too small for the workers; "" if it is not."""
    need = (launch.resources.disk_bytes or 0) * len(launch.tickets)
    if not need:
        return ""
    folder = Path(launch.tickets[0]["folders"]["job"])
    free = shutil.disk_usage(folder).free
    return f"{launch.job} needs {need:,} bytes of disk, {free:,} are free in {folder}: make room" if free < need else ""
