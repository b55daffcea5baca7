"""Manifests by name: build one from a folder, or load one that is there.

In: names, folders, patterns. Out: `Manifest`. The work is `headway.manifests.build`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headway.execution.session import Session
from headway.manifests.build import build
from headway.manifests.manifest import Manifest
from headway.manifests.split import CHANNELS, Split


def build_manifest(
    session: Session, name: str, source: str, *, label: str | Mapping[str, str], split: Split | None
) -> Manifest:
    """The manifest of a folder or URL; the version that is there when nothing has changed."""
    url = source if "://" in source else str(Path(source).expanduser().absolute())
    key = f"manifest {name}"
    session.progress.begin(key, f"manifest {name}")
    text = "failed"

    def said(what: str, done: int, of: int | None) -> None:
        session.progress.advance(key, done=done, text=what if of is None else f"{what} {done} of {of}")

    try:
        made = build(session.files, session.ledger, name, url, label=label, split=split or Split(), progress=said)
        text = f"{made.id}: " + ", ".join(
            f"{channel} {sum(n.values())}" for channel, n in sorted(made.counts.items(), key=_place)
        )
        return made
    finally:
        session.progress.end(key, text)


def load_manifest(session: Session, ref: str) -> Manifest:
    """A manifest by name (the newest), `name@2` or id."""
    return Manifest.load(session.files, session.ledger, ref)


def _place(pair: tuple[str, object]) -> int:
    """Channels in the order of the work."""
    return CHANNELS.index(pair[0])
