"""Which item a worker has in its hands, known even after SIGKILL.

In: the runner marks each item before the transform gets it (one `pwrite`, under a microsecond). Out: the driver asks
`poisoned_item` when a worker died with a task, and leaves that item out of the next attempt (`exclude` of the task).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from headway.processing.listing import item_of, read_rows

_FOLDER = "progress"
_WIDTH = 20
IDLE, BATCH = -1, -2


@final
class Marker:
    """The mark of one task: a file in the worker's folder that is there while the task runs.

    Args:
        worker_folder: `algo-<k>/` of the attempt.
        number: the task's number.
        payload: the task's payload, so that the item can be named without anything else.
    """

    def __init__(self, worker_folder: Path, *, number: int, payload: Mapping[str, Any]) -> None:
        folder = worker_folder / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{number}.json"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self.mark(IDLE)
        os.pwrite(self._file, json.dumps({"number": number, "payload": dict(payload)}).encode(), _WIDTH)

    def mark(self, row: int) -> None:
        """Say that this row of the task is next; `IDLE`: none; `BATCH`: all at once."""
        os.pwrite(self._file, b"%-19d\n" % row, 0)

    def close(self) -> None:
        """The task has ended, well or not: forget it."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)


def poisoned_item(worker_folder: str | os.PathLike[str], *, number: int | None = None) -> dict[str, Any] | None:
    """The item that a dead worker was working on.

    Args:
        worker_folder: `algo-<k>/` of the attempt.
        number: of the task that was lost; None: the task that was begun last.

    Returns:
        `{"number", "channel", "shard", "part", "row", "key", "path"}`; `key`, `path` and `row` are None when it died
        with a whole batch: then submit the task again with `"alone": True` in its payload to find the item. None when
        the worker was between two items (it was not the item's doing).
    """
    folder = Path(worker_folder) / _FOLDER
    marks = list(folder.glob("*.json")) if number is None else [folder / f"{number}.json"]
    for path in sorted(marks, key=_written, reverse=True):
        try:
            data = path.read_bytes()
            row, task = int(data[:_WIDTH]), json.loads(data[_WIDTH:])
        except (OSError, ValueError):  # no mark, or it died while it began the task
            continue
        if row == IDLE:
            return None
        payload = task["payload"]
        found = {"number": task["number"], **{name: payload[name] for name in ("channel", "shard", "part")}}
        if row == BATCH:
            return {**found, "row": None, "key": None, "path": None}
        item = item_of(read_rows(payload)[row], root=payload["root"])
        return {**found, "row": row, "key": item.key, "path": str(item.path)}
    return None


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
