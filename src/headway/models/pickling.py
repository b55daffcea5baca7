"""Pickles that carry the classes of a script's `__main__`, and that know which modules loading them needs.

In: an object. Out: one file, and the names of the top-level modules it refers to. Used by the formats beside it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python", "yaml": "PyYAML"}
_BUILTIN = frozenset(sys.stdlib_module_names) | {"builtins", "__main__", "__mp_main__", "headway"}


def dump(value: Any, path: Path) -> frozenset[str]:
    """Pickle an object into a file that is flushed to disk; the top-level modules that reading it imports.

    Classes and functions of `__main__` go in by value, everything else by reference to its module.
    """
    cloudpickle = import_module("cloudpickle")
    modules: set[str] = set()
    with path.open("wb") as file:
        pickler = cloudpickle.Pickler(file, protocol=5)
        inner = pickler.reducer_override

        def record(seen: Any) -> Any:
            owner = seen if isinstance(seen, type | FunctionType) else type(seen)
            modules.add(str(getattr(owner, "__module__", "") or "").partition(".")[0])
            return inner(seen)

        pickler.reducer_override = record
        pickler.dump(value)
        file.flush()
        os.fsync(file.fileno())
    return frozenset(modules - _BUILTIN - {""})


def installed_versions(modules: frozenset[str]) -> dict[str, str]:
    """Name of the distribution -> version, of those modules that come from an installed package."""
    versions = {}
    for module in sorted(modules):
        name = _DISTRIBUTIONS.get(module, module)
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def own_modules(modules: frozenset[str]) -> tuple[str, ...]:
    """Those modules that no installed package of the same name brings: the user's own."""
    installed = installed_versions(modules)
    return tuple(sorted(m for m in modules if _DISTRIBUTIONS.get(m, m) not in installed and not _in_packages(m)))


def _in_packages(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and "site-packages" in Path(file).parts
