"""Capacity of this machine, shared by all drivers on it: what is set aside for running workers, and who waits.

In: requests. Out: grants, or the reason to wait. One small JSON file under a lock in a folder of the user
(HEADWAY_MACHINE_DIR moves it); whatever a dead driver held is free as soon as its host process is gone too.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from headway.engines import machine
from headway.engines.engine import Launch
from headway.records import Record, plain
from headway.worker import processes

PORTS = range(20000, 32000)
"""Where gangs meet: below the ports that the system gives to outgoing connections."""


class Total(Record):
    """What the machine has for all drivers together."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


class Ask(Record):
    """What one or more workers need, all or none.

    Args:
        id: the same for every try.
        job, attempt: for whom; shown to others who wait.
        workers: how many.
        cpus, gpus, memory_bytes: of each worker.
        ports: how many ports in a row.
        queue: whether to stand in the queue while it does not fit; those who only take what nobody waits for do not.
    """

    id: str
    job: str
    attempt: int
    workers: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    ports: int = 0
    queue: bool = True


class Grant(Record):
    """What was given: GPUs for all workers in a row, the first port."""

    id: str
    gpus: tuple[str, ...] = ()
    port: int = 0


def machine_total(*, cpus: int | None = None, memory_bytes: int | None = None, gpus: int | None = None) -> Total:
    """The machine's capacity; a number given replaces what was found.

    Inside a worker it is that worker's own share: what it starts must not wait for what it holds itself.
    """
    share = _share()
    ids = machine.gpu_ids()
    found = share["cpus"] if share else machine.num_cpus()
    memory = (share or {}).get("memory_bytes") or machine.memory_bytes()
    return Total(
        cpus=found if cpus is None else cpus,
        memory_bytes=memory if memory_bytes is None else memory_bytes,
        gpus=ids if gpus is None else ids[:gpus] if gpus <= len(ids) else tuple(str(number) for number in range(gpus)),
    )


def _share() -> dict[str, Any] | None:
    """The resources of the worker that this process is part of; None outside of one."""
    ticket = os.environ.get("HEADWAY_TICKET")
    try:
        return dict(json.loads(Path(ticket).read_bytes())["resources"]) if ticket else None
    except (OSError, ValueError, KeyError):
        return None


def ask_for(launch: Launch, *, workers: int, ports: int = 0, queue: bool = True) -> Ask:
    """What so many workers of a launch need."""
    need = launch.resources
    return Ask(
        id=uuid.uuid4().hex, job=launch.job, attempt=launch.attempt, workers=workers, cpus=need.cpus, gpus=need.gpus,
        memory_bytes=need.memory_bytes or 0, ports=ports, queue=queue,
    )  # fmt: skip


def machine_folder() -> Path:
    """Where drivers on this machine meet; inside a worker, the drivers of that worker."""
    ticket = os.environ.get("HEADWAY_TICKET")
    if ticket and _share() is not None:
        return Path(ticket).with_suffix(".machine")
    named = os.environ.get("HEADWAY_MACHINE_DIR")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"headway-{os.getuid()}"


@final
class Capacity:
    """The reservations of all drivers, seen by one of them.

    Args:
        total: the machine's capacity.
        folder: None for the user's folder.
    """

    def __init__(self, total: Total, *, folder: Path | None = None) -> None:
        self.total = total
        self._folder = folder

    def never(self, ask: Ask) -> str:
        """Why this can never fit; "" if it can."""
        have = {"cores": self.total.cpus, "GPUs": len(self.total.gpus), "bytes of memory": self.total.memory_bytes}
        need = {"cores": ask.cpus, "GPUs": ask.gpus, "bytes of memory": ask.memory_bytes}
        for name, one in need.items():
            if one * ask.workers > have[name]:
                workers = f" ({ask.workers} workers x {one:,})" if ask.workers > 1 else ""
                return (
                    f"{ask.job} needs {one * ask.workers:,} {name}{workers}, this machine has {have[name]:,}: "
                    "ask for less, or use an engine that has more"
                )
        return ""

    def reserve(self, ask: Ask, *, holders: list[machine.Owner]) -> Grant | str:
        """Set capacity aside, or the reason to wait.

        Args:
            holders: processes; while one of them lives, the reservation stands.

        Guarantees: first come, first served among those who queue; asking again keeps the place.
        """
        with self._entries() as entries:
            mine = next((entry for entry in entries if entry["id"] == ask.id), None)
            reason = self._reason(ask, entries)
            if reason:
                if ask.queue and mine is None:
                    entries.append(self._entry(ask, holders, waiting=True))
                return reason
            used = {gpu for entry in entries for gpu in entry["gpus"]}
            gpus = tuple(gpu for gpu in self.total.gpus if gpu not in used)[: ask.gpus * ask.workers]
            port = _free_ports(ask.ports, entries) if ask.ports else 0
            if mine is not None:
                entries.remove(mine)
            entries.append(self._entry(ask, holders, waiting=False) | {"gpus": list(gpus), "port": port})
            return Grant(id=ask.id, gpus=gpus, port=port)

    def hold(self, ask_id: str, *, holder: machine.Owner, mark: str) -> None:
        """Let a reservation stand as long as `holder` lives too (a host process that is still cleaning up).

        Args:
            mark: of its processes: when all holders are dead, whoever looks next ends what carries it.
        """
        with self._entries() as entries:
            for entry in entries:
                if entry["id"] == ask_id and mark not in entry["marks"]:
                    entry["holders"].append(plain(holder))
                    entry["marks"].append(mark)

    def release(self, *ids: str) -> None:
        """Give back what was granted, or leave the queue."""
        with self._entries() as entries:
            entries[:] = [entry for entry in entries if entry["id"] not in ids]

    def _reason(self, ask: Ask, entries: list[dict[str, Any]]) -> str:
        """Why it does not fit now."""
        ahead = [entry for entry in entries if entry["waiting"]]
        ahead = ahead[: next((i for i, entry in enumerate(ahead) if entry["id"] == ask.id), len(ahead))]
        if ahead:
            return f"{_name(ahead[0])} waits before it"
        running = [entry for entry in entries if not entry["waiting"]]
        users = ", ".join(dict.fromkeys(_name(entry) for entry in running)) or "nobody"
        free = {
            "cores": (ask.cpus, self.total.cpus - sum(entry["cpus"] for entry in running), self.total.cpus),
            "bytes of memory": (
                ask.memory_bytes,
                self.total.memory_bytes - sum(entry["memory_bytes"] for entry in running),
                self.total.memory_bytes,
            ),
            "GPUs": (
                ask.gpus,
                len(self.total.gpus) - sum(len(entry["gpus"]) for entry in running),
                len(self.total.gpus),
            ),
        }
        for name, (one, left, total) in free.items():
            if one and one * ask.workers > left:
                return f"needs {one * ask.workers:,} {name}, {max(0, left):,} of {total:,} are free (used by {users})"
        return ""

    @staticmethod
    def _entry(ask: Ask, holders: list[machine.Owner], *, waiting: bool) -> dict[str, Any]:
        return {
            "id": ask.id, "job": ask.job, "attempt": ask.attempt, "cpus": ask.cpus * ask.workers,
            "memory_bytes": ask.memory_bytes * ask.workers, "gpus": [], "port": 0, "ports": ask.ports,
            "waiting": waiting, "holders": [plain(holder) for holder in holders], "marks": [],
        }  # fmt: skip

    @contextmanager
    def _entries(self) -> Iterator[list[dict[str, Any]]]:
        """The living entries, under the lock; what the block leaves in the list is written back if it changed."""
        folder = self._folder or machine_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "capacity.json"
        lock = os.open(folder / "capacity.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.read_text() if path.exists() else "[]"
            entries = [entry for entry in _parse(before) if _held(entry)]
            yield entries
            after = json.dumps(entries)
            if after != before:
                temporary = folder / f"capacity.{uuid.uuid4().hex}.tmp"
                temporary.write_text(after)
                os.replace(temporary, path)
        finally:
            os.close(lock)


def _parse(text: str) -> list[dict[str, Any]]:
    """The entries; none if the file is damaged: then everybody's next request writes it anew."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _held(entry: dict[str, Any]) -> bool:
    """Whether one of an entry's holders lives; if not, processes that they left behind are ended now."""
    if any(machine.Owner(**holder).is_alive() for holder in entry["holders"]):
        return True
    for mark in entry["marks"]:
        processes.sweep(mark)
    return False


def _name(entry: dict[str, Any]) -> str:
    return str(entry["job"])


def _free_ports(count: int, entries: list[dict[str, Any]], *, free: Callable[[int], bool] | None = None) -> int:
    """The first of `count` free ports in a row that no other gang was given."""
    taken = [range(entry["port"], entry["port"] + entry["ports"]) for entry in entries if entry["port"]]
    is_free = free or _is_free
    for _ in range(200):
        first = random.SystemRandom().randrange(PORTS.start, PORTS.stop - count)
        ports = range(first, first + count)
        if any(ports.start < other.stop and other.start < ports.stop for other in taken):
            continue
        if all(is_free(port) for port in ports):
            return first
    raise OSError(f"no {count} free ports in a row between {PORTS.start} and {PORTS.stop} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
