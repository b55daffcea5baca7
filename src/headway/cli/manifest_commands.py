"""`headway manifest ...`, `process`, `dataset ...`, `relocate`: what data there are, and what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headway.cli import output, parsing
from headway.cli.opening import AsJson, Context, DataName, ManifestName, workspace

if TYPE_CHECKING:
    from headway.manifests.manifest import Manifest

manifests = typer.Typer(name="manifest", help="Build, show, compare and check manifests.", no_args_is_help=True)
datasets = typer.Typer(name="dataset", help="List and show processed datasets.", no_args_is_help=True)


@manifests.command("build")
def build(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the manifest.")],
    source: Annotated[str, typer.Argument(help="Folder or URL with the data.")],
    label: Annotated[str, typer.Option(help="Pattern on the key that gives the label.")] = "{label}/*",
    validation: Annotated[float, typer.Option(help="Share of the validation channel.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the test channel.")] = 0.1,
    at_least: Annotated[int, typer.Option(help="Least number of files per class and channel.")] = 1,
    by: Annotated[Literal["content", "key"], typer.Option(help="What is hashed.")] = "content",
    group: Annotated[str | None, typer.Option(help="Pattern on the key; a group stays in one channel.")] = None,
    conflicts: Annotated[
        Literal["error", "exclude", "keep"], typer.Option(help="One content under two labels.")
    ] = "error",
    seed: Annotated[int, typer.Option(help="Another number gives another division.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List files, find labels, divide them over channels."""
    from headway.manifests.split import Split

    split = Split(
        validation=validation, test=test, at_least=at_least, by=by, group=group, conflicts=conflicts, seed=seed
    )
    with workspace(context, create=True) as ws:
        _show(ws.manifest(name, source, label=label, split=split), as_json=as_json)


@manifests.command("list")
def list_manifests(context: Context, as_json: AsJson = False) -> None:
    """List all versions of all manifests."""
    from headway.manifests.trend import versions
    from headway.records import plain

    with workspace(context) as ws:
        found = [plain(one) | {"files": one.num_files} for one in versions(ws.session.files, ws.session.ledger)]
    output.rows(found, ["id", "files", "source_url", "created_at"], as_json=as_json, empty="no manifest yet")


@manifests.command("trend")
def trend(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the manifest.")],
    as_json: AsJson = False,
) -> None:
    """Show how a manifest has grown from version to version."""
    from headway.manifests.trend import trend as rows_of

    with workspace(context) as ws:
        found = rows_of(ws.session.files, ws.session.ledger, name)
    columns = ["id", "num_files", "size_bytes", "train", "validation", "test", "added", "removed", "changed"]
    output.rows(found, columns, as_json=as_json)


@manifests.command("show")
def show(context: Context, name: ManifestName, as_json: AsJson = False) -> None:
    """Show classes, channels, sizes and warnings."""
    with workspace(context) as ws:
        _show(ws.manifest(name), as_json=as_json)


@manifests.command("diff")
def diff(
    context: Context,
    old: ManifestName,
    new: Annotated[str | None, typer.Argument(help="The other; none: OLD is compared with its parent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions."""
    from headway.manifests.compare import compare

    with workspace(context) as ws:
        one = ws.manifest(old)
        if new is None and one.parent is None:
            raise ValueError(f"{one.id} is the first version, so there is none before it; name another manifest")
        before, after = (ws.manifest(str(one.parent)), one) if new is None else (one, ws.manifest(new))
        found = compare(ws.session.files, before, after)
    if as_json:
        output.data(found)
        return
    print(f"{found['old']} -> {found['new']}")
    for what in ("added", "removed", "changed", "relabelled", "moved"):
        keys = found[what]["keys"]
        print(f"{what}: {found[what]['num']}" + (f"  ({', '.join(map(_key, keys[:3]))}, ...)" if keys else ""))
    output.fields({name: found[name] for name in ("labels", "counts") if found[name]})


@manifests.command("check")
def check(
    context: Context,
    name: ManifestName,
    data: Annotated[bool, typer.Option("--data/--no-data", help="Compare with the files themselves.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check channels, classes and the files themselves; exit code 1 on an error."""
    from headway.manifests.check import check as findings_of
    from headway.records import plain

    with workspace(context) as ws:
        found = ws.manifest(name)
        parent = ws.manifest(found.parent) if found.parent else None
        findings = findings_of(ws.session.files, found, parent=parent, data=data)
    if as_json:
        output.data([plain(finding) for finding in findings])
    for finding in findings if not as_json else ():
        print(f"{finding.severity}: {output.text('', finding.text)}")
    num_errors = sum(finding.severity == "error" for finding in findings)
    if not as_json:
        print(f"{found.id}: {num_errors} errors, {len(findings) - num_errors} warnings and notes")
    if num_errors:
        raise typer.Exit(1)


@datasets.command("list")
def list_datasets(context: Context, as_json: AsJson = False) -> None:
    """List all datasets."""
    with workspace(context) as ws:
        found = [_dataset_row(ws, entry) for entry in ws.session.ledger.entries(kind="dataset")]
    output.rows(found, ["id", "rows", "status", "created_at"], as_json=as_json, empty="no dataset yet")


@datasets.command("show")
def show_dataset(context: Context, name: DataName, as_json: AsJson = False) -> None:
    """Show rows, shards, labels, and where it came from."""
    from headway.records import plain

    with workspace(context) as ws:
        found = ws.dataset(name)
    if as_json:
        output.data(plain(found))
        return
    channels = {
        channel: f"{found.rows[channel]} rows, {len(found.channels[channel].shards)} shards"
        for channel in output.channels(found.rows)
    }
    output.fields(
        {
            "id": found.id,
            "manifest": found.manifest,
            "channels": channels,
            "labels": found.labels,
            "digest": found.digest,
            "transform": found.transform,
        }
    )


def process(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    manifest: ManifestName,
    transform: Annotated[str, typer.Argument(help="'module:function', or a script ending in .py.")],
    workers: Annotated[int, typer.Option(help="Independent workers.")] = 1,
    shards: Annotated[int | None, typer.Option(help="Shards of each channel.")] = None,
    sharding: Annotated[str, typer.Option(help="How files are spread over the shards.")] = "by_key",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Argument of the transform, name=value.")] = None,
    max_failed: Annotated[int, typer.Option(help="So many files may fail.")] = 0,
    cpus: Annotated[int, typer.Option(help="Cores of each worker.")] = 1,
    memory: Annotated[str | None, typer.Option(help="Memory of each worker, 2G.")] = None,
    engine: Annotated[str | None, typer.Option(help="URL of the engine.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run it although nothing has changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a transform over a manifest's files."""
    from headway.records import plain

    with workspace(context) as ws:
        found = ws.process(
            name,
            manifest,
            parsing.program(transform, source_dir=None, metrics=None),
            workers=workers,
            shards=shards,
            sharding=sharding,
            hyperparameters=parsing.settings(settings),
            resources=parsing.resources(cpus, 0, memory),
            max_failed=max_failed,
            engine=engine,
            fresh=fresh,
        )
    if as_json:
        output.data(plain(found))
    else:
        print(
            f"{found.id}: " + ", ".join(f"{channel} {found.rows[channel]}" for channel in output.channels(found.rows))
        )


def relocate(
    context: Context,
    manifest: ManifestName,
    source: Annotated[str, typer.Argument(help="Where its data lie now.")],
) -> None:
    """Point a manifest to its data after a move."""
    from headway.manifests.relocate import relocate as point_to

    with workspace(context) as ws:
        found = point_to(ws.session.ledger, ws.manifest(manifest), _url(source), files=ws.session.files)
    print(f"{found.id}: data at {found.source_url}")


COMMANDS = (process, relocate)


def _url(source: str) -> str:
    from pathlib import Path

    return source if "://" in source else str(Path(source).expanduser().absolute())


def _show(found: Manifest, *, as_json: bool) -> None:
    from headway.records import plain

    if as_json:
        output.data(plain(found))
        return
    output.fields(
        {
            "id": found.id,
            "source": found.source_url,
            "files": found.num_files,
            "created_at": found.created_at,
            "parent": found.parent,
            "digest": found.digest,
        }
    )
    channels = output.channels(found.counts)
    lines = [
        [output.text("", label), *[str(found.counts[channel].get(label, 0)) for channel in channels]]
        for label in found.labels
    ]
    total = ["all", *[str(sum(found.counts[channel].values())) for channel in channels]]
    output.table(["label", *channels], [*lines, total])
    for status, count in found.statuses.items():
        if status != "ok" and count:
            print(f"{status}: {count} files")
    for warning in found.warnings:
        print(f"warning: {warning}")


def _dataset_row(ws: Any, entry: Any) -> dict[str, Any]:
    from headway.errors import HeadwayError

    row = {"id": entry.id, "name": entry.name, "version": entry.version, "created_at": entry.created_at}
    try:
        found = ws.dataset(entry.id).rows
        return row | {"rows": {name: found[name] for name in output.channels(found)}, "status": "ready"}
    except (HeadwayError, FileNotFoundError):
        return row | {"rows": {}, "status": "not finished"}


def _key(value: Any) -> str:
    return output.text("", value if isinstance(value, str) else value.get("key", value))
