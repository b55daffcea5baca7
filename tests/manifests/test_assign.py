"""P6: splits are exact. Every property over random classes, units and histories."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headway.manifests.assign import assign, class_targets, count
from headway.manifests.columns import texts
from headway.manifests.keyhash import hash_column
from headway.manifests.split import Split

SPLITS = st.builds(
    Split,
    validation=st.sampled_from([0.0, 0.1, 0.25]),
    test=st.sampled_from([0.0, 0.1, 0.33]),
    at_least=st.integers(0, 3),
    seed=st.integers(0, 3),
)
CLASSES = st.lists(st.integers(0, 40), min_size=1, max_size=6)


def units_and_codes(sizes: list[int]) -> tuple[Any, Any]:
    keys = [f"class {c}/{i}" for c, size in enumerate(sizes) for i in range(size)]
    codes = np.array([c for c, size in enumerate(sizes) for _ in range(size)], np.int32)
    return hash_column(texts(keys)), codes


def new(units: Any) -> Any:
    return np.full(len(units), -1, np.int8)


@given(CLASSES, SPLITS)
def test_single_files_meet_their_quotas_exactly(sizes: list[int], split: Split) -> None:
    units, codes = units_and_codes(sizes)
    channels = assign(units, codes, new(units), split=split, num_labels=len(sizes))
    assert ((channels >= 0) & (channels <= 2)).all()  # every file in exactly one channel
    counts = count(codes, channels, num_labels=len(sizes))
    assert (counts == class_targets(codes, split=split, num_labels=len(sizes))).all()


@given(CLASSES, SPLITS, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(sizes: list[int], split: Split, random: Any) -> None:
    units, codes = units_and_codes(sizes)
    order = np.array(random.sample(range(len(units)), len(units)), np.int64)
    one = assign(units, codes, new(units), split=split, num_labels=len(sizes))
    other = assign(units[order], codes[order], new(units), split=split, num_labels=len(sizes))
    assert (one[order] == other).all()


@given(CLASSES, SPLITS, st.integers(0, 40))
def test_other_classes_do_not_matter(sizes: list[int], split: Split, more: int) -> None:
    units, codes = units_and_codes(sizes)
    alone = assign(units, codes, new(units), split=split, num_labels=len(sizes))
    units, codes = units_and_codes([*sizes, more])
    beside = assign(units, codes, new(units), split=split, num_labels=len(sizes) + 1)
    assert (beside[: len(alone)] == alone).all()


@given(CLASSES, CLASSES, SPLITS, SPLITS)
def test_nothing_moves_when_data_grow_and_short_classes_are_topped_up(
    sizes: list[int], added: list[int], first: Split, later: Split
) -> None:
    units, codes = units_and_codes(sizes)
    before = assign(units, codes, new(units), split=first, num_labels=len(sizes))
    grown = [size + (added[c] if c < len(added) else 0) for c, size in enumerate(sizes)]
    units, codes = units_and_codes(grown)
    old = (
        np.concatenate([np.arange(grown[c]) < sizes[c] for c in range(len(sizes))]) if len(units) else np.zeros(0, bool)
    )
    known = new(units)
    known[old] = before
    after = assign(units, codes, known, split=later, num_labels=len(sizes))
    assert (after[old] == before).all()
    assert (after >= 0).all()
    targets = class_targets(codes, split=later, num_labels=len(sizes))
    had = count(codes[old], before, num_labels=len(sizes))
    counts = count(codes, after, num_labels=len(sizes))
    fits = (had <= targets).all(axis=1)
    assert (counts[fits] == targets[fits]).all()
    assert (counts <= np.maximum(targets, had)).all()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=120),
    SPLITS,
    st.randoms(use_true_random=False),
)
def test_units_are_never_torn_apart(rows: list[tuple[int, int]], split: Split, random: Any) -> None:
    units = hash_column(texts(f"unit {u}" for u, _ in rows))
    codes = np.array([c for _, c in rows], np.int32)
    channels = assign(units, codes, new(units), split=split, num_labels=3)
    for unit in np.unique(units):
        assert len(set(channels[units == unit].tolist())) == 1
    order = np.array(random.sample(range(len(rows)), len(rows)), np.int64)
    again = assign(units[order], codes[order], new(units), split=split, num_labels=3)
    assert (channels[order] == again).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), SPLITS)
def test_groups_come_as_near_as_the_largest_of_them(sizes: list[int], split: Split) -> None:
    units = np.concatenate([np.repeat(hash_column(texts([f"g{i}"])), size) for i, size in enumerate(sizes)])
    codes = np.zeros(len(units), np.int32)
    channels = assign(units, codes, new(units), split=split, num_labels=1)
    off = count(codes, channels, num_labels=1) - class_targets(codes, split=split, num_labels=1)
    assert abs(off).max() <= max(sizes)


def test_copies_do_not_gather_in_train() -> None:
    units = np.concatenate([np.repeat(hash_column(texts([f"pair {i}"])), 2) for i in range(1000)])
    channels = assign(units, np.zeros(2000, np.int32), new(units), split=Split(), num_labels=1)
    assert np.bincount(channels).tolist() == [1600, 200, 200]
