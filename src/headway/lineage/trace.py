"""What really ran and was read, and whether any of it is another now.

In: the workers' `trace.json` files and two snapshots. Out: `Change` values; none of them means that the old result
answers. A file that was packed and did not run may change freely; a script counts with its whole source folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from headway.errors import NotFoundError, WorkspaceError
from headway.jobs.canonical import MODULE, is_python
from headway.jobs.snapshot import FileRecord, Snapshot, read_snapshot
from headway.lineage.digests import differing_functions, normalised_digest
from headway.records import Record, decode, encode

EVERYTHING = "."
"""The path of a change that stands for all files: the snapshot of then is gone or damaged."""

_FINDS_BY_ITSELF = frozenset({"importlib", "pkgutil", "imp", "zipimport"})
"""A program that imports one of these may find any new module."""

What = Literal["changed", "added", "removed", "unknown"]


class Trace(Record):
    """What one worker, or several together, loaded and read of the project.

    Args:
        modules: file of each module that was loaded -> its digest, or None for what lies in the snapshot.
        files: files that were read otherwise, likewise. Paths are relative to the code folder, or absolute outside it.
        functions: file -> qualified names of the functions that ran; None where that was not recorded.
        whole: whether everything that was packed counts, because a trace is missing.
    """

    schema: int = 1
    modules: dict[str, str | None] = {}
    files: dict[str, str | None] = {}
    functions: dict[str, tuple[str, ...]] | None = None
    whole: bool = False

    @classmethod
    def read(cls, path: Path) -> Trace:
        """A worker's trace; in one that is missing (the worker was killed) or damaged everything counts."""
        try:
            return decode(path.read_bytes(), cls, where=str(path))
        except (FileNotFoundError, WorkspaceError):
            return cls(whole=True)


class Change(Record):
    """A difference in something that ran or was read.

    Args:
        path: the file.
        what: `changed`, `added` (a new file that an import may now find), `removed`, or `unknown` (it was read, and
            nobody recorded what it held).
        function: qualified name of the function that differs; `<module>` for what runs on import; None for the file.
    """

    path: str
    what: What = "changed"
    function: str | None = None


Outside = Callable[[str], str | None]


def merge(traces: Iterable[Trace]) -> Trace | None:
    """All that ran or was read in any of them; None when there are none, so that everything counts."""
    every = list(traces)
    if not every:
        return None
    modules: dict[str, str | None] = {}
    files: dict[str, str | None] = {}
    functions: dict[str, set[str]] | None = {}
    for trace in every:
        for known, more in ((modules, trace.modules), (files, trace.files)):
            for path, digest in more.items():
                # Two workers that saw different content: what it was is not known.
                known[path] = digest if known.get(path, digest) == digest else None
        if trace.functions is None or functions is None:
            functions = None
        else:
            for path, names in trace.functions.items():
                functions.setdefault(path, set()).update(names)
    return Trace(
        modules=modules,
        files=files,
        functions=None if functions is None else {path: tuple(sorted(names)) for path, names in functions.items()},
        whole=any(trace.whole for trace in every),
    )


def fill_in(path: Path) -> Trace:
    """A worker's trace with the digests of the files that it read outside the snapshot, written back.

    For the driver, right after the worker ended. A file that changed after the trace was written keeps None, which
    counts as unknown: what was read is not what is there.
    """
    trace = Trace.read(path)
    if trace.whole or all(digest is not None for where, digest in _outside(trace)):
        return trace
    written_ns = path.stat().st_mtime_ns

    def digest(where: str, known: str | None) -> str | None:
        if known is not None or not os.path.isabs(where):
            return known
        found = digest_outside(where)
        return found if found is None or os.stat(where).st_mtime_ns <= written_ns else None

    filled = Trace(
        modules={where: digest(where, known) for where, known in trace.modules.items()},
        files={where: digest(where, known) for where, known in trace.files.items()},
        functions=trace.functions,
    )
    stage = path.with_name(f".{path.name}.filled")
    stage.write_bytes(encode(filled))
    os.replace(stage, path)
    return filled


def digest_outside(path: str) -> str | None:
    """The digest of a file outside the snapshot; None when it is not there or cannot be read."""
    try:
        return normalised_digest(Path(path))
    except OSError:
        return None


def changed(
    trace: Trace | None, then: Snapshot | Path, now: Snapshot | Path, *, outside: Outside = digest_outside
) -> list[Change]:
    """Which files that ran or were read differ now; [] when the old result still answers.

    Args:
        trace: what ran then; None when that is not known: then every packed file counts.
        then, now: the snapshots, or the code folders that hold them.
        outside: gives the digest that a file outside the snapshot has now.

    Guarantees: never leaves out a difference in a file that counts; a snapshot of then that cannot be read is one.
        Sorted by path; functions named where both versions are Python that parses.
    """
    new = read_snapshot(now) if isinstance(now, Path) else now
    try:
        old = read_snapshot(then) if isinstance(then, Path) else then
    except (NotFoundError, WorkspaceError):
        return [Change(path=EVERYTHING, what="unknown")]
    changes: list[Change] = []
    if trace is None or trace.whole or "script" in (old.kind, new.kind):
        for path in sorted(old.files.keys() | new.files.keys()):
            changes += _compare(path, old.files.get(path), new.files.get(path), None)
        known = {path for path, _ in _outside(trace)} if trace is not None else set()
    else:
        counted = {path for path in (*trace.modules, *trace.files) if not os.path.isabs(path)}
        counted |= {path for path in (old.pickle, new.pickle) if path is not None}
        for path in sorted(counted):
            names = trace.functions.get(path) if trace.functions is not None else None
            if path in trace.files:
                names = None
            changes += _compare(path, old.files.get(path), new.files.get(path), names)
        changes += _added(trace, old, new)
        known = {path for path, _ in _outside(trace)}
    for path in sorted(known):
        changes += _compare_outside(path, trace, outside(path))
    return changes


def _outside(trace: Trace) -> Iterator[tuple[str, str | None]]:
    """Paths outside the snapshot and their digests."""
    for path, digest in (*trace.modules.items(), *trace.files.items()):
        if os.path.isabs(path):
            yield path, digest


def _compare(path: str, old: FileRecord | None, new: FileRecord | None, ran: Iterable[str] | None) -> list[Change]:
    """The changes in one packed file.

    Args:
        ran: the functions that ran; None: all count.
    """
    if old is None:
        # It ran and was not packed (a file made by the program itself), or it is new and everything counts.
        return [Change(path=path, what="unknown" if new is None else "added")]
    if new is None:
        return [Change(path=path, what="removed")]
    if old.digest == new.digest:
        return []
    if not old.functions or not new.functions:
        return [Change(path=path)]
    names = differing_functions(old.functions, new.functions)
    if ran is not None:
        # Inner functions, classes' bodies and lambdas belong to the function around them, or to the module.
        counted = {MODULE, *(name.partition(".<locals>")[0] for name in ran)}
        names = [name for name in names if name in counted]
    elif not names:
        return [Change(path=path)]
    return [Change(path=path, function=name) for name in names]


def _added(trace: Trace, old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """New files with which the same code may do something else: modules that it imports, data beside data it read."""
    imported: set[str] = set()
    for path in trace.modules:
        if path in old.files:
            imported |= set(old.files[path].imports)
    read_in = {os.path.dirname(path) for path in trace.files if not is_python(path)}
    tops = {path.partition("/")[0] for path in old.files}
    for path in sorted(new.files.keys() - old.files.keys()):
        folders = path.split("/")
        name = folders[-1].partition(".")[0]
        if name == "__init__" and len(folders) > 1:
            name = folders[-2]
        is_module = path.endswith((".py", ".so", ".pyd"))
        begins_package = folders[0] not in tops and folders[0] in imported
        if (is_module and (name in imported or begins_package or imported & _FINDS_BY_ITSELF)) or (
            not is_module and path != new.pickle and os.path.dirname(path) in read_in
        ):
            yield Change(path=path, what="added")


def _compare_outside(path: str, trace: Trace | None, digest: str | None) -> list[Change]:
    known = None if trace is None else trace.modules.get(path) or trace.files.get(path)
    if known is None:
        return [Change(path=path, what="unknown")]
    if digest is None:
        return [Change(path=path, what="removed")]
    return [] if digest == known else [Change(path=path)]
