"""The order of samples is one permutation per seed and epoch, whatever the number of ranks."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.sharding.order import batches, num_batches, order, rank_slice

# Written down once; they must never change: a training that is gone on with in a year sees the same order.
VECTORS = {
    (10, 0, 0): [5, 7, 8, 2, 9, 0, 3, 1, 6, 4],
    (10, 0, 1): [3, 1, 9, 7, 0, 6, 4, 5, 8, 2],
    (10, 42, 0): [5, 0, 7, 3, 8, 9, 4, 1, 2, 6],
}


@pytest.mark.parametrize(("case", "expected"), VECTORS.items())
def test_vectors(case, expected):
    n, seed, epoch = case
    assert order(n, seed=seed, epoch=epoch).tolist() == expected


def test_the_same_in_another_process():
    code = "from headway.sharding.order import order; print(order(10, seed=42).tolist())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(VECTORS[10, 42, 0])


@given(n=st.integers(0, 3000), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 10**6))
def test_a_permutation(n, seed, epoch):
    assert sorted(order(n, seed=seed, epoch=epoch).tolist()) == list(range(n))


def test_seeds_and_epochs_differ():
    seen = {tuple(order(50, seed=seed, epoch=epoch).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(seen) == 400


def test_every_place_is_as_likely():
    places = np.array([order(8, seed=seed)[0] for seed in range(8000)])
    counts = np.bincount(places, minlength=8)
    assert abs(counts - 1000).max() < 6 * np.sqrt(1000)


@given(n=st.integers(0, 1000), world_size=st.integers(1, 40))
def test_ranks_share_without_gap_or_overlap(n, world_size):
    slices = [rank_slice(n, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(n))
    lengths = [s.stop - s.start for s in slices]
    assert max(lengths) - min(lengths) <= 1


@given(
    n=st.integers(0, 400),
    size=st.integers(1, 64),
    world_size=st.integers(1, 9),
    seed=st.integers(0, 99),
    drop_last=st.booleans(),
)
def test_the_global_batches_do_not_depend_on_the_world_size(n, size, world_size, seed, drop_last):
    alone = [batch.tolist() for batch in batches(n, size, seed=seed, drop_last=drop_last)]
    ranks = [
        [batch.tolist() for batch in batches(n, size, seed=seed, rank=rank, world_size=world_size, drop_last=drop_last)]
        for rank in range(world_size)
    ]
    assert {len(found) for found in ranks} == {num_batches(n, size, drop_last=drop_last)}
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == alone
    seen = [row for batch in alone for row in batch]
    assert len(seen) == len(set(seen)) == (n // size * size if drop_last else n)


@given(
    n=st.integers(1, 300), size=st.integers(1, 20), before=st.integers(1, 5), after=st.integers(1, 5), data=st.data()
)
def test_going_on_inside_an_epoch_with_other_ranks_repeats_and_loses_nothing(n, size, before, after, data):
    done = data.draw(st.integers(0, num_batches(n, size)))
    seen: list[int] = []
    for rank in range(before):
        for number, batch in enumerate(batches(n, size, seed=1, epoch=3, rank=rank, world_size=before)):
            if number < done:
                seen += batch.tolist()
    for rank in range(after):
        for batch in batches(n, size, seed=1, epoch=3, rank=rank, world_size=after, start=done):
            seen += batch.tolist()
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"start": -1}, {"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 0}],
)
def test_wrong_arguments_are_refused_before_the_first_batch(wrong):
    settings = {"size": 4, **wrong}
    with pytest.raises(ValueError):
        batches(10, settings.pop("size"), seed=0, **settings)
