"""Gathering: the files that a program needs, found by following its imports without running it.

In: where the program begins (modules, or a script in its folder) and a `Finder`. Out: `files` (path in `code/` ->
file), `preload` (third-party modules that it imports at once) and `warnings`. An import that is sure to fail is an
error here and not on a worker.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import final

from headway.errors import ProgramError
from headway.jobs.canonical import is_python
from headway.jobs.imports import Import, imports_in
from headway.jobs.modules import Finder, Module, whose
from headway.jobs.tree import LARGEST_FILE_BYTES, Tree


@final
class Gather:
    """Follows imports from file to file.

    Args:
        finder: finds modules.
        tree: a folder that travels as a whole, so that what lies in it is there already; None for none.
    """

    def __init__(self, finder: Finder, *, tree: Path | None = None) -> None:
        self.files: dict[str, Path] = {}
        self.preload: set[str] = set()
        self.warnings: list[str] = []
        self._finder = finder
        self._tree = os.path.realpath(tree) + os.sep if tree is not None else None
        # Module or file -> (sure to run, run at once): followed again when one of them becomes true later.
        self._followed: dict[str, tuple[bool, bool]] = {}
        self._shipped: set[str] = set()
        self._todo: deque[tuple[Module, bool, bool]] = deque()
        self._problems: dict[str, bool] = {}
        self._may_find_more = False

    def module(self, module: Module, *, sure: bool = True) -> None:
        """Take a module with the packages above it."""
        parts = module.name.split(".")
        for end in range(1, len(parts)):
            above = self._finder.find(".".join(parts[:end]))
            if above is not None:
                self._take(above, sure, True)
        self._take(module, sure, True)

    def script(self, path: Path, shown: str) -> None:
        """Follow a script that runs as `__main__`."""
        self._follow_file(path, "", shown, sure=True, at_once=True, is_entry=True)

    def imports(self, imports: Iterable[Import], *, package: str, shown: str) -> None:
        """Follow imports that stand in no file: those of pickled functions."""
        for one in imports:
            self._import(one, package, shown, sure=False, at_once=False)

    def finish(self) -> None:
        """Follow all that is left, then judge the imports that lead nowhere.

        Raises:
            ProgramError: one of them is sure to happen. The text names file, line and module.
        """
        while self._todo:
            module, sure, at_once = self._todo.popleft()
            if module.path is not None and is_python(module.path.name):
                shown = self._place(module)
                self._follow_file(module.path, module.package, shown, sure=sure, at_once=at_once)
        for text, sure in self._problems.items():
            if sure and not self._may_find_more:
                raise ProgramError(text)
            self.warnings.append(text)

    def _take(self, module: Module, sure: bool, at_once: bool) -> None:
        """One module: follow it if it is the user's, note it if it is third-party."""
        if module.kind == "installed" and at_once and module.path is not None:
            self.preload.add(module.name)
        if module.kind != "local":
            return
        was_sure, was_at_once = self._followed.get(module.name, (False, False))
        if module.name in self._followed and (was_sure or not sure) and (was_at_once or not at_once):
            return
        self._followed[module.name] = (sure or was_sure, at_once or was_at_once)
        self._ship(module)
        self._todo.append((module, sure, at_once))

    def _follow_file(
        self, path: Path, package: str, shown: str, *, sure: bool, at_once: bool, is_entry: bool = False
    ) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProgramError(f"cannot pack {path}: {error.strerror or error}") from error
        found = imports_in(data, is_entry=is_entry)
        if found is None:
            self._problem(f"{shown} is no valid Python: {_syntax_error(data, shown)}", sure)
            return
        self._may_find_more = self._may_find_more or found.changes_search_path
        for one in found.imports:
            self._import(
                one, package, shown, sure=sure and one.place == "top", at_once=at_once and one.place != "inside"
            )

    def _import(self, one: Import, package: str, shown: str, *, sure: bool, at_once: bool) -> None:
        name = one.absolute(package)
        if not name:
            self._problem(f"{shown}:{one.line}: a relative import leads out of the package {package!r}", sure)
            return
        parts = name.split(".")
        module: Module | None = None
        chain = []
        for end in range(1, len(parts) + 1):
            above, module = module, self._finder.find(".".join(parts[:end]))
            if module is None:
                if one.place != "tried" and (above is None or above.kind == "local"):
                    self._problem(self._missing(shown, one, ".".join(parts[:end])), sure)
                return
            chain.append(module)
        assert module is not None
        inner = [self._finder.find(f"{name}.{each}") for each in one.names or () if module.is_package and each != "*"]
        chain += [each for each in inner if each is not None]
        for each in chain:
            self._take(each, sure, at_once)

    def _ship(self, module: Module) -> None:
        """Put the module's file, or the whole package that it belongs to, among the files."""
        if module.path is None:
            return
        if self._tree and os.path.realpath(module.path).startswith(self._tree):
            # There already, unless its folder is left out as build output or the like: what is imported always travels.
            self.files[self._place(module)] = module.path
            return
        parts = module.name.split(".")
        for end in range(1, len(parts) + 1):
            above = self._finder.find(".".join(parts[:end]))
            if above is not None and above.is_package and above.path is not None and above.kind == "local":
                self._ship_package(above)
                self.files.setdefault(self._place(module), module.path)
                return
        if module.path.stat().st_size > LARGEST_FILE_BYTES:
            raise ProgramError(f"cannot pack {module.path}: more than {LARGEST_FILE_BYTES / 1e6:.0f} MB")
        self.files.setdefault(self._place(module), module.path)

    def _ship_package(self, package: Module) -> None:
        if package.name in self._shipped or package.path is None:
            return
        self._shipped.add(package.name)
        tree = Tree(package.path.parent)
        folder = package.name.replace(".", "/")
        for relative, path in tree.files():
            self.files.setdefault(f"{folder}/{relative}", path)
        self.warnings += tree.warnings

    def _place(self, module: Module) -> str:
        """Where a module lies in `code/`, so that it is imported under its name from there."""
        assert module.path is not None
        if self._tree and os.path.realpath(module.path).startswith(self._tree):
            return Path(os.path.realpath(module.path)).relative_to(self._tree).as_posix()
        parts = module.name.split(".")
        if module.is_package:
            return "/".join([*parts, module.path.name])
        # An extension module keeps its long ending.
        ending = module.path.name.partition(".")[2]
        return "/".join([*parts[:-1], f"{parts[-1]}.{ending}"])

    def _problem(self, text: str, sure: bool) -> None:
        self._problems[text] = sure or self._problems.get(text, False)

    def _missing(self, shown: str, one: Import, name: str) -> str:
        text = f"{shown}:{one.line} imports {name!r}, which is neither installed nor a module of yours"
        close = get_close_matches(name, sorted(near_modules(self._finder)), n=1)
        if close:
            text += f"; did you mean {close[0]!r}?"
        return text + f"; install it (pip install {name.partition('.')[0]}) or put it beside the program"


def near_modules(finder: Finder) -> set[str]:
    """The names of the user's own modules in the folders that are searched, for hints."""
    names = set()
    for folder in finder.search:
        if not os.path.isdir(folder) or whose(folder) != "local":
            continue
        for entry in os.scandir(folder):
            if entry.name.endswith(".py"):
                names.add(entry.name[:-3])
            elif os.path.exists(os.path.join(entry.path, "__init__.py")):
                names.add(entry.name)
    return names


def _syntax_error(data: bytes, shown: str) -> str:
    try:
        compile(data, shown, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return str(error)
    return "it is nested too deeply"
