"""`headway model ...`: registered models, their versions, aliases and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import output, parsing
from headway.cli.opening import AsJson, Context, ModelName, workspace

models = typer.Typer(name="model", help="List, register, promote and roll back models.", no_args_is_help=True)

if TYPE_CHECKING:
    from headway.evaluation.evaluation import Evaluation
    from headway.execution.job import ModelRef
    from headway.workspace import Workspace

Why = Annotated[str, typer.Option(help="The reason, kept in the history.")]
COLUMNS = ["ref", "aliases", "metrics", "dataset", "tags", "at"]


@models.command("list")
def list_models(
    context: Context,
    text: Annotated[str, typer.Argument(help="In the name, alias, tag, dataset or format.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="name=value that it must have.")] = None,
    conditions: Annotated[list[str] | None, typer.Option("--where", help="'test:accuracy>=0.9'")] = None,
    as_json: AsJson = False,
) -> None:
    """List registered versions, newest first; all of them or those that match."""
    from headway.registry.lookup import search

    wanted = parsing.pairs(tags, option="--tag")
    with workspace(context) as ws:
        found = search(ws.session.files, ws.session.ledger, text=text, tags=wanted, metrics=conditions or [])
    output.rows(found, COLUMNS, as_json=as_json, empty="no registered model")


@models.command("show")
def show(context: Context, name: ModelName, as_json: AsJson = False) -> None:
    """Show one version: metrics, gates, where it came from."""
    from headway.records import plain

    with workspace(context) as ws:
        version = ws.model(name).version
    found = plain(version)
    if as_json:
        output.data(found)
        return
    keys = ["id", "kind", "format", "at", "aliases", "tags", "metrics", "labels", "links", "parameters", "folder"]
    output.fields({key: found[key] for key in keys})
    for gate in found["gates"]:
        print(f"gate {'passed' if gate['passed'] else 'failed'}: {gate['text']}")


@models.command("register")
def register(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the registered model.")],
    model: Annotated[str, typer.Argument(help="A job, or STUDY/TRIAL (STUDY alone: its best).")],
    evaluation: Annotated[str | None, typer.Option(help="Id of its evaluation; none: its newest.")] = None,
    at_least: Annotated[list[str] | None, typer.Option(help="Gate: test:accuracy=0.9")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Gate: test:log_loss=0.5")] = None,
    better: Annotated[list[str] | None, typer.Option("--better-in", help="Metric to beat the champion in.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="name=value")] = None,
    promote: Annotated[str | None, typer.Option(help="Alias to point at it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model as a new version, if it passes the gates."""
    from headway.flows.register import find_model

    gates = parsing.gates(at_least, at_most, better)
    with workspace(context) as ws:
        found = find_model(ws.session, model)
        if isinstance(found, str):
            raise ValueError(f"{model!r} is registered already: see headway model show {model}")
        scored = _evaluation(ws, found, named=evaluation)
        if scored is None and gates:
            raise ValueError(
                f"a gate needs an evaluation of {model!r}; make one first: headway evaluate {model} DATASET"
            )
        made = ws.register(name, found, evaluation=scored, gate=gates, tags=parsing.pairs(tags, option="--tag"))
        _print_version(made if promote is None else made.promote(promote), as_json=as_json)


def _evaluation(ws: Workspace, model: ModelRef, *, named: str | None) -> Evaluation | None:
    """The evaluation of that id, else the newest of this very model; None when there is none."""
    from headway.evaluation.evaluation import load_evaluation
    from headway.flows.evaluate import model_digest
    from headway.flows.inspect import find
    from headway.stores.commit import result

    files, ledger = ws.session.files, ws.session.ledger
    if named is not None:
        return load_evaluation(files, find(ws.session, named, kinds=("evaluate",)).id)
    digest = model_digest(model.path(files))
    newest = sorted(ledger.entries(kind="evaluate"), key=lambda entry: entry.created_at, reverse=True)
    done = [load_evaluation(files, entry.id) for entry in newest if result(files, f"jobs/{entry.id}") is not None]
    same = [found for found in done if found.model_digest == digest]
    own = [found for found in same if found.model == model.source]
    return next(iter(own or same), None)


@models.command("promote")
def promote(
    context: Context,
    name: ModelName,
    alias: Annotated[str, typer.Argument(help="The alias.")] = "champion",
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version."""
    with workspace(context) as ws:
        _print_version(ws.model(name).promote(alias, why=why), as_json=as_json)


@models.command("rollback")
def rollback(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    alias: Annotated[str, typer.Argument(help="The alias.")] = "champion",
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias back at the version before."""
    from headway.registry.aliases import rollback as roll_back

    with workspace(context) as ws:
        roll_back(ws.session.ledger, name, alias=alias, why=why)
        _print_version(ws.model(f"{name}@{alias}"), as_json=as_json)


@models.command("tag")
def tag(
    context: Context,
    name: ModelName,
    tags: Annotated[list[str] | None, typer.Argument(help="name=value ...")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Tag to take away.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set or remove tags of a version."""
    from headway.registry.aliases import tag as set_tags

    with workspace(context) as ws:
        version = ws.model(name).version
        set_tags(
            ws.session.files,
            ws.session.ledger,
            version.name,
            version=version.version,
            tags=parsing.pairs(tags, option="a tag"),
            remove=tuple(remove or ()),
        )
        _print_version(ws.model(version.id), as_json=as_json)


@models.command("history")
def history(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    as_json: AsJson = False,
) -> None:
    """List every decision about aliases and tags, oldest first."""
    from headway.records import plain
    from headway.registry.lookup import history as decisions

    with workspace(context) as ws:
        found = [plain(decision) for decision in decisions(ws.session.ledger, name)]
    output.rows(found, list(found[0]) if found else [], as_json=as_json, empty="no decision yet")


@models.command("verify")
def verify(context: Context, name: ModelName) -> None:
    """Predict the golden samples again; exit code 1 when anything differs."""
    with workspace(context) as ws:
        problems = ws.model(name).verify()
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{name} predicts what it predicted when it was registered")


def _print_version(made: Any, *, as_json: bool) -> None:
    from headway.records import plain

    if as_json:
        output.data(plain(made.version))
        return
    aliases = f" ({', '.join(made.version.aliases)})" if made.version.aliases else ""
    print(f"{made.ref}{aliases}  {output.few(made.metrics)}".rstrip())
