"""Shards are exact: every row in one, the same whatever the order, balanced as promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headway.errors import NotFoundError
from headway.sharding.assignment import ALGORITHMS, Rows, assign, balanced, by_key, even

HASHES = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=200).map(lambda values: np.array(values, np.uint64))
SHARDS = st.integers(1, 17)


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    hashes = draw(HASHES)
    sizes = draw(arrays(np.int64, len(hashes), elements=st.integers(0, 10**12)))
    return Rows(hashes=hashes, sizes=sizes)


@given(rows=rows(), num_shards=SHARDS, name=st.sampled_from(sorted(ALGORITHMS)))
def test_every_row_is_in_exactly_one_shard(rows, num_shards, name):
    shards = assign(rows, num_shards=num_shards, algorithm=name)
    assert shards.shape == rows.hashes.shape
    assert shards.dtype == np.int32
    assert ((shards >= 0) & (shards < num_shards)).all()
    parts = [np.flatnonzero(shards == shard) for shard in range(num_shards)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows.hashes)))


@given(rows=rows(), num_shards=SHARDS, name=st.sampled_from(sorted(ALGORITHMS)), seed=st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(rows, num_shards, name, seed):
    mixed = np.random.default_rng(seed).permutation(len(rows.hashes))
    there = assign(rows, num_shards=num_shards, algorithm=name)
    here = assign(Rows(hashes=rows.hashes[mixed], sizes=rows.sizes[mixed]), num_shards=num_shards, algorithm=name)
    assert here.tolist() == there[mixed].tolist()


@given(hashes=HASHES, more=HASHES, num_shards=SHARDS)
def test_growing_data_move_no_key(hashes, more, num_shards):
    alone = by_key(hashes, num_shards=num_shards)
    assert by_key(np.concatenate([hashes, more]), num_shards=num_shards)[: len(hashes)].tolist() == alone.tolist()


@given(hashes=HASHES, num_shards=SHARDS)
def test_even_shards_differ_by_one_row(hashes, num_shards):
    counts = np.bincount(even(hashes, num_shards=num_shards), minlength=num_shards)
    assert counts.max() - counts.min() <= 1


@given(sizes=arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 10**9)), num_shards=SHARDS)
def test_balanced_gives_each_row_to_the_emptiest_shard(sizes, num_shards):
    shards = balanced(sizes, num_shards=num_shards)
    loads = np.zeros(num_shards, np.int64)
    np.add.at(loads, shards, sizes)
    for shard in range(num_shards):
        mine = sizes[shards == shard]
        if len(mine):  # its smallest row came last, when no other shard had less
            assert loads[shard] - mine.min() <= loads.min()


def test_balanced_finds_the_known_division():
    sizes = np.array([7, 6, 5, 4, 3, 2, 1])
    shards = balanced(sizes, num_shards=2)
    assert [int(sizes[shards == shard].sum()) for shard in range(2)] == [14, 14]


def test_by_key_spreads_a_million_keys():
    hashes = np.arange(1, 1_000_001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    counts = np.bincount(by_key(hashes, num_shards=64), minlength=64)
    assert counts.sum() == 1_000_000
    assert abs(counts - 1_000_000 / 64).max() < 6 * np.sqrt(1_000_000 / 64)


def test_by_key_is_the_same_for_ever():
    from headway.manifests.keyhash import hash64

    keys = ["cat/1.png", "dog/2.png", "Füße/日本.png", "a", ""]
    assert by_key(np.array([hash64(key) for key in keys], np.uint64), num_shards=10).tolist() == [8, 0, 8, 5, 6]


def test_an_unknown_algorithm_lists_the_known_ones():
    with pytest.raises(NotFoundError, match=r"did you mean 'balanced'"):
        assign(Rows(hashes=np.zeros(0, np.uint64), sizes=np.zeros(0, np.int64)), num_shards=2, algorithm="balance")


@pytest.mark.parametrize(
    "wrong", [lambda rows, n: rows.hashes[:1], lambda rows, n: rows.sizes + n, lambda rows, n: None]
)
def test_a_function_that_gives_no_shards_is_refused(wrong):
    rows = Rows(hashes=np.arange(3, dtype=np.uint64), sizes=np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="sharding algorithm"):
        assign(rows, num_shards=2, algorithm=wrong)


@pytest.mark.parametrize("num_shards", [0, -1])
def test_there_is_at_least_one_shard(num_shards):
    with pytest.raises(ValueError, match="at least 1"):
        by_key(np.zeros(1, np.uint64), num_shards=num_shards)
