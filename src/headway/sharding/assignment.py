"""Who takes which row: one shard number per row, by pure functions in a table.

In: the stable 64-bit hashes of the keys (`headway.manifests.hashing`) and the sizes of the files, as arrays.
Out: an array of shard numbers, which `headway.processing.plan` turns into parts. No input or output, no clock, no
randomness: the same rows give the same shards on every machine, in every order of listing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import NotFoundError
from headway.records import Record

Hashes = NDArray[np.uint64]
Shards = NDArray[np.int32]


class Rows(Record):
    """What an algorithm may know of the rows of a channel.

    Shapes:
        hashes, sizes: (n,).
    """

    hashes: Any
    sizes: Any


def by_key(hashes: Hashes, *, num_shards: int) -> Shards:
    """The shard of each row, decided by its key alone: `hash * num_shards >> 64`.

    Args:
        hashes: stable 64-bit hashes of the keys.
        num_shards: at least 1.

    Shapes:
        hashes: (n,) uint64; returned: (n,) int32 with 0 <= shard < num_shards.

    Guarantees: every row is in exactly one shard; the shard of a key does not depend on the other rows, so that a
    growing data set moves nothing. The numbers of rows differ as those of a throw of n dice; `even` has equal ones.
    """
    _check(num_shards)
    # The upper 32 bits decide: (h >> 32) * num_shards >> 32 stays within 64 bits for any num_shards below 2**32.
    upper = np.asarray(hashes, dtype=np.uint64) >> np.uint64(32)
    return ((upper * np.uint64(num_shards)) >> np.uint64(32)).astype(np.int32)


def even(hashes: Hashes, *, num_shards: int) -> Shards:
    """The shard of each row, dealt round by round in the order of the hashes: sizes differ by at most one row.

    Shapes:
        hashes: (n,) uint64; returned: (n,) int32.

    Guarantees: does not depend on the order of the rows (unless two hashes are equal); new rows may move old ones.
    """
    _check(num_shards)
    shards = np.empty(len(hashes), dtype=np.int32)
    shards[np.argsort(hashes, kind="stable")] = np.arange(len(hashes)) % num_shards
    return shards


def balanced(sizes: NDArray[np.int64], *, num_shards: int, hashes: Hashes | None = None) -> Shards:
    """The shard of each row such that the shards' bytes are as equal as the greedy rule makes them.

    Args:
        sizes: bytes of each row (any cost does).
        num_shards: at least 1.
        hashes: break ties between rows of one size, so that the order of the rows does not matter; None: by position.

    Shapes:
        sizes, hashes: (n,); returned: (n,) int32.

    Guarantees: the fullest shard holds at most 4/3 - 1/(3 * num_shards) of what the best division would.

    Source: R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969: longest first, each to the shard with
    the least so far (here the lowest number among equals).
    """
    _check(num_shards)
    sizes = np.asarray(sizes, dtype=np.int64)
    ties = np.arange(len(sizes), dtype=np.uint64) if hashes is None else np.asarray(hashes, dtype=np.uint64)
    longest_first = np.lexsort((ties, -sizes))
    loads = [(0, shard) for shard in range(num_shards)]
    taken: list[int] = []
    for size in sizes[longest_first].tolist():
        load, shard = loads[0]
        heapq.heapreplace(loads, (load + size, shard))
        taken.append(shard)
    shards = np.empty(len(sizes), dtype=np.int32)
    shards[longest_first] = taken
    return shards


ALGORITHMS: dict[str, Callable[[Rows, int], Shards]] = {
    "by_key": lambda rows, num_shards: by_key(rows.hashes, num_shards=num_shards),
    "even": lambda rows, num_shards: even(rows.hashes, num_shards=num_shards),
    "balanced": lambda rows, num_shards: balanced(rows.sizes, num_shards=num_shards, hashes=rows.hashes),
}
"""Name -> function of (rows, num_shards). To add one: a function here, or give the function itself to `assign`."""


def assign(
    rows: Rows, *, num_shards: int, algorithm: str | Callable[[Rows, int], Shards] = "by_key"
) -> NDArray[np.int32]:
    """The shard of each row by the algorithm of that name (or by the function given), checked to be exact.

    Shapes:
        returned: (n,) int32 with 0 <= shard < num_shards.

    Raises:
        NotFoundError: there is no algorithm of that name.
        ValueError: num_shards is below 1, or the function gave something else than one shard per row.
    """
    _check(num_shards)
    if isinstance(algorithm, str):
        if algorithm not in ALGORITHMS:
            raise NotFoundError("sharding algorithm", algorithm, ALGORITHMS)
        algorithm = ALGORITHMS[algorithm]
    shards = np.asarray(algorithm(rows, num_shards))
    expected = (len(rows.hashes),)
    if shards.shape != expected or shards.dtype.kind not in "iu":
        raise ValueError(
            f"a sharding algorithm must give one integer per row, shape {expected}; "
            f"{algorithm!r} gave shape {shards.shape} of {shards.dtype}"
        )
    if len(shards) and not 0 <= int(shards.min()) <= int(shards.max()) < num_shards:
        raise ValueError(
            f"a sharding algorithm must give numbers from 0 to {num_shards - 1}; "
            f"{algorithm!r} gave {int(shards.min())} to {int(shards.max())}"
        )
    return shards.astype(np.int32, copy=False)


def _check(num_shards: int) -> None:
    if num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, got {num_shards!r}")
