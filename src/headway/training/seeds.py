"""Random numbers of user code, set before it runs.

In: a seed. Out: the global generators of `random`, numpy and torch in that state. Called in worker processes only: they
are what training code reads, though nothing of ours does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, final


def derive(seed: int, number: int) -> int:
    """The seed of a trial or item: a pure function of the job's seed and the number.

    Example:
        >>> derive(0, 1) == derive(0, 1) != derive(0, 2)
        True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed the global generators; numpy's and torch's when they are imported, now or later."""
    random.seed(seed)
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _SeedOnImport)]:
        sys.meta_path.remove(finder)
    for name, action in _SEEDERS.items():
        module = sys.modules.get(name)
        if module is None:
            sys.meta_path.insert(0, _SeedOnImport(name, seed))
        else:
            action(module, seed)


def _seed_numpy(module: Any, seed: int) -> None:
    module.random.seed(seed % 2**32)


def _seed_torch(module: Any, seed: int) -> None:
    module.manual_seed(seed % 2**63)


_SEEDERS = {"numpy": _seed_numpy, "torch": _seed_torch}


@final
class _SeedOnImport(MetaPathFinder):
    """Seeds a package once it is imported, so that nobody pays for importing it who does not need it."""

    def __init__(self, name: str, seed: int) -> None:
        self._name, self._seed = name, seed

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The package's own spec, with the seeding behind its import."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        loader = spec.loader if spec is not None else None
        if loader is None:
            return spec
        execute = loader.exec_module

        def execute_and_seed(module: ModuleType) -> None:
            execute(module)
            _SEEDERS[self._name](module, self._seed)

        loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec
