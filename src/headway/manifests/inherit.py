"""What must stay together, and what the versions before have placed already.

In: keys, contents and groups of the files of now, and the table of the parent (with what was removed since).
Out: `Units`: one value per file for everything that must lie in one channel, the channel that it already has, and the
files that no channel can take without a leak. Next: `headway.manifests.assign`.

A file that was placed once keeps its channel: by its key, by its content (a renamed file, a copy) and by its group,
also when it was removed in between. Where these disagree (a test file overwritten with the content of a training file)
the file is set aside as `conflict` and reported; nothing ever moves.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import pyarrow as pa

from headway.errors import ManifestError
from headway.manifests.columns import Bools, Channels, Hashes, channel_codes, lookup, repeated, take, texts
from headway.manifests.keyhash import hash_column
from headway.manifests.rules import Rule
from headway.manifests.split import CHANNELS

_NONE = np.int8(-1)


@final
class Units:
    """One entry per file that is to be placed.

    Args:
        own: the file's unit: the hash of its content, its key or its group.
        joined: units that share a content are joined; files with one value must lie in one channel.
        known: the channel that it already has, -1 for none.
        conflict: no channel can take this file; the others then hold for the rest.
    """

    def __init__(self, *, own: Hashes, joined: Hashes, known: Channels, conflict: Bools) -> None:
        self.own, self.joined, self.known, self.conflict = own, joined, known, conflict


@final
class Placed:
    """What the versions before have placed: their files that have a channel, newest last."""

    def __init__(self, *, keys: Any, contents: Hashes, channels: Channels) -> None:
        self.keys, self.key_hashes = keys, hash_column(keys)
        self.contents, self.channels = contents, channels

    @staticmethod
    def of(tables: list[Any]) -> Placed:
        """From tables with `key`, `digest` and `channel`; later tables win."""
        keys, contents, channels = [], [], []
        for table in tables:
            column = channel_codes(table["channel"])
            rows = np.flatnonzero(column >= 0)
            keys.append(take(texts(table["key"]), rows))
            contents.append(hash_contents(take(texts(table["digest"]), rows)))
            channels.append(column[rows])
        return Placed(
            keys=pa.concat_arrays(keys) if keys else texts([]),
            contents=np.concatenate(contents) if contents else np.zeros(0, np.uint64),
            channels=np.concatenate(channels) if channels else np.zeros(0, np.int8),
        )


def hash_contents(digests: Any) -> Hashes:
    """The hash of each digest; 0 where none is known (0 equals nothing, not even another 0)."""
    out = hash_column(digests)
    offsets = np.frombuffer(digests.buffers()[1], np.int64)[digests.offset : digests.offset + len(digests) + 1]
    out[np.diff(offsets) == 0] = 0
    return out


def units_of(
    *,
    keys: Any,
    contents: Hashes,
    twice: Hashes,
    by: str,
    group: Rule | None,
    groups: Hashes | None,
    placed: Placed | None,
) -> Units:
    """Join what must stay together and look up what the versions before have placed.

    Args:
        keys: of the files to be placed.
        contents: hashes of their contents, 0 where not known.
        twice: the contents that several of them have.
        by: `content` or `key`.
        group: the group rule, for the keys that were placed before.
        groups: hashes of the groups of the files; None without a group rule.
        placed: what the versions before have placed.

    Raises:
        ManifestError: the versions before have torn a group apart (the group rule is newer than they).
    """
    key_hashes = hash_column(keys)
    own = groups if groups is not None else contents if by == "content" else key_hashes
    own = np.where(own == 0, key_hashes, own)
    known = np.full(len(own), _NONE)
    conflict = np.zeros(len(own), np.bool_)
    if placed is None or not len(placed.channels):
        return Units(own=own, joined=_join(own, contents, twice), known=known, conflict=conflict)
    sources = [
        lookup(placed.key_hashes, placed.channels, key_hashes, missing=-1),
        np.where(contents == 0, _NONE, lookup(placed.contents, placed.channels, contents, missing=-1)),
    ]
    if groups is not None and group is not None:
        sources.append(lookup(*_placed_groups(placed, group), groups, missing=-1))
    for source in sources:
        conflict |= (known != _NONE) & (source != _NONE) & (known != source)
        known = np.where(known == _NONE, source, known)
    joined = _join(own, np.where(conflict, np.uint64(0), contents), twice)
    torn = _torn(joined, known, conflict)
    if torn.any():  # new contents tie together what lies in two channels already: those that tie are set aside
        unchanged = lookup(placed.key_hashes, placed.contents, key_hashes, missing=0) == contents
        ties = (torn & _linking(own, contents, twice)) | _torn(own, known, conflict)
        conflict |= ties & ~(unchanged & (sources[0] != _NONE))
        joined = _join(own, np.where(conflict, np.uint64(0), contents), twice)
    known = _spread(joined, np.where(conflict, _NONE, known))
    return Units(own=own, joined=joined, known=known, conflict=conflict)


def _linking(own: Hashes, contents: Hashes, twice: Hashes) -> Bools:
    """Files whose content several units have."""
    rows = np.flatnonzero(np.isin(contents, twice))
    pairs = np.unique(np.stack([contents[rows], own[rows]], 1), axis=0)
    return np.isin(contents, repeated(pairs[:, 0]))


def _join(own: Hashes, contents: Hashes, twice: Hashes) -> Hashes:
    """Units that share a content get one value: the smallest of them."""
    if not len(twice):
        return own
    rows = np.flatnonzero(np.isin(contents, twice))
    parent: dict[int, int] = {}

    def root(unit: int) -> int:
        while (above := parent.get(unit, unit)) != unit:
            parent[unit] = parent.get(above, above)
            unit = above
        return unit

    pairs = np.unique(np.stack([contents[rows], own[rows]], 1), axis=0)
    for (content, unit), (before, other) in zip(pairs[1:].tolist(), pairs[:-1].tolist(), strict=True):
        if content == before:
            a, b = sorted((root(unit), root(other)))
            parent[b] = a
    if not parent:
        return own
    old = np.array(sorted(parent), np.uint64)
    new = np.array([root(unit) for unit in sorted(parent)], np.uint64)
    at = np.minimum(np.searchsorted(old, own), len(old) - 1)
    return np.where(old[at] == own, new[at], own)


def _placed_groups(placed: Placed, group: Rule) -> tuple[Hashes, Channels]:
    """The groups that the versions before have placed, by the rule of now."""
    found = group.column(placed.keys)
    rows = np.flatnonzero(found.codes >= 0)
    codes, channels = found.codes[rows], placed.channels[rows]
    # A key that is removed and placed again stands twice: its last channel counts, and it is the same.
    order = np.lexsort((channels, codes))
    codes, channels, rows = codes[order], channels[order], rows[order]
    torn = np.flatnonzero((codes[1:] == codes[:-1]) & (channels[1:] != channels[:-1]))
    if len(torn):
        keys = [placed.keys[int(rows[i])].as_py() for i in (torn[0], torn[0] + 1)]
        where = [CHANNELS[channels[i]] for i in (torn[0], torn[0] + 1)]
        raise ManifestError(
            f"the group {found.names[codes[torn[0]]]!r} lies in two channels of the version before "
            f"({keys[0]!r} in {where[0]}, {keys[1]!r} in {where[1]}), and nothing may move: "
            "build a manifest under another name to split by this group rule"
        )
    return hash_column(texts(found.names))[codes], channels


def _torn(joined: Hashes, known: Channels, conflict: Bools) -> Bools:
    """Files whose joined unit already lies in two channels."""
    rows = np.flatnonzero((known != _NONE) & ~conflict)
    torn = np.zeros(len(joined), np.bool_)
    if not len(rows):
        return torn
    order = rows[np.lexsort((known[rows], joined[rows]))]
    units, channels = joined[order], known[order]
    bad = units[1:][(units[1:] == units[:-1]) & (channels[1:] != channels[:-1])]
    return np.isin(joined, bad) if len(bad) else torn


def _spread(joined: Hashes, known: Channels) -> Channels:
    """All files of a unit get the channel that one of them has."""
    rows = np.flatnonzero(known != _NONE)
    return np.where(known == _NONE, lookup(joined[rows], known[rows], joined, missing=-1), known)
