"""What a dead worker leaves running, and what is left at the very end.

In: the host's children, as the host sees them; the table of processes. Out: the ids of processes to end. The host is
the subreaper of all that its workers start, so an orphan of theirs is its own child, whatever session it moved to.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

from headway.worker import processes
from headway.worker.child import Child


def leftovers(child: Child, children: Collection[Child]) -> tuple[list[int], bool]:
    """Processes that a dead worker left, and whether there are some of which that cannot be said at this moment.

    An orphan belongs to the worker by its mark, its group, the pipe that it writes to, or because nobody else could
    have left it.

    Args:
        children: all workers of this host whose end has not been reported.
    """
    if not processes.LINUX:
        return ([-child.pid] if _group_lives(child.pid) else []), False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return [], False
    table, me = processes.parents(), os.getpid()
    workers = {other.pid for other in children if other.exit is None}
    orphans = [pid for pid, parent in table.items() if parent == me and pid not in workers]
    undecided = False
    if len(children) > 1:
        writing = set(processes.pipe_holders(orphans, child.inode))
        mine = [pid for pid in orphans if _belongs(child, pid, writing)]
        undecided = any(processes.has_no_memory(pid) for pid in orphans if pid not in mine)
        orphans = mine
    return processes.descendants(orphans, table), undecided


def _belongs(child: Child, pid: int, writing: set[int]) -> bool:
    mark = processes.mark_of(pid)
    return mark == child.mark or pid in writing or pid in child.asked or _group(pid) == child.pid


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_descendants(*, limit_s: float) -> None:
    """SIGKILL whatever still descends from this process, until nothing does or the time is up."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        for pid in processes.descendants([os.getpid()], processes.parents()):
            if pid != os.getpid():
                processes.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)
