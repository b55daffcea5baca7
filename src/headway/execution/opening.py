"""Opening a workspace: its files, its schema, its ledger.

In: `Settings`. Out: a `Session`. A new workspace is made only where that is wanted.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from headway.config import Settings
from headway.engines.engine import Engine
from headway.errors import NewerSchemaError, WorkspaceError
from headway.execution.progress import Progress, default_progress
from headway.execution.session import Session
from headway.records import decode, pretty
from headway.stores.files import Files
from headway.stores.ledger import Ledger

SCHEMA = 1
OWNER, NAMED = "workspace", "named"


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
    own_id = _check_schema(files, create=create)
    where = ledger or settings.ledger or _default_ledger(files)
    book = Ledger.open(where, read_only=_is_read_only(files))
    try:
        _check_pair(files, book, own_id, where=where)
    except BaseException:
        book.close()
        raise
    return Session(
        files,
        book,
        engine=engine or settings.engine,
        progress=progress or default_progress(),
        credentials=settings.credentials,
    )


def _check_pair(files: Files, ledger: Ledger, own_id: str, *, where: str) -> None:
    """Refuse a ledger that belongs to another workspace, or that has lost what this workspace decided.

    Raises:
        WorkspaceError: with what to do.
    """
    named = ledger.events(OWNER, kinds=[NAMED])
    if named:
        if own_id and named[0].body.get("id") != own_id:
            raise WorkspaceError(
                f"the ledger {where} belongs to another workspace than {files.url}: give the right one with ledger= "
                "(in headway.toml: ledger), or none for the file in the workspace"
            )
        return
    if any(files.exists(folder) for folder in ("jobs", "manifests", "models")):
        raise WorkspaceError(
            f"the ledger {where} is empty, but {files.url} holds work whose decisions it should know: name the ledger "
            "that it was made with (ledger=, or in headway.toml), restore it, or begin another workspace"
        )
    lease = ledger.claim(OWNER)
    if lease is not None:  # else another driver is naming it just now
        if not ledger.events(OWNER, kinds=[NAMED]):
            ledger.append(lease, [(NAMED, {"id": own_id})])
        ledger.release(lease)


def _check_schema(files: Files, *, create: bool) -> str:
    """The id in `workspace.json`, which is written into a new workspace."""
    try:
        found: dict[str, Any] = decode(files.read("workspace.json"), dict, where=files.url_of("workspace.json"))
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise WorkspaceError(f"cannot read a workspace at {files.url}: {error}") from error
        if not create:
            raise WorkspaceError(
                f"there is no workspace at {files.url}; make one with headway.open({files.url!r}), or name another: "
                "--workspace PATH or HEADWAY_WORKSPACE"
            ) from None
        try:
            made = {"schema": SCHEMA, "id": uuid.uuid4().hex, "created_at": time.time()}
            files.create("workspace.json", pretty(made))
        except OSError as refused:
            raise WorkspaceError(f"cannot make a workspace at {files.url}: {refused}") from refused
        return _check_schema(files, create=False)
    if not isinstance(found.get("schema"), int):
        raise WorkspaceError(f"{files.url_of('workspace.json')} is damaged: schema must be a number, got {found!r}")
    if found["schema"] > SCHEMA:
        raise NewerSchemaError(
            f"the workspace at {files.url} has schema {found['schema']}, this Headway knows {SCHEMA}: "
            "upgrade with pip install --upgrade headway"
        )
    return str(found.get("id", ""))


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
