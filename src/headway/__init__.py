"""Headway: the whole training loop of production machine learning as one library.

The names here are loaded when first used, so that `import headway` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The public names and the module that each comes from; nothing else is public at the root.
_NAMES: dict[str, str] = {
    "open": "headway.workspace",
    "Workspace": "headway.workspace",
    "Split": "headway.manifests.split",
    "Manifest": "headway.manifests.manifest",
    "Dataset": "headway.processing.dataset",
    "Function": "headway.jobs.program",
    "Script": "headway.jobs.program",
    "Notebook": "headway.jobs.program",
    "Resources": "headway.jobs.spec",
    "Float": "headway.tuning.space",
    "Int": "headway.tuning.space",
    "Choice": "headway.tuning.space",
    "Maximize": "headway.tuning.study",
    "Minimize": "headway.tuning.study",
    "AtLeast": "headway.evaluation.gates",
    "AtMost": "headway.evaluation.gates",
    "BetterThanChampion": "headway.evaluation.gates",
    "context": "headway.training.context",
    "errors": "headway.errors",
}

__all__ = sorted([*_NAMES, "__version__"])

if TYPE_CHECKING:
    from headway import errors
    from headway.evaluation.gates import AtLeast, AtMost, BetterThanChampion
    from headway.jobs.program import Function, Notebook, Script
    from headway.jobs.spec import Resources
    from headway.manifests.manifest import Manifest
    from headway.manifests.split import Split
    from headway.processing.dataset import Dataset
    from headway.training.context import context
    from headway.tuning.space import Choice, Float, Int
    from headway.tuning.study import Maximize, Minimize
    from headway.workspace import Workspace, open


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _NAMES:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    module = import_module(_NAMES[name])
    value = module if _NAMES[name] == f"headway.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
