"""One place for a warm worker in a pool: the process in it may die and be replaced.

In: tasks to send, bytes from its socket. Out: what it has in hand, what it has not begun, what it recorded.
"""

from __future__ import annotations

import copy
import json
import os
import socket
from pathlib import Path
from typing import Any, final

from headway.engines.attempt import equip
from headway.engines.capacity import Grant
from headway.engines.engine import Task
from headway.worker.claims import Claims

LEARN = 0.3
"""Weight of the newest task in the running mean of their durations."""
SHORTEST_S = 5e-5


@final
class Slot:
    """A worker's place.

    Args:
        ticket: of the worker; it is completed when capacity was granted.
    """

    def __init__(self, ticket: dict[str, Any]) -> None:
        self.ticket = copy.deepcopy(ticket)
        self.rank: int = ticket["rank"]
        self.name = ""
        self.granted = self.running = self.was_ready = False
        self.link: Any = None
        self.mean_s = 0.0
        self.bad_starts, self.last_words = 0, ""
        self.cancelled: int | None = None
        self.kill_at: float | None = None
        self._starts = 0
        self._open: dict[int, Task] = {}
        self._sent = 0
        self._input, self._output = b"", b""
        self._claims: Claims | None = None
        self._heard_from = 0

    @property
    def load(self) -> int:
        """How many tasks it has been given and not ended."""
        return len(self._open)

    @property
    def unsent(self) -> bool:
        """Whether there is something that the socket did not take yet."""
        return bool(self._output)

    def equip(self, grant: Grant, *, hide_gpus: bool) -> None:
        """Capacity was granted."""
        self.granted = True
        equip(self.ticket, grant, hide_gpus=hide_gpus)

    def connect(self, name: str) -> socket.socket:
        """Get ready for a new process; its end of the socket comes out."""
        folder = Path(self.ticket["folders"]["worker"])
        folder.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        self.name = f"{name}#{self._starts}"
        self._claims = Claims(str(folder / "claims.bin"), create=True)
        records = folder / "tasks.jsonl"
        self._heard_from = records.stat().st_size if records.exists() else 0
        self._open, self._sent, self._input, self._output = {}, 0, b"", b""
        self.running, self.was_ready = True, False
        self.link, theirs = socket.socketpair()
        self.link.setblocking(False)
        return theirs

    def give(self, tasks: list[Task]) -> None:
        """Send tasks."""
        rows = []
        for task in tasks:
            rows.append([self._sent, task.number, task.attempt, task.payload])
            self._open[self._sent] = task
            self._sent += 1
        self.send({"tasks": rows})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, now or when the socket takes it."""
        self._output += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now; to a dead worker nothing is sent, its end is told by the host."""
        try:
            while self._output and self.link is not None:
                self._output = self._output[self.link.send(self._output) :]
        except BlockingIOError:
            return
        except OSError:
            self._output = b""

    def receive(self) -> tuple[list[bytes], bool]:
        """Whole lines that have come, and whether the worker has closed its end."""
        lines: list[bytes] = []
        while self.link is not None:
            try:
                data = self.link.recv(1 << 18)
            except BlockingIOError:
                return lines, False
            except OSError:
                return lines, True
            if not data:
                return lines, True
            *whole, self._input = (self._input + data).split(b"\n")
            lines += whole
        return lines, False

    def hang_up(self) -> None:
        """Close this end of the socket. Idempotent."""
        if self.link is not None:
            self.link.close()
            self.link = None

    def holds(self, number: int) -> bool:
        """Whether a task of that number was given to this worker."""
        return any(task.number == number for task in self._open.values())

    def done(self, record: dict[str, Any]) -> bool:
        """A task has ended; False if it is not one that this worker holds."""
        for serial, task in self._open.items():
            if task.number == record["number"] and task.attempt == record["attempt"]:
                del self._open[serial]
                wall = max(SHORTEST_S, record["usage"]["wall_s"])
                self.mean_s = wall if not self.mean_s else (1 - LEARN) * self.mean_s + LEARN * wall
                return True
        return False

    def take_back(self) -> list[Task]:
        """All tasks that the worker has not begun; they are not its any more."""
        if self._claims is None:
            return []
        first = self._claims.revoke(self._sent)
        return [self._open.pop(serial) for serial in sorted(self._open) if serial >= first]

    def unheard_records(self) -> list[dict[str, Any]]:
        """Records of this process of the worker that it did not live to tell."""
        path = Path(self.ticket["folders"]["worker"]) / "tasks.jsonl"
        if not self._open or not path.exists():
            return []
        with path.open("rb") as stream:
            stream.seek(self._heard_from)
            lines = stream.read().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def die(self) -> tuple[Task | None, list[Task]]:
        """The process is gone: the task that it had in hand, and those that it had not begun."""
        taken = self._claims.taken if self._claims is not None else 0
        in_hand = self._open.pop(taken - 1, None)
        rest = [self._open[serial] for serial in sorted(self._open)]
        self._open = {}
        self.running = False
        self.hang_up()
        if self._claims is not None:
            self._claims.close()
            self._claims = None
        _end_torn_line(Path(self.ticket["folders"]["worker"]) / "tasks.jsonl")
        return in_hand, rest


def _end_torn_line(path: Path) -> None:
    """Close a line that was cut off, so that the next process's records begin on a line of their own."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")
