"""A script as the transform: it runs once per part, over a folder with the files of the part.

In: a task's payload and the script. Out: the same `PartResult` as from a function. The script is an ordinary program
in a process of its own, under the environment contract of training scripts:

- `SM_CHANNEL_<NAME>` is a folder with the part's files (links) under their keys; `SM_CHANNELS` names the channel;
- hyperparameters come as arguments (`--name value`) and in `SM_HPS`;
- it writes into `SM_OUTPUT_DATA_DIR`: arrays of equal length (`x.npy`, `y.npy`, any names) become fields with a row per
  sample, named by `keys.json` (a list of the files' keys, in the order of rows); **or** any other files, which the
  dataset keeps as they are (`ChannelData.files`).

Without `keys.json` the arrays must have one row per file, in the order of the sorted keys; anything else must give `y`
itself, and its rows get names of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import ProgramError, StoppedError
from headway.processing.collect import FIELD, Filled, dense, row_sum
from headway.processing.entry import excluded_items
from headway.processing.index import PartInfo, PartResult
from headway.processing.listing import Row, item_of, part_path, read_rows
from headway.processing.sources import check_file, check_still
from headway.processing.store import Finished, finished, sync_folder, write_columns, write_names, write_result
from headway.records import plain
from headway.worker.environment import arguments, variable
from headway.worker.ticket import workplace

_TAIL = 20  # lines of the script's output in an error
_POLL_S = 0.2


def script_runner(context: Any) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A function (payload, task) -> `PartResult` as plain JSON, that runs the script for one part after another."""
    script = Path(workplace(context.ticket), context.ticket["program"]["entry_point"])

    def one_part(payload: Mapping[str, Any], task: Any) -> dict[str, Any]:
        shown: dict[str, Any] = plain(process_part(payload, script=script, context=context, task=task))
        return shown

    return one_part


def process_part(payload: Mapping[str, Any], *, script: Path, context: Any, task: Any) -> PartResult:
    """The result of one part, after the script ended well and its output is on disk.

    Raises:
        ProgramError: the script failed, or wrote something that is not as the module's docstring says.
        DataChangedError: a file is not the one of the manifest.
        StoppedError: the task was asked to stop.
    """
    stem = Path(payload["out"], part_path(payload))
    began = time.monotonic()
    rows = read_rows(payload)
    excluded = excluded_items(payload, rows)
    before = finished(stem, rows_digest=payload["rows_digest"], exclude=excluded)
    if before is not None:
        return before
    rows = [row for row in rows if row.key not in excluded]
    items = [item_of(row, root=payload["root"]) for row in rows]
    status = [
        check_file(item.path, row, settled_ns=payload.get("settled_ns")) for item, row in zip(items, rows, strict=True)
    ]
    stem.parent.mkdir(parents=True, exist_ok=True)
    work = stem.parent / f".{stem.name}.{os.getpid()}.work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        source, output = work / "input" / payload["channel"], work / "output"
        source.mkdir(parents=True)
        output.mkdir()
        for item in items:
            link = source / item.key
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.path.abspath(item.path), link)
        _run(script, source=source, output=output, payload=payload, context=context, task=task)
        for item, known in zip(items, status, strict=True):
            check_still(item.path, known, key=item.key)
        info = _take(output, rows, stem=stem, path=part_path(payload))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    result = PartResult(
        channel=payload["channel"],
        shard=payload["shard"],
        part=payload["part"],
        info=info,
        first_key=rows[0].key if rows else None,
        problems=tuple(excluded.values()),
        read_bytes=sum(row.size_bytes for row in rows),
        wall_s=time.monotonic() - began,
    )
    write_result(stem, Finished(rows_digest=payload["rows_digest"], exclude=tuple(sorted(excluded)), result=result))
    sync_folder(stem.parent)
    return result


def _run(script: Path, *, source: Path, output: Path, payload: Mapping[str, Any], context: Any, task: Any) -> None:
    """Run the script; its output goes to the worker's log as it comes, and to the error when it fails."""
    channel, settings = payload["channel"], dict(context.hyperparameters)
    environment = os.environ | {
        f"SM_CHANNEL_{channel.upper()}": str(source),
        "SM_CHANNELS": variable([channel]),
        "SM_OUTPUT_DATA_DIR": str(output),
        "SM_OUTPUT_DIR": str(output),
        "SM_HPS": variable(settings),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(script.parent), os.environ.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
    }
    environment |= {f"SM_HP_{name.upper()}": variable(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments(settings)],
        cwd=script.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    tail: deque[str] = deque(maxlen=_TAIL)
    pump = threading.Thread(target=_pump, args=(process.stdout, tail), daemon=True)
    pump.start()
    code = _wait(process, task=task)
    pump.join(timeout=_POLL_S)  # a grandchild may hold the pipe open
    if code != 0:
        lines = "".join(tail)
        raise ProgramError(
            f"the script {script.name} ended with code {code} for part {payload['part']} of shard {payload['shard']} "
            f"of {channel} ({payload['rows']} files); its last lines:\n{lines}"
        )


def _pump(stream: Any, tail: deque[str]) -> None:
    """The script's lines on their way to the worker's log, as they come."""
    with stream:
        for line in stream:
            text = line.decode("utf-8", errors="replace")
            tail.append(text)
            sys.stdout.write(text)
            sys.stdout.flush()


def _wait(process: subprocess.Popen[bytes], *, task: Any) -> int:
    while True:
        try:
            return process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if task.should_stop:
                process.terminate()
                try:
                    process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                raise StoppedError("the part was asked to stop, its script was ended") from None


def _take(output: Path, rows: list[Row], *, stem: Path, path: str) -> PartInfo:
    """The part's record of what the script wrote."""
    written = sorted(file for file in output.rglob("*") if file.is_file())
    arrays = [file for file in written if file.suffix == ".npy" and file.parent == output]
    others = [file for file in written if file not in arrays and file != output / "keys.json"]
    if arrays and others:
        raise ProgramError(
            f"the script wrote arrays ({arrays[0].name}) and other files ({others[0].name}): "
            "write the ones or the others"
        )
    if others:
        return _take_files(output, others, stem=stem, path=path)
    if not arrays:
        if rows:
            raise ProgramError(
                f"the script wrote nothing to SM_OUTPUT_DATA_DIR for {len(rows)} files (the first is {rows[0].key!r}): "
                "it must write .npy arrays or other files there"
            )
        return PartInfo(path=path, rows=0)
    columns = {file.stem: _array(file) for file in arrays}
    keys, codes = _names(output, rows, columns, stem=stem)
    if "y" not in columns:
        columns["y"] = dense(np.asarray(codes, dtype="<i8"))
    fields, size = write_columns(stem, columns)
    size += write_names(stem, keys, codes)
    return PartInfo(path=path, rows=len(keys), fields=fields, sum=row_sum(keys, codes, columns), size_bytes=size)


def _array(file: Path) -> Filled:
    if not FIELD.fullmatch(file.stem):
        raise ProgramError(f"the script wrote {file.name!r}: the name of a field must match {FIELD.pattern}")
    try:
        values = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ProgramError(f"the script wrote {file.name}, which is no array of numbers: {error}") from error
    return dense(values.astype(values.dtype.newbyteorder("<"), copy=False))


def _names(output: Path, rows: list[Row], columns: Mapping[str, Filled], *, stem: Path) -> tuple[list[str], list[int]]:
    """Key and code of each row of the arrays."""
    lengths = {name: len(filled.values) for name, filled in columns.items()}
    length = next(iter(lengths.values()))
    if set(lengths.values()) != {length}:
        raise ProgramError(f"the script's arrays must have one row per sample each, got {lengths}")
    known = {row.key: row.code for row in rows}
    listed = output / "keys.json"
    if listed.exists():
        keys = json.loads(listed.read_text(encoding="utf-8"))
        unknown = [key for key in keys if key not in known]
        if len(keys) != length or unknown or len(set(keys)) != len(keys):
            raise ProgramError(
                f"the script's keys.json must name the file of each of {length} rows once; it has {len(keys)}"
                + (f", of which {unknown[0]!r} is no file of the part" if unknown else "")
            )
        return keys, [known[key] for key in keys]
    if length == len(rows):
        return list(known), list(known.values())
    if "y" not in columns:
        raise ProgramError(
            f"the script wrote {length} rows for {len(rows)} files without keys.json: which labels they have is not "
            "known; write keys.json (the file of each row), or y.npy"
        )
    name = "/".join(stem.parts[-3:])
    return [f"{name}#{number}" for number in range(length)], [-1] * length


def _take_files(output: Path, files: list[Path], *, stem: Path, path: str) -> PartInfo:
    """Move a script's own files to the part's folder; their digests are the part's."""
    import hashlib

    names, total, size = [], 0, 0
    for file in files:
        name = file.relative_to(output).as_posix()
        digest = hashlib.sha256(f"{len(name.encode())}:{name}".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        total += int.from_bytes(digest.digest(), "big")
        size += file.stat().st_size
        names.append(name)
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(stem, ignore_errors=True)
    os.replace(output, stem)
    return PartInfo(path=path, rows=0, sum=f"{total % (1 << 256):064x}", size_bytes=size, files=tuple(names))
