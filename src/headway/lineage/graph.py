"""What came from what, over all steps, as rows for listings.

In: the edges in the ledger, where `target` was made from `source`. Out: plain dicts. Needs only the ledger, so that it
works on a copied workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.stores.ledger import Edge, Ledger

Row = dict[str, Any]


def upstream(ledger: Ledger, id: str, *, depth: int | None = None) -> list[Row]:
    """What a thing was made from, and what that was made from, nearest first.

    Args:
        ledger: of the workspace.
        id: of a job, manifest, dataset or model version.
        depth: how many steps; None for all.

    Returns: one row per edge: `id`, `kind`, `name`, `version` (None for what the catalogue does not know), `role`,
        `of` (the id that it was used for) and `depth` (1 for a direct one). A thing that was used twice has two rows;
        what lies behind it is followed once.
    """
    return _walk(ledger, id, depth=depth, up=True)


def downstream(ledger: Ledger, id: str, *, depth: int | None = None) -> list[Row]:
    """What was made from a thing, and from that, nearest first; the rows are those of `upstream`."""
    return _walk(ledger, id, depth=depth, up=False)


def ids(rows: list[Row], *, kind: str | None = None) -> list[str]:
    """The ids in rows, each once, in their order; of one kind only when it is given."""
    return list(dict.fromkeys(row["id"] for row in rows if kind is None or row["kind"] == kind))


def _walk(ledger: Ledger, start: str, *, depth: int | None, up: bool) -> list[Row]:
    rows: list[Row] = []
    followed = {start}
    level, steps = [start], 0
    while level and (depth is None or steps < depth):
        steps += 1
        following = []
        for near in level:
            for edge in sorted(_edges(ledger, near, up), key=lambda edge: (edge.role, edge.source, edge.target)):
                far = edge.source if up else edge.target
                rows.append(_row(ledger, far, role=edge.role, of=near, depth=steps))
                if far not in followed:
                    followed.add(far)
                    following.append(far)
        level = following
    return rows


def _edges(ledger: Ledger, id: str, up: bool) -> list[Edge]:
    return ledger.edges(target=id) if up else ledger.edges(source=id)


def _row(ledger: Ledger, id: str, *, role: str, of: str, depth: int) -> Row:
    entry = ledger.by_id(id)
    known: Row = {"kind": None, "name": None, "version": None}
    if entry is not None:
        known = {"kind": entry.kind, "name": entry.name, "version": entry.version}
    return {"id": id, **known, "role": role, "of": of, "depth": depth}
