"""Checkpoints: the state of a training, kept so that a killed job goes on where it was.

In: any picklable state, or files that the program writes itself. Out: one folder per step with `checkpoint.json`
(names, sizes and digests of its files), whole or absent. They are for going on after a crash, not for choosing models:
a model is what the training returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

from headway.errors import ProgramError

RECORD = "checkpoint.json"
STATE = "state.pkl"


@final
class Checkpoints:
    """The checkpoints of a job, or of one of its trials.

    Args:
        folders: where to write, then where earlier attempts wrote, newest first. None: nothing is kept (outside a job).
        keep: how many of the newest steps to keep.
        writes: whether this worker writes: rank 0 of a gang does, the others may only read.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]], *, keep: int = 2, writes: bool = True) -> None:
        self._folders = [Path(folder) for folder in folders]
        self.keep, self._writes = keep, writes
        self.step: int | None = None

    def save(self, state: Any, *, step: int) -> Path | None:
        """Keep a state; the folder it lies in, or None where nothing is written (other ranks, outside a job).

        Args:
            state: anything that pickle, or else cloudpickle, can write.
            step: the number of finished steps; the greatest is loaded again.

        Raises:
            ProgramError: the state cannot be pickled.

        Guarantees: when this returns, the checkpoint survives `kill -9` and power failure; a kill meanwhile leaves the
        one before.
        """
        if not self._active:
            return None
        data = _pickled(state, step=step)
        with self.folder(step) as folder:
            (folder / STATE).write_bytes(data)
        return self._folders[0] / str(step)

    @contextlib.contextmanager
    def folder(self, step: int) -> Iterator[Path]:
        """A folder to write the files of a checkpoint into; it counts when the block ends without an exception.

        Where nothing is written (other ranks, outside a job) the folder is a temporary one, thrown away afterwards.
        """
        if step < 0:
            raise ValueError(f"the step of a checkpoint must not be negative, got {step!r}")
        import tempfile

        if not self._active:
            with tempfile.TemporaryDirectory() as temporary:
                yield Path(temporary)
            return
        root = self._folders[0]
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{step}.", suffix=".tmp", dir=root))
        try:
            yield work
            _seal(work, step=step)
            _replace(work, root / str(step))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self.step = step
        self._drop_old()

    def load(self) -> Any:
        """The state of the greatest step, also of an earlier attempt; None when there is no whole checkpoint.

        A damaged one is left out with a warning, and the one before is taken.
        """
        for folder, step in self._found():
            state_file = folder / STATE
            if not _is_whole(folder) or not state_file.exists():
                continue
            with open(state_file, "rb") as file:
                state = pickle.load(file)
            self.step = step
            return state
        return None

    def latest(self) -> Path | None:
        """The folder of the greatest step that is whole, for programs that wrote their own files; else None."""
        for folder, step in self._found():
            if _is_whole(folder):
                self.step = step
                return folder
        return None

    def steps(self) -> list[int]:
        """All steps that are kept, of every attempt, the greatest first; they may be damaged."""
        return sorted({step for _, step in self._found()}, reverse=True)

    @property
    def _active(self) -> bool:
        return self._writes and bool(self._folders)

    def _found(self) -> list[tuple[Path, int]]:
        """Folders and steps, the greatest step first, of equal ones the newest attempt's."""
        found = []
        for age, root in enumerate(self._folders):
            if root.is_dir():
                found += [(-int(path.name), age, path) for path in root.iterdir() if path.name.isdigit()]
        return [(path, -step) for step, _, path in sorted(found)]

    def _drop_old(self) -> None:
        """Remove all but the newest `keep` of this attempt."""
        root = self._folders[0]
        steps = sorted((int(path.name) for path in root.iterdir() if path.name.isdigit()), reverse=True)
        for step in steps[max(1, self.keep) :]:
            gone = root / f".{step}.{os.getpid()}.gone"
            os.replace(root / str(step), gone)  # first out of sight, so that nobody sees half of it
            shutil.rmtree(gone, ignore_errors=True)


def _pickled(state: Any, *, step: int) -> bytes:
    try:
        return pickle.dumps(state, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        try:
            data: bytes = cloudpickle.dumps(state, protocol=5)
        except Exception as error:
            raise ProgramError(
                f"the state of step {step} cannot be kept as a checkpoint: {type(error).__name__}: {error}; save plain "
                "values and arrays (state_dict() of models and optimisers), or write files with checkpoint.folder(step)"
            ) from error
        return data


def _seal(folder: Path, *, step: int) -> None:
    """Flush the files and write the record of them."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            files[path.relative_to(folder).as_posix()] = {"size_bytes": path.stat().st_size, "digest": digest}
    record = {"schema": 1, "step": step, "at": time.time(), "files": files}
    with open(folder / RECORD, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())


def _replace(work: Path, target: Path) -> None:
    """Put a folder in its place; one of the same step, from before a crash, makes way."""
    if target.exists():
        gone = target.with_name(f".{target.name}.{os.getpid()}.gone")
        os.replace(target, gone)
        shutil.rmtree(gone, ignore_errors=True)
    os.replace(work, target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_whole(folder: Path) -> bool:
    """Whether all files are as recorded; a warning says what is not."""
    problem = _damage(folder)
    if problem is not None:
        warnings.warn(f"the checkpoint {folder} is damaged ({problem}): the one before is used", stacklevel=3)
    return problem is None


def _damage(folder: Path) -> str | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{RECORD}: {type(error).__name__}: {error}"
    for name, known in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != known["size_bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {known['size_bytes']}"
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != known["digest"]:
                return f"{name} has another digest"
    return None
