"""Processes of this machine: who descends from whom, who carries a mark, and the calls that keep none from escaping.

In: `/proc` and `prctl` on Linux. Out: plain lists of process ids. Where there is no `/proc` (macOS) the lists are empty
and process groups are all there is.

A *mark* is the value of HEADWAY_ATTEMPT_MARK in a process's first environment, `<host mark>.<16 digits>`: every process
that a worker starts inherits it, whatever session or group it moves to.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterable

MARK = "HEADWAY_ATTEMPT_MARK"
NO_ATTEMPT = "0" * 16
LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def attempt_mark(host_mark: str, job: str, attempt: int) -> str:
    """The mark of an attempt's processes; all marks of a host are equally long."""
    import hashlib  # only drivers need it, and it costs a worker some milliseconds

    return f"{host_mark}.{hashlib.sha256(f'{job}/{attempt}'.encode()).hexdigest()[:16]}"


def become_subreaper() -> bool:
    """Let orphaned descendants become children of this process, so that none gets out of sight."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> bool:
    """Let the kernel kill this process when its parent dies; safe only because the parent has a single thread."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> bool:
    if not LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone (or there is no `/proc`)."""
    row = _stat(pid)
    return None if row is None else int(row[19])


def is_running(pid: int, started: int | None) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    if LINUX:
        row = _stat(pid)
        return row is not None and row[0] not in (b"Z", b"X") and (started is None or int(row[19]) == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> list[bytes] | None:
    """Fields of `/proc/<pid>/stat` from the state on; the name before them may hold anything."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(file)


def parents() -> dict[int, int]:
    """Process id -> id of its parent, for all that run (no zombies)."""
    found = {}
    for pid in _all():
        row = _stat(pid)
        if row and row[0] not in (b"Z", b"X"):
            found[pid] = int(row[1])
    return found


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []


def descendants(roots: Iterable[int], table: dict[int, int]) -> list[int]:
    """All below `roots` and they themselves, from `parents()`."""
    children: dict[int, list[int]] = {}
    for pid, parent in table.items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root for root in roots if root in table]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def mark_of(pid: int) -> str | None:
    """The mark of a process, or None: it has none, is gone, or belongs to somebody else."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    for entry in data.split(b"\0"):
        if entry.startswith(MARK.encode() + b"="):
            return entry[len(MARK) + 1 :].decode("utf-8", "replace")
    return None


def has_no_memory(pid: int) -> bool:
    """Whether a process is between two programs (inside `exec`) or about to be gone: nothing can be read of it then."""
    row = _stat(pid)
    return row is not None and row[0] not in (b"Z", b"X") and int(row[48]) == 0


def pipe_holders(pids: Iterable[int], inode: int) -> list[int]:
    """Those processes that write to the pipe with that inode as their output."""
    name = f"pipe:[{inode}]"
    found = []
    for pid in pids:
        for number in (1, 2):
            try:
                if os.readlink(f"/proc/{pid}/fd/{number}") == name:
                    found.append(pid)
                    break
            except OSError:
                continue
    return found


def wear_mark(mark: str) -> bool:
    """Write the mark over the one in this process's first environment, in place; True if it could be done.

    A forked process shows its parent's first environment in `/proc/<pid>/environ`; this is the memory behind it (what
    programs that set their title write to). Both marks are equally long.
    """
    os.environ[MARK] = mark
    if not LINUX:
        return False
    import ctypes

    try:
        with open("/proc/self/environ", "rb") as stream:
            data = stream.read()
        row = _stat(os.getpid())
    except OSError:
        return False
    place = data.find(b"\0" + MARK.encode() + b"=")
    place = 0 if data.startswith(MARK.encode() + b"=") else place + 1
    end = data.find(b"\0", place)
    old = data[place + len(MARK) + 1 : end]
    if (
        row is None
        or place < 0
        or end < 0
        or len(old) != len(mark.encode())
        or not data[place:].startswith(MARK.encode())
    ):
        return False
    ctypes.memmove(int(row[47]) + place + len(MARK) + 1, mark.encode(), len(old))
    return mark_of(os.getpid()) == mark


def kill(pid: int, number: int) -> None:
    """Send a signal; nothing happens if the process (or group, for a negative id) is gone or not ours."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def sweep(mark: str) -> list[int]:
    """SIGKILL every process whose mark begins with `mark`, until none is left; their ids come out."""
    killed: dict[int, None] = {}
    for _ in range(50):
        found = {pid: handle for pid in _all() if (handle := _kill_marked(pid, mark)) is not None}
        if not found:
            break
        for handle in found.values():
            select.select([handle], [], [], 1.0)
            os.close(handle)
        killed.update(dict.fromkeys(found))
    return list(killed)


def _kill_marked(pid: int, mark: str) -> int | None:
    """Kill a process if it has the mark; by a handle, so that a reused id hits nobody else. The handle comes out."""
    if pid == os.getpid() or not (mark_of(pid) or "").startswith(mark):
        return None
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if (mark_of(pid) or "").startswith(mark) and is_running(pid, None):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            return handle
    except ProcessLookupError:  # it ended by itself meanwhile
        os.close(handle)
        return None
    os.close(handle)
    return None
