"""How many files of a class each channel gets: pure arithmetic on whole numbers.

In: numbers of files and exact shares. Out: quotas whose sum is the number of files. Next: `headway.manifests.assign`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def quota(num_files: int, shares: Sequence[Fraction], *, at_least: int = 0) -> list[int]:
    """The number of files for each channel by the largest remainder, then filled up to the minimum.

    Args:
        num_files: of one class.
        shares: one per channel, their sum is 1. Of equal remainders the channel with the larger share wins, then the
            earlier one.
        at_least: minimum for each channel that has a share. It is taken, file by file, from the channel that stands
            most above its share; where there are too few files for all channels, the earlier channels go first.

    Returns:
        One number per channel; their sum is `num_files`.
    """
    exact = [num_files * share for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], -shares[i], i))
    for i in by_remainder[: num_files - sum(counts)]:
        counts[i] += 1
    floors = _floors(num_files, shares, at_least)
    for i, floor in enumerate(floors):
        while counts[i] < floor:
            donor = max(
                (j for j in range(len(counts)) if counts[j] > floors[j]), key=lambda j: (counts[j] - exact[j], -j)
            )
            step = max(1, min(floor - counts[i], counts[donor] - max(floors[donor], int(exact[donor]))))
            step = min(step, counts[donor] - floors[donor])
            counts[donor] -= step
            counts[i] += step
    return counts


def _floors(num_files: int, shares: Sequence[Fraction], at_least: int) -> list[int]:
    floors, left = [], num_files
    for share in shares:
        floors.append(min(at_least, left) if share else 0)
        left -= floors[-1]
    return floors


def share_out(num_new: int, *, targets: Sequence[int], have: Sequence[int], floors: Sequence[int]) -> list[int]:
    """How many of `num_new` files each channel gets when it already has some that cannot be taken away.

    Channels below their minimum come first, then those furthest below their target, in proportion to what they lack.
    """
    given = [0] * len(targets)

    def fill(wanted: list[int]) -> None:
        left = num_new - sum(given)
        total = sum(wanted)
        parts = wanted if total <= left else quota(left, [Fraction(w, total) for w in wanted])
        for i, part in enumerate(parts):
            given[i] += part

    fill([max(0, min(target, floor) - has) for target, has, floor in zip(targets, have, floors, strict=True)])
    fill([max(0, t - h - g) for t, h, g in zip(targets, have, given, strict=True)])
    return given
