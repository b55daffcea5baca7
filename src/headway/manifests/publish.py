"""Write one version of a manifest and publish it through the commit protocol.

In: `Contents` and `Divided` (`headway.manifests.contents`). Out: the files of the version, its record, its edges.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, final

import numpy as np
import pyarrow as pa

from headway.manifests.columns import arrow, digest_columns, take, texts
from headway.manifests.compare import difference
from headway.manifests.contents import Contents, Divided, Parent
from headway.manifests.earlier import earlier_rows, nothing_earlier
from headway.manifests.listing import STATUSES
from headway.manifests.manifest import Channel, Manifest, folder_of, id_of
from headway.manifests.report import describe, warnings_of
from headway.manifests.rules import Rules
from headway.manifests.split import CHANNELS
from headway.manifests.table import SCHEMA, with_metadata, write_channels, write_labels, write_table
from headway.records import digest_of, pretty
from headway.stores.commit import publish, seal, verify
from headway.stores.files import Files
from headway.stores.ledger import Edge, Entry, Lease, Ledger

READY = "ready"
"""The status of a version, in listings, that is published and whose files lie at the top level too."""
PEOPLE = ("table.parquet", "labels.json", "report.json", "manifest.json", *(f"{name}.manifest" for name in CHANNELS))
"""Files of the attempt that are also linked (or copied) at the version's top level, for people."""


def table_of(divided: Divided) -> Any:
    """The table of the manifest, see `headway.manifests.table.SCHEMA`."""
    listing = divided.listing
    placed = divided.channels >= 0
    known = divided.codes >= 0
    number = np.array([divided.labels[name] for name in divided.names] + [-1], np.int32)
    label = pa.DictionaryArray.from_arrays(arrow(divided.codes, null=~known), texts(divided.names).cast(pa.string()))
    channel = pa.DictionaryArray.from_arrays(arrow(divided.channels, null=~placed), texts(CHANNELS).cast(pa.string()))
    status = pa.DictionaryArray.from_arrays(arrow(listing.status), texts(STATUSES).cast(pa.string()))
    return pa.table(
        [
            listing.keys,
            label,
            arrow(number[divided.codes], null=~known),
            channel,
            arrow(divided.units, null=~placed),
            listing.digests,
            arrow(listing.sizes),
            arrow(listing.mtimes),
            arrow(listing.inodes),
            status,
        ],
        schema=SCHEMA,
    )


@final
class Version:
    """The version that is being written: its entry, the right to write it, what it follows, when it began."""

    def __init__(self, *, entry: Entry, lease: Lease, parent: Parent | None, started: float) -> None:
        self.entry, self.lease, self.parent, self.started = entry, lease, parent, started
        self.home = folder_of(entry.name, entry.version)
        self.attempt = lease.epoch
        self.folder = f"{self.home}/attempts/{self.attempt}"


def write_version(
    files: Files,
    ledger: Ledger,
    version: Version,
    contents: Contents,
    divided: Divided,
    *,
    rules: Rules,
    clock: Callable[[], float],
) -> Manifest:
    """Write all files of a version below an attempt of its own and publish it.

    Raises:
        FencedError: another builder has taken this version over; nothing was published.
    """
    if files.exists(version.folder):
        files.remove(version.folder)
    parent, table = version.parent, table_of(divided)
    prefix = contents.url.rstrip("/") + "/"
    _write_files(files, version, divided, table, prefix=prefix)
    ledger.heartbeat(version.lease)
    report = describe(
        listing=divided.listing,
        labels=divided.names,
        codes=divided.codes,
        channels=divided.channels,
        split=rules.split,
        contents=contents.contents,
        twice=contents.twice,
        difference={"parent": parent.manifest.id, **difference(parent.table, table)} if parent is not None else None,
    )
    manifest = _record(version, contents, divided, report, rules=rules, prefix=prefix, now=clock())
    report |= {"manifest": manifest.id, "reused_digests": contents.num_reused, "wall_s": manifest.wall_s}
    files.write(f"{version.folder}/report.json", pretty(report))
    files.write(f"{version.folder}/manifest.json", pretty(manifest))
    body = {"manifest": manifest.id, "digest": manifest.digest}
    outcome = seal(files, version.home, attempt=version.attempt, body=body)
    verify(files, version.home, attempt=version.attempt, outcome=outcome)
    publish(files, ledger, version.lease, version.home, outcome, body=body)
    finish(files, ledger, manifest)
    return manifest


def _write_files(files: Files, version: Version, divided: Divided, table: Any, *, prefix: str) -> None:
    def create(name: str) -> BinaryIO:
        return files.open(f"{version.folder}/{name}", "wb")

    with create("table.parquet") as stream:
        write_table(with_metadata(table, prefix=prefix, labels=divided.labels), stream)
    write_channels(table, prefix=prefix, create=create)
    with create("labels.json") as stream:
        write_labels(divided.labels, stream)
    rows = np.flatnonzero(divided.channels >= 0)
    keys, digests = (take(column, rows) for column in (divided.listing.keys, divided.listing.digests))
    parent = version.parent
    left = (
        earlier_rows(
            parent=parent.table, before=parent.earlier, version=parent.manifest.version, keys=keys, digests=digests
        )
        if parent is not None
        else nothing_earlier()
    )
    with create("earlier.parquet") as stream:
        write_table(left, stream)


def _record(
    version: Version,
    contents: Contents,
    divided: Divided,
    report: dict[str, Any],
    *,
    rules: Rules,
    prefix: str,
    now: float,
) -> Manifest:
    """The value that is stored as `manifest.json`."""
    entry, channels = version.entry, _channels(divided)
    return Manifest(
        id=id_of(entry.name, entry.version),
        name=entry.name,
        version=entry.version,
        digest=digest_of(
            {"channels": {name: part.digest for name, part in channels.items()}, "labels": divided.labels}
        ),
        lookup=entry.lookup,
        attempt=version.attempt,
        source_url=contents.url,
        prefix=prefix,
        kind=contents.kind,
        label=rules.label.record,
        group=rules.group.record if rules.group is not None else None,
        split=rules.split,
        labels=divided.labels,
        channels=channels,
        counts=report["counts"],
        sizes=report["sizes"],
        statuses=report["statuses"],
        parent=version.parent.manifest.id if version.parent is not None else None,
        listed_at=contents.listing.listed_at,
        created_at=now,
        wall_s=round(now - version.started, 3),
        warnings=warnings_of(report),
    )


def _channels(divided: Divided) -> dict[str, Channel]:
    """Digest, number of files and bytes of each channel."""
    listing, out = divided.listing, {}
    number = np.array([divided.labels[name] for name in divided.names], np.int32)
    for code, name in enumerate(CHANNELS):
        rows = np.flatnonzero(divided.channels == code)
        columns = {
            "key": take(listing.keys, rows),
            "digest": take(listing.digests, rows),
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
        ledger.link([Edge(source=manifest.parent, target=manifest.id, role="parent")])
    totals = {name: channel.num_files for name, channel in manifest.channels.items()}
    body = {
        "status": READY,
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
