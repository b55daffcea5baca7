"""Where a module would be imported from, found without importing anything.

In: a module's name and the folders to look in. Out: `Module`: which file it is, and whether it belongs to the user
(`local`), to Python (`standard`), to an installed package (`installed`) or to Headway itself (`headway`).
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal, final

Kind = Literal["local", "standard", "installed", "headway"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module that could be imported.

    Args:
        name: full name.
        kind: whose it is.
        path: its file (`__init__.py` of a package); None when it has none (built in, namespace packages).
        folders: where its submodules lie; () when it is no package.
    """

    name: str
    kind: Kind
    path: Path | None
    folders: tuple[str, ...] = ()

    @property
    def is_package(self) -> bool:
        """Whether it can have submodules."""
        return bool(self.folders)

    @property
    def package(self) -> str:
        """What relative imports inside it start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


@final
class Finder:
    """Finds modules as an interpreter would whose path begins with some more folders.

    Args:
        first: folders searched before `sys.path`.
        loaded: modules whose files are known already (name -> file), because they were imported under that name from
            elsewhere.
    """

    def __init__(self, first: Iterable[str | Path] = (), *, loaded: Mapping[str, str] | None = None) -> None:
        folders = [*(os.path.abspath(folder) for folder in first), *(folder or os.getcwd() for folder in sys.path)]
        self._search = list(dict.fromkeys(folders))
        self._loaded = dict(loaded or {})
        self._found: dict[str, Module | None] = {}

    @property
    def search(self) -> Sequence[str]:
        """The folders that are searched, in order."""
        return tuple(self._search)

    def find(self, name: str) -> Module | None:
        """The module of that name; None when there is none."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Module | None:
        if name == "headway" or name.startswith("headway."):
            return Module(name, "headway", None)
        if name in self._loaded:
            return Module(name, "local", Path(self._loaded[name]))
        parent, _, _ = name.rpartition(".")
        if not parent:
            spec = _builtin(name) or _spec(name, self._search) or _spec_elsewhere(name) or _spec_loaded(name)
            return _module(name, spec)
        above = self.find(parent)
        if above is None:
            return _module(name, _spec_loaded(name))
        if not above.is_package:
            # `os.path` and its like: no submodule of a package, yet importable.
            return _module(name, _spec_loaded(name))
        return _module(name, _spec(name, list(above.folders)) or _spec_loaded(name))


def _builtin(name: str) -> ModuleSpec | None:
    return BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name)


def _spec(name: str, folders: list[str]) -> ModuleSpec | None:
    # The last part alone: with the whole name, a namespace package would look for its parent among what is imported.
    return PathFinder.find_spec(name.rpartition(".")[2], folders)


def _spec_elsewhere(name: str) -> ModuleSpec | None:
    """What other finders know, such as those of packages installed as working folders."""
    for finder in sys.meta_path:
        if finder in (BuiltinImporter, FrozenImporter, PathFinder) or not hasattr(finder, "find_spec"):
            continue
        spec: ModuleSpec | None = finder.find_spec(name, None)
        if spec is not None:
            return spec
    return None


def _spec_loaded(name: str) -> ModuleSpec | None:
    """The specification of a module that is imported already, from wherever that was."""
    loaded = sys.modules.get(name)
    return None if loaded is None else (getattr(loaded, "__spec__", None) or ModuleSpec(name, None))


def _module(name: str, spec: ModuleSpec | None) -> Module | None:
    if spec is None:
        return None
    folders = tuple(str(folder) for folder in spec.submodule_search_locations or ())
    path = Path(spec.origin) if spec.has_location and spec.origin else None
    if path is None and not folders:
        return Module(name, "standard", None)
    return Module(name, whose(str(path) if path is not None else folders[0]), path, folders)


def whose(path: str) -> Kind:
    """Whose a file or folder is, judged by where it lies."""
    installed, standard = _places()
    real = os.path.realpath(path)
    parts = Path(real).parts
    if "site-packages" in parts or "dist-packages" in parts or real.startswith(installed):
        return "installed"
    return "standard" if real.startswith(standard) else "local"


@cache
def _places() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders of installed packages and those of the standard library, with a slash at their end."""
    paths = sysconfig.get_paths()
    installed = [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    standard = [paths["stdlib"], paths["platstdlib"], os.path.dirname(os.__file__)]
    return _real(installed), _real(standard)


def _real(folders: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted({os.path.realpath(folder) + os.sep for folder in folders if folder}))
