"""`headway train`, `tune`, `study ...`, `evaluate`, `predict`: the work itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli import output, parsing
from headway.cli.opening import AsJson, Context, DataName, StudyName, workspace

if TYPE_CHECKING:
    from headway.flows.study import Study
    from headway.workspace import Workspace

studies = typer.Typer(name="study", help="List and show searches.", no_args_is_help=True)

Program = Annotated[str, typer.Argument(help="'module:function', or a script ending in .py.")]
Data = Annotated[str | None, typer.Argument(help="Dataset or manifest it gets as channels.")]
SourceDir = Annotated[str | None, typer.Option(help="Folder that travels with a script; default: the script's own.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Hyperparameter, name=value; may be repeated.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="name=pattern with one group, matched on log lines.")
]
Cpus = Annotated[int, typer.Option(help="Cores of each worker.")]
Gpus = Annotated[int, typer.Option(help="GPUs of each worker.")]
Memory = Annotated[str | None, typer.Option(help="Memory of each worker, 2G.")]
Engine = Annotated[str | None, typer.Option(help="URL of the engine, local://.")]
Seed = Annotated[int, typer.Option(help="Of all random numbers.")]

LEAST_FOR_HISTOGRAM = 8
"""Trials that a histogram of their durations needs to say anything."""


def train(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the job.")],
    program: Program,
    data: Data = None,
    settings: Settings = None,
    workers: Annotated[int, typer.Option(help="Workers of the gang.")] = 1,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    memory: Memory = None,
    retries: Annotated[int, typer.Option(help="Starts after a failure.")] = 0,
    timeout_s: Annotated[float | None, typer.Option(help="Limit of one attempt in seconds.")] = None,
    seed: Seed = 0,
    metrics: Metrics = None,
    secrets: Annotated[list[str] | None, typer.Option("--secret", help="NAME=env:OTHER or NAME=file:/path.")] = None,
    credentials: Annotated[str | None, typer.Option(help="Credentials of headway.toml, by name.")] = None,
    source_dir: SourceDir = None,
    allow_test: Annotated[bool, typer.Option("--allow-test", help="Give the script the test channel.")] = False,
    engine: Engine = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run it although nothing has changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a function or an unmodified script as a job."""
    with workspace(context, create=True) as ws:
        job = ws.train(
            name,
            parsing.program(program, source_dir=source_dir, metrics=metrics),
            data,
            hyperparameters=parsing.settings(settings),
            workers=workers,
            resources=parsing.resources(cpus, gpus, memory),
            retries=retries,
            timeout_s=timeout_s,
            seed=seed,
            secrets=ws.session.secrets(credentials) | parsing.pairs(secrets, option="--secret"),
            allow_test=allow_test,
            engine=engine,
            fresh=fresh,
        )
        if as_json:
            output.data(ws.show(job.id))
            return
        print(f"{job.id}: {job.status}" + (f"  {output.few(job.metrics)}" if job.metrics else ""))
        for warning in job.warnings:
            print(f"warning: {warning}")


def tune(
    context: Context,
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    program: Program,
    data: Data = None,
    floats: Annotated[list[str] | None, typer.Option("--float", help="lr=1e-4:1e-1:log")] = None,
    ints: Annotated[list[str] | None, typer.Option("--int", help="depth=1:9")] = None,
    choices: Annotated[list[str] | None, typer.Option("--choice", help="size=small,medium,large")] = None,
    maximize: Annotated[str | None, typer.Option(help="Metric to make large.")] = None,
    minimize: Annotated[str | None, typer.Option(help="Metric to make small.")] = None,
    trials: Annotated[int, typer.Option(help="Trials in all; more than before extend the study.")] = 20,
    parallel: Annotated[int, typer.Option(help="Trials at once.")] = 1,
    searcher: Annotated[str, typer.Option(help="random, quasi-random or grid.")] = "random",
    scheduler: Annotated[str, typer.Option(help="none or median.")] = "none",
    settings: Settings = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    memory: Memory = None,
    max_attempts: Annotated[int, typer.Option(help="Starts of a trial that fails.")] = 2,
    keep_best: Annotated[int, typer.Option(help="Models of so many trials are kept.")] = 1,
    seed: Seed = 0,
    metrics: Metrics = None,
    source_dir: SourceDir = None,
    engine: Engine = None,
    new: Annotated[bool, typer.Option("--new", help="Begin again although the settings have changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for good hyperparameters, or go on with it."""
    with workspace(context, create=True) as ws:
        study = ws.tune(
            name,
            parsing.program(program, source_dir=source_dir, metrics=metrics),
            data,
            space=parsing.space(floats, ints, choices),
            objective=parsing.objective(maximize, minimize),
            trials=trials,
            parallel=parallel,
            searcher=searcher,
            scheduler=scheduler,
            hyperparameters=parsing.settings(settings),
            resources=parsing.resources(cpus, gpus, memory),
            max_attempts=max_attempts,
            keep_best=keep_best,
            seed=seed,
            engine=engine,
            new=new,
        )
        _show_study(study, by=None, as_json=as_json)


@studies.command("list")
def list_studies(context: Context, as_json: AsJson = False) -> None:
    """List all studies."""
    with workspace(context) as ws:
        ids = [entry.id for entry in ws.session.ledger.entries(kind="tune")]
        found = [{"id": each, "status": ws.study(each).status} | _summary(ws.study(each)) for each in ids]
    columns = ["id", "status", "ended", "trials", "objective", "best"]
    output.rows(found, columns, as_json=as_json, empty="no study yet")


@studies.command("show")
def show(
    context: Context,
    name: StudyName,
    by: Annotated[str | None, typer.Option(help="Rank by this metric; first + or - for its direction.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the trials of a study, the best first; slow ones are pointed out."""
    with workspace(context) as ws:
        _show_study(ws.study(name), by=by, as_json=as_json)


@studies.command("resume")
def resume(
    context: Context,
    name: StudyName,
    trials: Annotated[int | None, typer.Option(help="Trials in all; none: as many as were asked for.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    engine: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a study, from its own copy of the code."""
    with workspace(context) as ws:
        study = ws.study(name).resume(trials=trials, parallel=parallel, engine=engine)
        _show_study(study, by=None, as_json=as_json)


def evaluate(
    context: Context,
    model: Annotated[str, typer.Argument(help="name@alias, a job, or STUDY/TRIAL (STUDY alone: its best).")],
    data: DataName,
    against: Annotated[str | None, typer.Option(help="name@champion to compare with.")] = None,
    metrics: Annotated[list[str] | None, typer.Option("--metric", help="Name of a metric; may be repeated.")] = None,
    engine: Engine = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run it although nothing has changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score a model on validation and test."""
    from headway.records import plain

    with workspace(context) as ws:
        found = ws.evaluate(
            _model(ws, model), data, against=against, metrics=metrics or None, engine=engine, fresh=fresh
        )
        page = ws.page(found)
    if as_json:
        output.data(plain(found))
        return
    output.fields({"id": found.id, "model": found.model, "dataset": found.dataset})
    names = sorted({name.partition(":")[2] for name in found.metrics})
    channels = output.channels(found.rows)
    lines = [
        [name, *[output.text("", found.metrics.get(f"{channel}:{name}")) for channel in channels]] for name in names
    ]
    output.table(["metric", *channels], lines)
    for note in found.notes:
        print(f"note: {note}")
    print(f"page with sample predictions: {page}")


def predict(
    context: Context,
    model: Annotated[str, typer.Argument(help="name, name@3 or name@champion.")],
    files: Annotated[list[str], typer.Argument(help="Raw files, as those it was trained on.")],
    as_json: AsJson = False,
) -> None:
    """Predict raw files with a registered model."""
    from headway.records import plain

    with workspace(context) as ws:
        found = [plain(one) for one in ws.predict(model, files)]
    shown = ["label", "probability"] if any(row["label"] is not None for row in found) else ["value"]
    output.rows(found, ["key", *shown], as_json=as_json)


COMMANDS = (train, tune, evaluate, predict)


def _model(ws: Workspace, ref: str) -> Any:
    from headway.flows.register import find_model

    return find_model(ws.session, ref)


def _show_study(study: Study, *, by: str | None, as_json: bool) -> None:
    from headway.tuning.report import ranking, sentence

    state = study.state()
    other = _objective(by, study) if by else None
    ranked = [trial.number for trial in ranking(state, by=other)]
    found = {row["number"]: row for row in study.trials()}
    order = [*ranked, *[number for number in found if number not in ranked]]
    if as_json:
        output.data(_summary(study) | {"id": study.id, "rows": [found[number] for number in order]})
        return
    print(f"{study.id} {study.status}: {sentence(state)}")
    metric = state.spec.objective.metric if other is None else other.metric
    names = list(state.space.domains)
    lines = [
        [
            str(number),
            found[number]["status"],
            output.text("", found[number]["metrics"].get(metric)),
            *[output.text("", found[number]["parameters"][name]) for name in names],
            output.text("wall_s", found[number]["wall_s"]) + (" (slow)" if found[number]["slow"] else ""),
            output.text("", found[number]["note"].partition("\n")[0]),
        ]
        for number in order
    ]
    output.table(["trial", "status", metric, *names, "took", "note"], lines)
    if len(lines) >= LEAST_FOR_HISTOGRAM:
        print()
        bins = [
            [f"{output.text('wall_s', b['from_s'])} to {output.text('wall_s', b['to_s'])}", "#" * b["trials"]]
            for b in study.durations()
        ]
        output.table(["took", "trials"], bins)


def _objective(by: str, study: Study) -> Any:
    from headway.tuning.report import objective_of

    direction = {"+": False, "-": True}.get(by[0])
    like = study.state().spec.objective
    return objective_of(by if direction is None else by[1:], like=like, minimize=direction)


def _summary(study: Study) -> dict[str, Any]:
    found = study.summary()
    return {key: value for key, value in found.items() if key != "name"}
