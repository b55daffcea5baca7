"""Finding registered versions: by reference, by what they are tagged with, by what they scored.

In: `name`, `name@3`, `name@champion`, `model-name-3`. Out: `ModelVersion`, a loaded model, or plain rows for listings.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headway.errors import NotFoundError
from headway.models.model import LoadedModel
from headway.models.model import load as load_folder
from headway.registry.aliases import state_of
from headway.registry.history import Decision
from headway.registry.integrity import check_files
from headway.registry.register import with_state
from headway.registry.version import KIND, ModelVersion, read_version

if TYPE_CHECKING:
    from headway.stores.files import Files
    from headway.stores.ledger import Entry, Ledger

_CONDITION = re.compile(r"\s*(?P<metric>[^<>=\s]+)\s*(?P<sign><=|>=|<|>|=)\s*(?P<value>[-+0-9.eE]+)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


def resolve(files: Files, ledger: Ledger, ref: str) -> ModelVersion:
    """The version that a reference means.

    Args:
        ref: `name` or `name@latest` (the newest whole version), `name@3`, `name@alias`, or an id `model-name-3`.

    Raises:
        NotFoundError: there is no such model, version or alias; lists what there is.
    """
    by_id = ledger.by_id(ref)
    if by_id is not None and by_id.kind == KIND:
        return with_state(ledger, read_version(files, by_id.name, by_id.version))
    name, _, which = ref.partition("@")
    ready = [entry.version for entry in ledger.entries(KIND, name) if _is_ready(files, entry)]
    if not ready:
        raise NotFoundError("registered model", name, {e.name for e in ledger.entries(KIND) if _is_ready(files, e)})
    if which in ("", "latest"):
        version = max(ready)
    elif which.isdecimal():
        version = int(which)
    else:
        aliases = state_of(ledger, name).aliases
        version = aliases.get(which, 0)
    if version not in ready:
        aliases = state_of(ledger, name).aliases
        known = [f"{name}@{alias}" for alias in aliases] + [f"{name}@{number}" for number in ready]
        raise NotFoundError("version or alias", ref, known)
    return with_state(ledger, read_version(files, name, version))


def load(files: Files, ledger: Ledger, ref: str) -> LoadedModel:
    """The model that a reference means, its files checked, its own code on the path while it works."""
    version = resolve(files, ledger, ref)
    folder = version.path(files)
    check_files(folder, parts=("code",))
    code = folder / version.bundle.code if version.bundle.code is not None else None
    return load_folder(folder / "model", code=code)


def search(
    files: Files,
    ledger: Ledger,
    *,
    text: str = "",
    tags: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows of the versions that match all of what is given, newest first; without anything: all versions.

    Args:
        text: in the name, an alias, a tag, the dataset or the format, whatever the case.
        tags: that the version has with these values.
        metrics: conditions like `test:accuracy>=0.9`.

    Raises:
        ValueError: a condition that cannot be read.
    """
    conditions = [_condition(one) for one in metrics]
    found = []
    for row in rows(files, ledger):
        words = [
            row["name"],
            row["ref"],
            row["dataset"],
            row["format"],
            *row["aliases"],
            *row["tags"],
            *row["tags"].values(),
        ]
        if text and not any(text.casefold() in str(word).casefold() for word in words):
            continue
        if any(row["tags"].get(name) != value for name, value in (tags or {}).items()):
            continue
        if all(name in row["metrics"] and holds(row["metrics"][name]) for name, holds in conditions):
            found.append(row)
    return found


def rows(files: Files, ledger: Ledger, *, name: str | None = None) -> list[dict[str, Any]]:
    """One row per whole version, newest first, for listings: ref, aliases, tags, metrics, dataset, time."""
    states = {}
    found = []
    for entry in ledger.entries(KIND, name):
        if not _is_ready(files, entry):
            continue
        if entry.name not in states:
            states[entry.name] = state_of(ledger, entry.name)
        state, body = states[entry.name], entry.body
        found.append(
            {
                "id": entry.id,
                "ref": f"{entry.name}@{entry.version}",
                "name": entry.name,
                "version": entry.version,
                "aliases": list(state.aliases_of(entry.version)),
                "tags": dict(state.tags.get(entry.version, {})),
                "metrics": dict(body.get("metrics", {})),
                "format": body.get("format", ""),
                "dataset": body.get("dataset", ""),
                "evaluation": body.get("evaluation", ""),
                "at": body.get("at", entry.created_at),
            }
        )
    return sorted(found, key=lambda row: (-row["at"], row["ref"]))


def history(ledger: Ledger, name: str) -> list[Decision]:
    """Every decision about a model's aliases and tags, oldest first."""
    if not ledger.entries(KIND, name):
        raise NotFoundError("registered model", name, {entry.name for entry in ledger.entries(KIND)})
    return list(state_of(ledger, name).history)


def _is_ready(files: Files, entry: Entry) -> bool:
    """Whether a version is whole: its row says so, or its result is there although the row was not written."""
    if entry.body.get("status") == "ready":
        return True
    from headway.registry.version import home
    from headway.stores.commit import result

    return result(files, home(entry.name, entry.version)) is not None


def _condition(text: str) -> tuple[str, Callable[[float], bool]]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"a condition must look like 'test:accuracy>=0.9', got {text!r}")
    compare, bound = _SIGNS[match["sign"]], float(match["value"])
    return match["metric"], lambda value: compare(value, bound)
