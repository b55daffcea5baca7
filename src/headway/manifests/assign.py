"""Which channel each file goes to: exact quotas by selection on a stable hash, units never torn apart.

In: for each file a unit (files of one unit stay together), a label code, and the channel it already has (or -1).
Out: the channel of each file. Nothing depends on the order of the files, nor, for a class whose units are its own, on
the files of other classes. Before: `headway.manifests.inherit`; next: `headway.manifests.write`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headway.manifests.columns import Channels, Codes, Counts, Hashes, repeated
from headway.manifests.keyhash import priorities
from headway.manifests.quotas import quota, share_out
from headway.manifests.split import CHANNELS, Split
from headway.manifests.together import Groups

_NONE = -1


def assign(units: Hashes, codes: Codes, known: Channels, *, split: Split, num_labels: int) -> Channels:
    """The channel of each file.

    Args:
        units: files with equal values stay together.
        codes: label of each file, 0 to `num_labels - 1`.
        known: channel that the unit already has, -1 for a new unit; equal for all files of a unit.
        split: shares, minimum, seed.
        num_labels: number of label codes in use.

    Returns:
        Channel codes (`headway.manifests.split.CHANNELS`).

    Guarantees:
        Known units keep their channel. Per label, the new units that are single files of one class are chosen so that
        the counts are exactly `headway.manifests.quotas.quota` if the known ones allow it; larger units are placed
        first, largest first, where they overshoot least. The choice depends on values only, never on their order.
    """
    targets = class_targets(codes, split=split, num_labels=num_labels)
    channels = known.copy()
    have = count(codes, channels, num_labels=num_labels)
    new = np.flatnonzero(known == _NONE)
    if not len(new):
        return channels
    singles, rows = _singles_and_groups(units[new])
    groups = Groups(units[new[rows]], codes[new[rows]], split=split) if len(rows) else None
    if groups is not None:
        groups.place(targets - have)
        channels[new[rows]] = groups.channels()
        have = count(codes, channels, num_labels=num_labels)
    _select_singles(new[singles], units, codes, channels, targets, have, split=split)
    if groups is not None and groups.lift(count(codes, channels, num_labels=num_labels)):
        channels[new[rows]] = groups.channels()
    return channels


def class_targets(codes: Codes, *, split: Split, num_labels: int) -> Counts:
    """The quota of each class (rows) in each channel (columns)."""
    shares = split.shares()
    totals = np.bincount(codes, minlength=num_labels)
    rows = [quota(int(total), shares, at_least=split.at_least) for total in totals]
    return np.array(rows, np.int64).reshape(num_labels, len(CHANNELS))


def count(codes: Codes, channels: Channels, *, num_labels: int, weights: npt.NDArray[np.int64] | None = None) -> Counts:
    """Number of files (or sum of the weights) of each class in each channel; files without a channel count nowhere."""
    placed = channels != _NONE
    if not placed.all():
        codes, channels = codes[placed], channels[placed]
        weights = weights[placed] if weights is not None else None
    cells = codes.astype(np.int64) * len(CHANNELS) + channels
    if weights is None:
        table = np.bincount(cells, minlength=num_labels * len(CHANNELS))
    else:
        table = np.zeros(num_labels * len(CHANNELS), np.int64)  # bincount would sum as floats
        np.add.at(table, cells, weights)
    return table.reshape(num_labels, len(CHANNELS)).astype(np.int64)


def _singles_and_groups(units: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose unit is theirs alone, and the others."""
    twice = repeated(units)
    if not len(twice):
        return np.arange(len(units)), np.zeros(0, np.int64)
    together = np.isin(units, twice)
    return np.flatnonzero(~together), np.flatnonzero(together)


def _select_singles(
    rows: npt.NDArray[np.int64],
    units: Hashes,
    codes: Codes,
    channels: Channels,
    targets: Counts,
    have: Counts,
    *,
    split: Split,
) -> None:
    """Per class: the units with the smallest priorities go to test, the next to validation, the rest to train."""
    order = priorities(units[rows], seed=split.seed)
    classes = codes[rows]
    by_class = np.argsort(classes.astype(np.uint16 if len(targets) < 2**16 else np.int32), kind="stable")
    sizes = np.bincount(classes, minlength=len(targets))
    ends = np.cumsum(sizes)
    floors = [split.at_least if share else 0 for share in split.shares()]
    for label in np.flatnonzero(sizes):
        members = by_class[ends[label] - sizes[label] : ends[label]]
        given = share_out(len(members), targets=targets[label].tolist(), have=have[label].tolist(), floors=floors)
        channels[rows[members]] = _by_selection(order[members], given)


def _by_selection(order: Hashes, given: list[int]) -> Channels:
    """Channel of each member: selection in linear time; priorities of different units always differ."""
    chosen = np.zeros(len(order), np.int8)
    bounds = [given[2], given[2] + given[1]]  # after the last one of test; after the last one of validation
    inside = [bound for bound in bounds if 0 < bound < len(order)]
    ranked = np.partition(order, inside) if inside else order
    for channel, bound in ((1, bounds[1]), (2, bounds[0])):
        if bound >= len(order):
            chosen[:] = channel
        elif bound > 0:
            chosen[order < ranked[bound]] = channel
    return chosen
