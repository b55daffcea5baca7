"""The engine of one machine: every worker is a process of its own, started by a host process.

In: launches. Out: observations. Capacity is shared with other drivers on the machine; what does not fit waits in the
order of asking. When this process dies, however it dies, its host processes end everything they started.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from headway.engines import machine
from headway.engines.attempt import LocalAttempt, LocalWorker
from headway.engines.capacity import Ask, Capacity, machine_total
from headway.engines.engine import Capabilities, Engine, Handle, Launch, Observation, Pool
from headway.engines.hosts import HostLink, Hosts
from headway.errors import CapabilityError
from headway.records import pretty
from headway.worker import processes
from headway.worker.outcome import judge, read_outcome
from headway.worker.ticket import stop_file

RETRY_S = 0.1
"""How often those who wait look whether another driver gave something back."""
_AT_START = ("PYTHON", "LD_", "DYLD_", "OMP_", "MKL_", "OPENBLAS_", "MALLOC_")
"""Variables that only a fresh interpreter takes notice of."""


@final
class LocalEngine(Engine):
    """Workers as processes of this machine.

    Args:
        cpus, gpus, memory_bytes: capacity of the machine, where it is not what the system says.
    """

    def __init__(self, *, cpus: int | None = None, gpus: int | None = None, memory_bytes: int | None = None) -> None:
        self._capacity = Capacity(machine_total(cpus=cpus, gpus=gpus, memory_bytes=memory_bytes))
        self._hosts = Hosts(on_message=self._heard)
        self._attempts: dict[tuple[str, int], LocalAttempt] = {}
        self._workers: dict[str, LocalWorker] = {}
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
            for ask, workers in list(attempt.waiting.values()):
                self._capacity.release(ask.id)
                for worker in workers:
                    self._end(worker, text="stopped before it started")
            attempt.waiting.clear()
            for worker in attempt.workers:
                if not worker.ended and worker.link is not None:
                    Path(stop_file(worker.ticket)).touch()
                    worker.link.send({"do": "stop", "name": worker.name, "grace_s": grace_s})
            self._changed.notify_all()

    def find(self, job_id: str) -> list[Handle]:
        """Attempts of a job that run in this process's hosts; those of a driver that is gone are gone with it."""
        with self._changed:
            return [a.handle for (job, _), a in self._attempts.items() if job == job_id and not a.ended]

    def pool(self, launch: Launch) -> Pool:
        """Warm workers for the items of a job."""
        raise CapabilityError("the local engine's warm workers are being built")

    def close(self) -> None:
        """End all workers and the host processes."""
        with self._changed:
            self._closed = True
            waiting = [ask.id for attempt in self._attempts.values() for ask, _ in attempt.waiting.values()]
        self._freed.set()
        self._hosts.close(grace_s=1.0)
        with self._changed:
            granted = [worker.ask_id for worker in self._workers.values() if worker.ask_id]
        if waiting or granted:
            self._capacity.release(*waiting, *granted)

    def _queue(self, attempt: LocalAttempt) -> None:
        """What the attempt asks for: a gang at once, independent workers each for itself.

        Raises:
            CapabilityError: it can never fit.
        """
        launch, need = attempt.launch, attempt.launch.resources
        together = [attempt.workers] if attempt.coupled else [[worker] for worker in attempt.workers]
        for workers in together:
            ask = Ask(
                id=uuid.uuid4().hex, job=launch.job, attempt=launch.attempt, workers=len(workers), cpus=need.cpus,
                gpus=need.gpus, memory_bytes=need.memory_bytes or 0, ports=len(workers) + 1 if attempt.coupled else 0,
            )  # fmt: skip
            reason = self._capacity.never(ask) or _disk(launch)
            if reason:
                raise CapabilityError(f"{reason}: ask for less, or use an engine that has more")
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
            attempt.equip(grant, workers)
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
        """Write the ticket, tell the host."""
        launch, ticket = worker.attempt.launch, worker.ticket
        folder = Path(ticket["folders"]["worker"])
        folder.mkdir(parents=True, exist_ok=True)
        Path(stop_file(ticket)).unlink(missing_ok=True)
        path = Path(ticket["folders"]["attempt"]) / f"ticket-{worker.rank + 1}.json"
        if not ticket["resources"].get("gpu_ids") and not self._capacity.total.gpus:
            ticket["resources"]["gpu_ids"] = None
        path.write_bytes(pretty(ticket))
        fork = bool(launch.preload) and not any(name.startswith(_AT_START) for name in ticket.get("environment", {}))
        worker.link = self._hosts.borrow(python=launch.python or sys.executable, preload=launch.preload if fork else ())
        self._workers[worker.name] = worker
        worker.link.send(_order(worker, path, fork=fork))

    def _heard(self, link: HostLink, message: dict[str, Any]) -> None:
        """A message of a host, in its reader's thread."""
        with self._changed:
            if message["did"] == "lost":
                for worker in [one for one in self._workers.values() if one.link is link]:
                    self._end(worker, text=message["text"] or "the engine was closed")
            elif message["did"] == "ready":
                if message["text"]:
                    for worker in [one for one in self._workers.values() if one.link is link]:
                        worker.attempt.tell("line", rank=worker.rank, text=f"no fork server: {message['text']}")
            elif message.get("name") in self._workers:
                self._heard_of(self._workers[message["name"]], message)
            self._changed.notify_all()

    def _heard_of(self, worker: LocalWorker, message: dict[str, Any]) -> None:
        attempt = worker.attempt
        match message["did"]:
            case "started":
                worker.pid = message["pid"]
                attempt.tell("started", rank=worker.rank, pid=worker.pid)
            case "line":
                attempt.tell("line", rank=worker.rank, text=message["text"])
            case "reported":
                attempt.tell("reported", rank=worker.rank, values=message["values"], step=message["step"])
            case "ended":
                _, text = judge(
                    exit_code=message["exit_code"], signal=message["signal"], last=message.get("last", ""),
                    outcome=read_outcome(worker.ticket["folders"]["worker"]),
                    stopped=message.get("stopped", "") or message.get("text", ""),
                )  # fmt: skip
                if message.get("trouble"):
                    text = f"{text}; {message['trouble']}" if text else message["trouble"]
                self._end(
                    worker, exit_code=message["exit_code"], signal=message["signal"], text=text, usage=message["usage"]
                )

    def _end(self, worker: LocalWorker, **fields: Any) -> None:
        """A worker has ended: tell it, give back what it had."""
        if worker.ended:
            return
        worker.ended = True
        self._workers.pop(worker.name, None)
        worker.attempt.tell("ended", rank=worker.rank, **fields)
        if worker.link is not None:
            self._hosts.give_back(worker.link)
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
    return f"{launch.job} needs {need:,} bytes of disk, {free:,} are free in {folder}" if free < need else ""


def _order(worker: LocalWorker, path: Path, *, fork: bool) -> dict[str, Any]:
    """What the host is told to start."""
    launch, ticket = worker.attempt.launch, worker.ticket
    if worker.link is None:
        raise RuntimeError(f"{worker.name} has no host")
    return {
        "do": "start", "name": worker.name, "ticket": str(path), "folder": ticket["folders"]["worker"],
        "environment": {**os.environ, **ticket.get("environment", {}), **launch.secrets},
        "secrets": list(launch.secrets.values()), "patterns": ticket.get("metrics", {}), "fork": fork,
        "mark": processes.attempt_mark(worker.link.mark, launch.job, launch.attempt),
        "python": launch.python or sys.executable,
    }  # fmt: skip
