"""The driver's side of its host processes: starts them, talks to them, cleans up after one that died.

In: orders for workers. Out: the host's messages, handed to a callback in the order in which they came. One host per
interpreter and set of modules that are imported beforehand.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, final

import headway.worker as worker_package
from headway.engines import machine
from headway.worker import processes

MAIN = str(Path(worker_package.__file__).with_name("__main__.py"))
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
AT_START = ("PYTHON", "LD_", "DYLD_", "OMP_", "MKL_", "OPENBLAS_", "MALLOC_")
"""Variables that only an interpreter that is just starting takes notice of."""
OnMessage = Callable[["HostLink", dict[str, Any]], None]


@final
class HostLink:
    """One host process and the socket to it.

    Args:
        python: interpreter.
        preload: modules that it imports before it forks; () for fresh interpreters.
        on_message: called in this link's thread with every message, and with `{"did": "lost", "text": ...}` when the
            host is gone.
    """

    def __init__(self, *, python: str, preload: Sequence[str], on_message: OnMessage) -> None:
        self.python, self.preload = python, tuple(preload)
        me = machine.owner(os.getpid())
        self.mark = f"hw{me.pid}-{int(me.started or 0)}-{secrets.token_hex(4)}"
        self._on_message, self._lock = on_message, threading.Lock()
        self.closing = False
        self._link, other = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the host is buried
        config = json.dumps({"driver": me.pid, "preload": list(preload)})
        environment = dict(os.environ) | {processes.MARK: f"{self.mark}.{processes.NO_ATTEMPT}"}
        if preload:
            environment |= dict.fromkeys(_ONE_THREAD, "1")
        try:
            with other:
                self._process = subprocess.Popen(
                    [python, MAIN, "--host", str(other.fileno()), config],
                    pass_fds=(other.fileno(),), env=environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
                )  # fmt: skip
        except OSError:
            self._link.close()
            self._errors.close()
            raise
        self.owner = machine.owner(self._process.pid)
        _forget_in_forks(self)
        self._reader = threading.Thread(target=self._read, name="headway-host", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the host process."""
        return self._process.pid

    def send(self, message: Mapping[str, Any], *, files: Sequence[int] = ()) -> None:
        """Send an order; to a host that is gone nothing is sent: its end is told to the callback."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                if files:
                    sent = socket.send_fds(self._link, [data], list(files))
                    data = data[sent:]
                self._link.sendall(data)
            except OSError:
                return

    def close(self, *, grace_s: float, limit_s: float = 15.0) -> None:
        """End the host and all that it runs, and wait for it. Idempotent."""
        self.closing = True
        self.send({"do": "close", "grace_s": grace_s})
        try:
            self._process.wait(grace_s + limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not threading.current_thread():
            self._reader.join(timeout=limit_s)

    def forget(self) -> None:
        """In a forked child of the driver: let go of the socket, so that the driver's end is still its end."""
        self._link.close()

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = self._link.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._on_message(self, json.loads(line))
        self._link.close()
        self._bury()

    def _bury(self) -> None:
        """The host is gone, by request or not: see that nothing of it is left, and say so."""
        code = self._process.wait()
        if code != 0:
            processes.sweep(self.mark)
        text = "" if self.closing and code == 0 else f"its host process ended ({_ended(code)}){self._last_words()}"
        self._errors.close()
        self._on_message(self, {"did": "lost", "text": text})

    def _last_words(self) -> str:
        """The last line of what the host printed, if it printed anything."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 2000))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


_links: weakref.WeakSet[HostLink] = weakref.WeakSet()
_registered = False


def _forget_in_forks(link: HostLink) -> None:
    """Let forked children of this process close the link; the interpreter is told once."""
    global _registered
    if not _registered:
        os.register_at_fork(after_in_child=_forget_all)
        _registered = True
    _links.add(link)


def _forget_all() -> None:
    for link in list(_links):
        link.forget()


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@final
class Hosts:
    """The hosts of one engine: started when needed; of those that only forked for work that has ended, few are kept.

    Args:
        on_message: as for `HostLink`.
        keep: how many hosts with modules loaded may be idle.
    """

    def __init__(self, *, on_message: OnMessage, keep: int = 4) -> None:
        self._on_message, self._keep = on_message, keep
        self._links: dict[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], HostLink] = {}
        self._users: dict[HostLink, int] = {}
        self._lock = threading.Lock()

    def borrow(self, *, python: str, preload: Sequence[str]) -> HostLink:
        """The host for this interpreter and these modules; give it back when the worker has ended."""
        # What the interpreter reads from the environment when it starts is part of what a host is.
        at_start = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(AT_START)))
        key = (python, tuple(sorted(set(preload))), at_start)
        spare: list[HostLink] = []
        with self._lock:
            link = self._links.pop(key, None)
            if link is None:
                link = HostLink(python=python, preload=key[1], on_message=self._message)
                self._users[link] = 0
                spare = self._idle()[: -self._keep]
                for one in spare:
                    self._drop(one)
            self._links[key] = link
            self._users[link] += 1
        for one in spare:
            one.closing = True
            one.send({"do": "close", "grace_s": 0})
        return link

    def give_back(self, link: HostLink) -> None:
        """One worker less uses it."""
        with self._lock:
            if link in self._users:
                self._users[link] -= 1

    def close(self, *, grace_s: float) -> None:
        """End all of them. Idempotent."""
        with self._lock:
            links = list(self._links.values())
            self._links.clear()
            self._users.clear()
        for link in links:
            link.closing = True
            link.send({"do": "close", "grace_s": grace_s})
        for link in links:
            link.close(grace_s=grace_s)

    def _message(self, link: HostLink, message: dict[str, Any]) -> None:
        if message["did"] == "lost":
            with self._lock:
                self._drop(link)
        self._on_message(link, message)

    def _idle(self) -> list[HostLink]:
        """Hosts with modules loaded and no users, the longest unused first."""
        return [link for link in self._links.values() if link.preload and not self._users.get(link)]

    def _drop(self, link: HostLink) -> None:
        self._users.pop(link, None)
        for key, one in list(self._links.items()):
            if one is link:
                del self._links[key]
