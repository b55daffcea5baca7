"""Threads of numerical libraries that are loaded already: as many as the worker got cores.

In: a number of cores. Out: nothing; libraries that are loaded later read the environment instead. Needed where a fork
server loaded them with one thread.
"""

from __future__ import annotations

import sys


def limit(cores: int) -> None:
    """Give the loaded libraries `cores` threads."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(cores)
    if cores > 1 and "numpy" in sys.modules:
        try:
            import threadpoolctl  # type: ignore[import-untyped]
        except ImportError:
            return
        threadpoolctl.threadpool_limits(limits=cores)
