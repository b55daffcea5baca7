"""In which order samples are seen: pure functions of (seed, epoch, number of samples, batch size).

In: counts. Out: arrays of global sample indices. The order is defined on the global index and never depends on the
number of workers, so that a training may stop and go on with another number of ranks without seeing a sample twice.
`headway.processing.dataset` cuts batches by it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def order(n: int, *, seed: int, epoch: int = 0, shuffle: bool = True) -> NDArray[np.int64]:
    """The order in which the n samples of an epoch are seen: a permutation of 0 .. n-1.

    Args:
        n: number of samples over all ranks.
        seed: any integer; the lowest 64 bits count.
        epoch: counted from 0; every epoch has its own order.
        shuffle: False gives 0, 1, 2, ...

    Shapes:
        returned: (n,) int64.

    Guarantees: our own arithmetic (test vectors in `tests/sharding/test_order.py`), not a random generator of a
    library, so that the order of a seed stays the same for ever, on every machine.

    Source: sort by the mixing function of G. L. Steele et al., "Fast splittable pseudorandom number generators"
    (SplitMix64), 2014, of the index and the epoch's key. Equal values cannot occur: the function is a bijection.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, got {n!r}")
    if not shuffle:
        return np.arange(n, dtype=np.int64)
    key = _mix_one((_mix_one(seed & _MASK) + _GOLDEN * ((epoch & _MASK) + 1)) & _MASK)
    with np.errstate(over="ignore"):
        values = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(key)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        values ^= values >> np.uint64(31)
    return np.argsort(values).astype(np.int64, copy=False)


def rank_slice(n: int, *, rank: int, world_size: int) -> slice:
    """The part of n things that a rank takes: contiguous, and the ranks' lengths differ by at most one.

    Guarantees: over all ranks the slices are disjoint and their union is 0 .. n-1, in the order of ranks.
    """
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0 .. world_size - 1, got rank={rank!r}, world_size={world_size!r}")
    return slice(n * rank // world_size, n * (rank + 1) // world_size)


def batches(
    n: int,
    size: int,
    *,
    seed: int,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    start: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[NDArray[np.int64]]:
    """A rank's share of each global batch of an epoch, as global sample indices.

    Args:
        n: number of samples over all ranks.
        size: samples in one global batch, over all ranks together; each rank gets its slice of it.
        start: first batch to give, counted from 0: to go on inside an epoch, give the number of finished batches.
        drop_last: leave out a last batch that is not full.

    Shapes:
        each: (about size / world_size,) int64.

    Guarantees: batch b over all ranks is `order(n)[b * size:(b + 1) * size]`, whatever the world size; every rank
    gets the same number of batches (a share may be empty when the last batch has fewer samples than ranks).
    """
    if size < 1:
        raise ValueError(f"the size of a batch must be at least 1, got {size!r}")
    if start < 0:
        raise ValueError(f"start must not be negative, got {start!r}")
    rank_slice(size, rank=rank, world_size=world_size)  # wrong ranks are refused before the first batch
    return _cut(order(n, seed=seed, epoch=epoch, shuffle=shuffle), size, rank, world_size, start, drop_last)


def num_batches(n: int, size: int, *, drop_last: bool = False) -> int:
    """How many global batches an epoch has."""
    return n // size if drop_last else -(-n // size)


def _cut(
    indices: NDArray[np.int64], size: int, rank: int, world_size: int, start: int, drop_last: bool
) -> Iterator[NDArray[np.int64]]:
    for number in range(start, num_batches(len(indices), size, drop_last=drop_last)):
        batch = indices[number * size : (number + 1) * size]
        yield batch[rank_slice(len(batch), rank=rank, world_size=world_size)]


def _mix_one(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
