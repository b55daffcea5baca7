"""Point a manifest to its data again, after they or the workspace were moved; no digest changes.

In: a manifest and the new URL. Out: the same manifest with another `source_url`; the move is an event in the ledger.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from headway.errors import ManifestError, WorkspaceError
from headway.manifests.manifest import Manifest
from headway.stores.files import Files
from headway.stores.ledger import Ledger

MOVED = "relocated"


def relocate(ledger: Ledger, manifest: Manifest, source_url: str | Path, *, files: Files | None = None) -> Manifest:
    """The manifest with its data at another place.

    Args:
        ledger: the workspace's ledger.
        manifest: the one whose data moved.
        source_url: where they lie now.
        files: the workspace's files; with them some files are looked for at the new place first.

    Raises:
        ManifestError: files of the manifest are not at the new place.
        WorkspaceError: another process works on this manifest just now.
    """
    source = Files(str(source_url))
    if files is not None and manifest.kind == "files":
        _look(manifest, files, source)
    lease = ledger.claim(manifest.id)
    if lease is None:
        holder = ledger.holder(manifest.id)
        raise WorkspaceError(f"cannot relocate {manifest.id}: {holder and holder.driver} works on it; try again later")
    try:
        ledger.append(lease, [(MOVED, {"source_url": source.url})])
    finally:
        ledger.release(lease)
    ledger.update_entry(manifest.id, {"source_url": source.url})
    return replace(manifest, source_url=source.url)


def _look(manifest: Manifest, files: Files, source: Files) -> None:
    table = manifest.table(files, columns=["key", "size_bytes", "channel"])
    step = max(1, len(table) // 100)
    for row in table.take(list(range(0, len(table), step))).to_pylist():
        if row["channel"] is None:
            continue
        try:
            size = source.size(row["key"])
        except FileNotFoundError as error:
            raise ManifestError(
                f"the data of {manifest.id} are not at {source.url}: {row['key']!r} is missing; "
                f"give the folder that {manifest.source_url} was moved to"
            ) from error
        if size != row["size_bytes"]:
            raise ManifestError(
                f"the data at {source.url} are not those of {manifest.id}: {row['key']!r} has {size} bytes, "
                f"the manifest says {row['size_bytes']}"
            )
