"""Processes that register models, for the tests of parallel and killed registration.

python -m registering WORKSPACE NAME MODEL_FOLDER TAG
"""

from __future__ import annotations

import sys
from pathlib import Path

from headway.registry.register import register
from headway.stores.files import Files
from headway.stores.ledger import Ledger


class Adds:
    """A model that adds a number, with some weight on the disk so that copying takes a while."""

    def __init__(self, number: int, *, padding: int = 0) -> None:
        self.number, self.padding = number, bytes(padding)

    def predict(self, rows: list[int]) -> list[int]:
        return [row + self.number for row in rows]


def open_workspace(root: str | Path) -> tuple[Files, Ledger]:
    """Files and ledger of a workspace."""
    return Files(str(root)), Ledger.open(Path(root) / "ledger.sqlite")


def main() -> None:
    """Register once and say the version."""
    root, name, folder, tag = sys.argv[1:5]
    files, ledger = open_workspace(root)
    print("ready", flush=True)
    sys.stdin.readline()
    version = register(files, ledger, name, model_folder=folder, tags={"by": tag})
    print(version.version, version.digest, flush=True)


if __name__ == "__main__":
    main()
