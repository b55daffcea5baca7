"""The user's own modules, imported from the snapshot that belongs to one model, apart from everything else.

In: a folder of code (`code/` of a job, or of a registered version). Out: a `with` block inside which imports find that
folder first. Two versions of a model may carry two versions of one module: each sees its own, and neither stays
importable afterwards. Used by `headway.models.model` and `headway.registry.predictor`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from types import ModuleType

_lock = threading.RLock()
_loaded: dict[str, dict[str, ModuleType]] = {}


@contextmanager
def project_code(folder: Path | None) -> Iterator[None]:
    """Imports find `folder` first while the block runs; no bytecode is written into it.

    Modules of the folder are imported once per process and folder. Those of the same names that the process has
    loaded from elsewhere are set aside for the time of the block.

    Args:
        folder: the snapshot; None does nothing.

    Guarantees:
        One thread at a time is inside; the same thread may enter again.
    """
    if folder is None:
        yield
        return
    key = str(folder.resolve())
    with _lock:
        names = _top_level(folder)
        aside = _take_out(names)
        written = sys.dont_write_bytecode
        sys.modules.update(_loaded.get(key, {}))
        sys.path.insert(0, key)
        sys.dont_write_bytecode = True
        invalidate_caches()
        try:
            yield
        finally:
            sys.dont_write_bytecode = written
            sys.path.remove(key)
            _loaded[key] = _take_out(names)
            sys.modules.update(aside)


def _take_out(names: frozenset[str]) -> dict[str, ModuleType]:
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}


def _top_level(folder: Path) -> frozenset[str]:
    """Names that the folder's modules and packages are imported by; never those of the standard library or ours."""
    names = set()
    for path in folder.iterdir():
        if path.suffix == ".py" and path.is_file():
            names.add(path.stem)
        elif path.is_dir() and path.name.isidentifier() and _is_package(path):
            names.add(path.name)
    return frozenset(names - set(sys.stdlib_module_names) - {"headway", "__main__", "__mp_main__"})


def _is_package(folder: Path) -> bool:
    if (folder / "__init__.py").exists():
        return True
    loaded = sys.modules.get(folder.name)
    has_code = any(path.suffix == ".py" for path in folder.iterdir())
    return has_code and (loaded is None or getattr(loaded, "__file__", None) is None)
