"""How a worker comes into the world: forked from the host, or started fresh.

In: an `Order`. Out: the child's process id in the host. In the child itself `Born` is raised, which unwinds the host's
frames to `headway.worker.host.main`; there the child becomes the worker. A fresh worker is replaced by a new
interpreter before that.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any, final

from headway.worker import processes

_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP)
_MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


@final
class Order:
    """What the driver wants started.

    Args:
        ticket: path of the ticket.
        environment: the whole environment of the worker, but for what the runtime adds.
        mark: of the attempt.
        python: interpreter for a fresh start.
        fork: whether to fork this process, with all that it has imported.
        tasks: socket to the driver (mode "items").
    """

    def __init__(
        self, *, ticket: str, environment: dict[str, str], mark: str, python: str, fork: bool, tasks: int | None
    ) -> None:
        self.ticket, self.mark, self.python, self.fork, self.tasks = ticket, mark, python, fork, tasks
        self.environment = environment | {processes.MARK: mark}


class Born(BaseException):
    """Raised in a forked child, to leave the host's stack."""

    def __init__(self, order: Order, bell: int) -> None:
        super().__init__("this process is a worker now")
        self.order, self.bell = order, bell


def spawn(order: Order, *, output: int, bell: int) -> int:
    """Start a worker; its process id comes out.

    Args:
        output: write end of the pipe for what it prints.
        bell: write end of the pipe that rings the host.

    Raises:
        Born: this is the child.
    """
    host = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A signal that comes before the child has its own handlers must wait for them, not meet the host's.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    try:
        _settle_in(output, host)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if not order.fork:
            _replace(order, bell)
    except BaseException as error:  # noqa: BLE001 - a half-made child must never run on as a second host
        os.write(2, f"cannot start a worker with {order.python}: {error}\n".encode())
        os._exit(127)
    raise Born(order, bell)


def _settle_in(output: int, host: int) -> None:
    """A process group of its own (as a shell gives it), its output, default signals, death with the host."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.die_with_parent()
    if os.getppid() != host:
        os._exit(1)


def _replace(order: Order, bell: int) -> None:
    """Become a fresh interpreter."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.set_inheritable(bell, True)
    environment = order.environment | {"HEADWAY_BELL_FD": str(bell)}
    if order.tasks is not None:
        os.set_inheritable(order.tasks, True)
        environment["HEADWAY_TASKS_FD"] = str(order.tasks)
    os.execve(order.python, [order.python, _MAIN, order.ticket], environment)


def grow_up(order: Order) -> None:
    """Make a forked child look like an interpreter that was just started for its ticket."""
    os.environ.clear()
    os.environ.update(order.environment)
    processes.wear_mark(order.mark)
    _new_seeds()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    gc.enable()


def _new_seeds() -> None:
    """Seed the global generators that are loaded anew: forks of one process would all draw the same numbers."""
    for name in ("random", "numpy.random"):
        module: Any = sys.modules.get(name)
        if module is not None:
            module.seed()
