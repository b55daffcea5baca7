"""Whether a version's files are the ones that were registered.

In: the folder of a version's attempt. Out: nothing, or `DataChangedError`. The model's own files are checked by
`headway.models` when it is loaded; this is for what lies beside them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from headway.errors import DataChangedError
from headway.records import Record, decode

CODE = ("code", "transform")


class Listed(Record):
    """One file of `outcome.json`; `headway.stores.commit.Output` without the ledger's library behind it."""

    name: str
    digest: str


class Listing(Record):
    """What is read of `outcome.json`."""

    outputs: tuple[Listed, ...]


def check_files(folder: Path, *, parts: tuple[str, ...] = CODE) -> None:
    """Nothing when every file below these parts of a version is the one that was registered.

    Args:
        folder: of the attempt, with its `outcome.json`; without one (inside a wheel) nothing is checked.

    Raises:
        DataChangedError: names the file.
    """
    record = folder / "outcome.json"
    if not record.exists():
        return
    for output in decode(record.read_bytes(), Listing, where=str(record)).outputs:
        if output.name.partition("/")[0] not in parts:
            continue
        path = folder / output.name
        if not path.is_file():
            raise DataChangedError(f"{path} is missing from the registered version: copy its folder again, whole")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != output.digest:
            raise DataChangedError(
                f"{path} is not the file that was registered (digest {found[:12]}, expected {output.digest[:12]}): "
                "copy the version's folder again, or register again"
            )
