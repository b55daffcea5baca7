"""Channels of a job: a dataset's shards or a manifest's raw files, as the worker will find them.

In: a `Dataset` or a `Manifest`. Out: `ChannelRef` for the specification, `ChannelSource` for the tickets, and the paths
that the job must not open.
"""

from __future__ import annotations

from pathlib import Path

from headway.execution.session import Session
from headway.execution.tickets import ChannelSource
from headway.jobs.spec import ChannelMode, ChannelRef, InputRef
from headway.manifests.changed import check_file
from headway.manifests.manifest import Manifest
from headway.processing.dataset import Dataset
from headway.records import Record
from headway.stores.files import Files

TEST = "test"
Data = Dataset | Manifest


class Feed(Record):
    """The data side of a job.

    Args:
        refs: for the specification.
        sources: for the tickets.
        inputs: lineage.
        forbidden: absolute paths; folders end with a slash.
    """

    refs: dict[str, ChannelRef]
    sources: dict[str, ChannelSource]
    inputs: tuple[InputRef, ...]
    forbidden: tuple[str, ...] = ()


def feed(session: Session, data: Data | None, *, channels: tuple[str, ...] | None, mode: ChannelMode = "link") -> Feed:
    """How a job gets its data.

    Args:
        data: a dataset, a manifest, or None for a job without channels.
        channels: the channels it may see; None for all but test. What it may not see is forbidden to it.
    """
    if data is None:
        return Feed(refs={}, sources={}, inputs=())
    files = session.files
    named = list(data.channels) if isinstance(data, Dataset) else list(data.counts)
    wanted = [c for c in named if c != TEST] if channels is None else [c for c in channels if c in named]
    make = _dataset_source if isinstance(data, Dataset) else _manifest_source
    refs = {
        name: ChannelRef(
            source=data.id,
            kind="dataset" if isinstance(data, Dataset) else "files",
            mode=mode,
            digest=data.channel_digest(name),
        )
        for name in wanted
    }
    sources = {name: make(files, data, name, mode) for name in wanted}  # type: ignore[arg-type]
    forbidden = [] if TEST in wanted or TEST not in named else _test_paths(session, data)
    role = "dataset" if isinstance(data, Dataset) else "manifest"
    return Feed(
        refs=refs,
        sources=sources,
        inputs=(InputRef(id=data.id, digest=data.digest, role=role),),
        forbidden=tuple(forbidden),
    )


def _dataset_source(files: Files, data: Dataset, channel: str, mode: str) -> ChannelSource:
    """A dataset's channel: per shard the files of its parts."""
    root = files.local(f"datasets/{data.name}/{data.version}")
    opened = data.open(files)
    shards = []
    for number in range(len(data.channels[channel].shards)):
        part_files = opened.channel(channel, shards=[number], allow_test=True).files()
        pairs = []
        for path in part_files:
            relative = path.relative_to(root)
            pairs.append((str(relative), "/".join(relative.parts[3:])))
        shards.append(tuple(pairs))
    return ChannelSource(kind="dataset", mode=mode, root=str(root), files=tuple(shards), index=str(root / "index.json"))


def _manifest_source(files: Files, data: Manifest, channel: str, mode: str) -> ChannelSource:
    """A manifest's channel: its raw files under their keys, as one shard.

    Raises:
        DataChangedError: a file is gone or has changed since the manifest was built.
    """
    source = Files(data.source_url)
    rows = data.table(files, channel=channel).to_pylist()
    for row in rows:
        check_file(source, row)
    pairs = tuple((row["key"], row["key"]) for row in rows)
    return ChannelSource(kind="files", mode=mode, root=str(local_root(data)), files=(pairs,))


def local_root(data: Manifest) -> Path:
    """The folder that a manifest's keys are relative to.

    Raises:
        ValueError: the data do not lie on this machine.
    """
    url = data.source_url
    if "://" in url and not url.startswith("file://"):
        raise ValueError(f"{data.id} lies at {url}, which this engine cannot reach as a folder; process it first")
    return Path(url.removeprefix("file://"))


def _test_paths(session: Session, data: Data) -> list[str]:
    """Everything that belongs to the test channel of the data, as absolute paths."""
    files = session.files
    if isinstance(data, Dataset):
        base = files.local(f"datasets/{data.name}/{data.version}/attempts")
        found = [f"{attempt / TEST}/" for attempt in sorted(base.iterdir()) if (attempt / TEST).is_dir()]
        if not data.manifest:
            return found
        return found + _test_paths(session, Manifest.load(files, session.ledger, data.manifest))
    root = local_root(data)
    return [str(root / key) for key in data.keys(files, TEST)]
