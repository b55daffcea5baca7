"""Faults at a chosen step: the k-th operation on a store fails, before it is done or after it was done.

In: a `Files` and a `Ledger`. Out: the same two, whose operations go through a counter: calls of `os` for a local
folder, calls of the fsspec file system for others, transactions for the ledger.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Literal

from headway.stores import _local
from headway.stores.files import Files
from headway.stores.ledger import Ledger

OS_CALLS = {"open", "write", "fsync", "close", "replace", "link", "unlink", "scandir", "makedirs", "stat"}
FSSPEC_CALLS = {"pipe_file", "cat_file", "find", "ls", "info", "rm_file", "put_file", "open", "makedirs", "mv"}


class Fault(OSError):
    """The fault that was asked for."""


class Faults:
    """Counts operations and fails the k-th one; `act` may kill the process instead."""

    def __init__(self, k: int, when: Literal["before", "after"], act: Callable[[], None] | None = None) -> None:
        self.k, self.when, self.act = k, when, act
        self.done = 0
        self.names: list[str] = []

    def call(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.done += 1
        self.names.append(name)
        mine = self.done == self.k
        if mine and self.when == "before":
            self.fail(name)
        made = function(*arguments, **options)
        if mine and self.when == "after":
            if name == "open" and isinstance(made, int):
                os.close(made)
            elif hasattr(made, "close"):
                made.close()
            self.fail(name)
        return made

    def fail(self, name: str) -> None:
        if self.act is not None:
            self.act()
        raise Fault(errno.EIO, f"fault {self.k} ({self.when} {name})", "nowhere")


class Through:
    """An object whose named functions go through a counter."""

    def __init__(self, inner: Any, names: set[str], faults: Faults) -> None:
        self._inner, self._names, self._faults = inner, names, faults

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if name not in self._names:
            return inner
        return lambda *a, **o: self._faults.call(name, inner, *a, **o)


def arm(faults: Faults, files: Files, ledger: Ledger) -> Callable[[], None]:
    """Send the operations of both through the counter; the function given back takes it away again."""
    backend: Any = files._backend
    if files.is_local:
        _local.os = Through(os, OS_CALLS, faults)  # type: ignore[assignment]
    else:
        system, root = backend._connect()
        backend._made = (os.getpid(), Through(system, FSSPEC_CALLS, faults), root)
    database: Any = ledger._database
    write = database.write
    database.write = lambda *a, **o: faults.call("ledger", write, *a, **o)

    def disarm() -> None:
        _local.os = os
        if not files.is_local:
            backend._made = (os.getpid(), system, root)
        database.write = write

    return disarm
