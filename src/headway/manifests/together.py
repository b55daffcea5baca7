"""Place units of several files (copies of one content, groups) where they fit best.

In: the files of new units. Out: the channel of each. Used by `headway.manifests.assign`, before the single files are
chosen (which then fill the quotas exactly) and once more after, for channels that are still below their minimum.
"""

from __future__ import annotations

from typing import final

import numpy as np

from headway.manifests.columns import Channels, Codes, Counts, Hashes
from headway.manifests.keyhash import priorities
from headway.manifests.split import Split

_NONE = -1


@final
class Groups:
    """Units of several files: for each unit the number of files per label, and the channel it is given."""

    def __init__(self, units: Hashes, codes: Codes, *, split: Split) -> None:
        self._names, self._inverse = np.unique(units, return_inverse=True)
        width = int(codes.max()) + 1
        pairs, sizes = np.unique(self._inverse * np.int64(width) + codes, return_counts=True)
        self._cells: list[list[tuple[int, int]]] = [[] for _ in self._names]
        self._having: dict[int, list[int]] = {}
        for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
            unit, label = divmod(pair, width)
            self._cells[unit].append((label, size))
            self._having.setdefault(label, []).append(unit)
        self._totals = np.bincount(self._inverse, minlength=len(self._names))
        self._order = priorities(self._names.copy(), seed=split.seed)
        self._chosen = np.full(len(self._names), _NONE, np.int8)
        self._floors = [split.at_least if share else 0 for share in split.shares()]
        self._open = [i for i, share in enumerate(split.shares()) if share]

    def channels(self) -> Channels:
        """The channel of each file."""
        return self._chosen[self._inverse]

    def place(self, room: Counts) -> None:
        """Place the units one by one, largest first.

        Args:
            room: per label and channel how many files are wanted there; may be below zero.
        """
        left = room.tolist()
        first = [[max(1, value) for value in row] for row in left]
        for unit in np.lexsort((self._order, -self._totals)).tolist():
            cells = self._cells[unit]
            best = min(self._open, key=lambda channel: _misfit(cells, left, first, channel))
            self._chosen[unit] = best
            for label, size in cells:
                left[label][best] -= size

    def lift(self, counts: Counts) -> bool:
        """Move the smallest units that help into channels below their minimum, never leaving another below its own.

        Args:
            counts: files per label and channel, all of them.

        Returns:
            Whether anything was moved.
        """
        have, moved = counts.tolist(), False
        short = [(label, channel) for label in range(len(have)) for channel in self._open]
        while short:
            label, channel = short[-1]
            unit = self._donor(have, label, channel) if have[label][channel] < self._floors[channel] else None
            if unit is None:
                short.pop()  # it has enough, or nothing can be done
                continue
            for its, size in self._cells[unit]:
                have[its][self._chosen[unit]] -= size
                have[its][channel] += size
            self._chosen[unit] = channel
            moved = True
        return moved

    def _donor(self, have: list[list[int]], label: int, channel: int) -> int | None:
        """The smallest unit with this label that another channel can spare, from the channel that has most to spare."""
        best: tuple[int, int, int] | None = None
        found = None
        for unit in self._having.get(label, ()):
            origin = int(self._chosen[unit])
            if origin == channel:
                continue
            spare = min(have[its][origin] - size - self._floors[origin] for its, size in self._cells[unit])
            key = (int(self._totals[unit]), -spare, int(self._order[unit]))
            if spare >= 0 and (best is None or key < best):
                best, found = key, unit
        return found


def _misfit(
    cells: list[tuple[int, int]], left: list[list[int]], first: list[list[int]], channel: int
) -> tuple[int, float, int]:
    """How badly a unit fits a channel: files too many, then how full the channel already is for these labels."""
    over = sum(max(0, size - max(0, left[label][channel])) for label, size in cells)
    room = sum(size * left[label][channel] / first[label][channel] for label, size in cells)
    return over, -room, channel
