"""No-op items a second on two warm workers with a durable record each, beside concurrent.futures, joblib and pebble.

Each of our items is a line in the worker's `tasks.jsonl` before the driver hears of it, so that `kill -9` of anybody
loses nothing that was told; a dead worker costs only its own item. The peers keep no record.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import Table

NUM_ITEMS, ROUNDS, WORKERS = 5000, 3, 2
GOAL = 2000.0


def run() -> Table:
    """All ways in turn; medians."""
    ways: dict[str, Callable[[Path], float]] = {
        "headway, recorded": _ours,
        "concurrent.futures": _futures,
        "joblib (loky), batched by itself": _joblib,
        "pebble": _pebble,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADWAY_MACHINE_DIR"] = f"{folder}/machine"
        try:
            for number in range(ROUNDS):
                for name, way in ways.items():
                    taken[name].append(way(Path(folder) / f"{number}"))
        finally:
            del os.environ["HEADWAY_MACHINE_DIR"]
    rates = {name: NUM_ITEMS / statistics.median(values) for name, values in taken.items()}
    ours = rates["headway, recorded"]
    rows = tuple((name, rate, rate / ours) for name, rate in rates.items())
    missed = (f"{ours:.0f} items a second, not {GOAL:.0f}",) if ours < GOAL else ()
    note = f"{NUM_ITEMS:,} items, {WORKERS} workers that are warm already; medians of {ROUNDS} rounds, in turn."
    return Table("Items that do nothing", ("way", "items a second", "against headway"), rows, note, missed)


def _ours(folder: Path) -> float:
    from headway.engines.engine import Task
    from headway.engines.local import LocalEngine
    from headway.testing.launches import drain, launch_of

    engine = LocalEngine(cpus=max(WORKERS, os.cpu_count() or 1))
    launch = launch_of(folder, "def same(i):\n    return i", function="same", mode="items", workers=WORKERS)
    try:
        pool = engine.pool(launch)
        pool.submit([Task(number=-1 - number, payload={"i": 0}) for number in range(4 * WORKERS)])
        drain(pool, 4 * WORKERS)
        began = time.perf_counter()
        pool.submit([Task(number=number, payload={"i": number}) for number in range(NUM_ITEMS)])
        news = drain(pool, NUM_ITEMS)
        seconds = time.perf_counter() - began
        pool.close(grace_s=5.0)
    finally:
        engine.close()
    assert {one.number: one.result for one in news} == {number: number for number in range(NUM_ITEMS)}
    records = [line for path in folder.glob("attempts/1/algo-*/tasks.jsonl") for line in path.open()]
    assert len(records) == NUM_ITEMS + 4 * WORKERS
    return seconds


def same(i: int) -> int:
    """The item of the peers."""
    return i


def _futures(_: Path) -> float:
    from concurrent.futures import ProcessPoolExecutor, as_completed

    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(same, range(WORKERS * 4)))
        began = time.perf_counter()
        done = [future.result() for future in as_completed([pool.submit(same, i) for i in range(NUM_ITEMS)])]
        seconds = time.perf_counter() - began
    assert len(done) == NUM_ITEMS
    return seconds


def _joblib(_: Path) -> float:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS) as parallel:
        parallel(delayed(same)(i) for i in range(WORKERS * 4))
        began = time.perf_counter()
        done: list[Any] = list(parallel(delayed(same)(i) for i in range(NUM_ITEMS)))
        seconds = time.perf_counter() - began
    assert len(done) == NUM_ITEMS
    return seconds


def _pebble(_: Path) -> float:
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as pool:
        for future in [pool.schedule(same, args=(i,)) for i in range(WORKERS * 4)]:
            future.result()
        began = time.perf_counter()
        done = [future.result() for future in [pool.schedule(same, args=(i,)) for i in range(NUM_ITEMS)]]
        seconds = time.perf_counter() - began
    assert len(done) == NUM_ITEMS
    return seconds
