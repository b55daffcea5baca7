"""A manifest as a value: what data there were, which label and channel each file has, and what it came from.

In: what `headway.manifests.build` wrote. Out: `Manifest`, which processing, training and evaluation read; they never
take a bare folder. Nothing here imports numpy or pyarrow before a table is read.
"""

from __future__ import annotations

from typing import Any

from headway.errors import NotFoundError
from headway.manifests.split import CHANNELS, RuleRecord, Split
from headway.records import Record, decode
from headway.stores.commit import Result, result
from headway.stores.files import Files
from headway.stores.ledger import Ledger

KIND = "manifest"


class Channel(Record):
    """One channel of a manifest: its digest (over keys, contents and labels), number of files and their bytes."""

    digest: str
    num_files: int
    size_bytes: int


class Manifest(Record):
    """One version of a manifest.

    Args:
        id: `manifest-<name>-<version>`.
        digest: of all keys, contents, labels and channels; not of where the data lie.
        lookup: of what went in (keys, contents, rules, split): the same again gives this version back.
        attempt: the attempt that wrote its files.
        source_url: where the data lie: an absolute path, or a URL.
        prefix: what stands before each key in the manifest files: `source_url` as it was when they were written, with
            a slash at its end.
        kind: `files` (listed and read) or `inventory` (from a ready listing; contents known by their etag).
        label, group: the rules.
        labels: label -> code; codes never change, a label whose files are gone keeps its code.
        channels: per channel its digest and size.
        counts, sizes: per channel and label the number of files and their bytes.
        statuses: number of files per status (`ok`, `empty`, `unreadable`, `unmatched`, `conflict`).
        parent: id of the version before, None for the first.
        listed_at, created_at: UTC epoch seconds.
        wall_s: how long it took to build.
        warnings: what people should know, one sentence each; details in `report.json`.
    """

    schema: int = 1
    id: str
    name: str
    version: int
    digest: str
    lookup: str
    attempt: int
    source_url: str
    prefix: str
    kind: str = "files"
    label: RuleRecord
    group: RuleRecord | None = None
    split: Split
    labels: dict[str, int]
    channels: dict[str, Channel]
    counts: dict[str, dict[str, int]]
    sizes: dict[str, dict[str, int]]
    statuses: dict[str, int]
    parent: str | None = None
    listed_at: float
    created_at: float
    wall_s: float
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its folder in the workspace."""
        return folder_of(self.name, self.version)

    @property
    def num_files(self) -> int:
        """Files in all channels together."""
        return sum(channel.num_files for channel in self.channels.values())

    def channel_digest(self, channel: str) -> str:
        """The digest of one channel: of its keys, contents and labels.

        Raises:
            NotFoundError: there is no such channel.
        """
        if channel not in self.channels:
            raise NotFoundError("channel", channel, self.channels)
        return self.channels[channel].digest

    def path(self, name: str) -> str:
        """The path in the workspace of one of its files, `table.parquet`, `train.manifest`, `report.json`, ..."""
        return f"{self.folder}/attempts/{self.attempt}/{name}"

    def table(self, files: Files, *, channel: str | None = None, columns: list[str] | None = None) -> Any:
        """Its rows as a `pyarrow.Table`, sorted by key: see `headway.manifests.table.SCHEMA`.

        Args:
            files: the workspace's files.
            channel: only the files of this channel; None for every file that was seen, whatever its status.
            columns: only these.
        """
        return self._read(files, "table.parquet", channel=channel, columns=columns)

    def earlier(self, files: Files) -> Any:
        """What versions before had placed and this one has no more: see `headway.manifests.earlier.SCHEMA`."""
        return self._read(files, "earlier.parquet")

    def report(self, files: Files) -> dict[str, Any]:
        """The whole report: see `headway.manifests.report`."""
        return decode(files.read(self.path("report.json")), dict[str, Any], where=self.path("report.json"))

    def keys(self, files: Files, channel: str) -> list[str]:
        """The keys of a channel, sorted."""
        keys: list[str] = self.table(files, channel=channel, columns=["key"])["key"].to_pylist()
        return keys

    def _read(self, files: Files, name: str, *, channel: str | None = None, columns: list[str] | None = None) -> Any:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        if channel is not None and channel not in CHANNELS:
            raise NotFoundError("channel", channel, CHANNELS)
        wanted = None if columns is None or channel is None or "channel" in columns else [*columns, "channel"]
        with files.open(self.path(name), "rb") as stream:
            table = pq.ParquetFile(stream).read(columns=wanted or columns)
        if channel is not None:
            table = table.filter(pc.equal(table["channel"].cast("string"), channel))
        return table.select(columns) if wanted else table

    @staticmethod
    def load(files: Files, ledger: Ledger, ref: str) -> Manifest:
        """A stored manifest.

        Args:
            files: the workspace's files.
            ledger: the workspace's ledger.
            ref: `photos` (the newest version), `photos@3`, or the id `manifest-photos-3`.

        Raises:
            NotFoundError: there is none; the text lists what there is.
        """
        name, version = parse_ref(ref)
        versions = [entry.version for entry in ledger.entries(kind=KIND, name=name)]
        for number in sorted(versions, reverse=True) if version is None else [version]:
            found = published(files, name, number)
            if found is not None:
                return relocated(ledger, read_manifest(files, name, number, found))
        if not versions:
            raise NotFoundError(KIND, name, {entry.name for entry in ledger.entries(kind=KIND)})
        known = [f"{name}@{number}" for number in versions if published(files, name, number)]
        raise NotFoundError(KIND, ref, known, hint="a build that was cut short is finished by building again")


def folder_of(name: str, version: int) -> str:
    """The folder of a version in the workspace."""
    return f"manifests/{name}/{version}"


def id_of(name: str, version: int) -> str:
    """The id of a version; also the owner of its events in the ledger."""
    return f"{KIND}-{name}-{version}"


def parse_ref(ref: str) -> tuple[str, int | None]:
    """Name and version (None: newest) from what people write."""
    text = ref
    if ref.startswith(f"{KIND}-") and ref.rsplit("-", 1)[-1].isdigit() and ref.count("-") >= 2:
        name, _, number = ref.removeprefix(f"{KIND}-").rpartition("-")
        return name, int(number)
    name, _, number = text.partition("@")
    if number and not number.isdigit():
        raise ValueError(f"a manifest is named 'name' or 'name@version', for instance {name + '@1'!r}; got {ref!r}")
    return name, int(number) if number else None


def published(files: Files, name: str, version: int) -> Result | None:
    """The result of a version, None while it has none."""
    return result(files, folder_of(name, version))


def read_manifest(files: Files, name: str, version: int, found: Result) -> Manifest:
    """The record of a version that has a result."""
    path = f"{folder_of(name, version)}/attempts/{found.attempt}/manifest.json"
    return decode(files.read(path), Manifest, where=path)


def relocated(ledger: Ledger, manifest: Manifest) -> Manifest:
    """The manifest with the place where its data lie now."""
    from msgspec.structs import replace

    events = ledger.events(manifest.id, kinds=["relocated"])
    return replace(manifest, source_url=events[-1].body["source_url"]) if events else manifest
