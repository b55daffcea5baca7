"""The engine inside this very process: for debugging, for tests, and where a process of its own costs too much.

In: launches. Out: the same observations, files and outcomes as from other engines. What it cannot do, its capabilities
say: no isolation (a program that ends the process ends the driver), one worker at a time, nothing that outlives a call.

A program runs inside `observe` (a task inside `news`), in the thread that calls it, so that a debugger works. Output is
taken where Python writes it; what native code and other programs print goes to the terminal. Handlers registered with
`atexit` run when this process ends.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from headway.engines import machine
from headway.engines.capacity import Capacity, ask_for, machine_total
from headway.engines.engine import Capabilities, Engine, Handle, Launch, Observation, Pool, Task, TaskNews
from headway.engines.stage import Stage
from headway.errors import CapabilityError
from headway.worker import items
from headway.worker.outcome import judge, read_outcome
from headway.worker.ticket import stop_file

TURN_S = 0.05
"""A call of `news` does tasks for at least so long, if there are as many."""


@final
class InlineEngine(Engine):
    """Programs run in this process, one after the other."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._lock = threading.Lock()

    def capabilities(self) -> Capabilities:
        """One worker of a gang; nothing can be killed or timed out."""
        return Capabilities(
            name="inline",
            max_workers=1,
            cpus=machine.num_cpus(),
            gpus=len(machine.gpu_ids()),
            isolation=False,
            pool=True,
        )

    def start(self, launch: Launch) -> Handle:
        """Keep the attempt for the next `observe`."""
        key = (launch.job, launch.attempt)
        _refuse(launch)
        with self._lock:
            if key not in self._attempts:
                self._attempts[key] = _Attempt(launch)
        return {"job": launch.job, "attempt": launch.attempt, "engine": "inline"}

    def observe(self, handles: Sequence[Handle], *, timeout_s: float) -> list[Observation]:
        """Run the first of these attempts that has not run yet (however long it takes), and tell what happened."""
        with self._lock:
            attempts = [self._attempts[key] for key in map(_key, handles) if key in self._attempts]
            told = [attempt.news.popleft() for attempt in attempts for _ in range(len(attempt.news))]
            todo = next((attempt for attempt in attempts if attempt.claim()), None) if not told else None
        if todo is None:
            if not told:
                threading.Event().wait(timeout_s)
            return told
        todo.run()
        return [todo.news.popleft() for _ in range(len(todo.news))]

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Let `context.should_stop` be true; an attempt that has not run will not."""
        with self._lock:
            attempt = self._attempts.get(_key(handle))
            if attempt is not None:
                attempt.stop()

    def find(self, job_id: str) -> list[Handle]:
        """Attempts of this process that have not ended."""
        with self._lock:
            return [
                {"job": job, "attempt": number, "engine": "inline"}
                for (job, number), attempt in self._attempts.items()
                if job == job_id and not attempt.ended
            ]

    def pool(self, launch: Launch) -> Pool:
        """A pool whose only worker is the caller."""
        _refuse(launch)
        return InlinePool(launch)


@final
class _Attempt:
    """An attempt that runs, worker after worker, when it is observed."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.news: deque[Observation] = deque()
        self.ended = self._claimed = False

    def claim(self) -> bool:
        """Whether the caller is the one to run it."""
        if self._claimed:
            return False
        self._claimed = True
        return True

    def stop(self) -> None:
        """Ask it to stop."""
        if not self.claim():
            for ticket in self._launch.tickets:
                Path(stop_file(ticket)).touch()
        elif not self.ended:
            self.ended = True
            for ticket in self._launch.tickets:
                self._tell("ended", rank=ticket["rank"], text="stopped before it started")

    def run(self) -> None:
        """All workers, one after the other."""
        try:
            for ticket in self._launch.tickets:
                self._run(copy.deepcopy(ticket))
        finally:
            self.ended = True

    def _run(self, ticket: dict[str, Any]) -> None:
        rank = ticket["rank"]
        began, cpu = time.monotonic(), time.process_time()

        def tell(message: dict[str, Any]) -> None:
            if message["did"] == "line":
                self._tell("line", rank=rank, text=message["text"])
            elif message["did"] == "reported":
                self._tell("reported", rank=rank, values=message["values"], step=message["step"])

        stage = Stage(ticket, secrets=self._launch.secrets, tell=tell)
        self._tell("started", rank=rank, pid=os.getpid())
        ending = stage.run()
        outcome = read_outcome(ticket["folders"]["worker"])
        _, text = judge(exit_code=ending.exit_code, signal=None, outcome=outcome)
        usage = {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
        self._tell("ended", rank=rank, exit_code=ending.exit_code, text=text, usage=usage)
        if stage.interrupted:
            raise KeyboardInterrupt

    def _tell(self, kind: str, **fields: Any) -> None:
        self.news.append(Observation(job=self._launch.job, attempt=self._launch.attempt, kind=kind, **fields))


@final
class InlinePool(Pool):
    """Tasks done by the caller of `news`, as the first of the launch's workers."""

    def __init__(self, launch: Launch) -> None:
        self._job = launch.job
        self._queue: deque[Task] = deque()
        self._news: deque[TaskNews] = deque()
        self._stage = Stage(copy.deepcopy(launch.tickets[0]), secrets=launch.secrets, tell=lambda _: None)
        self._work: items.Work | None = None
        self._records: items.Records | None = None
        self._in_hand: int | None = None
        self._stopped: set[int] = set()
        self._closed = False

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks, in order."""
        if self._closed:
            raise RuntimeError(f"the pool of {self._job} has been closed")
        self._queue.extend(tasks)

    def news(self, timeout_s: float) -> list[TaskNews]:
        """Do tasks for a little while, at least one."""
        until = time.monotonic() + min(timeout_s, TURN_S)
        if self._queue and not self._news:
            with self._stage:
                self._prepare()
                while self._queue:
                    self._one(self._queue.popleft())
                    if time.monotonic() >= until:
                        break
        elif not self._news:
            threading.Event().wait(timeout_s)
        return [self._news.popleft() for _ in range(len(self._news))]

    def cancel(self, number: int, *, grace_s: float) -> None:
        """Drop a waiting task; let `should_stop` of a running one be true (it cannot be ended)."""
        if number == self._in_hand:
            self._stopped.add(number)
        for task in [task for task in self._queue if task.number == number]:
            self._queue.remove(task)
            error = {"type": "Cancelled", "message": "cancelled before it began", "traceback": "", "cancelled": True}
            self._news.append(TaskNews(number=task.number, attempt=task.attempt, kind="ended", error=error))

    def close(self, *, grace_s: float) -> None:
        """Write outcome and trace of the worker. Idempotent."""
        if not self._closed:
            self._closed = True
            self._stage.leave_pool(begun=self._work is not None)

    def _prepare(self) -> None:
        """The program's function, the first time.

        Raises:
            CapabilityError: it cannot be loaded.
        """
        if self._work is not None:
            return
        worker = self._stage.worker
        try:
            self._stage.check()
            self._work, self._records = items.make_work(worker), items.Records(worker)
        except Exception as error:
            raise CapabilityError(
                f"no worker of {self._job} can be started: {type(error).__name__}: {error}"
            ) from error

    def _one(self, task: Task) -> None:
        if self._work is None or self._records is None:
            raise RuntimeError("a task before its worker was prepared")
        self._in_hand = task.number
        context = self._stage.worker.context.for_task(
            task.number, attempt=task.attempt, should_stop=lambda: task.number in self._stopped,
            report=lambda values, step: self._report(task, dict(values), step),
        )  # fmt: skip
        record = items.do(self._stage.worker, self._work, task.payload, context)
        self._records.append(record)
        self._in_hand = None
        self._news.append(TaskNews(
            number=task.number, attempt=task.attempt, kind="ended", worker=1, ok=record["ok"], error=record["error"],
            result=items.result_of(record, self._stage.worker.folder), usage=record["usage"],
        ))  # fmt: skip
        if (record["error"] or {}).get("type") == "KeyboardInterrupt":
            raise KeyboardInterrupt

    def _report(self, task: Task, values: dict[str, float], step: int | None) -> None:
        items.append_report(self._stage.worker.folder, task.number, task.attempt, values, step)
        self._news.append(TaskNews(
            number=task.number, attempt=task.attempt, kind="reported", worker=1, values=values, step=step
        ))  # fmt: skip


def _refuse(launch: Launch) -> None:
    """Raise CapabilityError for what this engine, or this machine, lacks."""
    if reason := Capacity(machine_total()).never(ask_for(launch, workers=1)):
        raise CapabilityError(reason)
    if len(launch.tickets) > 1 and launch.tickets[0].get("coupled"):
        raise CapabilityError(
            f"{launch.job} has {len(launch.tickets)} coupled workers, the engine 'inline' has one: use engine='local://'"
        )


def _key(handle: Handle) -> tuple[str, int]:
    return str(handle["job"]), int(handle["attempt"])
