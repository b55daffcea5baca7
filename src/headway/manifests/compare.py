"""Differences between two versions of a manifest.

In: two tables (`headway.manifests.table.SCHEMA`). Out: a plain dict for reports and listings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headway.manifests.columns import channel_codes, lookup, take, texts
from headway.manifests.keyhash import hash_column
from headway.manifests.manifest import Manifest
from headway.manifests.split import CHANNELS
from headway.stores.files import Files

SHOWN = 1000


def compare(files: Files, old: Manifest, new: Manifest) -> dict[str, Any]:
    """What differs between two manifests, for instance two versions of one.

    Returns:
        `added`, `removed`, `changed` (another content), `relabelled`, `moved` (another channel): each
        `{"num", "keys": [...]}`, at most a thousand keys; `labels` (`added`, `gone`); `counts` and `sizes` per channel
        and label as `[before, after]` where they differ; `old`, `new`: the ids.
    """
    columns = ["key", "label", "channel", "digest"]
    body = difference(old.table(files, columns=columns), new.table(files, columns=columns))
    for name in ("counts", "sizes"):
        body[name] = _changed_numbers(getattr(old, name), getattr(new, name))
    return {"old": old.id, "new": new.id, **body}


def difference(old: Any, new: Any) -> dict[str, Any]:
    """What differs between the files in channels of two tables."""
    before, after = _placed(old), _placed(new)
    at = lookup(before["hash"], np.arange(len(before["hash"])), after["hash"], missing=-1)
    kept = at >= 0
    index = at[kept]
    gone = np.ones(len(before["hash"]), np.bool_)
    gone[index] = False
    mine = np.flatnonzero(kept)
    content = before["digest"][index] != after["digest"][mine]
    label = before["label"][index] != after["label"][mine]
    channel = before["channel"][index] != after["channel"][mine]
    moved = [
        f"{key} ({CHANNELS[before['channel'][i]]} -> {CHANNELS[after['channel'][j]]})"
        for key, i, j in zip(
            _keys(after, mine[channel])[:SHOWN], index[channel].tolist(), mine[channel].tolist(), strict=False
        )
    ]
    had, have = set(_names(old)), set(_names(new))
    return {
        "added": _listed(_keys(after, np.flatnonzero(~kept)), int((~kept).sum())),
        "removed": _listed(_keys(before, np.flatnonzero(gone)), int(gone.sum())),
        "changed": _listed(_keys(after, mine[content]), int(content.sum())),
        "relabelled": _listed(_keys(after, mine[label]), int(label.sum())),
        "moved": _listed(moved, int(channel.sum())),
        "labels": {"added": sorted(have - had), "gone": sorted(had - have)},
    }


def _placed(table: Any) -> dict[str, Any]:
    channel = channel_codes(table["channel"])
    rows = np.flatnonzero(channel >= 0)
    keys = take(texts(table["key"]), rows)
    label = take(texts(table["label"].cast(pa.string())), rows)
    return {
        "keys": keys,
        "hash": hash_column(keys),
        "digest": hash_column(take(texts(table["digest"]), rows)),
        "label": hash_column(label),
        "channel": channel[rows],
    }


def _keys(side: dict[str, Any], rows: npt.NDArray[np.int64]) -> list[str]:
    keys: list[str] = take(side["keys"], rows[:SHOWN]).to_pylist()
    return keys


def _listed(keys: list[str], num: int) -> dict[str, Any]:
    return {"num": num, "keys": keys}


def _names(table: Any) -> list[str]:
    rows = np.flatnonzero(channel_codes(table["channel"]) >= 0)
    names: list[str] = take(table["label"], rows).unique().cast(pa.string()).to_pylist()
    return names


def _changed_numbers(old: dict[str, dict[str, int]], new: dict[str, dict[str, int]]) -> dict[str, dict[str, list[int]]]:
    out: dict[str, dict[str, list[int]]] = {}
    for channel in sorted({*old, *new}):
        before, after = old.get(channel, {}), new.get(channel, {})
        pairs = {label: [before.get(label, 0), after.get(label, 0)] for label in sorted({*before, *after})}
        out[channel] = {label: pair for label, pair in pairs.items() if pair[0] != pair[1]}
    return {channel: labels for channel, labels in out.items() if labels}
