"""Plans cover the manifest exactly, for every number of shards and every size of parts."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.manifests.table import SCHEMA
from headway.processing.listing import read_rows, write_listings
from headway.processing.plan import plan

CHANNELS = ("train", "validation", "test")


def table_of(channels, *, seed=0):
    """A manifest's table with one row per entry of `channels` (None: a file in no channel)."""
    rows = [
        {"key": f"c/{i:05d}", "channel": channel, "size_bytes": (i * 7919 + seed) % 1000, "digest": "", "mtime_ns": 0}
        | {"inode": 0, "status": "ok" if channel else "unreadable"}
        | ({"label": "c", "code": 0, "unit": 1} if channel else {})
        for i, channel in enumerate(channels)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


ROWS = st.lists(st.sampled_from([*CHANNELS, None]), max_size=150)


@given(
    channels=ROWS,
    num_shards=st.integers(1, 9),
    part_rows=st.integers(1, 60),
    algorithm=st.sampled_from(["by_key", "even", "balanced"]),
)
def test_each_row_is_in_one_part_of_its_channel(channels, num_shards, part_rows, algorithm):
    planned = plan(table_of(channels), num_shards=num_shards, part_rows=part_rows, algorithm=algorithm)
    seen = {name: [] for name in CHANNELS}
    for part in planned.parts():
        assert 0 < part.stop - part.start <= part_rows
        seen[part.channel] += planned.rows(part.channel, part.shard)[part.start : part.stop].tolist()
    for name in CHANNELS:
        assert sorted(seen[name]) == [i for i, c in enumerate(channels) if c == name]
    assert planned.num_rows == sum(c is not None for c in channels)
    assert planned.channels == dict.fromkeys(CHANNELS, num_shards)


@settings(max_examples=40)
@given(channels=st.lists(st.sampled_from(CHANNELS), max_size=80), seed=st.integers(0, 99))
def test_the_order_of_the_table_does_not_matter(channels, seed):
    table = table_of(channels)
    mixed = table.take(np.random.default_rng(seed).permutation(len(table)))
    one, other = plan(table, num_shards=3), plan(mixed, num_shards=3)
    for name in CHANNELS:
        for shard in range(3):
            assert (
                table["key"].take(one.rows(name, shard)).to_pylist()
                == mixed["key"].take(other.rows(name, shard)).to_pylist()
            )


def test_shards_follow_the_ranks_of_the_training():
    table = table_of(["train"] * 10)
    assert plan(table, ranks=4).num_shards == 4
    assert plan(table).num_shards == 1
    assert plan(table, ranks=4, num_shards=2).num_shards == 2


def test_parts_of_a_shard_are_alike():
    planned = plan(table_of(["train"] * 501), part_rows=500)
    assert [part.stop - part.start for part in planned.parts()] == [250, 251]


def test_fewer_files_than_shards_leave_shards_empty():
    planned = plan(table_of(["train", "train", "test"]), num_shards=5, algorithm="even")
    assert sum(len(planned.rows("train", shard)) for shard in range(5)) == 2
    assert len(planned.parts()) == 3
    assert planned.channels == dict.fromkeys(CHANNELS, 5)


@pytest.mark.parametrize("wrong", [{"num_shards": 0}, {"part_rows": 0}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        plan(table_of(["train"]), **wrong)


@settings(max_examples=20)
@given(channels=ROWS, num_shards=st.integers(1, 4), part_rows=st.integers(1, 30))
def test_workers_read_back_exactly_what_was_planned(tmp_path_factory, channels, num_shards, part_rows):
    folder = tmp_path_factory.mktemp("plan")
    table = table_of(channels)
    planned = plan(table, num_shards=num_shards, part_rows=part_rows)
    payloads = write_listings(planned, table, folder=folder / "l", root="/data", dataset=folder / "d", attempt=1)
    seen = []
    for payload in payloads:
        rows = read_rows(payload)
        assert len(rows) == payload["rows"]
        seen += [(payload["channel"], row.key, row.size_bytes, row.code) for row in rows]
    keys, sizes = table["key"].to_pylist(), table["size_bytes"].to_pylist()
    assert sorted(seen) == sorted((c, k, s, 0) for c, k, s in zip(channels, keys, sizes, strict=True) if c)


def test_strange_names_travel_unharmed(tmp_path):
    names = ["a b.png", 'quote".png', "comma,.png", "new\nline.png", "Füße/日本.png", "tab\t.png", "back\\slash.png"]
    table = table_of(["train"] * len(names)).set_column(0, SCHEMA.field("key"), pa.array(names, pa.large_string()))
    planned = plan(table, part_rows=2)
    payloads = write_listings(planned, table, folder=tmp_path, root="/data", dataset=tmp_path, attempt=1)
    assert sorted(row.key for payload in payloads for row in read_rows(payload)) == sorted(names)
