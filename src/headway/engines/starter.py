"""Starts single workers through host processes, for attempts and pools alike, and routes what the hosts say of them.

In: a launch and a completed ticket. Out: messages about the worker, handed to its listener in a thread of this module,
the last of which is always `{"did": "ended", ...}`, also when the host died.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from headway.engines.engine import Launch
from headway.engines.hosts import AT_START, HostLink, Hosts
from headway.records import pretty
from headway.worker import processes
from headway.worker.outcome import judge, read_outcome
from headway.worker.ticket import stop_file

Listener = Callable[[dict[str, Any]], None]


@final
class Starter:
    """Hosts, and who listens for which worker. Thread-safe."""

    def __init__(self) -> None:
        self._hosts = Hosts(on_message=self._heard)
        self._listening: dict[str, tuple[HostLink, Listener]] = {}
        self._lock = threading.Lock()

    def start(
        self,
        name: str,
        *,
        launch: Launch,
        ticket: dict[str, Any],
        listener: Listener,
        tasks: Sequence[int] = (),
    ) -> HostLink:
        """Start one worker; the host that it runs under comes out.

        Args:
            name: unique among those that run.
            ticket: complete; it is written to the attempt's folder.
            tasks: the worker's end of the socket for items, if it takes any.
        """
        worker = Path(ticket["folders"]["worker"])
        worker.mkdir(parents=True, exist_ok=True)
        Path(stop_file(ticket)).unlink(missing_ok=True)
        (worker / "outcome.json").unlink(missing_ok=True)
        path = Path(ticket["folders"]["attempt"]) / f"ticket-{ticket['rank'] + 1}.json"
        path.write_bytes(pretty(ticket))
        ours = {name: value for name, value in os.environ.items() if name not in launch.withhold}
        environment = {**ours, **ticket.get("environment", {}), **launch.secrets}
        python, fork = launch.python or sys.executable, not launch.fresh and _may_fork(launch, environment)
        link = self._hosts.borrow(python=python, preload=launch.preload if fork else ())
        with self._lock:
            self._listening[name] = (link, listener)
        order = {
            "do": "start", "name": name, "ticket": str(path), "folder": str(worker), "python": python, "fork": fork,
            "environment": environment, "secrets": list(launch.secrets.values()),
            "patterns": ticket.get("metrics", {}), "tasks": bool(tasks),
            "mark": processes.attempt_mark(link.mark, launch.job, launch.attempt),
        }  # fmt: skip
        link.send(order, files=tasks)
        return link

    def stop(self, name: str, *, ticket: dict[str, Any], grace_s: float) -> None:
        """Ask a worker to stop, kill it after the grace."""
        with self._lock:
            found = self._listening.get(name)
        if found is not None:
            Path(stop_file(ticket)).touch()
            found[0].send({"do": "stop", "name": name, "grace_s": grace_s})

    def close(self, *, grace_s: float) -> None:
        """End all workers and hosts. Idempotent."""
        self._hosts.close(grace_s=grace_s)

    def _heard(self, link: HostLink, message: dict[str, Any]) -> None:
        """A message of a host."""
        with self._lock:
            of_link = [(name, listener) for name, (one, listener) in self._listening.items() if one is link]
        if message["did"] == "lost":
            for name, _ in of_link:
                text = message["text"] or "the engine was closed"
                self._ended(name, {"did": "ended", "name": name, "exit_code": None, "signal": None, "text": text})
        elif message["did"] in ("ready", "trouble"):
            for _, listener in of_link if message["text"] else ():
                listener({"did": "line", "text": f"host process: {message['text']}"})
        elif message["did"] == "ended":
            self._ended(message["name"], message)
        else:
            for name, listener in of_link:
                if name == message["name"]:
                    listener(message)

    def _ended(self, name: str, message: dict[str, Any]) -> None:
        with self._lock:
            found = self._listening.pop(name, None)
        if found is not None:
            self._hosts.give_back(found[0])
            found[1]({"usage": {}, "last": "", "stopped": "", "trouble": ""} | message)


def _may_fork(launch: Launch, environment: dict[str, str]) -> bool:
    """Whether a fork of a host can be this worker.

    A fork keeps what an interpreter reads from its environment when it starts. Without modules that it would have to
    import again a fork is only worth it where forking is safe in itself, which it is not on macOS.
    """
    changed = {
        key
        for key in {*environment, *os.environ}
        if key.startswith(AT_START) and environment.get(key) != os.environ.get(key)
    }
    return not changed and (bool(launch.preload) or processes.LINUX)


def no_interpreter(launch: Launch) -> str:
    """Why the launch's interpreter cannot be started; "" if it can."""
    python = launch.python or sys.executable
    if shutil.which(python) is not None:
        return ""
    return f"{launch.job} is to run with the interpreter {python!r}, which is no program that can be started"


def verdict(message: dict[str, Any], ticket: dict[str, Any]) -> str:
    """Why an ended worker did not succeed, in one line; "" if it did."""
    ok, text = judge(
        exit_code=message["exit_code"], signal=message["signal"], last=message["last"],
        outcome=read_outcome(ticket["folders"]["worker"]), stopped=message["stopped"] or message.get("text", ""),
    )  # fmt: skip
    parts = [text] if not ok else []
    return "; ".join(parts + ([message["trouble"]] if message["trouble"] else []))
