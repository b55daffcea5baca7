"""How fast work starts: a no-op job against the process itself, and a script that imports scikit-learn from the fork
server against a fresh one, beside joblib, pebble and concurrent.futures.

The peers run the same script (`runpy`) in a process that has not imported anything of it, as they must when every run
is to have a process of its own; and, marked `reused`, in workers that stay and share an interpreter between runs.
"""

from __future__ import annotations

import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import Table

NOOP_TIMES, IMPORT_TIMES = 40, 8
NOOP_GOAL_MS, FORK_GOAL = 50.0, 10.0
SCRIPT = "from sklearn.linear_model import Ridge\nRidge().fit([[0.0], [1.0]], [0.0, 1.0])\nprint('done')\n"
PRELOAD = ("sklearn.linear_model",)


def run() -> list[Table]:
    """Both tables."""
    with tempfile.TemporaryDirectory() as folder:
        before = dict(os.environ)
        os.environ["HEADWAY_MACHINE_DIR"] = f"{folder}/machine"
        # As where Headway is installed: its modules are compiled once, not by every process.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            return [noop(Path(folder)), imports(Path(folder))]
        finally:
            os.environ.clear()
            os.environ.update(before)


def noop(folder: Path) -> Table:
    """A script of one line: from `start` to its observed end, against a bare `python script.py`."""
    from headway.engines.local import LocalEngine

    script = folder / "noop.py"
    script.write_text("pass\n")
    bare, fresh, forked = [], [], []
    began = time.perf_counter()
    engine = LocalEngine()
    first = _job(engine, folder / "noop", 0, "pass\n")
    cold = time.perf_counter() - began
    try:
        _job(engine, folder / "noop-fork", 0, "pass\n")
        for number in range(1, NOOP_TIMES + 1):
            bare.append(_timed(lambda: subprocess.run([sys.executable, str(script)], check=True)))
            fresh.append(_job(engine, folder / "noop", number, "pass\n", fresh=True))
            forked.append(_job(engine, folder / "noop-fork", number, "pass\n"))
    finally:
        engine.close()
    assert first <= cold
    process = statistics.median(bare)
    rows = [("python noop.py", process * 1e3, 0.0)]
    for name, seconds in [
        ("a job, fresh interpreter", statistics.median(fresh)),
        ("a job, forked", statistics.median(forked)),
        ("the engine's first job", cold),
    ]:
        rows.append((name, seconds * 1e3, (seconds - process) * 1e3))
    over = [row for row in rows[1:] if row[2] > NOOP_GOAL_MS]
    missed = [f"{name} takes {more:.0f} ms over the process, not at most {NOOP_GOAL_MS:.0f}" for name, _, more in over]
    columns = ("way", "milliseconds", "over the process")
    note = f"Medians of {NOOP_TIMES}, in turn; a job is timed from `start` to its observed end, outcome file written."
    return Table("A job that does nothing", columns, tuple(rows), note, tuple(missed))


def imports(folder: Path) -> Table:
    """A script that imports scikit-learn: each run in a process of its own."""
    from headway.engines.local import LocalEngine

    script = folder / "ridge.py"
    script.write_text(SCRIPT)
    engine = LocalEngine()
    began = time.perf_counter()
    _job(engine, folder / "forked", 0, SCRIPT, preload=PRELOAD)
    first = time.perf_counter() - began
    _job(engine, folder / "fresh", 0, SCRIPT, fresh=True)
    ways: dict[str, Callable[[int], float]] = {
        "headway, fresh interpreter": lambda number: _job(engine, folder / "fresh", number, SCRIPT, fresh=True),
        "headway, fork server": lambda number: _job(engine, folder / "forked", number, SCRIPT, preload=PRELOAD),
        "concurrent.futures, a process each": lambda _: _timed(lambda: _futures(str(script))),
        "pebble, a process each": lambda _: _timed(lambda: _pebble(str(script))),
        "joblib (loky), a pool each": lambda _: _timed(lambda: _joblib(str(script))),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(1, IMPORT_TIMES + 1):
            for name, way in ways.items():
                taken[name].append(way(number))
    finally:
        engine.close()
    taken["joblib (loky), reused"] = _reused(str(script))
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    fork = seconds["headway, fork server"]
    rows = [(name, value * 1e3, value / fork) for name, value in seconds.items()]
    rows.append(("headway, fork server, the first (imports)", first * 1e3, first / fork))
    ratio = seconds["headway, fresh interpreter"] / fork
    missed = (
        [f"the fork server is {ratio:.1f} times as fast as fresh, not {FORK_GOAL:.0f}"] if ratio < FORK_GOAL else []
    )
    columns = ("way", "milliseconds", "against the fork server")
    note = (
        f"Medians of {IMPORT_TIMES}, in turn. `reused` shares one interpreter between runs: nothing is imported again."
    )
    return Table("A script that imports scikit-learn", columns, tuple(rows), note, tuple(missed))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _job(engine: Any, folder: Path, number: int, source: str, *, fresh: bool = False, preload: Any = ()) -> float:
    """Seconds of one job; its folders are made before."""
    from headway.testing.launches import ends, launch_of

    launch = launch_of(folder, source, attempt=number + 1, fresh=fresh, preload=preload, job=f"train-{folder.name}-1")
    began = time.perf_counter()
    handle = engine.start(launch)
    seen: list[Any] = []
    while not ends(seen):
        seen += engine.observe([handle], timeout_s=10.0)
    seconds = time.perf_counter() - began
    assert ends(seen)[0].text == "", ends(seen)[0].text
    return seconds


def _script(path: str) -> None:
    """What a worker of a peer does."""
    with open(os.devnull, "w") as nothing:
        before, sys.stdout = sys.stdout, nothing
        try:
            runpy.run_path(path, run_name="__main__")
        finally:
            sys.stdout = before


def _futures(path: str) -> None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        pool.submit(_script, path).result()


def _pebble(path: str) -> None:
    import multiprocessing

    from pebble import ProcessPool

    with ProcessPool(max_workers=1, max_tasks=1, context=multiprocessing.get_context("spawn")) as pool:
        pool.schedule(_script, args=(path,)).result()


def _joblib(path: str) -> None:
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=1) as pool:
        pool.submit(_script, path).result()


def _reused(path: str) -> list[float]:
    from joblib.externals.loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=1)
    pool.submit(_script, path).result()
    taken = [_timed(lambda: pool.submit(_script, path).result()) for _ in range(IMPORT_TIMES)]
    pool.shutdown()
    return taken
