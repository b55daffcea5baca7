"""The list of what was packed, as it lies beside the code.

In: `code/snapshot.json`. Out: `Snapshot`, which `headway.lineage` compares with another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from headway.errors import NotFoundError
from headway.jobs.canonical import Source
from headway.records import Record, decode

NAME = "snapshot.json"
OTHER_NAME = ".headway-snapshot.json"
"""Where the list lies when the program itself has a file of the first name."""


class FileRecord(Record):
    """One packed file.

    Args:
        digest: Python by its canonical form, a pickle by the object in it, all else by its bytes.
        functions, imports: as in `headway.jobs.canonical.Source`.
    """

    digest: str
    size_bytes: int
    functions: dict[str, str] = {}
    imports: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source, *, size_bytes: int) -> FileRecord:
        """The record of a file whose digests are known."""
        return cls(digest=source.digest, size_bytes=size_bytes, functions=source.functions, imports=source.imports)


class Snapshot(Record):
    """Everything that was packed.

    Args:
        kind: of the program; of a script every file counts, whether it ran or not.
        pickle: the file that holds a pickled target; it always counts.
        digest: as in `ProgramRecord`.
        files: path relative to the code folder -> file.
    """

    schema: int = 1
    kind: Literal["function", "script"]
    pickle: str | None = None
    digest: str
    files: dict[str, FileRecord] = {}


def read_snapshot(code: Path) -> Snapshot:
    """The list of a code folder.

    Raises:
        NotFoundError: the folder has none, so that it is no packed program.
    """
    for name in (OTHER_NAME, NAME):
        path = code / name
        if path.is_file():
            return decode(path.read_bytes(), Snapshot, where=str(path))
    raise NotFoundError("packed program", str(code), hint=f"the folder has no {NAME}")
