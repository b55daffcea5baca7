"""What a worker does with a part: check the files, call the transform, write the columns, say what came out.

In: a task's payload (`headway.processing.listing`) and the user's transform. Out: the files of the part and a
`PartResult`. The runner for the items of a process job: `headway.processing.entry:run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import HeadwayError, StoppedError
from headway.processing.collect import Array, Gather, dense, row_sum
from headway.processing.index import PartInfo, PartResult, Problem
from headway.processing.listing import Item, Row, item_of, part_path, read_rows
from headway.processing.progress import BATCH, IDLE, Marker
from headway.processing.sources import check_file, check_still
from headway.processing.store import Finished, finished, sync_folder, write_columns, write_names, write_result
from headway.processing.transform import Failure, Transform, tried_alone
from headway.records import plain

_SHOWN = 5  # tracebacks that travel in a result; all of them are in the log


def run(context: Any, target: Callable[..., Any] | None) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A function (payload, task) -> `PartResult` as plain JSON, that processes one part after another.

    Args:
        context: the worker's context: `hyperparameters`, `options` (`batch`: whether the transform takes lists),
            `ticket` (folders).
        target: the transform; None when the program is a script.
    """
    if target is None:
        from headway.processing.script import script_runner

        return script_runner(context)
    worker_folder = Path(context.ticket["folders"]["worker"])
    transform = Transform(
        target, hyperparameters=context.hyperparameters, context=context, batch=context.options.get("batch")
    )
    spare: dict[str, Array] = {}

    def one_part(payload: Mapping[str, Any], task: Any) -> dict[str, Any]:
        marker = Marker(worker_folder, number=task.number, payload=payload)
        try:
            result = process_part(payload, transform=transform, task=task, marker=marker, spare=spare)
        finally:
            marker.close()
        shown: dict[str, Any] = plain(result)
        return shown

    return one_part


def process_part(
    payload: Mapping[str, Any], *, transform: Transform, task: Any, marker: Marker, spare: dict[str, Array]
) -> PartResult:
    """The result of one part, after its files are on disk.

    Args:
        task: gives `folder` (for the errors) and `should_stop`.
        spare: buffers by field, kept between parts.

    Raises:
        DataChangedError: a file is not the one of the manifest.
        ProgramError: the transform gave different fields or types for different items.
        StoppedError: the task was asked to stop.

    Guarantees: idempotent: a part that is complete for the same rows is not made again. Each file is whole or absent.
    """
    stem = Path(payload["out"], part_path(payload))
    began = time.monotonic()
    rows = read_rows(payload)
    excluded = excluded_items(payload, rows)
    before = finished(stem, rows_digest=payload["rows_digest"], exclude=excluded)
    if before is not None:
        return before
    items = {number: item_of(row, root=payload["root"]) for number, row in enumerate(rows) if row.key not in excluded}
    status = {
        number: check_file(item.path, rows[number], settled_ns=payload.get("settled_ns"))
        for number, item in items.items()
    }
    gather = Gather(len(rows), spare=spare)
    alone = not transform.batch or bool(payload.get("alone"))
    failed = (_each if alone else _batch)(items, transform=transform, gather=gather, marker=marker, task=task)
    failures = _again(failed, items, transform=transform, gather=gather, marker=marker)
    for number, item in items.items():
        check_still(item.path, status[number], key=item.key)
    made = sorted(gather.rows)
    result = PartResult(
        channel=payload["channel"],
        shard=payload["shard"],
        part=payload["part"],
        info=_write([rows[number] for number in made], gather, stem=stem, path=part_path(payload)),
        first_key=rows[made[0]].key if made else None,
        problems=(*_problems(items, failures, made=gather.rows, task=task), *excluded.values()),
        read_bytes=sum(rows[number].size_bytes for number in items),
        wall_s=time.monotonic() - began,
    )
    write_result(stem, Finished(rows_digest=payload["rows_digest"], exclude=tuple(sorted(excluded)), result=result))
    sync_folder(stem.parent)
    return result


def _each(items: Mapping[int, Item], *, transform: Transform, gather: Gather, marker: Marker, task: Any) -> list[int]:
    """Give the transform one item after another; the numbers of those for which it raised."""
    failed = []
    for count, (number, item) in enumerate(items.items()):
        if count % 32 == 0 and task.should_stop:
            raise StoppedError(f"the part was asked to stop after {count} of {len(items)} items")
        marker.mark(number)
        try:
            gather.add(number, transform.one(item), key=item.key)
        except HeadwayError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001  tried again alone, where the reason is kept
            failed.append(number)
    marker.mark(IDLE)
    return failed


def _batch(items: Mapping[int, Item], *, transform: Transform, gather: Gather, marker: Marker, task: Any) -> list[int]:
    """Give the transform all items at once; the numbers of those without a value that could be taken."""
    if not items:
        return []
    if task.should_stop:
        raise StoppedError(f"the part was asked to stop before its {len(items)} items")
    marker.mark(BATCH)
    try:
        values = transform.many(list(items.values()))
    except HeadwayError:
        raise
    except (Exception, SystemExit):  # noqa: BLE001  which item it was is found by trying each alone
        return list(items)
    finally:
        marker.mark(IDLE)
    failed = []
    for (number, item), value in zip(items.items(), values, strict=True):
        try:
            gather.add(number, value, key=item.key)
        except (TypeError, ValueError):  # nothing that can be stored: tried again alone, where the reason is kept
            failed.append(number)
    return failed


def _again(
    failed: list[int], items: Mapping[int, Item], *, transform: Transform, gather: Gather, marker: Marker
) -> dict[int, Failure]:
    """Try the items that failed once more, each alone; why those that failed again did."""
    failures = {}
    for number in failed:
        marker.mark(number)
        item = items[number]
        failure = tried_alone(partial(_take, number, item, transform=transform, gather=gather))
        if failure is not None:
            failures[number] = failure
    marker.mark(IDLE)
    return failures


def _take(number: int, item: Item, *, transform: Transform, gather: Gather) -> None:
    gather.add(number, transform.one(item), key=item.key)


def _write(rows: list[Row], gather: Gather, *, stem: Path, path: str) -> PartInfo:
    """Write the columns of the rows that have a value; the part's record."""
    if not rows:
        return PartInfo(path=path, rows=0)
    columns = gather.fill()
    keys, codes = [row.key for row in rows], [row.code for row in rows]
    if "y" not in columns:
        columns["y"] = dense(np.asarray(codes, dtype="<i8"))
    fields, size = write_columns(stem, columns)
    size += write_names(stem, keys, codes)
    gather.keep_buffers()
    return PartInfo(path=path, rows=len(rows), fields=fields, sum=row_sum(keys, codes, columns), size_bytes=size)


def _problems(
    items: Mapping[int, Item], failures: Mapping[int, Failure], *, made: set[int], task: Any
) -> list[Problem]:
    """The items without a value; failures are also written to `error.txt` in the task's folder."""
    problems = [
        Problem(key=item.key, reason="skipped", message="the transform returned None")
        for number, item in items.items()
        if number not in made and number not in failures
    ]
    if not failures:
        return problems
    folder = Path(task.folder)
    log = folder / "error.txt"
    log.write_text("\n".join(_told(items[n], failure) for n, failure in failures.items()), encoding="utf-8")
    for shown, (number, failure) in enumerate(failures.items()):
        problems.append(
            Problem(
                key=items[number].key,
                reason="failed",
                message=failure.message,
                traceback=failure.traceback if shown < _SHOWN else "",
                log="/".join(log.parts[-3:]),
            )
        )
    return problems


def _told(item: Item, failure: Failure) -> str:
    printed = f"It printed:\n{failure.output}\n" if failure.output else ""
    return f"{item.key!r} ({item.path}) failed twice, the second time alone:\n{failure.traceback}{printed}"


def excluded_items(payload: Mapping[str, Any], rows: list[Row]) -> dict[str, Problem]:
    """The items of the part to leave out, by key; `exclude` is a list of keys, or a dict key -> reason for people."""
    wanted = payload.get("exclude") or {}
    reasons = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted, "its worker died with it")
    keys = [row.key for row in rows if row.key in reasons]
    return {key: Problem(key=key, reason="excluded", message=reasons[key]) for key in keys}
