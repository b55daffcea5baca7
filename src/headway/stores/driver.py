"""Who drives a piece of work, and whether that process still lives.

In: nothing but the machine. Out: `Driver`, recorded in the ledger with every claim (`headway.stores.ledger`).
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache

from headway.records import Record

HEARTBEAT_TIMEOUT_S = 30.0
"""A driver on another host counts as gone after so long without a heartbeat."""


class Driver(Record):
    """A process that drives work.

    Args:
        host: name of its machine, for people and as the first check.
        boot_id: the machine's start and the PID namespace: process ids mean something only within one of them.
        pid: process id.
        started_at: when the process started, as the system counts it (Linux: seconds after boot); together with `pid`
            it names one process for ever.
    """

    host: str
    boot_id: str
    pid: int
    started_at: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_driver() -> Driver:
    """The calling process."""
    return _driver_of(os.getpid())


@lru_cache(maxsize=1)
def _driver_of(pid: int) -> Driver:
    started = _started_at(pid)
    return Driver(host=socket.gethostname(), boot_id=_boot_id(), pid=pid, started_at=started or 0.0)


def is_alive(driver: Driver) -> bool | None:
    """Whether the process still runs (a stopped one does, a zombie does not).

    Returns:
        None when it cannot be seen from here: another host, another boot of it, another PID namespace. Then the age of
        its last heartbeat decides (`HEARTBEAT_TIMEOUT_S`).
    """
    if driver.host != socket.gethostname() or driver.boot_id != _boot_id():
        return None
    started = _started_at(driver.pid)
    return started is not None and abs(started - driver.started_at) < 0.5


def _started_at(pid: int) -> float | None:
    """When a living process started; None for a dead one and a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return None
    else:
        return None if fields[0] in (b"Z", b"X") else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"
