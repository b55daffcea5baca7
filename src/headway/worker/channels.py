"""Channels as folders: the files that a channel's listing names, shown in the worker's scratch folder.

In: a channel of a ticket. Out: a folder. `copy` makes copies; `link` and `stream` make symbolic links, so that nothing
is copied and a program that writes into its channel by accident still cannot make files appear in the source's folder.
"""

from __future__ import annotations

import json
import os
from typing import Any

from headway.worker.trees import copy_file


def materialise(channel: dict[str, Any], folder: str) -> str:
    """The channel's folder, filled on the first call.

    Args:
        channel: as the ticket names it: `mode`, `listing`.
        folder: where to show the files.

    Raises:
        ValueError: the listing leads out of the folder.
        FileNotFoundError: a source is gone (mode copy).
    """
    done = f"{folder}.ready"
    if os.path.exists(done):
        return folder
    with open(channel["listing"], encoding="utf-8") as stream:
        listing = json.load(stream)
    os.makedirs(folder, exist_ok=True)
    made = {folder}
    for source, target in listing["files"]:
        path = os.path.normpath(os.path.join(folder, target))
        if not path.startswith(folder + os.sep):
            raise ValueError(f"{channel['listing']} names {target!r}, which lies outside of the channel's folder")
        parent = os.path.dirname(path)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        _show(os.path.join(listing["root"], source), path, mode=channel["mode"])
    open(done, "w").close()
    return folder


def _show(source: str, path: str, *, mode: str) -> None:
    """One file of a channel."""
    if mode == "copy":
        copy_file(source, path)
        return
    try:
        os.symlink(source, path)
    except FileExistsError:
        os.unlink(path)
        os.symlink(source, path)


def sources(channels: dict[str, dict[str, Any]]) -> list[str]:
    """The folders that channels take their files from."""
    roots = []
    for channel in channels.values():
        with open(channel["listing"], "rb") as stream:
            head = stream.read(4096)
        roots.append(_root(head) or _root_of(channel["listing"]))
    return [root for root in roots if root]


def _root(head: bytes) -> str | None:
    """The root of a listing from its first bytes, without reading a million names; None if it does not come first."""
    decoder = json.JSONDecoder()
    text = head.decode("utf-8", "ignore").lstrip("{ \n\t")
    if not text.startswith('"root"'):
        return None
    try:
        value, _ = decoder.raw_decode(text[len('"root"') :].lstrip(": \n\t"))
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _root_of(listing: str) -> str:
    with open(listing, encoding="utf-8") as stream:
        return str(json.load(stream)["root"])
