"""What people should know of a manifest: counts, shares, what was left out and why, what changed since its parent.

In: the table of a manifest and of its parent. Out: the body of `report.json`, a plain dict:

- `counts`, `sizes`: files and bytes per channel and label; `totals` per label; `statuses`.
- `shares`: per channel and label its share of the channel's files, `whole` the share of all files; `largest_shift` the
  largest difference between a channel and the whole, in percent points, and where.
- `targets`, `deviation`: the quotas by the shares that were asked for, and how far from them the counts are, because of
  groups, copies, the minimum or what versions before have placed.
- `unmatched`, `empty`, `unreadable`, `conflict`: `{"num", "files": [{"key", "why"}, ...]}`, the first thousand.
- `folders`: unreadable, empty, loops, left out; `not_there`: keys of a label table. `copies`: contents that are there
  more than once.
- `difference`: against the parent, see `headway.manifests.compare`. `reused_digests`, `wall_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.manifests.assign import count
from headway.manifests.columns import Bools, Channels, Codes, Counts, Hashes, take
from headway.manifests.listing import CONFLICT, EMPTY, STATUSES, UNMATCHED, UNREADABLE, Listing
from headway.manifests.quotas import quota
from headway.manifests.split import CHANNELS, Split

SHOWN = 1000
"""Most entries of a list in the report; the table has them all."""


def class_table(counts: Counts, labels: list[str]) -> list[dict[str, object]]:
    """One dict per label with its number of files in each channel."""
    return [
        {"label": label, **dict(zip(CHANNELS, row.tolist(), strict=True))}
        for label, row in zip(labels, counts, strict=True)
    ]


def text_table(rows: list[dict[str, object]], *, limit: int = 40) -> str:
    """The class x channel table as text; long ones are cut, the smallest classes first."""
    shown = rows if len(rows) <= limit else sorted(rows, key=lambda r: min(int(str(r[c])) for c in CHANNELS))[:limit]
    cells = [["label", *CHANNELS], *([_shown(row[name]) for name in ("label", *CHANNELS)] for row in shown)]
    wide = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in cells
    ]
    return "\n".join(lines) + (f"\n... and {len(rows) - limit} more" if len(rows) > limit else "")


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and len(text) <= 40 else repr(text[:40])


def by_name(table: Counts, labels: list[str]) -> dict[str, dict[str, int]]:
    """Counts as `{channel: {label: number}}`."""
    return {c: dict(zip(labels, table[:, i].tolist(), strict=True)) for i, c in enumerate(CHANNELS)}


def shares_of(counts: Counts, labels: list[str]) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Label shares per channel and of the whole, and where a channel differs most from the whole."""
    whole = counts.sum(axis=1) / max(1, counts.sum())
    shares: dict[str, dict[str, float]] = {"whole": dict(zip(labels, np.round(whole, 6).tolist(), strict=True))}
    largest: dict[str, Any] = {"points": 0.0, "channel": None, "label": None}
    for i, channel in enumerate(CHANNELS):
        total = counts[:, i].sum()
        share = counts[:, i] / max(1, total)
        shares[channel] = dict(zip(labels, np.round(share, 6).tolist(), strict=True))
        if total and len(labels):
            worst = int(np.argmax(np.abs(share - whole)))
            points = round(float(share[worst] - whole[worst]) * 100, 4)
            if abs(points) > abs(largest["points"]):
                largest = {"points": points, "channel": channel, "label": labels[worst]}
    return shares, largest


def pure_targets(counts: Counts, split: Split) -> Counts:
    """The quotas that the shares alone ask for, without minimum, groups or history."""
    rows = [quota(int(total), split.shares()) for total in counts.sum(axis=1)]
    return np.array(rows, np.int64).reshape(len(rows), len(CHANNELS))


def set_aside(listing: Listing) -> dict[str, Any]:
    """The files that are in no channel, by status, and why."""
    out: dict[str, Any] = {}
    for code in (UNMATCHED, EMPTY, UNREADABLE, CONFLICT):
        rows = np.flatnonzero(listing.status == code)
        keys = take(listing.keys, rows[:SHOWN]).to_pylist()
        why = {UNMATCHED: "its key matches no label rule", EMPTY: "it has no bytes"}.get(code, "")
        out[STATUSES[code]] = {
            "num": len(rows),
            "files": [{"key": key, "why": listing.notes.get(key, why)} for key in keys],
        }
    return out


def copies(keys: Any, contents: Hashes, twice: Hashes, *, inside: Bools) -> dict[str, Any]:
    """Contents that several files have, with their keys."""
    if not len(twice):
        return {"num_contents": 0, "num_files": 0, "groups": []}
    rows = np.flatnonzero(inside)
    members = rows[np.isin(contents[rows], twice)]
    order = members[np.argsort(contents[members], kind="stable")]
    edges = np.flatnonzero(np.append(True, contents[order][1:] != contents[order][:-1]))
    bounds = np.append(edges, len(order))
    groups = [
        take(keys, order[bounds[i] : min(bounds[i + 1], bounds[i] + 20)]).to_pylist()
        for i in range(min(len(edges), SHOWN))
    ]
    return {"num_contents": len(edges), "num_files": len(order), "groups": sorted(groups)}


def describe(
    *,
    listing: Listing,
    labels: list[str],
    codes: Codes,
    channels: Channels,
    split: Split,
    contents: Hashes,
    twice: Hashes,
    difference: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The body of the report; `codes` and `channels` have one entry per row of the listing, -1 for none."""
    inside = channels >= 0
    counts = count(codes[inside], channels[inside], num_labels=len(labels))
    sizes = count(codes[inside], channels[inside], num_labels=len(labels), weights=listing.sizes[inside])
    shares, shift = shares_of(counts, labels)
    targets = pure_targets(counts, split)
    totals = counts.sum(axis=1)
    return {
        "schema": 1,
        "num_files": int(inside.sum()),
        "size_bytes": int(listing.sizes[inside].sum()),
        "statuses": status_counts(listing),
        "counts": by_name(counts, labels),
        "sizes": by_name(sizes, labels),
        "totals": dict(zip(labels, totals.tolist(), strict=True)),
        "shares": shares,
        "largest_shift": shift,
        "targets": by_name(targets, labels),
        "deviation": by_name(counts - targets, labels),
        "largest_deviation": int(np.abs(counts - targets).max(initial=0)),
        **set_aside(listing),
        "folders": {name: {"num": len(paths), "paths": paths[:SHOWN]} for name, paths in listing.folders.items()},
        "copies": copies(listing.keys, contents, twice, inside=inside),
        "difference": difference,
    }


def status_counts(listing: Listing) -> dict[str, int]:
    """Number of files per status."""
    return dict(zip(STATUSES, np.bincount(listing.status, minlength=len(STATUSES)).tolist(), strict=True))


def warnings_of(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What people should know, one sentence each."""
    out = []
    for status, text in (
        ("unmatched", "match no label rule"),
        ("empty", "are empty"),
        ("unreadable", "cannot be read"),
        ("conflict", "fit no channel without a leak"),
    ):
        part = report[status]
        if part["num"]:
            first = part["files"][0]
            out.append(
                f"{part['num']} files {text} and are in no channel; the first: {first['key']!r} ({first['why']})"
            )
    for name, text in (
        ("unreadable", "folders cannot be read"),
        ("loops", "links lead back to a folder above them and were not followed"),
        ("empty", "folders have no files"),
        ("not_there", "keys of the label table are not there"),
    ):
        part = report["folders"].get(name)
        if part:
            out.append(f"{part['num']} {text}; the first: {part['paths'][0]}")
    if report["copies"]["num_contents"]:
        found = report["copies"]
        first = ", ".join(repr(key) for key in found["groups"][0][:3])
        out.append(
            f"{found['num_contents']} contents are there more than once ({found['num_files']} files), as {first}"
        )
    if report["largest_deviation"] > 1:
        out.append(
            f"a class is {report['largest_deviation']} files off its share in a channel: see deviation in the report"
        )
    return tuple(out)
