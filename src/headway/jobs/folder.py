"""The folder of a job: where everything of it lies, and how to read what its workers wrote.

In: a workspace's `Files` and a job's id. Out: paths (relative to the workspace), the specification, metrics, tasks and
log lines. Reads only; the driver and the workers write. The layout::

    jobs/<id>/
      job.json  code/  why.json  result.json
      attempts/<n>/
        ticket-<k>.json  channels/  checkpoints/<step>/  model/  output/  items/<number>/
        algo-<k>/  log.txt  metrics.jsonl  tasks.jsonl  outcome.json  trace.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, final

from headway.jobs.spec import JobSpec
from headway.records import decode, pretty
from headway.stores.files import Files

POLL_S = 0.1
REMOTE_POLL_S = 1.0
LONGEST_LINE_BYTES = 1024 * 1024


@final
class JobFolder:
    """The paths and the content of one job's folder.

    Args:
        files: of the workspace.
        job_id: the job.
    """

    def __init__(self, files: Files, job_id: str) -> None:
        self._files = files
        self.job_id = job_id
        self.path = f"jobs/{job_id}"

    @property
    def code(self) -> str:
        """The packed program."""
        return f"{self.path}/code"

    def snapshot_path(self) -> Path:
        """The packed program on this machine: what `headway.lineage.trace.changed` compares."""
        return self._files.local(self.code)

    def attempt(self, attempt: int) -> str:
        """Everything that an attempt wrote."""
        return f"{self.path}/attempts/{attempt}"

    def worker(self, attempt: int, rank: int) -> str:
        """What one worker wrote; rank 0 is `algo-1`."""
        return f"{self.attempt(attempt)}/algo-{rank + 1}"

    def ticket(self, attempt: int, rank: int) -> str:
        """What a worker was told."""
        return f"{self.attempt(attempt)}/ticket-{rank + 1}.json"

    def log(self, attempt: int, rank: int) -> str:
        """What a worker printed."""
        return f"{self.worker(attempt, rank)}/log.txt"

    def outcome(self, attempt: int, rank: int) -> str:
        """How a worker saw its own end."""
        return f"{self.worker(attempt, rank)}/outcome.json"

    def trace(self, attempt: int, rank: int) -> str:
        """Which project files a worker loaded and read."""
        return f"{self.worker(attempt, rank)}/trace.json"

    def checkpoint(self, attempt: int, step: int) -> str:
        """One checkpoint."""
        return f"{self.attempt(attempt)}/checkpoints/{step}"

    def model(self, attempt: int) -> str:
        """The model that an attempt saved."""
        return f"{self.attempt(attempt)}/model"

    def output(self, attempt: int) -> str:
        """Its other outputs."""
        return f"{self.attempt(attempt)}/output"

    def item(self, attempt: int, number: int) -> str:
        """The folder of an item that asked for one or failed."""
        return f"{self.attempt(attempt)}/items/{number}"

    def spec(self) -> JobSpec:
        """The specification.

        Raises:
            FileNotFoundError: there is no such job, or its driver died before it was written.
        """
        path = f"{self.path}/job.json"
        return decode(self._files.read(path), JobSpec, where=self._files.url_of(path))

    def write_spec(self, spec: JobSpec) -> None:
        """Write the specification; the last thing of a new job, after its code."""
        if spec.id != self.job_id:
            raise ValueError(f"this is the folder of {self.job_id!r}, the specification is of {spec.id!r}")
        self._files.write(f"{self.path}/job.json", pretty(spec))

    def attempts(self) -> list[int]:
        """The attempts that have a folder, in order."""
        return sorted(int(name) for name in self._names(f"{self.path}/attempts") if name.isdecimal())

    def ranks(self, attempt: int) -> list[int]:
        """The workers of an attempt that have a folder, in order."""
        names = self._names(self.attempt(attempt))
        numbers = [name.removeprefix("algo-") for name in names if name.startswith("algo-")]
        return sorted(int(number) - 1 for number in numbers if number.isdecimal())

    def metrics(self, attempt: int) -> list[dict[str, Any]]:
        """The metrics that an attempt's workers reported: `name`, `value`, `step`, `at`, `source`, `worker`.

        In the order of time; a line that is not whole (its writer was killed) is left out.
        """
        rows = self._all_lines(attempt, "metrics.jsonl")
        return sorted(rows, key=lambda row: row.get("at") or 0.0)

    def tasks(self, attempt: int) -> list[dict[str, Any]]:
        """The records of an attempt's items, by worker and in the order written; torn lines are left out."""
        return self._all_lines(attempt, "tasks.jsonl")

    def traces(self, attempt: int | None = None) -> list[Path]:
        """The traces of the workers whose work counts, for `headway.lineage.trace.Trace.read`.

        Args:
            attempt: None for the attempts that the result names, or all while there is none.

        Also names traces that are missing (the worker was killed) when the worker has finished items: such a trace
        counts as one in which everything ran.
        """
        paths = []
        for number in [attempt] if attempt is not None else self._attempts_that_count():
            for rank in self.ranks(number):
                path = self.trace(number, rank)
                if self._files.exists(path) or self._has_records(number, rank):
                    paths.append(self._files.local(path))
        return paths

    def log_lines(
        self, rank: int, attempt: int | None = None, follow: bool = False, stop: Callable[[], bool] | None = None
    ) -> Iterator[str]:
        """The lines of a worker's log, without their line ends.

        Args:
            rank: of the worker.
            attempt: None for the newest; following, also for those that come after it.
            follow: wait for more lines, and for the log itself if it is not there yet.
            stop: whether the job has ended; asked at most ten times a second, and read once more afterwards, so that
                no line is lost. None: it has ended when there is a result or this worker's outcome.

        Raises:
            FileNotFoundError: not following, and there is no such log.
        """
        number = attempt if attempt is not None else max(self.attempts(), default=1)
        while True:
            yield from self._follow(number, rank, follow=follow, stop=stop, newest=attempt is None)
            if not follow or attempt is not None or number + 1 not in self.attempts():
                return
            number += 1

    def _follow(
        self, attempt: int, rank: int, *, follow: bool, stop: Callable[[], bool] | None, newest: bool
    ) -> Iterator[str]:
        """The lines of one log, until it can get no more."""
        position, rest = 0, b""
        while True:
            ended = not follow or (stop() if stop else self._has_ended(attempt, rank))
            # Only when nothing is left of this attempt does the next one begin.
            ended = ended or (newest and attempt + 1 in self.attempts())
            try:
                stream = self._open_log(attempt, rank, position)
            except FileNotFoundError:
                if not follow:
                    raise
                stream = BytesIO()
            with stream:
                while data := stream.readline(LONGEST_LINE_BYTES):
                    position += len(data)
                    rest += data
                    if rest.endswith(b"\n") or len(rest) >= LONGEST_LINE_BYTES:
                        yield _text(rest)
                        rest = b""
            if ended:
                if rest:
                    yield _text(rest)
                return
            time.sleep(POLL_S if self._files.is_local else REMOTE_POLL_S)

    def _open_log(self, attempt: int, rank: int, position: int) -> BinaryIO:
        path = self.log(attempt, rank)
        if not self._files.is_local:
            return BytesIO(self._files.read(path)[position:])
        stream = self._files.local(path).open("rb")
        stream.seek(position)
        return stream

    def _has_ended(self, attempt: int, rank: int) -> bool:
        return self._files.exists(f"{self.path}/result.json") or self._files.exists(self.outcome(attempt, rank))

    def _has_records(self, attempt: int, rank: int) -> bool:
        path = f"{self.worker(attempt, rank)}/tasks.jsonl"
        return self._files.exists(path) and self._files.size(path) > 0

    def _attempts_that_count(self) -> list[int]:
        try:
            result = json.loads(self._files.read(f"{self.path}/result.json"))
        except FileNotFoundError:
            return self.attempts()
        named = {int(result["attempt"]), *(int(n) for n in result.get("body", {}).get("attempts", []))}
        return [number for number in self.attempts() if number in named]

    def _all_lines(self, attempt: int, name: str) -> list[dict[str, Any]]:
        rows = []
        for rank in self.ranks(attempt):
            try:
                data = self._files.read(f"{self.worker(attempt, rank)}/{name}")
            except FileNotFoundError:
                continue
            rows += [{**row, "worker": f"algo-{rank + 1}"} for row in read_lines(data)]
        return rows

    def _names(self, path: str) -> list[str]:
        try:
            entries = self._files.list(path)
        except FileNotFoundError:
            return []
        return [entry.path.rpartition("/")[2] for entry in entries if entry.is_folder]


def read_lines(data: bytes) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; lines that are not whole are left out.

    Such a line is the last one when its writer was killed, and any when the disk was full for a while.
    """
    rows = []
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r\n")
