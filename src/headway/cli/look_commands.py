"""`headway jobs`, `show`, `compare`, `logs`, `stop`, `why`, `lineage`, `prune`: looking, and tidying up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import output
from headway.cli.opening import AnyId, AsJson, Context, JobId, workspace

if TYPE_CHECKING:
    from headway.workspace import Workspace


def jobs(
    context: Context,
    kind: Annotated[str | None, typer.Option(help="process, train, tune, trial, evaluate or predict.")] = None,
    status: Annotated[str | None, typer.Option(help="running, succeeded, failed, stopped, interrupted.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all jobs, oldest first."""
    from headway.flows.inspect import jobs as job_rows

    with workspace(context) as ws:
        found = job_rows(ws.session)
    found.sort(key=lambda row: row["created_at"])
    found = [row for row in found if kind in (None, row["kind"]) and status in (None, row["status"])]
    columns = ["id", "status", "attempts", "duration_s", "created_at", "metrics"]
    output.rows(found, columns, as_json=as_json, empty="no job yet" if kind is status is None else "no such job")


def show(context: Context, ref: AnyId, as_json: AsJson = False) -> None:
    """Show one thing in full, by its id."""
    with workspace(context) as ws:
        found = ws.show(ref)
    if as_json:
        output.data(found)
    else:
        output.fields(found)


def compare(context: Context, one: AnyId, other: AnyId, as_json: AsJson = False) -> None:
    """Show two jobs side by side."""
    from headway.flows.inspect import compare as side_by_side

    with workspace(context) as ws:
        found = side_by_side(ws.session, one, other)
    if as_json:
        output.data(found)
        return
    ids = found["ids"]
    lines = [["status", *map(str, found["status"]), ""], ["took", *_texts("x_s", found["duration_s"]), ""]]
    for group in ("parameters", "metrics", "inputs"):
        for row in found[group]:
            mark = "differs" if row["differs"] else ""
            lines.append([row["name"], *_texts("", [row[ids[0]], row[ids[1]]]), mark])
    output.table(["", *ids, ""], lines)


def logs(
    context: Context,
    job: JobId,
    worker: Annotated[str, typer.Option(help="algo-2, or its number.")] = "algo-1",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(help="None: the newest.")] = None,
) -> None:
    """Print what a worker of a job has printed."""
    from headway.errors import NotFoundError
    from headway.jobs.folder import JobFolder

    number = worker.removeprefix("algo-")
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"--worker is algo-1, algo-2, ... or a number from 1, got {worker!r}")
    with workspace(context) as ws:
        found = ws.job(job)
        has_lines = False
        try:
            for line in found.logs(int(number), follow=follow, attempt=attempt):
                has_lines = True
                sys.stdout.write(line + "\n")
                if follow:
                    sys.stdout.flush()
        except FileNotFoundError as error:
            folder = JobFolder(ws.session.files, found.id)
            newest = attempt or max(folder.attempts(), default=1)
            known = [f"algo-{rank + 1}" for rank in folder.ranks(newest)]
            kind = f"log in attempt {newest} of {found.id}, which is {found.status},"
            raise NotFoundError(kind, f"algo-{number}", known) from error
        if not has_lines:
            print(f"(algo-{number} of {found.id}, which is {found.status}, has printed nothing)", file=sys.stderr)


def stop(
    context: Context,
    job: JobId,
    grace_s: Annotated[float | None, typer.Option(help="Seconds until it is killed.")] = None,
) -> None:
    """Ask a running job or study to stop, with grace."""
    with workspace(context) as ws:
        found = ws.job(job)
        before = found.status
        if before in ("succeeded", "failed", "stopped"):
            print(f"{found.id} has ended already: {before}")
            return
        found.stop(grace_s=grace_s)
        print(f"{found.id} was asked to stop; see headway show {found.id}")


def why(context: Context, ref: AnyId, as_json: AsJson = False) -> None:
    """Say why something ran again, or was reused."""
    from headway.flows.inspect import why as reasons

    with workspace(context) as ws:
        found = reasons(ws.session, ref)
    if as_json:
        output.data(found)
        return
    print(found["id"])
    for title, part in (("when it was made", found["created"]), ("last time", found["last"])):
        if part:
            print(f"  {title}: {part.get('decision', '')}")
            for reason in part.get("reasons", []):
                print(f"    - {reason}")


def lineage(
    context: Context,
    ref: Annotated[str, typer.Argument(metavar="ID|FILE", help="An id, name@version or name; or a raw file.")],
    as_json: AsJson = False,
) -> None:
    """Show what a thing came from, and what came of it."""
    from headway.errors import NotFoundError
    from headway.flows.inspect import lineage as both_ways

    with workspace(context) as ws:
        try:
            found = both_ways(ws.session, ref)
        except NotFoundError:
            if not Path(ref).is_file():
                raise
            found = _lineage_of_file(ws, ref)
    if as_json:
        output.data(found)
        return
    print(found["id"])
    for place in found.get("manifests", []):
        where = f"channel {place['channel']}" if place["channel"] else f"in no channel ({place['status']})"
        print(f"  is {output.text('', place['key'])} of {place['manifest']}, {where}, label {place['label']}")
    for title, name in (("came from", "upstream"), ("was used by", "downstream")):
        print(f"  {title}:" + ("" if found[name] else " nothing"))
        for row in found[name]:
            print(f"  {'  ' * row['depth']}{row['id']}  ({row['role']} of {row['of']})")


def _lineage_of_file(ws: Workspace, path: str) -> dict[str, Any]:
    """The manifests that hold a file, by its content, and all that came of them."""
    from headway.flows.inspect import lineage as both_ways
    from headway.manifests.trend import find_file
    from headway.records import plain

    seen = [plain(place) for place in find_file(ws.session.files, ws.session.ledger, path)]
    used: dict[tuple[str, str, str], dict[str, Any]] = {}
    for manifest in {place["manifest"]: None for place in seen if place["channel"] is not None}:
        used |= {(row["id"], row["role"], row["of"]): row for row in both_ways(ws.session, manifest)["downstream"]}
    return {"id": path, "manifests": seen, "upstream": [], "downstream": list(used.values())}


def prune(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="Only this job; none: everything.")] = None,
    older_than_s: Annotated[float, typer.Option(help="Only what was not touched for so many seconds.")] = 3600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no result and no model needs."""
    from headway.flows.prune import prune as remove_old

    with workspace(context) as ws:
        found = remove_old(ws.session, job=job, older_than_s=older_than_s, dry_run=dry_run)
    output.rows(found, ["path", "reason", "size_bytes"], as_json=as_json, empty="nothing to remove")
    if found and not as_json:
        total = output.size(sum(row["size_bytes"] for row in found))
        print(f"{total} {'would be' if dry_run else 'were'} removed")


COMMANDS = (jobs, show, compare, logs, stop, why, lineage, prune)


def _texts(name: str, values: list[Any]) -> list[str]:
    return [output.text(name, value) for value in values]
