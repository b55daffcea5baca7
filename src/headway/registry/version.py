"""One version of a registered model, as a value, and what travels with it.

In: `version.json` in the version's folder. Out: `ModelVersion`. Used by the other modules of this package, by the
facade and by the listings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import NotFoundError
from headway.evaluation.gates import GateResult
from headway.jobs.spec import ProgramRecord
from headway.records import Record, decode

if TYPE_CHECKING:
    from headway.stores.files import Files

KIND = "model"
VERSION_FILE = "version.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class Transform(Record):
    """What turns a raw file into a row, as the processing job did it.

    Args:
        program: the packed function.
        code: folder of its snapshot, relative to the workspace; in a version's folder: `transform`.
        hyperparameters: what it was called with.
        batch: whether it takes a list of items; None: as its first parameter's name says.
    """

    program: ProgramRecord
    code: str
    hyperparameters: dict[str, Any] = {}
    batch: bool | None = None


class Bundle(Record):
    """What prediction needs beside the model's own files.

    Args:
        labels: label -> code, of the data.
        code: folder of the code that the model's classes come from, relative to the workspace; None: it needs none.
        transform: None for models that take rows as they are.
    """

    labels: dict[str, int] = {}
    code: str | None = None
    transform: Transform | None = None


class ModelVersion(Record):
    """One version of a registered model.

    Args:
        id: `model-<name>-<version>`.
        digest: of the model's files.
        kind: class of the model, for people.
        task: `classification` or `regression`.
        evaluation: id of the evaluation that it was registered with; empty without one.
        dataset, dataset_digest: what it was scored on.
        metrics: of that evaluation, and those that were given beside it.
        labels: label -> code.
        links: role -> id: `job`, `dataset`, `manifest`, `evaluation`.
        gates: what each gate said.
        parameters: plain JSON kept beside it: hyperparameters, notes.
        at: when it was registered, UTC epoch seconds.
        aliases, tags: as they are now; not part of `version.json`.
        folder: where its files lie, relative to the workspace; not part of `version.json`.
    """

    schema: int = 1
    id: str
    name: str
    version: int
    digest: str
    format: str
    kind: str = ""
    task: str = "classification"
    evaluation: str = ""
    evaluation_digest: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    metrics: dict[str, float] = {}
    labels: dict[str, int] = {}
    links: dict[str, str] = {}
    gates: tuple[GateResult, ...] = ()
    bundle: Bundle = Bundle()
    parameters: dict[str, Any] = {}
    at: float = 0.0
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    folder: str = ""

    def path(self, files: Files) -> Path:
        """The folder of its files on this machine."""
        return files.local(self.folder)


def home(name: str, version: int) -> str:
    """The folder of a version, relative to the workspace."""
    return f"models/{name}/{version}"


def check_name(name: str, *, what: str) -> str:
    """The name itself.

    Raises:
        ValueError: it is not a name: letters, digits, `._-`, at most 80 characters.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{what} must be letters, digits, '.', '_' or '-', begin with a letter or digit and have at most 80 "
            f"characters, got {name!r}"
        )
    return name


def read_version(files: Files, name: str, version: int) -> ModelVersion:
    """A version as it was registered, without aliases and tags.

    Raises:
        NotFoundError: there is no whole version of that number.
    """
    from headway.stores.commit import result

    folder = home(name, version)
    chosen = result(files, folder)
    if chosen is None:
        raise NotFoundError("version", f"{name}@{version}", hint="Its registration did not finish: register it again.")
    place = f"{folder}/attempts/{chosen.attempt}"
    found = decode(files.read(f"{place}/{VERSION_FILE}"), ModelVersion, where=f"{place}/{VERSION_FILE}")
    return _at(found, place)


def _at(version: ModelVersion, folder: str) -> ModelVersion:
    import msgspec

    return msgspec.structs.replace(version, folder=folder)
