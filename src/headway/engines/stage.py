"""A stage for programs inside this process: what the worker runtime changes globally is put back afterwards.

In: a ticket. Out: the worker's files as from a process of its own. One program is on stage at a time; environment,
working folder, `sys.path`, `sys.argv`, `__main__`, standard output and the audit hook are as before when it leaves.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TextIO, cast, final

from headway.records import pretty
from headway.worker import context as contexts
from headway.worker import program, watch
from headway.worker.child import Child, Tell
from headway.worker.masking import Mask
from headway.worker.outcome import write_json
from headway.worker.runtime import Ending, Worker
from headway.worker.ticket import Ticket, stop_file

_TURN = threading.RLock()


@final
class _Output(io.TextIOBase):
    """Standard output that goes into the worker's log."""

    encoding = "utf-8"

    def __init__(self, child: Child) -> None:
        self._child = child

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._child.take(text.encode("utf-8", "backslashreplace"))
        return len(text)


@final
class Stage:
    """Where one worker's program runs; a context manager that may be entered again and again.

    Args:
        ticket: of the worker.
        secrets: environment variables that are masked in the log.
        tell: hears of lines and reports.
    """

    def __init__(self, ticket: Ticket, *, secrets: dict[str, str], tell: Tell) -> None:
        self._ticket, self._secrets = ticket, secrets
        folder = Path(ticket["folders"]["worker"])
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (Path(stop_file(ticket)), folder / "outcome.json"):
            stale.unlink(missing_ok=True)
        if ticket.get("coupled"):
            ticket |= {"master_addr": "127.0.0.1", "master_port": _free_port()}
        ticket["resources"] = ticket["resources"] | {"gpu_ids": None}
        self._path = Path(ticket["folders"]["attempt"]) / f"ticket-{ticket['rank'] + 1}.json"
        self._path.write_bytes(pretty(ticket))
        self._child = Child(
            "inline", folder=str(folder), patterns=ticket.get("metrics", {}), secrets=list(secrets.values()),
            tell=tell, reports=True,
        )  # fmt: skip
        self._before: dict[str, Any] = {}
        self._inside: dict[str, Any] = {}
        self._worker: Worker | None = None
        self.interrupted = False

    @property
    def worker(self) -> Worker:
        """The worker on stage."""
        if self._worker is None:
            raise RuntimeError("the worker has not been on stage yet")
        return self._worker

    def __enter__(self) -> Stage:
        _TURN.acquire()
        self._before = _globals()
        try:
            if self._worker is None:
                os.environ.update(self._secrets)
                self._worker = Worker(self._ticket, path=str(self._path), own_process=False)
                self._worker.prepare()
            else:
                _put_back(self._inside)
            sys.stdout = sys.stderr = _Output(self._child)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._inside = _globals()
        if self._worker is not None:
            self._inside["context"], self._inside["recorder"] = self._worker.context, self._worker.recorder
        _put_back(self._before)
        _TURN.release()

    def run(self) -> Ending:
        """Run the ticket's program (mode "run") and write outcome and trace."""
        ending = Ending()
        threads = set(threading.enumerate())
        try:
            with self:
                self.check()
                values = program.run(self._ticket, self.worker.context)
                self.worker.reporter.report(values, None, source="result")
                for thread in set(threading.enumerate()) - threads:
                    if not thread.daemon and thread is not threading.current_thread():
                        thread.join()
        except BaseException as error:  # noqa: BLE001 - the edge: whatever a program raises becomes its outcome
            self.interrupted = isinstance(error, KeyboardInterrupt)
            ending.failed(error, mask=Mask(self._secrets.values()), output=cast(TextIO, _Output(self._child)))
        self._leave(ending)
        return ending

    def leave_pool(self, *, begun: bool) -> None:
        """The end of a worker for items."""
        if begun:
            self._leave(Ending())
        else:
            self._child.finish()

    def _leave(self, ending: Ending) -> None:
        """Trace, outcome, log; the modules of the snapshot are forgotten."""
        self._child.finish()
        write_json(f"{self.worker.folder}/trace.json", self.worker.recorder.trace())
        self.worker.write_outcome(ending)
        code = os.path.abspath(self._ticket["program"]["code"]) + os.sep
        for name, module in list(sys.modules.items()):
            if os.path.abspath(getattr(module, "__file__", None) or "").startswith(code):
                del sys.modules[name]

    def check(self) -> None:
        """Refuse objects that are not what the snapshot holds: the file was changed after this process imported it.

        Raises:
            ProgramFault: names the module.
        """
        code = Path(self._ticket["program"]["code"])
        for path in code.rglob("*.py"):
            parts = list(path.relative_to(code).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            module = sys.modules.get(name)
            if module is not None and _same_file_name(module, path) and not _same_functions(module, path):
                raise program.ProgramFault(
                    f"{module.__file__} was changed after this process had imported {name!r}: "
                    "start Python again, or use engine='local://'"
                )


def _same_file_name(module: ModuleType, path: Path) -> bool:
    """Whether a loaded module seems to be the one that lies in the snapshot."""
    return os.path.basename(getattr(module, "__file__", None) or "") == path.name


def _same_functions(module: ModuleType, path: Path) -> bool:
    """Whether the functions of a loaded module are those of the source in the snapshot."""
    try:
        tree = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError:
        return False
    wanted = {one.co_name: one for one in tree.co_consts if isinstance(one, CodeType)}
    for name, value in vars(module).items():
        own = isinstance(value, FunctionType) and value.__module__ == module.__name__ and value.__name__ == name
        if own and name in wanted and not _same_code(value.__code__, wanted[name]):
            return False
    return True


def _same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two pieces of bytecode do the same, wherever their lines are."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same_code(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else (type(a), a) == (type(b), b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _globals() -> dict[str, Any]:
    """What a program changes for the whole process."""
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path), "argv": list(sys.argv),
        "main": sys.modules.get("__main__"), "stdout": sys.stdout, "stderr": sys.stderr,
        "context": contexts.current(), "recorder": watch.start(None),
    }  # fmt: skip


def _put_back(state: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(state["environment"])
    os.chdir(state["folder"])
    sys.path[:], sys.argv[:] = state["path"], state["argv"]
    sys.modules["__main__"] = state["main"]
    sys.stdout, sys.stderr = state["stdout"], state["stderr"]
    contexts.activate(state["context"])
    watch.start(state["recorder"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
