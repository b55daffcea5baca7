"""What a manifest is made of, before anything is written: the files with labels, units and channels.

In: the data, the rules, the parent. Out: `Contents` (what there is; nothing of it depends on the split or the parent)
and `Divided` (who goes where). Next: `headway.manifests.publish`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from headway.errors import ManifestError, ShortfallError
from headway.manifests.assign import assign, count
from headway.manifests.columns import Channels, Codes, Hashes, digest_columns, repeated, take, texts
from headway.manifests.digests import add_digests
from headway.manifests.inherit import Placed, hash_contents, units_of
from headway.manifests.inventory import folder_of_inventory, is_inventory, read_inventory
from headway.manifests.keyhash import hash_column
from headway.manifests.listing import CONFLICT, OK, STATUSES, UNMATCHED, Listing, Progress, list_files
from headway.manifests.manifest import Manifest
from headway.manifests.report import class_table, text_table
from headway.manifests.rules import Labelled, Rule, Rules, explain_mismatch
from headway.manifests.split import Split
from headway.records import digest_of, plain
from headway.stores.files import Files

_WAY = 1
"""Counted up when the same input would be divided in another way."""


@final
class Parent:
    """The version before, with its tables, read when first asked for."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self._files, self.manifest = files, manifest

    @cached_property
    def table(self) -> Any:
        """All its rows."""
        return self.manifest.table(self._files)

    @cached_property
    def earlier(self) -> Any:
        """What versions before it had placed and it has no more."""
        return self.manifest.earlier(self._files)


@final
class Contents:
    """The files that there are, with their labels; `contents` has the hash of the content of each (0: not known),
    `twice` the contents that several usable files have.

    Args:
        listing: all that was seen, `unmatched` included.
        labelled: the label of each.
        group_hashes: hash of the group of each, None without a group rule.
        url, kind: where the data lie; `files` or `inventory`.
        parent_id: the version whose digests were taken over.
        num_reused: how many.
    """

    def __init__(
        self,
        *,
        listing: Listing,
        labelled: Labelled,
        group_hashes: Hashes | None,
        url: str,
        kind: str,
        parent_id: str | None,
        num_reused: int,
    ) -> None:
        self.listing, self.labelled, self.group_hashes = listing, labelled, group_hashes
        self.contents = hash_contents(listing.digests)
        self.twice = repeated(self.contents[listing.status == OK])
        self.url, self.kind, self.parent_id, self.num_reused = url, kind, parent_id, num_reused


@final
class Divided:
    """Who goes where; every column has one entry per row of the listing, -1 (units: 0) where it has none."""

    def __init__(
        self,
        *,
        labels: dict[str, int],
        names: list[str],
        codes: Codes,
        channels: Channels,
        units: Hashes,
        listing: Listing,
    ) -> None:
        self.labels, self.names = labels, names
        self.codes, self.channels, self.units, self.listing = codes, channels, units, listing


def gather(
    files: Files,
    source_url: str | Path | Files,
    *,
    rules: Rules,
    parent: Parent | None,
    progress: Progress | None,
    clock: Callable[[], float] = time.time,
) -> Contents:
    """List, label and read the files.

    Raises:
        ManifestError: there are no files, or none that the rule matches and that can be read.
    """
    source: Files | None = None
    kind, url, reused = "inventory", str(source_url), 0
    if not isinstance(source_url, Files) and is_inventory(source_url):
        listing, url = read_inventory(url, clock=clock), folder_of_inventory(url).url
    else:
        source = source_url if isinstance(source_url, Files) else Files(source_url)
        kind, url = "files", source.url
        listing = list_files(source, leave_out=files, progress=progress, clock=clock)
    _check_text(url)
    labelled = rules.label.column(listing.keys)
    _set_unmatched(listing, labelled, "")
    groups = rules.group.column(listing.keys) if rules.group is not None else None
    if groups is not None:
        _set_unmatched(listing, groups, f"its key has no group by the rule {str(rules.group)!r}")
    _check_matches(listing, labelled, rules.label, url)
    absent = rules.label.absent(listing.keys)
    if absent:
        listing.folders["not_there"] = absent
    if source is not None:
        known = parent if parent is not None and parent.manifest.kind == "files" else None
        table, listed_at = (known.table, known.manifest.listed_at) if known else (None, 0.0)
        reused = add_digests(listing, source, parent=table, parent_listed_at=listed_at, progress=progress)
    return Contents(
        listing=listing,
        labelled=labelled,
        group_hashes=_hashes(groups) if groups is not None else None,
        url=url,
        kind=kind,
        parent_id=parent.manifest.id if parent is not None else None,
        num_reused=reused,
    )


def _check_text(url: str) -> None:
    try:
        url.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"the path of the data, {url!r}, is no valid UTF-8 and cannot stand in a manifest: rename the folder"
        ) from error


def _set_unmatched(listing: Listing, found: Labelled, why: str) -> None:
    rows = np.flatnonzero((found.codes < 0) & (listing.status == OK))
    listing.status[rows] = UNMATCHED
    if why:
        listing.notes.update(dict.fromkeys(take(listing.keys, rows).to_pylist(), why))


def _hashes(found: Labelled) -> Hashes:
    """The hash of the name of each row; 0 for rows without one."""
    return np.append(hash_column(texts(found.names)), np.uint64(0))[found.codes]


def _check_matches(listing: Listing, labelled: Labelled, rule: Rule, url: str) -> None:
    if not (labelled.codes >= 0).any():
        rows = np.linspace(0, len(listing) - 1, num=min(3, len(listing))).astype(np.int64)
        keys = take(listing.keys, rows).to_pylist()
        raise explain_mismatch(rule, keys, source=url, num_files=len(listing))


def lookup_of(contents: Contents, rules: Rules) -> str:
    """The digest of all that decides what a manifest is: the same again gives the same version."""
    listing = contents.listing
    rows = {"key": listing.keys, "size": listing.sizes, "digest": listing.digests, "status": listing.status}
    return digest_of(
        {"way": _WAY, "rows": digest_columns(rows), "label": plain(rules.label.record), "split": plain(rules.split)}
    )


def divide(contents: Contents, rules: Rules, *, parent: Parent | None) -> Divided:
    """Give each file its label code and its channel.

    Raises:
        ManifestError: nothing can be read, one class only, one content under two labels.
        ShortfallError: a class has too few files in a channel.
    """
    listing, split = _copy_of(contents.listing), rules.split
    names, labels = _label_codes(contents.labelled, parent.manifest.labels if parent is not None else {})
    codes = contents.labelled.sorted({name: i for i, name in enumerate(names)})
    _check_classes(listing, codes, names, contents.url)
    _settle_conflicts(listing, contents, codes, names, split)
    rows = np.flatnonzero(listing.status == OK)
    keys = listing.keys if len(rows) == len(listing) else take(listing.keys, rows)
    groups = contents.group_hashes
    placed = Placed.of([parent.earlier, parent.table]) if parent is not None else None
    units = units_of(
        keys=keys,
        contents=contents.contents[rows],
        twice=contents.twice,
        by=split.by,
        group=rules.group,
        groups=groups[rows] if groups is not None else None,
        placed=placed,
    )
    why = "by its key or group it belongs to one channel, by its content to another one"
    _set_aside(listing, rows[units.conflict], why)
    good = ~units.conflict
    chosen = assign(units.joined[good], codes[rows[good]], units.known[good], split=split, num_labels=len(names))
    channels = np.full(len(listing), -1, np.int8)
    channels[rows[good]] = chosen
    own = np.zeros(len(listing), np.uint64)
    own[rows] = units.own
    _check_minimum(listing, codes, channels, names, split, contents.url, parent)
    return Divided(labels=labels, names=names, codes=codes, channels=channels, units=own, listing=listing)


def _copy_of(listing: Listing) -> Listing:
    """The same listing with a status and notes of its own: other divisions start from the first again."""
    return Listing(
        keys=listing.keys,
        sizes=listing.sizes,
        mtimes=listing.mtimes,
        inodes=listing.inodes,
        status=listing.status.copy(),
        digests=listing.digests,
        notes=dict(listing.notes),
        folders=listing.folders,
        listed_at=listing.listed_at,
    )


def _label_codes(labelled: Labelled, before: Mapping[str, int]) -> tuple[list[str], dict[str, int]]:
    """The labels there are now, and all codes: those of the parent, then new labels in sorted order."""
    codes = dict(before)
    for name in sorted(set(labelled.names) - set(before)):
        codes[name] = len(codes)
    return sorted(labelled.names), codes


def _check_classes(listing: Listing, codes: Codes, names: list[str], url: str) -> None:
    """At least two classes, and files that can be used."""
    usable = np.unique(codes[(listing.status == OK) & (codes >= 0)])
    if len(usable) == 0:
        sizes = {STATUSES[code]: int(num) for code, num in enumerate(np.bincount(listing.status)) if num}
        seen = ", ".join(f"{num} {status}" for status, num in sizes.items())
        example = listing.keys[int(np.argmax(listing.status != OK))].as_py()
        why = listing.notes.get(example, "it has no bytes")
        raise ManifestError(
            f"none of the {len(listing)} files in {url} can be used ({seen}); the first: {example!r}: {why}. "
            "Mend them or check the permissions, then build again"
        )
    if len(names) < 2:
        key = listing.keys[int(np.argmax(codes == usable[0]))].as_py()
        raise ManifestError(
            f"all files in {url} have one label, {names[usable[0]]!r} (for instance {key!r}): a model needs at least "
            "two classes. If the classes lie elsewhere in the key, change the label rule, for instance "
            f"label='{names[usable[0]]}/{{label}}/*'; if a class is missing, add its files"
        )


def _settle_conflicts(listing: Listing, contents: Contents, codes: Codes, names: list[str], split: Split) -> None:
    """One content under two labels: an error, or set aside, or left as it is."""
    if not len(contents.twice) or split.conflicts == "keep":
        return
    rows, hashes = np.flatnonzero(listing.status == OK), contents.contents
    members = rows[np.isin(hashes[rows], contents.twice)]
    order = members[np.lexsort((codes[members], hashes[members]))]
    differ = (hashes[order][1:] == hashes[order][:-1]) & (codes[order][1:] != codes[order][:-1])
    if not differ.any():
        return
    first = int(np.argmax(differ))
    pair = [(listing.keys[int(row)].as_py(), names[codes[row]]) for row in order[first : first + 2]]
    bad = np.unique(hashes[order][1:][differ])
    if split.conflicts == "exclude":
        why = "its content is also there under another label"
        _set_aside(listing, order[np.isin(hashes[order], bad)], why)
        return
    more = f" ({len(bad)} such contents in all)" if len(bad) > 1 else ""
    raise ManifestError(
        f"one content lies under two labels{more}: {pair[0][0]!r} is {pair[0][1]!r}, {pair[1][0]!r} is {pair[1][1]!r}. "
        "Remove the wrong copy; or leave such files out with Split(conflicts='exclude'), "
        "or keep them, in one channel, with Split(conflicts='keep')"
    )


def _set_aside(listing: Listing, rows: Any, why: str) -> None:
    listing.status[rows] = CONFLICT
    listing.notes.update(dict.fromkeys(take(listing.keys, rows).to_pylist(), why))


def _lost(listing: Listing, codes: Codes, label: int) -> str:
    """How many files of a label cannot be used, in words."""
    numbers = np.bincount(listing.status[codes == label], minlength=len(STATUSES))
    return "".join(
        f", {num} {name}" for num, name in zip(numbers.tolist(), STATUSES, strict=True) if num and name != "ok"
    )


def _check_minimum(
    listing: Listing,
    codes: Codes,
    channels: Channels,
    names: list[str],
    split: Split,
    url: str,
    parent: Parent | None,
) -> None:
    """Each class has its minimum in each channel that has a share."""
    counts = count(codes[channels >= 0], channels[channels >= 0], num_labels=len(names))
    wanted = np.array([split.at_least if share else 0 for share in split.shares()])
    short: list[bool] = np.any(counts < wanted, axis=1).tolist()
    if not any(short):
        return
    table = class_table(counts, names)
    missing = [row for row, bad in zip(table, short, strict=True) if bad]
    totals = counts.sum(axis=1)[short]
    shown = ", ".join(
        f"{row['label']!r} ({total} files{_lost(listing, codes, names.index(str(row['label'])))})"
        for row, total in zip(missing[:5], totals.tolist(), strict=False)
    )
    needed = split.at_least * int((wanted > 0).sum())
    if (totals < needed).any():
        advice = f"a class needs at least {needed} usable files: add files"
    elif parent is not None:
        advice = f"files keep the channel that {parent.manifest.id} gave them: add files, or build under another name"
    else:
        advice = "its groups or copies are too large to be divided so: add files or groups"
    raise ShortfallError(
        f"{len(missing)} of {len(names)} classes in {url} have fewer than {split.at_least} files in a channel: "
        f"{shown}\n{text_table(missing if len(table) > 40 else table)}\n{advice}, "
        f"lower Split(at_least={split.at_least}), or leave the class out of the folder",
        table=table,
    )
