"""Write one version of a manifest and publish it through the commit protocol.

In: `Contents` and `Divided`. Out: the files of the version, its record, its edges. Before: `headway.manifests.contents`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.manifests.columns import digest_columns
from headway.manifests.compare import difference
from headway.manifests.contents import Contents, Divided
from headway.manifests.earlier import earlier_rows
from headway.manifests.listing import STATUSES
from headway.manifests.manifest import Channel, Manifest, folder_of, id_of
from headway.manifests.report import describe, status_counts, warnings_of
from headway.manifests.rules import Rule
from headway.manifests.split import CHANNELS, Split
from headway.manifests.table import SCHEMA, write_channels, write_labels, write_table
from headway.records import digest_of, pretty
from headway.stores.commit import publish, seal
from headway.stores.files import Files
from headway.stores.ledger import Edge, Entry, Lease, Ledger

PEOPLE = ("table.parquet", "labels.json", "report.json", "manifest.json", *(f"{name}.manifest" for name in CHANNELS))
"""Files of the attempt that are also linked (or copied) at the version's top level, for people."""


def table_of(divided: Divided) -> Any:
    """The table of the manifest, see `headway.manifests.table.SCHEMA`."""
    listing = divided.listing
    placed = divided.channels >= 0
    known = divided.codes >= 0
    number = np.array([divided.labels[name] for name in divided.names] + [-1], np.int32)
    label = pa.DictionaryArray.from_arrays(
        pa.array(divided.codes, pa.int32(), mask=~known), pa.array(divided.names, pa.string())
    )
    channel = pa.DictionaryArray.from_arrays(
        pa.array(divided.channels, pa.int8(), mask=~placed), pa.array(CHANNELS, pa.string())
    )
    status = pa.DictionaryArray.from_arrays(pa.array(listing.status, pa.int8()), pa.array(STATUSES, pa.string()))
    return pa.table(
        [
            listing.keys,
            label,
            pa.array(number[divided.codes], pa.int32(), mask=~known),
            channel,
            pa.array(divided.units, pa.uint64(), mask=~placed),
            listing.digests,
            listing.sizes,
            listing.mtimes,
            listing.inodes,
            status,
        ],
        schema=SCHEMA,
    )


def write_version(
    files: Files,
    ledger: Ledger,
    lease: Lease,
    entry: Entry,
    *,
    contents: Contents,
    divided: Divided,
    parent: Manifest | None,
    rule: Rule,
    group: Rule | None,
    split: Split,
    started: float,
    clock: Callable[[], float],
) -> Manifest:
    """Write all files of a version below an attempt of its own and publish it.

    Raises:
        FencedError: another builder has taken this version over; nothing was published.
    """
    folder = f"{folder_of(entry.name, entry.version)}/attempts/{lease.epoch}"
    if files.exists(folder):
        files.remove(folder)

    def create(name: str) -> BinaryIO:
        return files.open(f"{folder}/{name}", "wb")

    table = table_of(divided)
    url = contents.url
    prefix = url if contents.kind == "files" else url.rpartition("/")[0]
    prefix = prefix.rstrip("/") + "/"
    with create("table.parquet") as stream:
        write_table(table, stream)
    write_channels(table, prefix=prefix, create=create)
    with create("labels.json") as stream:
        write_labels(divided.labels, stream)
    ledger.heartbeat(lease)
    inside = pc.is_valid(table["channel"])
    whole = bool(pc.all(inside).as_py())
    kept = table if whole else table.filter(inside)
    before = parent.table(files) if parent is not None else None
    with create("earlier.parquet") as stream:
        left = earlier_rows(
            parent=before,
            before=parent.earlier(files) if parent is not None else None,
            version=parent.version if parent is not None else 0,
            keys=kept["key"].chunk(0) if kept["key"].num_chunks == 1 else kept["key"].combine_chunks(),
            digests=kept["digest"].chunk(0) if kept["digest"].num_chunks == 1 else kept["digest"].combine_chunks(),
        )
        write_table(left, stream)
    report = describe(
        listing=divided.listing,
        labels=divided.names,
        codes=divided.codes,
        channels=divided.channels,
        split=split,
        contents=contents.contents,
        difference={"parent": parent.id, **difference(before, table)} if parent is not None else None,
    )
    channels = _channels(divided)
    manifest = Manifest(
        id=id_of(entry.name, entry.version),
        name=entry.name,
        version=entry.version,
        digest=digest_of(
            {"channels": {name: part.digest for name, part in channels.items()}, "labels": divided.labels}
        ),
        lookup=entry.lookup,
        attempt=lease.epoch,
        source_url=url,
        prefix=prefix,
        kind=contents.kind,
        label=rule.record,
        group=group.record if group is not None else None,
        split=split,
        labels=divided.labels,
        channels=channels,
        counts=report["counts"],
        sizes=report["sizes"],
        statuses=status_counts(divided.listing),
        parent=parent.id if parent is not None else None,
        listed_at=contents.listing.listed_at,
        created_at=clock(),
        wall_s=round(clock() - started, 3),
        warnings=warnings_of(report),
    )
    report |= {"manifest": manifest.id, "reused_digests": contents.num_reused, "wall_s": manifest.wall_s}
    files.write(f"{folder}/report.json", pretty(report))
    files.write(f"{folder}/manifest.json", pretty(manifest))
    home = folder_of(entry.name, entry.version)
    outcome = seal(files, home, attempt=lease.epoch, body={"manifest": manifest.id, "digest": manifest.digest})
    publish(files, ledger, lease, home, outcome, body={"manifest": manifest.id, "digest": manifest.digest})
    finish(files, ledger, manifest)
    return manifest


def _channels(divided: Divided) -> dict[str, Channel]:
    """Digest, number of files and bytes of each channel."""
    listing, out = divided.listing, {}
    number = np.array([divided.labels[name] for name in divided.names], np.int32)
    for code, name in enumerate(CHANNELS):
        rows = np.flatnonzero(divided.channels == code)
        take = pa.array(rows)
        columns = {
            "key": listing.keys.take(take),
            "digest": listing.digests.take(take),
            "code": number[divided.codes[rows]],
        }
        out[name] = Channel(
            digest=digest_columns(columns), num_files=len(rows), size_bytes=int(listing.sizes[rows].sum())
        )
    return out


def finish(files: Files, ledger: Ledger, manifest: Manifest) -> None:
    """What follows from a published version: the edge to its parent, its line in listings, its files at the top level.

    Guarantees: idempotent; a builder that finds a version published does it again for one that was killed here.
    """
    if manifest.parent is not None:
        ledger.link([Edge(source=manifest.id, target=manifest.parent, role="parent")])
    totals = {name: channel.num_files for name, channel in manifest.channels.items()}
    body = {
        "status": "ready",
        "digest": manifest.digest,
        "source_url": manifest.source_url,
        "num_files": manifest.num_files,
        "num_labels": len(manifest.labels),
        "channels": totals,
        "warnings": len(manifest.warnings),
    }
    for name in PEOPLE:
        _link(files, manifest.path(name), f"{manifest.folder}/{name}")
    ledger.update_entry(manifest.id, body)


def _link(files: Files, source: str, target: str) -> None:
    """A file at a second path: a hard link where the store has them, else a copy."""
    if files.exists(target):
        return
    if files.is_local:
        try:
            os.link(files.local(source), files.local(target))
            return
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            pass
    with files.open(source, "rb") as stream, files.open(target, "wb") as copy:
        while chunk := stream.read(1 << 20):
            copy.write(chunk)
