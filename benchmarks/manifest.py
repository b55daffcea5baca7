"""The manifest of 1,000,000 keys against the usual pandas script: at most its time and half its memory.

Both begin with a Parquet inventory (key, size, etag; 200 skewed classes) and end with three S3 manifest files and a
Parquet table with label, code and channel. The script splits by scikit-learn's `train_test_split`; Headway besides
keeps copies together, digests every row, writes a report and publishes through the commit protocol and the ledger.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import Table

NUM_KEYS = 1_000_000
NUM_CLASSES = 200
TIMES = 5
TIME_GOAL, MEMORY_GOAL = 1.0, 0.5


def run() -> Table:
    """Both in fresh processes, in turn; medians."""
    found: dict[str, list[dict[str, float]]] = {"pandas": [], "headway": []}
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / "inventory.parquet"
        write_inventory(inventory, NUM_KEYS)
        for number in range(TIMES):
            for name, taken in found.items():
                taken.append(_measure(name, inventory, Path(folder) / f"{name}-{number}"))
    seconds = {name: statistics.median(run["seconds"] for run in taken) for name, taken in found.items()}
    memory = {name: statistics.median(run["peak_bytes"] for run in taken) for name, taken in found.items()}
    rows = [
        (
            name,
            seconds[name],
            memory[name] / 2**20,
            seconds[name] / seconds["pandas"],
            memory[name] / memory["pandas"],
        )
        for name in found
    ]
    missed = []
    if seconds["headway"] > TIME_GOAL * seconds["pandas"]:
        missed.append(f"it takes {rows[1][3]:.2f} times as long as the pandas script, not at most {TIME_GOAL}")
    if memory["headway"] > MEMORY_GOAL * memory["pandas"]:
        missed.append(f"it takes {rows[1][4]:.2f} of the pandas script's memory, not at most {MEMORY_GOAL}")
    columns = ("way", "seconds", "peak memory (MiB)", "time against pandas", "memory against pandas")
    note = f"{NUM_KEYS:,} keys; medians of {TIMES} fresh processes each, in turn; seconds without imports."
    return Table("A manifest from an inventory", columns, tuple(rows), note, tuple(missed))


def write_inventory(path: Path, num_keys: int) -> None:
    """Keys in the order in which every listing gives them, sizes, random etags."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(7)
    weights = 1 / np.arange(1, NUM_CLASSES + 1)
    classes = np.sort(random.choice(NUM_CLASSES, num_keys, p=weights / weights.sum()))
    keys = [f"class_{label:03d}/img_{number:08d}.jpg" for number, label in enumerate(classes.tolist())]
    raw = random.bytes(16 * num_keys).hex()
    etags = [raw[32 * i : 32 * i + 32] for i in range(num_keys)]
    sizes = random.integers(1000, 100_000, num_keys)
    pq.write_table(pa.table({"key": keys, "size": sizes, "etag": etags}), path)


def _measure(name: str, inventory: Path, out: Path) -> dict[str, float]:
    out.mkdir()
    command = [sys.executable, "-m", "benchmarks.manifest", name, str(inventory), str(out)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _pandas(inventory: Path, out: Path) -> Callable[[], Any]:
    import pandas as pd
    from sklearn.model_selection import train_test_split

    def work() -> None:
        frame = pd.read_parquet(inventory)
        frame["label"] = frame["key"].str.split("/").str[0]
        frame["code"] = frame["label"].astype("category").cat.codes
        train, rest = train_test_split(frame, test_size=0.2, stratify=frame["label"], random_state=0)
        validation, test = train_test_split(rest, test_size=0.5, stratify=rest["label"], random_state=0)
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            frame.loc[part.index, "channel"] = name
            with open(out / f"{name}.manifest", "w") as file:
                json.dump([{"prefix": "s3://bucket/"}, *part["key"].tolist()], file)
        frame.to_parquet(out / "table.parquet")

    return work


def _headway(inventory: Path, out: Path) -> Callable[[], Any]:
    from headway.manifests.build import build
    from headway.stores.files import Files
    from headway.stores.ledger import Ledger

    def work() -> None:
        with Ledger.open(out / "ledger.sqlite") as ledger:
            build(Files(out), ledger, "photos", inventory)

    return work


def _main() -> None:
    name, inventory, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    work = {"pandas": _pandas, "headway": _headway}[name](inventory, out)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    # the kernel's mark of this process image; getrusage would count the parent's memory before exec
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak_bytes": int(peak.split()[1]) * 1024}))


if __name__ == "__main__":
    _main()
