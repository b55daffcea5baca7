"""The host process: starts workers, writes their logs, reaps them, and leaves nothing behind when the driver is gone.

In: JSON lines over a socket to the driver: `{"do": "start"|"stop"|"close", ...}`; file descriptors for pool workers
come with the `start` line. Out: `{"did": "ready"|"started"|"reported"|"line"|"ended", ...}`. One thread, one loop: it
may fork at any time, and the parent-death signal of its children means its own death and nothing else.

The end of the socket is the end of the driver: every worker gets SIGTERM, a grace, SIGKILL; then every descendant.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from typing import Any, NoReturn, final

from headway.worker import preload, processes
from headway.worker.child import Child
from headway.worker.leftovers import kill_descendants, leftovers
from headway.worker.outcome import signal_name
from headway.worker.spawn import Born, Order, grow_up, spawn

TICK_S = 0.1
LEFTOVER_GRACE_S = 1.0
"""What a worker leaves running gets so long between SIGTERM and SIGKILL, unless a stop with a longer grace is on."""
ORPHANED_GRACE_S = 5.0
"""Longest grace when the driver is gone."""
UNKILLABLE_S = 5.0
"""So long after SIGKILL a process that still does not end is given up."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
DROP_BYTES, LOST_BYTES = 1 << 18, 1 << 24
"""Above so much unsent news, lines (then reports) are dropped: a sleeping driver finds them in the files."""


@final
class Host:
    """The loop.

    Args:
        link: socket to the driver.
        forks: whether workers may be forked from this process.
        driver: process id of the driver.
    """

    def __init__(self, link: socket.socket, *, forks: bool, driver: int) -> None:
        self._link, self._forks, self._pid = link, forks, os.getpid()
        self._children: dict[str, Child] = {}
        self._input, self._output = b"", b""
        self._files: deque[int] = deque()
        self._closing_at: float | None = None
        self._gone = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._wake_end = _pipe()
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *_ENDING):
            signal.signal(number, _nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        link.setblocking(False)
        self._selector.register(link, selectors.EVENT_READ, ("link", None))
        self._selector.register(self._wake, selectors.EVENT_READ, ("wake", None))
        self._driver = self._watch_driver(driver)

    def _watch_driver(self, driver: int) -> int:
        """A handle that tells of the driver's end even if somebody else holds its end of the socket."""
        try:
            handle = os.pidfd_open(driver)
        except (AttributeError, OSError):
            return -1
        self._selector.register(handle, selectors.EVENT_READ, ("driver", None))
        return handle

    def serve(self) -> None:
        """Run until everything has ended.

        Raises:
            Born: in a child.
        """
        while self._children or self._closing_at is None:
            for key, _ in self._selector.select(self._pause()):
                self._ready(key)
            self._reap()
            self._tick(time.monotonic())
            self._send()
        kill_descendants(limit_s=UNKILLABLE_S)

    def _pause(self) -> float | None:
        """How long the loop may sleep: forever when nothing runs."""
        if any(child.exit is not None or child.kill_at is not None for child in self._children.values()):
            return TICK_S / 5
        return TICK_S if self._children else None

    def _ready(self, key: selectors.SelectorKey) -> None:
        what, child = key.data
        if what == "link":
            self._receive()
        elif what == "wake":
            received = os.read(self._wake, 4096)
            if any(number in received for number in _ENDING):
                self._close(ORPHANED_GRACE_S)
        elif what == "driver":
            self._selector.unregister(self._driver)
            self._lost()
        elif what == "output" and child.output == key.fd:
            child.read_output()
            if child.output < 0:
                self._selector.unregister(key.fd)
        elif what == "bell" and child.bell == key.fd:
            child.read_bell()
            if child.bell < 0:
                self._selector.unregister(key.fd)

    def _receive(self) -> None:
        """Orders of the driver; its end when there are no more."""
        try:
            data, files, _, _ = socket.recv_fds(self._link, 1 << 16, 16)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        for file in files:
            os.set_inheritable(file, False)
            self._files.append(file)
        if not data:
            self._lost()
            return
        *lines, self._input = (self._input + data).split(b"\n")
        for position, line in enumerate(lines):
            try:
                self._obey(json.loads(line))
            except Born:
                raise
            except Exception as error:  # noqa: BLE001 - one bad order must not end the other workers
                self._tell({"did": "trouble", "text": f"{type(error).__name__}: {error}", "position": position})

    def _obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "start":
                self._start(order)
            case "stop" if order["name"] in self._children:
                self._stop(self._children[order["name"]], float(order["grace_s"]))
            case "close":
                self._close(float(order["grace_s"]))

    def _start(self, order: dict[str, Any]) -> None:
        """Start one worker."""
        tasks = self._files.popleft() if order.get("tasks") else None
        try:
            child = Child(
                order["name"], folder=order["folder"], patterns=order["patterns"], tell=self._tell,
                secrets=order["secrets"], reports=tasks is None,
            )  # fmt: skip
        except OSError as error:
            self._tell(_not_started(order["name"], error))
            return
        child.mark = order["mark"]
        (child.output, output), (child.bell, bell) = _pipe(), _pipe()
        os.set_blocking(output, True)
        child.inode = os.fstat(output).st_ino
        wanted = Order(
            ticket=order["ticket"], environment=order["environment"], mark=order["mark"], python=order["python"],
            fork=self._forks and order["fork"], tasks=tasks,
        )  # fmt: skip
        try:
            child.pid = spawn(wanted, output=output, bell=bell)
        except Born:
            os.close(output)
            child.close()
            self._abandon()
            raise
        except OSError as error:
            child.close()
            self._tell(_not_started(order["name"], error))
            return
        finally:
            if os.getpid() == self._pid:
                for file in (output, bell, *([] if tasks is None else [tasks])):
                    os.close(file)
        self._children[child.name] = child
        self._selector.register(child.output, selectors.EVENT_READ, ("output", child))
        self._selector.register(child.bell, selectors.EVENT_READ, ("bell", child))
        self._tell({"did": "started", "name": child.name, "pid": child.pid})

    def _abandon(self) -> None:
        """In a child: let go of everything that is the host's, by the objects that own it."""
        for child in self._children.values():
            child.close()
        for file in (self._wake, self._wake_end, self._driver, *self._files):
            if file >= 0:
                os.close(file)
        self._selector.close()
        self._link.close()

    def _stop(self, child: Child, grace_s: float) -> None:
        """Ask a worker to stop, or hurry an earlier request."""
        now = time.monotonic()
        if child.exit is not None:
            child.kill_at = min(now + grace_s, child.kill_at or now + grace_s)
            return
        if child.stop_asked is None and grace_s > 0:
            processes.kill(child.pid, signal.SIGTERM)
        child.stop_asked = child.stop_asked or now
        child.kill_at = min(now + grace_s, child.kill_at or now + grace_s)
        if grace_s <= 0:
            self._tick(now)

    def _lost(self) -> None:
        """The driver is gone."""
        if not self._gone:
            self._gone, self._output = True, b""
            self._selector.unregister(self._link)
        self._close(ORPHANED_GRACE_S)

    def _close(self, grace_s: float) -> None:
        """End all workers, then this process."""
        if self._closing_at is None:
            self._closing_at = time.monotonic()
        for child in list(self._children.values()):
            self._stop(child, grace_s)

    def _reap(self) -> None:
        """Take the exit status of every process that has ended; orphans of workers are among them."""
        by_pid = {child.pid: child for child in self._children.values() if child.exit is None}
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = by_pid.get(pid)
            if child is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            child.exit = (code, None) if code >= 0 else (None, -code)
            scale = 1 if sys.platform == "darwin" else 1024
            child.usage = {
                "peak_memory_bytes": float(usage.ru_maxrss * scale), "cpu_s": usage.ru_utime + usage.ru_stime,
                "wall_s": time.monotonic() - child.started,
            }  # fmt: skip
            self._left(child)

    def _left(self, child: Child) -> None:
        """A worker's own process has ended: end what it left running, then report."""
        left, undecided = leftovers(child, self._children.values())
        if not left and not undecided:
            self._ended(child)
            return
        for pid in left:
            processes.kill(pid, signal.SIGTERM)
        child.asked = set(left)
        now = time.monotonic()
        if child.stop_asked is None:
            child.kill_at = now + LEFTOVER_GRACE_S

    def _tick(self, now: float) -> None:
        """Everything that is due: kills, leftovers, the last line, metrics files."""
        for child in list(self._children.values()):
            if child.exit is not None:
                self._finish_off(child, now)
            elif child.kill_at is not None and now >= child.kill_at and not child.killed:
                child.killed = True
                processes.kill(child.pid, signal.SIGKILL)  # by itself too: its group may not be there yet
                processes.kill(-child.pid, signal.SIGKILL)
            else:
                child.tell_line()
                child.read_metrics_file()

    def _finish_off(self, child: Child, now: float) -> None:
        """Wait for, then kill, what a dead worker left running."""
        left, undecided = leftovers(child, self._children.values())
        for pid in left:
            if pid not in child.asked:
                processes.kill(pid, signal.SIGTERM)
                child.asked.add(pid)
        until = child.kill_at or now
        if not (left or undecided) or now > until + UNKILLABLE_S:
            self._ended(child)
        elif now >= until:
            for pid in left:
                processes.kill(pid, signal.SIGKILL)

    def _ended(self, child: Child) -> None:
        """Report the end of a worker, after its last line and metric."""
        for file in (child.output, child.bell):
            if file >= 0:
                self._selector.unregister(file)
        child.finish()
        del self._children[child.name]
        code, number = child.exit or (None, None)
        waited = (child.kill_at or 0.0) - (child.stop_asked or 0.0)
        stopped = ""
        if child.stop_asked is not None:
            stopped = f"stopped: killed after {waited:.0f} s of grace" if child.killed else "stopped on request"
        self._tell({
            "did": "ended", "name": child.name, "exit_code": code, "usage": child.usage, "last": child.last_line,
            "signal": signal_name(number) if number else None, "stopped": stopped, "trouble": child.trouble,
        })  # fmt: skip

    def _tell(self, message: dict[str, Any]) -> None:
        """Queue a message for the driver."""
        size = len(self._output)
        if self._gone or (size > DROP_BYTES and message["did"] == "line"):
            return
        if size > LOST_BYTES and message["did"] == "reported":
            return
        self._output += json.dumps(message).encode() + b"\n"
        if size == 0:
            self._send()

    def _send(self) -> None:
        """Send what the socket takes now."""
        while self._output and not self._gone:
            try:
                sent = self._link.send(self._output)
            except BlockingIOError:
                break
            except OSError:
                self._lost()
                return
            self._output = self._output[sent:]
        if not self._gone:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._output else 0)
            if self._selector.get_key(self._link).events != events:
                self._selector.modify(self._link, events, ("link", None))


def _not_started(name: str, error: OSError) -> dict[str, Any]:
    """The end of a worker that never was."""
    return {
        "did": "ended", "name": name, "exit_code": None, "signal": None, "usage": {},
        "text": f"cannot be started: {error}",
    }  # fmt: skip


def _nothing(*_: object) -> None:
    """A handler that lets the signal wake the loop."""


def _pipe() -> tuple[int, int]:
    """A pipe that blocks neither end and is not inherited."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def main(file: int, config: str) -> NoReturn:
    """Be the host process of the driver at the other end of the socket `file`; in a forked child: be the worker.

    Args:
        config: JSON `{"driver": pid, "preload": [modules]}`.
    """
    settings = json.loads(config)
    os.chdir("/")
    processes.become_subreaper()
    from headway.worker.runtime import main as work  # now, so that no child has to

    link = socket.socket(fileno=file)
    link.set_inheritable(False)
    fault = preload.preload(settings["preload"], parent=settings["driver"])
    host = Host(link, forks=not fault, driver=settings["driver"])
    host._tell({"did": "ready", "fork": not fault, "text": fault})
    try:
        host.serve()
    except Born as born:
        order, bell = born.order, born.bell
    else:
        os._exit(0)
    del host
    grow_up(order)
    work(order.ticket, bell=bell, tasks=order.tasks)
