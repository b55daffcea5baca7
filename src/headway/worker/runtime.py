"""The life of one worker: from its ticket to its outcome file.

In: the path of a ticket; the host process (if there is one) has made session, pipes and environment. Out: the folders
that the ticket names, `outcome.json` and `trace.json`. The order at the end is what makes an outcome worth its name:
threads joined, atexit handlers run, output flushed, outcome written, `os._exit`: native code that aborts while it is
torn down (gloo does) finds nothing left to spoil.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NoReturn, TextIO, final

from headway.worker import context as contexts
from headway.worker import metrics, outcome, program, threads, watch
from headway.worker import ticket as tickets
from headway.worker.environment import environment
from headway.worker.masking import Mask
from headway.worker.trees import remove_tree

RING = b"\0"


@final
class Ending:
    """How the program ended: what goes into the outcome file."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.message = ""
        self.error: dict[str, Any] | None = None

    def failed(self, error: BaseException, *, mask: Mask, output: TextIO | None = None) -> None:
        """Take an exception as Python itself would at the end of a script, and show it in the log.

        Args:
            output: where to show it; None for standard error.
        """
        output = output or sys.stderr
        if isinstance(error, SystemExit):
            self._exited(error.code, mask=mask, output=output)
            return
        self.exit_code = 130 if isinstance(error, KeyboardInterrupt) else 1
        self.error = outcome.describe(error, mask=mask)
        plain = isinstance(error, program.ProgramFault) or not self.error["message"]
        self.message = self.error["message"] if plain else f"{self.error['type']}: {self.error['message']}"
        self.message = self.message or str(self.error["type"])
        print(self.error["traceback"], end="", file=output, flush=True)

    def _exited(self, code: Any, *, mask: Mask, output: TextIO) -> None:
        """The rules of `sys.exit`: nothing is 0, a number is itself, anything else is printed and is 1."""
        if code is None:
            return
        if isinstance(code, int):
            self.exit_code = code & 0xFF
            self.message = f"sys.exit({code})" if self.exit_code else ""
            return
        print(code, file=output, flush=True)
        self.exit_code, self.message = 1, mask.text(f"sys.exit: {code}")


@final
class Reporter:
    """Writes metrics to the worker's `metrics.jsonl` and rings the host."""

    def __init__(self, folder: str, bell: int | None) -> None:
        self._path, self._bell = f"{folder}/metrics.jsonl", bell
        self.last: dict[str, float] = {}

    def report(self, values: Mapping[str, float], step: int | None, *, source: str = "report") -> None:
        """Append one line per value, all in one write."""
        at = time.time()
        rows = [metrics.line(name, value, step=step, at=at, source=source) for name, value in values.items()]
        if rows:
            metrics.append(self._path, b"".join(rows))
            self.last.update(values)
            self.ring()

    def ring(self) -> None:
        """Tell the host that there is something to read; it may have much to do, then it has been told already."""
        if self._bell is None:
            return
        try:
            os.write(self._bell, RING)
        except BlockingIOError:
            return
        except OSError:
            self._bell = None


@final
class StopSign:
    """Whether the worker has been asked to stop: by SIGTERM, once somebody looks, or by the stop file.

    Args:
        path: the stop file.
        signals: whether this process is the worker's own, so that it may take SIGTERM.
    """

    def __init__(self, path: str, *, signals: bool = True) -> None:
        self._path, self._asked, self._listening = path, False, not signals

    def listen(self) -> None:
        """From now on SIGTERM asks instead of killing; only programs that look get this."""
        if not self._listening and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._take)
            self._listening = True

    def _take(self, *_: object) -> None:
        self._asked = True

    def __call__(self) -> bool:
        """Whether it has been asked."""
        self.listen()
        self._asked = self._asked or os.path.exists(self._path)
        return self._asked


@final
class Worker:
    """One worker of one attempt, in this process.

    Args:
        ticket: what to do.
        path: where the ticket lies.
        bell: write end of a pipe to the host.
        own_process: False when it runs inside the driver (the engine `inline`).
    """

    def __init__(self, ticket: tickets.Ticket, *, path: str, bell: int | None = None, own_process: bool = True) -> None:
        self.ticket, self.path = ticket, path
        self.folder: str = ticket["folders"]["worker"]
        self.started_at = time.time()
        self.mask = Mask([os.environ[name] for name in ticket.get("secret_names", ()) if os.environ.get(name)])
        self.reporter = Reporter(self.folder, bell)
        self._own_process = own_process
        self.stop = StopSign(tickets.stop_file(ticket), signals=own_process)
        self.context = contexts.Context(ticket, report=self.reporter.report, should_stop=self.stop)
        self.recorder = watch.Recorder(code=ticket["program"]["code"])

    def _recorder(self) -> watch.Recorder:
        from headway.worker.channels import sources

        folders = self.ticket["folders"]
        excluded = [folders["attempt"], folders["worker"], *sources(self.ticket["channels"])]
        return watch.Recorder(
            code=self.ticket["program"]["code"],
            copy=tickets.workplace(self.ticket) if self.ticket["program"]["kind"] == "script" else None,
            excluded=[*excluded, *folders.get("previous_checkpoints", []), *self.ticket.get("trace_excluded", [])],
            roots=self.ticket.get("trace_roots", ()),
            forbidden=self.ticket.get("forbidden", ()),
        )

    def prepare(self) -> None:
        """Everything that the program may rely on: environment, channels (for scripts), folders, threads, output."""
        os.environ.update(environment(self.ticket, path=self.path))
        folders = self.ticket["folders"]
        for folder in (folders["scratch"], f"{folders['scratch']}/intermediate"):
            os.makedirs(folder, exist_ok=True)
        os.chdir(program.prepare(self.ticket))
        if self.ticket["program"]["kind"] == "script":
            for channel in self.context.channels.values():
                _ = channel.path
        if self._own_process:
            program.give_way(self.ticket)
            threads.limit(self.ticket["resources"]["cpus"])
        contexts.activate(self.context)
        self.recorder = self._recorder()
        self.recorder.take_over(f"{self.folder}/trace.json")
        watch.start(self.recorder)

    def run(self) -> Ending:
        """Prepare and run the program; never raises."""
        ending = Ending()
        try:
            self.prepare()
            values = program.run(self.ticket, self.context)
            self.reporter.report(values, None, source="result")
        except BaseException as error:  # noqa: BLE001 - the edge: whatever a program raises becomes its outcome
            ending.failed(error, mask=self.mask)
        return ending

    def write_trace(self) -> None:
        """Write what has been read up to now, together with what an earlier process of this worker had read."""
        outcome.write_json(f"{self.folder}/trace.json", self.recorder.trace())

    def write_outcome(self, ending: Ending) -> None:
        """The last thing that a worker writes."""
        leaks = sorted(self.recorder.leaks)
        if leaks and not ending.exit_code:
            ending.exit_code = 1
            ending.message = f"opened {leaks[0]}, which belongs to the test channel: only an evaluation may"
        outcome.write_json(
            f"{self.folder}/outcome.json",
            {
                "schema": 1,
                "job": self.ticket["job"],
                "attempt": self.ticket["attempt"],
                "rank": self.ticket["rank"],
                "ok": ending.exit_code == 0,
                "exit_code": ending.exit_code,
                "message": ending.message,
                "error": ending.error,
                "metrics": metrics.shown(self.reporter.last),
                "started_at": self.started_at,
                "ended_at": time.time(),
                "leaks": leaks,
            },
        )


def main(path: str, *, bell: int | None = None, tasks: int | None = None) -> NoReturn:
    """Run the worker of the ticket at `path` in this process, and end the process.

    Args:
        bell: write end of a pipe to the host: "there are new lines in metrics.jsonl".
        tasks: socket to the driver, for mode "items".
    """
    ticket = tickets.read(path)
    worker = Worker(ticket, path=path, bell=bell)
    if ticket["mode"] == "items":
        from headway.worker.items import serve

        ending = serve(worker, tasks)
    else:
        ending = worker.run()
    leave(worker, ending)


def leave(worker: Worker, ending: Ending) -> NoReturn:
    """Tear down in the order of the interpreter, write trace and outcome, and go.

    The scratch folder of a success is removed; that of a failure stays to be looked at.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as error:  # noqa: BLE001 - an interrupted join or a raising handler is the program's failure
        ending.failed(error, mask=worker.mask)
    flush(ending, worker)
    watch.start(None)
    worker.write_trace()
    worker.write_outcome(ending)
    if ending.exit_code == 0:
        os.chdir("/")
        remove_tree(worker.ticket["folders"]["scratch"])
    worker.reporter.ring()
    os._exit(ending.exit_code)


def flush(ending: Ending, worker: Worker) -> None:
    """Flush the output; output that cannot be written is a failure, as it is for Python itself."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            if ending.exit_code == 0 and not getattr(stream, "closed", False):
                ending.exit_code, ending.message = 120, worker.mask.text(f"the output could not be written: {error}")
