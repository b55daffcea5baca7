"""P6 at a million keys: union, disjoint, exact, stable under growth, independent of the order of the listing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.manifests.assign import class_targets, count
from headway.manifests.build import build
from headway.manifests.columns import channel_codes, numbers, without_nulls
from headway.manifests.split import Split
from headway.stores.files import Files
from headway.stores.ledger import Ledger

NUM_KEYS, NUM_CLASSES = 1_000_000, 200


def write(path: Path, keys: list[str], order: Any) -> Path:
    """An inventory; one file in fifty is a copy of another of its class."""
    etags = [f"{i - 1 if i % 50 == 1 and keys[i - 1][:10] == key[:10] else i:016x}" for i, key in enumerate(keys)]
    table = pa.table({"key": keys, "size": [7] * len(keys), "etag": etags})
    pq.write_table(table if order is None else table.take(pa.array(order)), path)
    return path


@pytest.mark.slow
def test_a_million_keys(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    classes = np.sort((random.pareto(1.0, NUM_KEYS) * 10).astype(np.int64) % NUM_CLASSES)
    keys = [f"class_{label:03d}/{i:07d}.jpg" for i, label in enumerate(classes.tolist())]
    small = [key for i, key in enumerate(keys) if i < NUM_KEYS // 2]
    files, split = Files(tmp_path), Split(at_least=0)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        first = build(files, ledger, "a", write(tmp_path / "half.parquet", small, None), split=split)
        whole = build(files, ledger, "a", write(tmp_path / "whole.parquet", keys, None), split=split)
        shuffled = write(tmp_path / "shuffled.parquet", keys, random.permutation(NUM_KEYS))
        one = build(files, ledger, "b", tmp_path / "whole.parquet", split=split)
        other = build(files, ledger, "c", shuffled, split=split)
        assert one.digest == other.digest
        for manifest in (whole, one):
            table = manifest.table(files)
            channels = channel_codes(table["channel"])
            assert len(table) == NUM_KEYS
            assert (channels >= 0).all()
            assert table["key"].to_pylist() == keys
            codes = numbers(without_nulls(table["code"], -1))
            labels = len(manifest.labels)
            wanted = class_targets(codes, split=split, num_labels=labels)
            off = count(codes, channels, num_labels=labels) - wanted
            assert abs(off).max() <= (1 if manifest is one else 2)
            contents: dict[str, int] = {}
            for digest, channel in zip(table["digest"].to_pylist(), channels.tolist(), strict=True):
                assert contents.setdefault(digest, channel) == channel
        before, after = first.table(files), whole.table(files)
        assert (channel_codes(before["channel"]) == channel_codes(after["channel"])[: len(small)]).all()
