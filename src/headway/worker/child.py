"""A worker as the host sees it: its output on the way to the log, its metrics, its end.

In: bytes from the worker's pipe, lines of its metrics files. Out: `log.txt` and `metrics.jsonl` in the worker's folder,
and messages for the driver.
"""

from __future__ import annotations

import codecs
import os
import re
import time
from collections.abc import Callable
from typing import Any, final

from headway.worker import metrics
from headway.worker.masking import Mask

READ_BYTES = 1 << 18
LONGEST_LINE = 1 << 16
SHOWN_CHARACTERS = 500
LINE_EVERY_S = 0.1
_ENDS = re.compile(r"[\r\n]+")
Tell = Callable[[dict[str, Any]], None]


@final
class Child:
    """One worker that the host started.

    Args:
        name: by which the driver knows it.
        folder: the worker's folder.
        patterns: name -> regular expression with one group.
        secrets: values that are masked.
        tell: sends a message to the driver.
        reports: whether metrics in `metrics.jsonl` are passed on (pool workers tell the driver themselves).
    """

    def __init__(
        self, name: str, *, folder: str, patterns: dict[str, str], secrets: list[str], tell: Tell, reports: bool
    ) -> None:
        self.name, self.folder, self._tell, self._reports = name, folder, tell, reports
        self.mark = ""
        self.pid, self.inode = 0, 0
        self.output, self.bell = -1, -1
        self.started = time.monotonic()
        self.exit: tuple[int | None, int | None] | None = None
        self.usage: dict[str, float] = {}
        self.stop_asked: float | None = None
        self.kill_at: float | None = None
        self.killed = False
        self.asked: set[int] = set()
        self._patterns = {key: re.compile(pattern) for key, pattern in patterns.items()}
        self._mask = Mask(secrets)
        self._log = os.open(f"{folder}/log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._own = f"{folder}/metrics.jsonl"
        size = os.path.getsize(self._own) if os.path.exists(self._own) else 0
        self._reported = metrics.Tail(self._own, offset=size)
        self._written = metrics.Tail(f"{folder}/metrics-file.jsonl")
        self._rest, self._decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
        self.last_line, self.trouble = "", ""
        self._line_told, self._line_waits = 0.0, False

    def read_output(self) -> bool:
        """Take in a piece of output; False when there is none now, or never again."""
        try:
            data = os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            os.close(self.output)
            self.output = -1
            return False
        self.take(data)
        return True

    def take(self, data: bytes) -> None:
        """A piece of output: into the log as it is (without secrets), then look at whole lines."""
        data = self._mask.feed(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._write_log(data)
        if not self._patterns and len(data) > 4 * SHOWN_CHARACTERS:
            data = data[-4 * SHOWN_CHARACTERS :]
        *lines, self._rest = _ENDS.split(self._rest + self._decoder.decode(data))
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], ""
        self._look(lines)

    def _write_log(self, data: bytes) -> None:
        """Append to the log; on a full disk the worker goes on, and its end tells what happened to the log."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._log, rest) :]
        except OSError as error:
            self.trouble = f"{self.folder}/log.txt could not be written: {error.strerror}"

    def _append_metrics(self, rows: list[bytes]) -> None:
        """Append lines to `metrics.jsonl` and pass them on."""
        try:
            metrics.append(self._own, b"".join(rows))
        except OSError as error:
            self.trouble = f"{self._own} could not be written: {error}"
        self.read_reports()

    def _look(self, lines: list[str]) -> None:
        """Find metrics, remember the last line."""
        if self._patterns:
            at = time.time()
            found = [row for line in lines for row in self._match(line, at)]
            if found:
                self._append_metrics(found)
        shown = next((line for line in reversed(lines) if line.strip()), None)
        if shown is not None:
            self.last_line, self._line_waits = shown[:SHOWN_CHARACTERS], True
            self.tell_line()

    def _match(self, line: str, at: float) -> list[bytes]:
        rows = []
        for name, pattern in self._patterns.items():
            for match in pattern.finditer(line):
                try:
                    value = float(match[1])
                except (TypeError, ValueError):  # the group took no part, or caught no number
                    continue
                rows.append(metrics.line(name, value, step=None, at=at, source="log"))
        return rows

    def tell_line(self) -> None:
        """Pass the last line on for progress, not too often."""
        now = time.monotonic()
        if self._line_waits and now - self._line_told >= LINE_EVERY_S:
            self._tell({"did": "line", "name": self.name, "text": self.last_line})
            self._line_told, self._line_waits = now, False

    def read_bell(self) -> None:
        """The worker rang: there are new reports."""
        try:
            if not os.read(self.bell, 4096):
                os.close(self.bell)
                self.bell = -1
        except BlockingIOError:
            return
        self.read_reports()

    def read_reports(self) -> None:
        """Pass new lines of `metrics.jsonl` on; those of one moment and step together."""
        if not self._reports:
            return
        values: dict[str, float] = {}
        last: int | None = None
        for line in self._reported.read():
            for name, value, step in metrics.parse(line):
                if values and (step != last or name in values):
                    self._tell({"did": "reported", "name": self.name, "values": values, "step": last})
                    values = {}
                values[name], last = value, step
        if values:
            self._tell({"did": "reported", "name": self.name, "values": values, "step": last})

    def read_metrics_file(self) -> None:
        """Copy what the program wrote into its metrics file to `metrics.jsonl`."""
        at = time.time()
        rows = [
            metrics.line(name, value, step=step, at=at, source="file")
            for line in self._written.read()
            for name, value, step in metrics.parse(line)
        ]
        if rows:
            self._append_metrics(rows)

    def finish(self) -> None:
        """After the end: the rest of the output, the last metrics; then everything is closed."""
        while self.output >= 0 and self.read_output():
            pass
        self._take(self._mask.flush())
        if self._rest:
            self._look([self._rest])
        self.read_metrics_file()
        self.read_reports()
        if self._line_waits:
            self._line_told = 0.0
            self.tell_line()
        self.close()

    def close(self) -> None:
        """Close what this process holds of the worker. Idempotent."""
        for file in (self.output, self.bell, self._log):
            if file >= 0:
                os.close(file)
        self.output = self.bell = self._log = -1
