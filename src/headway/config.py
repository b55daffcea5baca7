"""Settings: what a project says once in `headway.toml` (or `[tool.headway]` of pyproject.toml), not on every call.

In: a folder and the environment. Out: `Settings`. Nothing is read at import, and nothing is kept in a global.

Example of a `headway.toml`::

    workspace = ".headway"
    engine = "local://"

    [credentials.warehouse]          # train(..., secrets="warehouse"): references, never values
    TOKEN = "env:WAREHOUSE_TOKEN"

    [profiles.cluster]
    workspace = "/mnt/team/ws"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headway.errors import WorkspaceError
from headway.records import Record

FOLDER = ".headway"


class Settings(Record):
    """What `headway.open()` starts from.

    Args:
        workspace: folder or URL of the workspace; relative to the file that says so.
        ledger: path or database URL; None for the SQLite file in the workspace.
        engine: URL of the default engine.
        credentials: name -> environment variable on the worker -> reference (`env:NAME` or `file:/path`).
        origin: what decided (for errors and `headway --version`).
    """

    workspace: str
    ledger: str | None = None
    engine: str = "local://"
    origin: str = "default"
    credentials: dict[str, dict[str, str]] = {}


def find_settings(start: Path, environment: Mapping[str, str], *, profile: str | None = None) -> Settings:
    """The settings in force: HEADWAY_WORKSPACE, else the nearest settings file upwards, else the nearest `.headway`
    folder upwards, else `.headway` in `start`.

    Args:
        start: folder to look from.
        environment: HEADWAY_WORKSPACE and HEADWAY_PROFILE are read from it.
        profile: a table of `[profiles]` that is laid over the rest; None for HEADWAY_PROFILE or none.

    Raises:
        WorkspaceError: a settings file cannot be read, has a wrong type, or lacks the profile.
    """
    profile = profile or environment.get("HEADWAY_PROFILE")
    found = _nearest_file(start)
    settings = _from_file(*found, profile) if found else None
    if settings is None and profile:
        raise WorkspaceError(f"profile {profile!r} was asked for, but there is no headway.toml at or above {start}")
    if workspace := environment.get("HEADWAY_WORKSPACE"):
        rest = settings or Settings(workspace=workspace)
        return replace(rest, workspace=workspace, ledger=None, origin="HEADWAY_WORKSPACE")
    if settings is not None:
        return settings
    for folder in (start, *start.parents):
        if os.path.isdir(folder / FOLDER):
            return Settings(workspace=str(folder / FOLDER), origin=str(folder / FOLDER))
    return Settings(workspace=str(start / FOLDER))


def _nearest_file(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest headway.toml or pyproject.toml with [tool.headway], with its table."""
    for folder in (start, *start.parents):
        for name in ("headway.toml", "pyproject.toml"):
            path = folder / name
            if not os.path.isfile(path):  # also False where this user may not look
                continue
            try:
                table = tomllib.loads(path.read_text())
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                if name == "pyproject.toml":
                    continue  # another tool's file: its errors are not ours to report
                raise WorkspaceError(f"cannot read {path}: {error}") from error
            if name == "pyproject.toml":
                table = table.get("tool", {}).get("headway", {})
            if table:
                return path, table
    return None


def _from_file(path: Path, table: dict[str, Any], profile: str | None) -> Settings:
    """Settings out of one file's table, with a profile laid over it."""
    table = dict(table)
    profiles = table.pop("profiles", {})
    if profile is not None:
        if profile not in profiles:
            raise WorkspaceError(f"{path} has no profile {profile!r}; it has: {', '.join(sorted(profiles)) or 'none'}")
        table |= profiles[profile]
    credentials = _credentials(path, table.pop("credentials", {}))
    known = {"workspace", "ledger", "engine"}
    if unknown := sorted(set(table) - known):
        raise WorkspaceError(
            f"{path}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}, credentials, profiles"
        )
    for name, value in table.items():
        if not isinstance(value, str):
            raise WorkspaceError(f"{path}: {name} must be text, got {value!r}")
    workspace = table.get("workspace", FOLDER)
    if "://" not in workspace:
        workspace = str((path.parent / workspace).absolute())
    return Settings(
        workspace=workspace,
        ledger=table.get("ledger"),
        engine=table.get("engine", "local://"),
        origin=str(path),
        credentials=credentials,
    )


def _credentials(path: Path, table: Any) -> dict[str, dict[str, str]]:
    """The credentials of a settings file: tables of references."""
    if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
        raise WorkspaceError(f"{path}: credentials are tables, [credentials.NAME] with VARIABLE = 'env:NAME'")
    for name, references in table.items():
        for variable, reference in references.items():
            if not str(reference).startswith(("env:", "file:")):
                raise WorkspaceError(
                    f"{path}: credentials.{name}.{variable} must be a reference, 'env:NAME' or 'file:/path', "
                    "so that no secret lies in a settings file"
                )
    return table
