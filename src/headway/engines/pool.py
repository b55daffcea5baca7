"""Warm workers of this machine that take tasks over sockets of their own; the driver never waits for a slow one.

In: tasks. Out: news of them. A worker gets some milliseconds' worth of tasks at a time, so that it never idles; what it
has not begun is taken back when another worker is idle, when a task is cancelled, and when the worker dies: a dead
worker costs only the task that it had in hand.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, final

from headway.engines import machine
from headway.engines.capacity import Ask, Capacity, ask_for
from headway.engines.engine import Launch, Pool, Task, TaskNews
from headway.engines.slot import Slot
from headway.engines.starter import Starter, no_interpreter, verdict
from headway.errors import CapabilityError
from headway.worker.items import result_of

AHEAD_S = 0.02
"""So much work a worker is given at a time."""
MOST_AHEAD = 256
RETRY_S = 0.1
MOST_BAD_STARTS = 2
GIVE_UP_S = 20.0
"""`close` waits no longer than this for workers that it had killed."""


@final
class LocalPool(Pool):
    """The pool of one job.

    Args:
        launch: one ticket per worker.
        starter: starts the workers.
        capacity: each worker's share is set aside; workers that do not fit now join later.
    """

    def __init__(self, launch: Launch, *, starter: Starter, capacity: Capacity) -> None:
        self._launch, self._starter, self._capacity = launch, starter, capacity
        self._slots = [Slot(ticket) for ticket in launch.tickets]
        self._asks: dict[int, Ask] = {
            slot.rank: ask_for(launch, workers=1, queue=slot.rank == 0) for slot in self._slots
        }
        for ask in self._asks.values():
            if reason := capacity.never(ask) or no_interpreter(launch):
                raise CapabilityError(reason)
        self._queue: deque[Task] = deque()
        self._news: list[TaskNews] = []
        self._deaths: deque[tuple[Slot, dict[str, Any]]] = deque()
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._said, self._looked = "", 0.0
        self.closed = False
        with self._lock:
            self._place()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks, in order."""
        with self._lock:
            if self.closed:
                raise RuntimeError(f"the pool of {self._launch.job} has been closed")
            self._queue.extend(tasks)
            self._feed()

    def news(self, timeout_s: float) -> list[TaskNews]:
        """What happened since the last call."""
        until = time.monotonic() + timeout_s
        while True:
            with self._lock:
                self._place()
                self._enforce()
                self._bury()
                self._feed()
                found, self._news = self._news, []
                if not found:
                    self._check()
            left = until - time.monotonic()
            if found or left <= 0 or self.closed:
                return found
            self._wait(min(left, RETRY_S if self._busy() else left))

    def cancel(self, number: int, *, grace_s: float) -> None:
        """Drop a waiting task, ask a running one to stop and end its worker after the grace."""
        with self._lock:
            for slot in self._slots:
                if slot.running and slot.holds(number):
                    self._queue.extendleft(reversed(slot.take_back()))
            for task in [task for task in self._queue if task.number == number]:
                self._queue.remove(task)
                self._fail(task, 0, {"type": "Cancelled", "message": "cancelled before it began", "cancelled": True})
            for slot in self._slots:
                if slot.running and slot.holds(number):
                    slot.cancelled, slot.kill_at = number, time.monotonic() + grace_s
                    slot.send({"stop": number})
            self._wake()

    def close(self, *, grace_s: float) -> None:
        """End all workers; what they finish meanwhile is in their records. Idempotent."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            for slot in self._slots:
                if slot.running:
                    slot.send({"close": True})
        until = time.monotonic() + grace_s
        asked = False
        while any(slot.running for slot in self._slots) and time.monotonic() < until + GIVE_UP_S:
            if not asked and time.monotonic() >= until:
                asked = True
                for slot in self._slots:
                    self._starter.stop(slot.name, ticket=slot.ticket, grace_s=0)
            self._wait(min(RETRY_S, max(0.0, until - time.monotonic())) if not asked else RETRY_S)
            with self._lock:
                self._bury()
        with self._lock:
            self._capacity.release(*[ask.id for ask in self._asks.values()])
            self._selector.close()
            self._bell.close()
            self._ring.close()

    def _wake(self) -> None:
        """Let `news` look again; it has been told already when the socket is full."""
        try:
            self._ring.send(b"\0")
        except BlockingIOError:
            return

    def _busy(self) -> bool:
        """Whether something must be looked at by time."""
        return any(not slot.granted or slot.kill_at is not None for slot in self._slots)

    def _wait(self, seconds: float) -> None:
        """Until a worker or a host says something."""
        for key, events in self._selector.select(seconds):
            if key.data is None:
                try:
                    self._bell.recv(4096)
                except BlockingIOError:
                    continue
            else:
                with self._lock:
                    if events & selectors.EVENT_WRITE:
                        key.data.flush()
                        self._listen(key.data)
                    if events & selectors.EVENT_READ:
                        self._hear(key.data)

    def _place(self) -> None:
        """Set capacity aside for workers that have none yet, and start them; one queues, others take what is free."""
        missing = [slot for slot in self._slots if not slot.granted]
        now = time.monotonic()
        if self.closed or not missing or now - self._looked < RETRY_S / 2:
            return
        self._looked = now
        for slot in missing:
            grant = self._capacity.reserve(self._asks[slot.rank], holders=[machine.owner(os.getpid())])
            if isinstance(grant, str):
                if grant != self._said and not any(one.granted for one in self._slots):
                    self._said = grant
                    self._news.append(TaskNews(number=-1, attempt=0, kind="waiting", text=grant))
                return
            slot.equip(grant, hide_gpus=bool(self._capacity.total.gpus))
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        """Start the worker of a slot, again if it died."""
        theirs = slot.connect(f"{self._launch.job}/{self._launch.attempt}/{slot.rank}")
        self._selector.register(slot.link, selectors.EVENT_READ, slot)

        def listen(message: dict[str, Any]) -> None:
            if message["did"] == "ended":
                self._deaths.append((slot, message))
                self._wake()

        with theirs:
            link = self._starter.start(
                slot.name, launch=self._launch, ticket=slot.ticket, listener=listen, tasks=[theirs.fileno()]
            )
        self._capacity.hold(self._asks[slot.rank].id, holder=link.owner, mark=link.mark)

    def _feed(self) -> None:
        """Give every worker enough to do, as long as there is something."""
        running = [slot for slot in self._slots if slot.running and slot.cancelled is None]
        if not self._queue and any(not slot.load for slot in running):
            self._rob(running)
        for slot in sorted(running, key=lambda one: one.load):
            ahead = max(1, min(MOST_AHEAD, int(AHEAD_S / slot.mean_s))) if slot.mean_s else 1
            if slot.load > (ahead if ahead > 1 else 0):
                continue
            fair = -(-len(self._queue) // len(running))
            tasks = [self._queue.popleft() for _ in range(min(ahead, fair, len(self._queue)))]
            if tasks:
                slot.give(tasks)
                self._listen(slot)

    def _rob(self, running: list[Slot]) -> None:
        """Take back what the fullest worker has not begun, for one that has nothing to do."""
        fullest = max(running, key=lambda slot: slot.load)
        if fullest.load > 1:
            self._queue.extendleft(reversed(fullest.take_back()))

    def _listen(self, slot: Slot) -> None:
        """Wait for the socket to take more, if something is left to send."""
        if slot.link is not None and slot.running:
            self._selector.modify(slot.link, selectors.EVENT_READ | (selectors.EVENT_WRITE if slot.unsent else 0), slot)

    def _hear(self, slot: Slot) -> None:
        """Take in what a worker said."""
        lines, ended = slot.receive()
        for line in lines:
            message = json.loads(line)
            if "ended" in message:
                self._record(slot, message["ended"])
            elif "reported" in message:
                told = message["reported"]
                self._news.append(TaskNews(
                    number=told["number"], attempt=told["attempt"], kind="reported", worker=slot.rank + 1,
                    values=told["values"], step=told["step"],
                ))  # fmt: skip
            elif "ready" in message:
                slot.was_ready = True
        if ended and slot.link is not None:
            self._selector.unregister(slot.link)
            slot.hang_up()

    def _record(self, slot: Slot, record: dict[str, Any]) -> None:
        """The record of an ended task: news, once."""
        if not slot.done(record):
            return
        result = result_of(record, slot.ticket["folders"]["worker"])
        if record["number"] == slot.cancelled:
            slot.cancelled = slot.kill_at = None
        self._news.append(TaskNews(
            number=record["number"], attempt=record["attempt"], kind="ended", worker=slot.rank + 1, ok=record["ok"],
            result=result, error=record["error"], usage=record["usage"],
        ))  # fmt: skip

    def _fail(self, task: Task, worker: int, error: dict[str, Any]) -> None:
        """News of a task that ended without a record of its own."""
        error = {"traceback": "", **error}
        self._news.append(TaskNews(number=task.number, attempt=task.attempt, kind="ended", worker=worker, error=error))

    def _enforce(self) -> None:
        """End workers whose cancelled task did not stop in time."""
        for slot in self._slots:
            if slot.running and slot.kill_at is not None and time.monotonic() >= slot.kill_at:
                slot.kill_at = None
                self._starter.stop(slot.name, ticket=slot.ticket, grace_s=0)

    def _bury(self) -> None:
        """Workers that have died: what they had done is kept, what they had in hand is lost, the rest is given anew."""
        while self._deaths:
            slot, message = self._deaths.popleft()
            if slot.link is not None:
                self._hear(slot)
            if slot.link is not None:
                self._selector.unregister(slot.link)
            for record in slot.unheard_records():
                self._record(slot, record)
            text = verdict(message, slot.ticket) or "ended"
            in_hand, rest = slot.die()
            if in_hand is not None:
                cancelled = in_hand.number == slot.cancelled
                self._fail(in_hand, slot.rank + 1, {
                    "type": "Cancelled" if cancelled else "WorkerLost", "lost": not cancelled, "cancelled": cancelled,
                    "message": f"cancelled: its worker was ended ({text})" if cancelled else
                    f"its worker algo-{slot.rank + 1} died with it in hand: {text}",
                })  # fmt: skip
            slot.cancelled = slot.kill_at = None
            self._queue.extendleft(reversed(rest))
            if self.closed:
                continue
            slot.bad_starts = 0 if slot.was_ready else slot.bad_starts + 1
            slot.last_words = text
            if slot.bad_starts < MOST_BAD_STARTS:
                self._start(slot)

    def _check(self) -> None:
        """Complain when tasks wait and no worker can be started any more."""
        broken = [slot for slot in self._slots if slot.bad_starts >= MOST_BAD_STARTS]
        if broken and len(broken) == sum(slot.granted for slot in self._slots) and not self.closed:
            raise CapabilityError(
                f"no worker of {self._launch.job} can be started any more: {broken[0].last_words} "
                f"(log: {broken[0].ticket['folders']['worker']}/log.txt)"
            )
