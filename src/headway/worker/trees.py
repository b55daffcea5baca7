"""Copying and removing folders, without what `shutil` loads: every worker starts with the one and ends with the other.

In: folders. Out: a copy in which large files are links; or nothing.
"""

from __future__ import annotations

import os

MAX_COPIED = 1 << 20
"""Files above this size are linked into a copy."""


def copy_tree(source: str, target: str) -> None:
    """Copy a folder; links stay links, large files become links to the original."""
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            path = os.path.join(target, entry.name)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), path)
            elif entry.is_dir():
                copy_tree(entry.path, path)
            elif entry.stat().st_size > MAX_COPIED:
                os.symlink(entry.path, path)
            else:
                copy_file(entry.path, path)


def copy_file(source: str, target: str) -> None:
    """Copy a file with its permission bits."""
    with open(source, "rb") as stream, open(target, "wb") as copy:
        while data := stream.read(MAX_COPIED):
            copy.write(data)
        os.fchmod(copy.fileno(), os.fstat(stream.fileno()).st_mode & 0o777)


def remove_tree(folder: str) -> None:
    """Remove a folder and all below it, as far as that is possible: what cannot be removed stays."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(folder)
    except OSError:
        return
