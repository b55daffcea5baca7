"""Folders of finished work taken into a version's folder: hard links where the store allows it, copies elsewhere.

In: a folder of the workspace whose files do not change any more. Out: the same files at another place. Used by
`headway.registry.register`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.stores.files import Files

SKIPPED = ("__pycache__", ".git")


def place_folder(files: Files, source: str, target: str) -> int:
    """Put every file below `source` below `target`; how many.

    A file that has only one name is linked, so that a large model takes no second place on the disk and the job's
    folder can still be pruned. Files on other file systems, and files of stores without links, are copied.

    Raises:
        FileNotFoundError: there is no file below `source`.
    """
    entries = [e for e in files.walk(source) if not any(part in SKIPPED for part in e.path.split("/"))]
    if not entries:
        raise FileNotFoundError(f"there is no file below {files.url_of(source)}")
    for entry in entries:
        place = f"{target}/{entry.path.removeprefix(source.rstrip('/') + '/')}"
        if files.is_local:
            _link(files.local(entry.path), files.local(place))
        else:
            with files.open(entry.path, "rb") as reader, files.open(place, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
    return len(entries)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
