"""How long Headway keeps its user waiting before it does anything: `import headway` at most 150 ms over the bare
interpreter, `headway --help` at most 300 ms from its start to its end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import Table, alternating_s

HEAVY = ("numpy", "pandas", "pyarrow", "sqlalchemy", "optuna", "sklearn", "torch")


def run() -> Table:
    """Time both, and list the heavy packages that they load."""
    python = sys.executable
    command = str(Path(python).with_name("headway"))
    found = {
        "python -c pass": [python, "-c", "pass"],
        "python -c 'import headway'": [python, "-c", "import headway"],
        "headway --help": [command, "--help"],
        "python -c 'import numpy'": [python, "-c", "import numpy"],
        "python -c 'import pandas'": [python, "-c", "import pandas"],
    }
    starts = {name: _starter(words) for name, words in found.items()}
    for start in starts.values():
        start()
    seconds = alternating_s(starts, times=11)
    base = seconds["python -c pass"]
    limits = {"python -c 'import headway'": (150.0, base), "headway --help": (300.0, 0.0)}
    rows, missed = [], []
    for name, taken in seconds.items():
        limit, start_s = limits.get(name, (None, 0.0))
        rows.append((f"`{name}`", taken * 1000, (taken - base) * 1000, "" if limit is None else f"{limit:.0f}"))
        if limit is not None and (taken - start_s) * 1000 > limit:
            missed.append(f"`{name}` takes {(taken - start_s) * 1000:.0f} ms, not {limit:.0f}")
    listing = f"import sys, headway; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([python, "-c", listing], check=True, capture_output=True, text=True).stdout.strip()
    note = f"Medians of 11 starts taken in turn. Heavy packages loaded by `import headway`: `{loaded}`."
    columns = ("what", "whole (ms)", "over the bare interpreter (ms)", "limit (ms)")
    return Table("Starting", columns, tuple(rows), note, tuple(missed))


def _starter(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)
