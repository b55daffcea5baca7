"""What a fork server imports once for all its children.

In: names of modules. Out: nothing, or the reason why children must be started fresh instead: a module that cannot be
imported, or that leaves threads behind (a fork would copy their locks and not the threads).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from importlib import import_module
from types import FrameType

LIMIT_S = 120.0
LOOK_S = 0.25
"""How often a long import is interrupted to see whether it still is for anybody."""
_ALONG = {"torch": ("torch._dynamo", "torch.distributed"), "sklearn": ("sklearn.utils", "sklearn.base")}
"""Modules that a package loads later, in every child, unless they are loaded with it."""

_FORK_SAFE = ("jemalloc_bg_thd",)
"""Native threads that re-make themselves in a forked child: jemalloc's (pyarrow brings one) has handlers for forks."""


class _TooLong(Exception):
    """The imports took longer than the limit."""


def preload(modules: list[str], *, parent: int) -> str:
    """Import the modules, if any; "" if children may be forked from this process now, else why not.

    Args:
        parent: the process that started this one; when it dies during the imports, this process ends too.
    """
    left = LIMIT_S

    def check(_number: int, _frame: FrameType | None) -> None:
        nonlocal left
        left -= LOOK_S
        if os.getppid() != parent:
            os._exit(1)
        if left <= 0:
            raise _TooLong(f"the imports took longer than {LIMIT_S:.0f} s")

    before = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
    try:
        for name in modules:
            import_module(name)
            for along in _ALONG.get(name.partition(".")[0], ()):
                if along.partition(".")[0] in sys.modules:
                    import_module(along)
    except BaseException as error:  # noqa: BLE001 - whatever an import raises: the children start fresh, and say it better
        return f"{name} could not be imported beforehand: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    count = thread_count()
    if count > 1:
        return f"importing {', '.join(modules)} left {count - 1} threads running"
    gc.collect()
    gc.freeze()
    return ""


def thread_count() -> int:
    """Threads of this process, native ones included where the system tells, without those that survive a fork."""
    try:
        names = [_thread_name(number) for number in os.listdir("/proc/self/task")]
    except FileNotFoundError:
        return threading.active_count()
    return sum(name not in _FORK_SAFE for name in names)


def _thread_name(number: str) -> str:
    try:
        with open(f"/proc/self/task/{number}/comm") as stream:
            return stream.read().strip()
    except OSError:
        return ""
