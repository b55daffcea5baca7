"""Promote, roll back, tag: decisions about registered versions, appended to the ledger.

In: a workspace's files and ledger, a model's name. Out: events of the owner `model:<name>`: who did it, when, from
which version and why. Read back by `headway.registry.history`.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headway.errors import NotFoundError, WorkspaceError
from headway.registry.history import Decision, ModelState, replay
from headway.registry.version import KIND, check_name, read_version

if TYPE_CHECKING:
    from headway.stores.files import Files
    from headway.stores.ledger import Ledger

WAIT_S = 30.0
RESERVED = ("latest",)


def state_of(ledger: Ledger, name: str) -> ModelState:
    """Aliases, tags and history of a model."""
    return replay(ledger.events(owner_of(name)))


def owner_of(name: str) -> str:
    """The owner of a model's events."""
    return f"model:{name}"


def promote(
    files: Files, ledger: Ledger, name: str, *, version: int, alias: str = "champion", by: str = "", why: str = ""
) -> Decision | None:
    """Point an alias at a version; None when it points there already.

    Args:
        by: who decides; empty: the user of this process.
        why: the reason, for the history.

    Raises:
        NotFoundError: there is no such version.
        ValueError: the alias is not a name, or is a number or `latest`.
    """
    check_name(alias, what="an alias")
    if alias.isdecimal() or alias in RESERVED:
        raise ValueError(f"an alias must not be a number or {RESERVED[0]!r}, got {alias!r}: {name}@3 means version 3")
    read_version(files, name, version)

    def decide(state: ModelState) -> tuple[str, dict[str, Any]] | None:
        before = state.aliases.get(alias)
        if before == version:
            return None
        return "promoted", {"alias": alias, "version": version, "previous": before, "by": by or _user(), "why": why}

    return _decide(ledger, name, decide)


def rollback(ledger: Ledger, name: str, *, alias: str = "champion", by: str = "", why: str = "") -> Decision:
    """Point an alias back at the version it pointed at before; again: at the one before that.

    Raises:
        NotFoundError: the model has no such alias.
        ValueError: the alias never pointed elsewhere.
    """

    def decide(state: ModelState) -> tuple[str, dict[str, Any]] | None:
        stack = _stack(state, name, alias)
        if len(stack) < 2:
            raise ValueError(
                f"cannot roll back {name}@{alias}: it has pointed at version {stack[-1]} only; promote another version"
            )
        body = {"alias": alias, "version": stack[-2], "previous": stack[-1], "by": by or _user(), "why": why}
        return "rolled_back", body

    decided = _decide(ledger, name, decide)
    if decided is None:
        raise WorkspaceError(f"the roll-back of {name}@{alias} was not recorded: try again")
    return decided


def remove_alias(ledger: Ledger, name: str, *, alias: str, by: str = "", why: str = "") -> Decision | None:
    """Take an alias away; what it pointed at stays registered.

    Raises:
        NotFoundError: the model has no such alias.
    """

    def decide(state: ModelState) -> tuple[str, dict[str, Any]] | None:
        stack = _stack(state, name, alias)
        return "alias_removed", {"alias": alias, "previous": stack[-1], "by": by or _user(), "why": why}

    return _decide(ledger, name, decide)


def tag(
    files: Files,
    ledger: Ledger,
    name: str,
    *,
    version: int,
    tags: Mapping[str, str] | None = None,
    remove: tuple[str, ...] = (),
    by: str = "",
) -> ModelState:
    """Set or remove tags of a version; the state afterwards."""
    read_version(files, name, version)
    wanted = {check_name(key, what="a tag"): str(value) for key, value in (tags or {}).items()}

    def set_tags(state: ModelState) -> tuple[str, dict[str, Any]] | None:
        now = state.tags.get(version, {})
        fresh = {key: value for key, value in wanted.items() if now.get(key) != value}
        return ("tagged", {"version": version, "tags": fresh, "by": by or _user()}) if fresh else None

    def drop_tags(state: ModelState) -> tuple[str, dict[str, Any]] | None:
        gone = {key: value for key, value in state.tags.get(version, {}).items() if key in remove}
        return ("untagged", {"version": version, "tags": gone, "by": by or _user()}) if gone else None

    _decide(ledger, name, set_tags)
    _decide(ledger, name, drop_tags)
    return state_of(ledger, name)


def _decide(
    ledger: Ledger, name: str, decide: Callable[[ModelState], tuple[str, dict[str, Any]] | None]
) -> Decision | None:
    """Look and decide while nobody else can: under the epoch of the model's owner."""
    if not ledger.entries(KIND, name):
        known = sorted({entry.name for entry in ledger.entries(KIND)})
        raise NotFoundError("model", name, known)
    deadline = time.monotonic() + WAIT_S
    lease = ledger.claim(owner_of(name))
    while lease is None:
        if time.monotonic() > deadline:
            raise WorkspaceError(
                f"another process has been deciding about the model {name!r} for {WAIT_S:.0f} s: try again"
            )
        time.sleep(0.02)
        lease = ledger.claim(owner_of(name))
    try:
        decided = decide(state_of(ledger, name))
        if decided is not None:
            ledger.append(lease, [decided])
    finally:
        ledger.release(lease)
    return state_of(ledger, name).history[-1] if decided is not None else None


def _stack(state: ModelState, name: str, alias: str) -> tuple[int, ...]:
    stack = state.stacks.get(alias, ())
    if not stack:
        raise NotFoundError("alias", f"{name}@{alias}", (f"{name}@{known}" for known in state.aliases))
    return stack


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
