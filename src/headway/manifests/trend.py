"""How a manifest changed over its versions, and where a file has been.

In: the published versions in a workspace. Out: plain rows for listings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headway.errors import NotFoundError
from headway.manifests.changed import digest_of_file
from headway.manifests.manifest import KIND, Manifest, published, read_manifest, relocated
from headway.manifests.split import CHANNELS
from headway.records import Record
from headway.stores.files import Files
from headway.stores.ledger import Ledger


def versions(files: Files, ledger: Ledger, name: str | None = None) -> list[Manifest]:
    """All published manifests, or all versions of one name, oldest first."""
    out = []
    for entry in ledger.entries(kind=KIND, name=name):
        found = published(files, entry.name, entry.version)
        if found is not None:
            out.append(relocated(ledger, read_manifest(files, entry.name, entry.version, found)))
    return out


def trend(files: Files, ledger: Ledger, name: str) -> list[dict[str, Any]]:
    """One row per version, oldest first.

    Returns:
        `id`, `version`, `created_at`, `num_files`, `size_bytes`, `num_labels`, `train`, `validation`, `test` (files),
        `added`, `removed`, `changed` (files, against the version before), `unmatched`, `empty`, `unreadable`,
        `conflict`, `largest_shift` (percent points between a channel's label share and the whole), `wall_s`.

    Raises:
        NotFoundError: there is no such manifest.
    """
    rows = []
    for manifest in versions(files, ledger, name):
        report = manifest.report(files)
        change = report["difference"] or {}
        rows.append(
            {
                "id": manifest.id,
                "version": manifest.version,
                "created_at": manifest.created_at,
                "num_files": manifest.num_files,
                "size_bytes": sum(channel.size_bytes for channel in manifest.channels.values()),
                "num_labels": sum(1 for num in report["totals"].values() if num),
                **{channel: manifest.channels[channel].num_files for channel in CHANNELS},
                **{what: change[what]["num"] if change else 0 for what in ("added", "removed", "changed")},
                **{status: num for status, num in manifest.statuses.items() if status != "ok"},
                "largest_shift": report["largest_shift"]["points"],
                "wall_s": manifest.wall_s,
            }
        )
    if not rows:
        raise NotFoundError(KIND, name, {manifest.name for manifest in versions(files, ledger)})
    return rows


class Seen(Record):
    """Where a file is, or was, in a manifest.

    Args:
        manifest: id of the version.
        channel: None where the file is in no channel.
        status: `ok`, `empty`, `unreadable`, `unmatched`, `conflict`.
    """

    manifest: str
    key: str
    channel: str | None
    label: str | None
    digest: str
    status: str


def find(
    files: Files, ledger: Ledger, *, key: str | None = None, digest: str | None = None, name: str | None = None
) -> list[Seen]:
    """In which manifests a file is, by its key or its content; from there the edges lead to datasets and models.

    Args:
        files: the workspace's files.
        ledger: the workspace's ledger.
        key: the key in the manifest.
        digest: SHA-256 of the content.
        name: only versions of this manifest.

    Returns:
        One entry per manifest and file, oldest version first.
    """
    if (key is None) == (digest is None):
        raise ValueError("find() takes a key or a digest, one of the two")
    out = []
    for manifest in versions(files, ledger, name):
        rows = _rows_with(files, manifest.path("table.parquet"), key=key, digest=digest)
        out += [Seen(manifest=manifest.id, **row) for row in rows]
    return out


def _rows_with(files: Files, path: str, *, key: str | None, digest: str | None) -> list[dict[str, Any]]:
    """The rows of one table; tables are sorted by key, so for a key only the part that can have it is read."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    column, wanted = ("key", key) if key is not None else ("digest", digest)
    rows: list[dict[str, Any]] = []
    with files.open(path, "rb") as stream:
        file = pq.ParquetFile(stream)
        for number in range(file.num_row_groups):
            known = file.metadata.row_group(number).column(0).statistics
            if key is not None and known is not None and known.has_min_max and not known.min <= key <= known.max:
                continue
            found = pc.indices_nonzero(pc.equal(file.read_row_group(number, columns=[column])[column], wanted))
            if len(found):
                part = file.read_row_group(number, columns=["key", "channel", "label", "digest", "status"])
                rows += part.take(found).to_pylist()
    return rows


def find_file(files: Files, ledger: Ledger, path: str | Path) -> list[Seen]:
    """In which manifests the content of a file is, wherever the file lies now and whatever it is called.

    Raises:
        FileNotFoundError: there is no such file.
    """
    place = Path(path).absolute()
    return find(files, ledger, digest=digest_of_file(Files(place.parent), place.name))
