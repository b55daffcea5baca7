"""Digests of files as lineage means them: Python by what it does, everything else by its bytes.

In: a file or its content. Out: a SHA-256, and the names of functions in which two versions of a file differ. The
canonical form itself is `headway.jobs.canonical`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from headway.jobs.canonical import MODULE, digest_source, is_python

_CHUNK_BYTES = 1024 * 1024


def normalised_digest(source: Path | bytes, *, name: str | None = None) -> str:
    """The digest of a file; comments, formatting and docstrings of Python do not change it.

    Args:
        source: the file, or its content.
        name: decides by its ending whether it is Python; None for the file's own name.

    Raises:
        ValueError: content without a name.
        OSError: the file cannot be read.

    Example:
        >>> normalised_digest(b"x=1 # one", name="a.py") == normalised_digest(b"x = 1", name="a.py")
        True
    """
    if isinstance(source, bytes):
        if name is None:
            raise ValueError("the content of a file needs name=, which says by its ending what it is")
        return digest_source(source, name=name).digest
    if is_python(name or source.name):
        return digest_source(source.read_bytes(), name=name or source.name).digest
    found = hashlib.sha256()
    with source.open("rb") as stream:
        while data := stream.read(_CHUNK_BYTES):
            found.update(data)
    return found.hexdigest()


def function_digests(source: bytes) -> dict[str, str]:
    """Qualified name -> digest of a function's body, for Python source; `<module>` is all that runs on import."""
    return dict(digest_source(source, name="source.py").functions)


def differing_functions(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The functions whose digests differ, or that only one side has; `<module>` first."""
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return sorted(names, key=lambda name: (name != MODULE, name))
