"""Shuffled batches of 128 out of 20,000 processed samples (float32 3 x 32 x 32): `ChannelData.batches` over 40 parts of
500 rows, against one .npy file per sample, and the limit: fancy indexing into one memory map.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Table
from headway.processing.channel import ChannelData
from headway.processing.index import ChannelInfo, FieldInfo, PartInfo, ShardInfo

NUM, ROWS, BATCH, EPOCHS = 20_000, 500, 128, 4
SHAPE = (3, 32, 32)


def run() -> Table:
    """The fastest of the later epochs of each side, in processor seconds, taken in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _write(folder)
        sides: dict[str, Callable[[int], Iterator[Any]]] = {
            "headway: batches over 40 parts": lambda epoch: (x for x, _ in data.batches(BATCH, seed=1, epoch=epoch)),
            "one .npy file per sample": lambda epoch: _files(folder, epoch),
            "one memory map, fancy indexing (the limit)": _mapped(folder),
        }
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for epoch in range(EPOCHS):
            for side, batches in sides.items():
                started = time.process_time()
                seen = sum(len(batch) for batch in batches(epoch))
                taken[side].append(time.process_time() - started)
                assert seen == NUM
    best = {side: min(values[1:]) for side, values in taken.items()}
    limit = list(best.values())[-1]
    rows = tuple((side, NUM / value, limit / value) for side, value in best.items())
    note = f"The best of epochs 2 to {EPOCHS}, one process, one thread, page cache warm, in seconds of processor time."
    return Table("Feeding training", ("side", "samples/s", "of the limit"), rows, note)


def _write(folder: Path) -> ChannelData:
    generator = np.random.default_rng(0)
    parts = []
    whole = np.lib.format.open_memmap(folder / "whole.npy", mode="w+", dtype="<f4", shape=(NUM, *SHAPE))
    (folder / "samples").mkdir()
    for number in range(NUM // ROWS):
        values = generator.random((ROWS, *SHAPE), dtype=np.float32)
        whole[number * ROWS : (number + 1) * ROWS] = values
        np.save(folder / f"{number}.x.npy", values)
        np.save(folder / f"{number}.y.npy", np.zeros(ROWS, "<i8"))
        for row, sample in enumerate(values):
            np.save(folder / "samples" / f"{number * ROWS + row}.npy", sample)
        fields = {"x": _field("<f4", SHAPE), "y": _field("<i8", ())}
        parts.append(PartInfo(path=str(number), rows=ROWS, fields=fields))
    info = ChannelInfo(shards=(ShardInfo(parts=tuple(parts), rows=NUM),), rows=NUM)
    return ChannelData(folder, name="train", info=info, labels={}, fields=parts[0].fields)


def _field(dtype: str, shape: tuple[int, ...]) -> FieldInfo:
    return FieldInfo(dtype=dtype, shape=shape, digest="")


def _mapped(folder: Path) -> Callable[[int], Iterator[Any]]:
    whole = np.load(folder / "whole.npy", mmap_mode="r")

    def batches(epoch: int) -> Iterator[Any]:
        rows = np.random.default_rng(epoch).permutation(NUM)
        return (whole[rows[first : first + BATCH]] for first in range(0, NUM, BATCH))

    return batches


def _files(folder: Path, epoch: int) -> Iterator[Any]:
    rows = np.random.default_rng(epoch).permutation(NUM).tolist()
    for first in range(0, NUM, BATCH):
        yield np.stack([np.load(folder / "samples" / f"{row}.npy") for row in rows[first : first + BATCH]])
