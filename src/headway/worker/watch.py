"""What a program really reads: a trace for remembered results, and opens of paths that it must not see.

In: the interpreter's audit events (`open`, `os.open`, `os.listdir`, `os.scandir`). Out: `Recorder` with the files read,
the modules of the project, and the leaks. Native readers are invisible to audit hooks; data come in as channels.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, final

MAX_LEAKS = 100
_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "os.rename"})
_MAKES = os.O_TRUNC | os.O_EXCL
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_active: Recorder | None = None
_installed = False


@final
class Recorder:
    """Notes what is opened while it is active.

    Args:
        code: the snapshot of the program; paths in it are recorded relative to it.
        copy: a copy of it that the program runs in; what the program makes there itself is not recorded.
        excluded: folders whose files are not recorded (channels, the job's own folders).
        roots: folders whose files are recorded; none: everywhere.
        forbidden: paths whose opening is a leak; with a slash at the end all that lies below.
    """

    def __init__(
        self,
        *,
        code: str,
        copy: str | None = None,
        excluded: Iterable[str] = (),
        roots: Iterable[str] = (),
        forbidden: Iterable[str] = (),
    ) -> None:
        self.files: set[str] = set()
        self.modules: set[str] = set()
        self.leaks: dict[str, None] = {}
        self.trouble: str | None = None
        self._written: set[str] = set()
        self._snapshot, self._code = os.path.abspath(code), _folders([code])
        self._copy = _folders([copy]) if copy else ()
        self._excluded = (*_folders(excluded), *_library_folders(), *_SYSTEM)
        self._roots = _folders(roots)
        self._forbidden = {path.rstrip("/") for one in forbidden for path in (one, os.path.realpath(one))}
        self._seen: set[str] = set()

    def see(self, event: str, given: Any, flags: int) -> None:
        """One audit event."""
        if given is None:
            given = "."
        if isinstance(given, int):
            return
        text = os.fsdecode(given)
        if text in self._seen:
            return
        path = os.path.abspath(text)
        if self._forbidden:
            self._check(path)
        if event != "open":
            return
        if flags & _MAKES:
            self._written.add(path)
        if flags & os.O_ACCMODE == os.O_WRONLY or path in self._written:
            return
        if os.path.isabs(text) and not self._forbidden:
            self._seen.add(text)
        self._record(path)

    def renamed(self, source: Any, target: Any) -> None:
        """A file that the program made has another name now."""
        if os.path.abspath(os.fsdecode(source)) in self._written:
            self._written.add(os.path.abspath(os.fsdecode(target)))

    def _check(self, path: str) -> None:
        """Note a leak when the path, or the one it links to, is forbidden or lies below what is."""
        for candidate in {path, os.path.realpath(path)}:
            step = candidate
            while len(step) > 1:
                if step in self._forbidden:
                    if len(self.leaks) < MAX_LEAKS:
                        self.leaks[candidate] = None
                    return
                step = os.path.dirname(step)

    def _record(self, path: str) -> None:
        """Note a file that was opened for reading; a compiled module counts as its source."""
        if path.endswith(".pyc"):
            folder, compiled = os.path.split(path)
            path = os.path.join(os.path.dirname(folder), compiled.partition(".")[0] + ".py")
        name = self._name_in_code(path)
        if name is not None:
            (self.modules if name.endswith(".py") else self.files).add(name)
        elif not path.startswith(self._excluded) and (not self._roots or path.startswith(self._roots)):
            self.files.add(path)

    def _name_in_code(self, path: str) -> str | None:
        """The path relative to the snapshot, if it lies there, or is a copy of what lies there."""
        for folder in self._code:
            if path.startswith(folder):
                return path[len(folder) :]
        for folder in self._copy:
            if path.startswith(folder) and os.path.exists(os.path.join(self._snapshot, path[len(folder) :])):
                return path[len(folder) :]
        return None

    def add_loaded_modules(self) -> None:
        """Note the modules of the project that are loaded now, however they were."""
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            name = self._name_in_code(os.path.abspath(path)) if isinstance(path, str) else None
            if name is not None:
                self.modules.add(name)

    @property
    def size(self) -> int:
        """How much has been noted; it only grows."""
        return len(self.files) + len(self.modules)

    def take_over(self, path: str) -> None:
        """Go on from the trace that an earlier process of the same worker left, if there is one."""
        try:
            with open(path, encoding="utf-8") as stream:
                before = json.load(stream)
        except FileNotFoundError:
            return
        self.modules.update(before["modules"])
        self.files.update(before["files"])

    def trace(self) -> dict[str, Any]:
        """The content of `trace.json`."""
        self.add_loaded_modules()
        return {
            "schema": 1,
            "modules": dict.fromkeys(sorted(self.modules)),
            "files": dict.fromkeys(sorted(self.files)),
            "functions": None,
        }


def start(recorder: Recorder | None) -> Recorder | None:
    """Make a recorder the active one and return the one before it; None switches recording off."""
    global _active, _installed
    before, _active = _active, recorder
    if recorder is not None and not _installed:
        sys.addaudithook(_hook)
        _installed = True
    return before


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    recorder = _active
    if recorder is None or event not in _EVENTS:
        return
    try:
        if event == "os.rename":
            recorder.renamed(arguments[0], arguments[1])
        else:
            recorder.see(event, arguments[0], arguments[2] if event == "open" else 0)
    except Exception as error:  # noqa: BLE001 - an exception here would break the program's own open()
        recorder.trouble = f"{event} {arguments!r}: {error!r}"


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    """Absolute paths, as they are and with links resolved, each with a slash at the end."""
    found: dict[str, None] = {}
    for path in paths:
        for candidate in (os.path.abspath(path), os.path.realpath(path)):
            found[candidate.rstrip("/") + "/"] = None
    return tuple(found)


def _library_folders() -> tuple[str, ...]:
    """Where Python, installed packages and Headway lie."""
    paths = [os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    paths += [prefix for prefix in (sys.prefix, sys.base_prefix) if prefix != "/usr"]
    return _folders(paths + [path for path in sys.path if path.rstrip("/").endswith(("-packages", "lib-dynload"))])
