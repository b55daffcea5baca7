"""What was decided about a model's versions: aliases, tags, promotions, roll-backs, replayed from its events.

In: events of the owner `model:<name>`. Out: `ModelState`. Pure: event in, state out. `headway.registry.aliases` appends
the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from headway.records import Record


class EventLike(Protocol):
    """What is used of `headway.stores.ledger.Event`."""

    @property
    def kind(self) -> str:
        """`promoted`, `rolled_back`, `alias_removed`, `tagged` or `untagged`."""

    @property
    def at(self) -> float:
        """When, UTC epoch seconds."""

    @property
    def body(self) -> Mapping[str, Any]:
        """What was decided."""


class Decision(Record):
    """One line of a model's history.

    Args:
        kind: `promoted`, `rolled_back`, `alias_removed`, `tagged`, `untagged`.
        at: when, UTC epoch seconds.
        by: who.
        why: the reason given.
        alias: which alias, of the first three kinds.
        version: where it points now, or what was tagged; None when the alias is gone.
        previous: where it pointed before; None when it was new.
        tags: of the last two kinds.
    """

    kind: str
    at: float
    by: str = ""
    why: str = ""
    alias: str = ""
    version: int | None = None
    previous: int | None = None
    tags: dict[str, str] = {}


class ModelState(Record):
    """Aliases and tags as they are now.

    Args:
        stacks: alias -> the versions it pointed to, the present one last; what roll-back goes back over.
        tags: version -> name -> value.
        history: every decision, oldest first.
    """

    stacks: dict[str, tuple[int, ...]] = {}
    tags: dict[int, dict[str, str]] = {}
    history: tuple[Decision, ...] = ()

    @property
    def aliases(self) -> dict[str, int]:
        """Alias -> version."""
        return {alias: stack[-1] for alias, stack in sorted(self.stacks.items()) if stack}

    def aliases_of(self, version: int) -> tuple[str, ...]:
        """The aliases of a version, sorted."""
        return tuple(alias for alias, target in self.aliases.items() if target == version)


def replay(events: Iterable[EventLike]) -> ModelState:
    """The state after these events."""
    state = ModelState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: ModelState, event: EventLike) -> ModelState:
    """The state after one more event; kinds that are not known change nothing (a newer version wrote them)."""
    body = event.body
    stacks, tags = dict(state.stacks), dict(state.tags)
    alias, version = str(body.get("alias", "")), body.get("version")
    if event.kind == "promoted":
        stacks[alias] = (*stacks.get(alias, ()), int(body["version"]))
    elif event.kind == "rolled_back":
        stacks[alias] = stacks.get(alias, ())[:-1]
    elif event.kind == "alias_removed":
        stacks.pop(alias, None)
    elif event.kind == "tagged":
        tags[int(body["version"])] = tags.get(int(body["version"]), {}) | dict(body["tags"])
    elif event.kind == "untagged":
        kept = tags.get(int(body["version"]), {})
        tags[int(body["version"])] = {name: value for name, value in kept.items() if name not in body["tags"]}
    else:
        return state
    line = Decision(
        kind=event.kind,
        at=event.at,
        by=str(body.get("by", "")),
        why=str(body.get("why", "")),
        alias=alias,
        version=version,
        previous=body.get("previous"),
        tags=dict(body.get("tags", {})),
    )
    return msgspec.structs.replace(state, stacks=stacks, tags=tags, history=(*state.history, line))
