"""Opening a workspace: its files, its schema, its ledger.

In: `Settings`. Out: a `Session`. A new workspace is made only where that is wanted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from headway.config import Settings
from headway.engines.engine import Engine
from headway.errors import NewerSchemaError, WorkspaceError
from headway.execution.progress import Progress, default_progress
from headway.execution.session import Session
from headway.records import decode, pretty
from headway.stores.files import Files
from headway.stores.ledger import Ledger

SCHEMA = 1


def open_session(
    settings: Settings, *, ledger: str | None, engine: str | Engine | None, progress: Progress | None, create: bool
) -> Session:
    """The session of the workspace that the settings name.

    Args:
        ledger, engine: instead of those of the settings.
        progress: None for bars on a terminal and lines elsewhere.
        create: whether a workspace may be made where there is none.

    Raises:
        WorkspaceError: it cannot be opened; NewerSchemaError: a newer Headway wrote it.
    """
    place = settings.workspace if "://" in settings.workspace else str(Path(settings.workspace).expanduser().absolute())
    files = Files(place)
    _check_schema(files, create=create)
    where = ledger or settings.ledger or _default_ledger(files)
    return Session(
        files,
        Ledger.open(where, read_only=_is_read_only(files)),
        engine=engine or settings.engine,
        progress=progress or default_progress(),
        credentials=settings.credentials,
    )


def _check_schema(files: Files, *, create: bool) -> None:
    """Read `workspace.json`, or write it into a new workspace."""
    try:
        found: dict[str, int] = decode(files.read("workspace.json"), dict, where=files.url_of("workspace.json"))
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise WorkspaceError(f"cannot read a workspace at {files.url}: {error}") from error
        if not create:
            raise WorkspaceError(
                f"there is no workspace at {files.url}; make one with headway.open({files.url!r}), or name another: "
                "--workspace PATH or HEADWAY_WORKSPACE"
            ) from None
        try:
            files.create("workspace.json", pretty({"schema": SCHEMA, "created_at": time.time()}))
        except OSError as refused:
            raise WorkspaceError(f"cannot make a workspace at {files.url}: {refused}") from refused
        return
    if found.get("schema", 0) > SCHEMA:
        raise NewerSchemaError(
            f"the workspace at {files.url} has schema {found['schema']}, this Headway knows {SCHEMA}: "
            "upgrade with pip install --upgrade headway"
        )


def _is_read_only(files: Files) -> bool:
    """Whether this user may look at a workspace and change nothing."""
    return files.is_local and not os.access(files.local("."), os.W_OK)


def _default_ledger(files: Files) -> str:
    """The SQLite file beside the files; a bucket cannot hold one."""
    if not files.is_local:
        raise WorkspaceError(
            f"the workspace {files.url} is a bucket, which cannot hold a SQLite ledger: "
            "give ledger='postgresql+psycopg://user@host/database'"
        )
    return str(files.local("ledger.sqlite"))
