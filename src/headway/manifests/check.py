"""Checks of a manifest: leaks across channels, minimums, shares, damaged files of its own, changed data.

In: a published manifest. Out: a list of `Finding`, errors first; an empty list is a clean manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headway.errors import DataChangedError, ManifestError
from headway.manifests.changed import differs
from headway.manifests.columns import Channels, Hashes, channel_codes, lookup, numbers, take, texts
from headway.manifests.digests import SETTLED_S
from headway.manifests.inherit import hash_contents
from headway.manifests.keyhash import hash_column
from headway.manifests.listing import Listing, list_files
from headway.manifests.manifest import Manifest
from headway.manifests.rules import from_record
from headway.manifests.split import CHANNELS
from headway.records import Record
from headway.stores.commit import verify
from headway.stores.files import Files

SHOWN = 20
POINTS = 10.0
"""From this difference in percent points on, a label's share in a channel is told apart from the whole."""


class Finding(Record):
    """One thing that is not as it should be.

    Args:
        severity: `error`: results would be wrong or work would fail; `warning`: look at it; `note`: good to know.
        kind: `leak`, `moved`, `minimum`, `share`, `damaged`, `missing`, `changed`, `new`, or a status.
        text: one sentence.
        keys: some keys that it is about.
        num: how many keys.
    """

    severity: Literal["error", "warning", "note"]
    kind: str
    text: str
    keys: tuple[str, ...] = ()
    num: int = 0


def check(files: Files, manifest: Manifest, *, parent: Manifest | None = None, data: bool = True) -> list[Finding]:
    """Everything that is wrong with a manifest, errors first.

    Args:
        files: the workspace's files.
        manifest: the version to check.
        parent: the version before; with it, moves between channels are looked for.
        data: also list the data and compare (files whose time differs are read).
    """
    damaged = list(_damaged(files, manifest))
    if damaged:
        return damaged
    table = manifest.table(files)
    found = [*_leaks(table, manifest), *_minimum(manifest), *_shares(manifest), *_statuses(manifest)]
    if parent is not None:
        found += _moved(table, parent.table(files))
    if data and manifest.kind == "files":
        found += _data(files, manifest, table)
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _damaged(files: Files, manifest: Manifest) -> Iterator[Finding]:
    try:
        verify(files, manifest.folder, attempt=manifest.attempt, deep=True)
    except DataChangedError as error:
        text = f"{error}; restore it, or build a manifest under another name"
        yield Finding(severity="error", kind="damaged", text=text)


def _leaks(table: Any, manifest: Manifest) -> Iterator[Finding]:
    channels = channel_codes(table["channel"])
    rows = np.flatnonzero(channels >= 0)
    keys = take(texts(table["key"]), rows)
    values: dict[str, Hashes] = {
        "key": hash_column(keys),
        "content": hash_contents(take(texts(table["digest"]), rows)),
    }
    if manifest.group is not None:
        found = from_record(manifest.group, field="group").column(keys)
        values["group"] = np.append(hash_column(texts(found.names)), np.uint64(0))[found.codes]
    for what, hashes in values.items():
        bad = across(hashes, channels[rows])
        if len(bad):
            first = take(keys, bad[:SHOWN]).to_pylist()
            where = [CHANNELS[channels[rows[i]]] for i in bad[:2]]
            text = f"one {what} lies in two channels: {first[0]!r} in {where[0]} and {first[1]!r} in {where[1]}"
            yield Finding(severity="error", kind="leak", text=text, keys=tuple(first), num=len(bad))


def across(values: Hashes, channels: Channels) -> npt.NDArray[np.int64]:
    """Rows whose value lies in two channels (0 is no value), in the order of value and channel."""
    order = np.lexsort((channels, values))
    ranked, places = values[order], channels[order]
    edge = (ranked[1:] == ranked[:-1]) & (places[1:] != places[:-1]) & (ranked[1:] != 0)
    if not edge.any():
        return np.zeros(0, np.int64)
    first = int(np.argmax(edge))
    pair, rest = order[first : first + 2], order[np.isin(ranked, ranked[1:][edge])]
    return np.concatenate([pair, rest[~np.isin(rest, pair)]])


def _minimum(manifest: Manifest) -> Iterator[Finding]:
    for channel, share in zip(CHANNELS, manifest.split.shares(), strict=True):
        for label, num in manifest.counts[channel].items():
            if share and num < manifest.split.at_least:
                text = f"{channel} has {num} files of {label!r}, at least {manifest.split.at_least} were asked for"
                yield Finding(severity="error", kind="minimum", text=text)
        if share and not manifest.channels[channel].num_files:
            yield Finding(severity="warning", kind="minimum", text=f"{channel} has no files at all")


def _shares(manifest: Manifest) -> Iterator[Finding]:
    whole: dict[str, int] = {}
    for labels in manifest.counts.values():
        for label, num in labels.items():
            whole[label] = whole.get(label, 0) + num
    total = sum(whole.values())
    for channel, labels in manifest.counts.items():
        files = sum(labels.values())
        for label, num in labels.items():
            if files and total and abs(points := 100 * (num / files - whole[label] / total)) >= POINTS:
                text = f"{label!r} is {num / files:.1%} of {channel} and {whole[label] / total:.1%} of the whole"
                yield Finding(severity="warning", kind="share", text=f"{text} ({points:+.1f} points)", num=num)


def _statuses(manifest: Manifest) -> Iterator[Finding]:
    words = {"unmatched": "match no label rule", "empty": "are empty", "unreadable": "cannot be read",
             "conflict": "fit no channel without a leak"}  # fmt: skip
    for status, text in words.items():
        num = manifest.statuses.get(status, 0)
        if num:
            text = f"{num} files {text} and are in no channel; report.json lists them"
            yield Finding(severity="warning", kind=status, text=text, num=num)


def _moved(table: Any, before: Any) -> Iterator[Finding]:
    """Keys and contents that the version before had in another channel."""
    now, then = channel_codes(table["channel"]), channel_codes(before["channel"])
    for what, column, hashes in (("key", "key", hash_column), ("content", "digest", hash_contents)):
        mine, theirs = np.flatnonzero(now >= 0), np.flatnonzero(then >= 0)
        values = np.concatenate([
            hashes(take(texts(before[column]), theirs)), hashes(take(texts(table[column]), mine))
        ])  # fmt: skip
        bad = across(values, np.concatenate([then[theirs], now[mine]]))
        rows = mine[bad[bad >= len(theirs)] - len(theirs)]
        if len(rows):
            keys = tuple(take(texts(table["key"]), rows[:SHOWN]).to_pylist())
            text = f"{len(rows)} files were in another channel in the version before, by their {what}: {keys[0]!r}"
            yield Finding(severity="error", kind="moved", text=text, keys=keys, num=len(rows))


def _data(files: Files, manifest: Manifest, table: Any) -> Iterator[Finding]:
    """What the data are now against what they were."""
    source = Files(manifest.source_url)
    try:
        listing = list_files(source, leave_out=files)
    except ManifestError as error:
        text = f"{error}. If the data were moved: headway relocate {manifest.id} NEW_PLACE"
        yield Finding(severity="error", kind="missing", text=text, num=manifest.num_files)
        return
    missing, changed, why, new = _compare(source, manifest, table, listing)
    if missing:
        text = f"{len(missing)} files of the manifest are not there any more, for instance {missing[0]!r}"
        yield Finding(severity="error", kind="missing", text=text, keys=tuple(missing[:SHOWN]), num=len(missing))
    if changed:
        text = f"{len(changed)} files changed since the manifest was built: {why}"
        yield Finding(severity="error", kind="changed", text=text, keys=tuple(changed[:SHOWN]), num=len(changed))
    if new:
        text = (
            f"{len(new)} files are new since the manifest was built, for instance {new[0]!r}: build again to take them"
        )
        yield Finding(severity="note", kind="new", text=text, keys=tuple(new[:SHOWN]), num=len(new))


def _compare(
    source: Files, manifest: Manifest, table: Any, listing: Listing
) -> tuple[list[str], list[str], str, list[str]]:
    """Missing keys, changed keys, how the first of these changed, new keys; only files whose facts differ are read."""
    keys, hashes, there = texts(table["key"]), hash_column(texts(table["key"])), hash_column(listing.keys)
    at = lookup(there, np.arange(len(there)), hashes, missing=-1)
    placed = channel_codes(table["channel"]) >= 0
    missing: list[str] = take(keys, np.flatnonzero(placed & (at < 0))).to_pylist()
    new: list[str] = take(listing.keys, np.flatnonzero(~np.isin(there, hashes))).to_pylist()
    times = numbers(table["mtime_ns"])
    same = (listing.sizes[at] == numbers(table["size_bytes"])) & (listing.mtimes[at] == times)
    same &= listing.inodes[at] == numbers(table["inode"])
    same &= times < (manifest.listed_at - SETTLED_S) * 1e9
    doubtful = np.flatnonzero(placed & (at >= 0) & ~same)
    changed, why = [], ""
    columns = ["key", "size_bytes", "mtime_ns", "digest"]
    for row, index in zip(take(table.select(columns), doubtful).to_pylist(), at[doubtful].tolist(), strict=True):
        size, mtime = int(listing.sizes[index]), int(listing.mtimes[index])
        if reason := differs(source, row, size_bytes=size, mtime_ns=mtime, believe_time=False):
            why = why or f"{row['key']!r} {reason}"
            changed.append(row["key"])
    return missing, changed, why, new
