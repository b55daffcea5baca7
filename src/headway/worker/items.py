"""A warm worker: takes tasks from the driver over a socket, one after the other, and records each one.

In: JSON lines `{"tasks": [[serial, number, attempt, payload], ...]}`, `{"stop": number}`, `{"close": true}`. Out: one
line in `tasks.jsonl` per ended task, written before the driver is told of it, and the same record over the socket;
`{"reported": ...}` for metrics. A result above 64 KB goes to a file in the worker's folder, only its name travels.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

from headway.worker import context as contexts
from headway.worker import metrics, outcome, program
from headway.worker.claims import Claims
from headway.worker.runtime import Ending, Worker

SMALL_BYTES = 64 * 1024
LARGEST_BYTES = 50_000_000
TRACE_EVERY_S = 1.0
LARGE_TRACE = 2000
Work = Callable[[Any, contexts.Context], Any]


def serve(worker: Worker, tasks: int | None) -> Ending:
    """Take tasks until the driver closes the socket; never raises.

    Args:
        tasks: file descriptor of the socket.
    """
    ending = Ending()
    try:
        if tasks is None:
            raise ValueError("a worker for items needs the socket of its driver (HEADWAY_TASKS_FD)")
        worker.prepare()
        Server(worker, socket.socket(fileno=tasks), make_work(worker)).serve()
    except BaseException as error:  # noqa: BLE001 - the edge: whatever ends this worker becomes its outcome
        ending.failed(error, mask=worker.mask)
    return ending


def make_work(worker: Worker) -> Work:
    """What is called for each task: what the runner returns, or the program's function with the payload as keywords.

    A script needs a runner, which runs it for each task.

    Raises:
        ProgramFault: the program is no function.
    """
    described = worker.ticket["program"]
    if described["kind"] == "script" and described.get("runner"):
        of_script: Work = program.attribute(described["runner"])(worker.context, None)
        return of_script
    if described["kind"] != "function":
        raise program.ProgramFault(f"{described['name']} is a {described['kind']}; only functions take items")
    function = program.target(worker.ticket)
    if described.get("runner"):
        made: Work = program.attribute(described["runner"])(worker.context, function)
        return made
    settings = worker.ticket["hyperparameters"]

    def work(payload: Any, context: contexts.Context) -> Any:
        return program.call(function, {**settings, **(payload or {})}, context)

    return work


def do(worker: Worker, work: Work, payload: Any, context: contexts.Context) -> dict[str, Any]:
    """The record of one task, done now. Never raises; the caller adds nothing but what it knows of the socket."""
    wall, cpu, leaks = time.perf_counter(), time.process_time(), len(worker.recorder.leaks)
    record: dict[str, Any] = {
        "number": context.number, "attempt": context.task_attempt, "worker": worker.ticket["rank"] + 1,
        "ok": True, "result": None, "error": None,
    }  # fmt: skip
    contexts.activate(context)
    try:
        _keep(worker, record, work(payload, context))
    except BaseException as error:  # noqa: BLE001 - a failed item is data
        record |= {"ok": False, "error": outcome.describe(error, mask=worker.mask)}
    finally:
        contexts.activate(worker.context)
    if len(worker.recorder.leaks) > leaks:
        leak = list(worker.recorder.leaks)[leaks]
        text = f"opened {leak}, which belongs to the test channel: only an evaluation may"
        record |= {"ok": False, "result": None, "error": {"type": "ChannelLeakError", "message": text, "traceback": ""}}
    record["usage"] = {
        "wall_s": round(time.perf_counter() - wall, 6), "cpu_s": round(time.process_time() - cpu, 6),
    }  # fmt: skip
    record["at"] = time.time()
    return record


def _keep(worker: Worker, record: dict[str, Any], result: Any) -> None:
    """Put a result into the record, a large one into a file beside it."""
    if result is None or result is True or result is False or isinstance(result, int):
        record["result"] = result
        return
    text = _json(result)
    size = len(text)
    if size <= SMALL_BYTES:
        record["result"] = json.loads(text)
        return
    if size > LARGEST_BYTES:
        raise ValueError(
            f"the task returned {size / 1e6:.1f} MB of JSON, at most {LARGEST_BYTES / 1e6:.0f} MB are kept: "
            "write it below context.folder and return its name"
        )
    name = f"results/{record['number']}-{record['attempt']}.json"
    os.makedirs(f"{worker.folder}/results", exist_ok=True)
    temporary = f"{worker.folder}/{name}.tmp"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, f"{worker.folder}/{name}")
    record["result_file"] = name


def _json(value: Any) -> str:
    """The value as JSON; numbers that JSON lacks become null."""
    try:
        return json.dumps(value, default=_builtin, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(json.loads(json.dumps(value, default=_builtin))))


def _builtin(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(
        f"a task must return a JSON value (numbers, texts, lists, dicts); got a {type(value).__name__} in it: "
        "write it below context.folder and return its name"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_report(folder: str, number: int, attempt: int, values: Mapping[str, float], step: int | None) -> None:
    """Metrics of a task: a line each in `metrics.jsonl`, with the task's number."""
    at = time.time()
    rows = [metrics.line(name, value, step=step, at=at, source="report") for name, value in values.items()]
    mark = b', "task": %d, "task_attempt": %d}\n' % (number, attempt)
    metrics.append(f"{folder}/metrics.jsonl", b"".join(row[:-2] + mark for row in rows))


def result_of(record: Mapping[str, Any], folder: str) -> Any:
    """The result of a record, read from its file if it was large.

    Args:
        folder: of the worker.
    """
    if not record.get("result_file"):
        return record["result"]
    with open(f"{folder}/{record['result_file']}", encoding="utf-8") as stream:
        return json.load(stream)


@final
class Records:
    """Appends to the worker's `tasks.jsonl`; the trace of what ran is on disk before the record that relies on it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._file = os.open(
            f"{worker.folder}/tasks.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        self._traced, self._traced_at = -1, 0.0

    def append(self, record: dict[str, Any]) -> bytes:
        """Write one record, in one write; the line comes out."""
        self._trace()
        line = self._worker.mask.text(json.dumps(record, ensure_ascii=False)).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(
                f"a record could not be written whole to {self._worker.folder}/tasks.jsonl: is the disk full?"
            )
        return line

    def _trace(self) -> None:
        size = self._worker.recorder.size
        if size == self._traced:
            return
        if size > LARGE_TRACE and time.monotonic() - self._traced_at < TRACE_EVERY_S:
            return
        self._worker.write_trace()
        self._traced, self._traced_at = self._worker.recorder.size, time.monotonic()


@final
class Server:
    """The loop of a warm worker."""

    def __init__(self, worker: Worker, link: socket.socket, work: Work) -> None:
        self._worker, self._link, self._work = worker, link, work
        self._records = Records(worker)
        self._claims = Claims(f"{worker.folder}/claims.bin")
        self._queue: deque[tuple[int, int, int, Any]] = deque()
        self._stopped: set[int] = set()
        self._closing = False
        self._input = b""

    def serve(self) -> None:
        """Do tasks until the driver says close, or is gone."""
        self._link.sendall(b'{"ready": true}\n')
        while not self._closing:
            while not self._queue and not self._closing:
                self._receive(wait=True)
            while self._queue and not self._closing:
                self._one(*self._queue.popleft())
                if len(self._queue) < 2:
                    self._receive(wait=False)
        self._link.close()

    def _one(self, serial: int, number: int, attempt: int, payload: Any) -> None:
        """One task: begin it, do it, record it, tell it."""
        if not self._claims.take(serial):
            return
        context = self._worker.context.for_task(
            number, attempt=attempt,
            report=lambda values, step: self._report(number, attempt, values, step),
            should_stop=lambda: self._should_stop(number),
        )  # fmt: skip
        record = do(self._worker, self._work, payload, context)
        # At once, each by itself: nobody knows how long the next task will take.
        self._link.sendall(b'{"ended": ' + self._records.append(record)[:-1] + b"}\n")

    def _report(self, number: int, attempt: int, values: Mapping[str, float], step: int | None) -> None:
        """Metrics of a task: on disk, and the driver is told at once."""
        append_report(self._worker.folder, number, attempt, values, step)
        news = {"number": number, "attempt": attempt, "values": dict(values), "step": step}
        self._link.sendall(json.dumps({"reported": news}).encode() + b"\n")

    def _should_stop(self, number: int) -> bool:
        self._receive(wait=False)
        return self._closing or number in self._stopped

    def _receive(self, *, wait: bool) -> None:
        """Take in what the driver sent."""
        try:
            data = self._link.recv(1 << 16, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closing = True
            return
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._queue.extend(tuple(task) for task in message.get("tasks", ()))
            if "stop" in message:
                self._stopped.add(message["stop"])
            self._closing = self._closing or "close" in message
