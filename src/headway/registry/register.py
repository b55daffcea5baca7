"""Registering: a model and all that prediction needs become one new version, whole or not at all.

In: a model's folder, its evaluation, gates, what came before it. Out: `ModelVersion`. Before: `headway.evaluation`.
After: `headway.registry.aliases` (promote) and `headway.registry.predictor`.

The order is what survives a kill at any moment: gates; the version's number is reserved; files are linked or copied
into an attempt of its own; the attempt is sealed and chosen in the ledger (from here on the version exists);
`result.json`; lineage and the listing's row, which are written again if they are missing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headway.errors import FencedError, NotFoundError, WorkspaceError
from headway.evaluation.evaluation import EVALUATION_FILE, GOLDEN_FOLDER, Evaluation, output_folder
from headway.evaluation.gates import BetterThanChampion, Gate, GateResult, check, require
from headway.models.description import ModelInfo, adopt, describe
from headway.records import digest_of, plain, pretty
from headway.registry.aliases import state_of
from headway.registry.placing import place_folder
from headway.registry.version import KIND, VERSION_FILE, Bundle, ModelVersion, check_name, home, read_version

if TYPE_CHECKING:
    from headway.stores.files import Files
    from headway.stores.ledger import Entry, Lease, Ledger

WAIT_S = 600.0


def register(
    files: Files,
    ledger: Ledger,
    name: str,
    *,
    model_folder: str,
    evaluation: Evaluation | None = None,
    gates: Sequence[Gate] = (),
    links: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    bundle: Bundle | None = None,
    champion: Evaluation | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """The new version; the one that is there when the same model was registered with the same evaluation before.

    Args:
        name: of the registered model.
        model_folder: of the model's files, relative to the workspace.
        evaluation: what the gates look at.
        gates: all must pass; nothing is written otherwise.
        links: role -> id of what it came from (`job`, `dataset`, `manifest`); the evaluation is added.
        tags: set on the version, also on one that is there already.
        metrics: beside those of the evaluation.
        bundle: what prediction needs beside the model.
        champion: the champion's evaluation on the candidate's data; None: the one it was registered with.
        parameters: plain JSON to keep beside it.

    Raises:
        GateFailedError: names metric, value and threshold.
        WorkspaceError: there is no whole model in the folder.
        ValueError: the name is none, gates without an evaluation, or an evaluation of another model.

    Guarantees:
        Versions are 1, 2, 3, ... in the order of reservation, also with many processes at once. Killed at any moment
        and called again, there is one whole version and no half one.
    """
    check_name(name, what="a model's name")
    info = describe(files.local(model_folder))
    if evaluation is not None and evaluation.model_digest != info.digest:
        raise ValueError(
            f"{evaluation.id} scored another model ({evaluation.model}, digest {evaluation.model_digest[:12]}) than "
            f"the one in {model_folder} (digest {info.digest[:12]}): evaluate this one"
        )
    bundle = bundle or Bundle(labels=info.labels or {})
    results = _pass_gates(files, ledger, name, evaluation=evaluation, gates=gates, champion=champion)
    lookup = digest_of({"model": info.digest, "evaluation": evaluation.digest if evaluation else None})
    entry = _reserve(ledger, name, lookup)
    draft = _draft(entry, info, evaluation=evaluation, results=results, links=links, metrics=metrics, bundle=bundle)
    draft = msgspec.structs.replace(draft, parameters=dict(parameters or {}))
    _make_whole(files, ledger, entry, draft, model_folder=model_folder, evaluation=evaluation)
    _complete(files, ledger, entry)
    if tags:
        from headway.registry.aliases import tag

        tag(files, ledger, name, version=entry.version, tags=tags)
    return with_state(ledger, read_version(files, name, entry.version))


def with_state(ledger: Ledger, version: ModelVersion) -> ModelVersion:
    """The version with the aliases and tags that it has now."""
    state = state_of(ledger, version.name)
    return msgspec.structs.replace(
        version, aliases=state.aliases_of(version.version), tags=state.tags.get(version.version, {})
    )


def _pass_gates(
    files: Files,
    ledger: Ledger,
    name: str,
    *,
    evaluation: Evaluation | None,
    gates: Sequence[Gate],
    champion: Evaluation | None,
) -> list[GateResult]:
    if not gates:
        return []
    if evaluation is None:
        raise ValueError(f"registering {name!r} with gates needs an evaluation: ws.evaluate(model, dataset) gives one")
    results = []
    for gate in gates:
        other = champion
        if other is None and isinstance(gate, BetterThanChampion):
            other = champion_evaluation(files, ledger, name, alias=gate.alias)
        results += check([gate], evaluation, other)
    require(results, what=f"registering {name!r}")
    return results


def champion_evaluation(files: Files, ledger: Ledger, name: str, *, alias: str = "champion") -> Evaluation | None:
    """The evaluation that the alias's version was registered with; None when there is no such alias or evaluation."""
    version = state_of(ledger, name).aliases.get(alias)
    if version is None:
        return None
    found = read_version(files, name, version)
    path = f"{found.folder}/{Path(EVALUATION_FILE).name}"
    if not files.exists(path):
        return None
    return msgspec.json.decode(files.read(path), type=Evaluation)


def _reserve(ledger: Ledger, name: str, lookup: str) -> Entry:
    """The catalogue's entry of this model with this evaluation: found among all versions, or a new one."""
    while True:
        entries = ledger.entries(KIND, name)
        for entry in entries:
            if entry.lookup == lookup:
                return entry
        newest = max((entry.version for entry in entries), default=0)
        entry, created = ledger.reserve(KIND, name, lookup=lookup, body={"status": "registering"}, expect=newest)
        if created:
            return entry


def _draft(
    entry: Entry,
    info: ModelInfo,
    *,
    evaluation: Evaluation | None,
    results: Sequence[GateResult],
    links: Mapping[str, str] | None,
    metrics: Mapping[str, float] | None,
    bundle: Bundle,
) -> ModelVersion:
    scored = evaluation.metrics if evaluation else {}
    labels = bundle.labels or info.labels or {}
    origin = {role: source for role, source in (links or {}).items() if source}
    if evaluation is not None:
        origin.setdefault("evaluation", evaluation.id)
        origin.setdefault("dataset", evaluation.dataset)
    return ModelVersion(
        id=entry.id,
        name=entry.name,
        version=entry.version,
        digest=info.digest,
        format=info.format,
        kind=info.kind,
        task=evaluation.task if evaluation else ("classification" if labels else "regression"),
        evaluation=evaluation.id if evaluation else "",
        evaluation_digest=evaluation.digest if evaluation else "",
        dataset=evaluation.dataset if evaluation else "",
        dataset_digest=evaluation.dataset_digest if evaluation else "",
        metrics={**scored, **(metrics or {})},
        labels=labels,
        links=origin,
        gates=tuple(results),
        bundle=bundle,
        at=time.time(),
    )


def _make_whole(
    files: Files, ledger: Ledger, entry: Entry, draft: ModelVersion, *, model_folder: str, evaluation: Evaluation | None
) -> None:
    """Publish the version's files unless somebody did; wait while another driver is at it."""
    from headway.stores.commit import publish, republish, result, seal, sweep

    folder = home(entry.name, entry.version)
    deadline = time.monotonic() + WAIT_S
    while result(files, folder) is None:
        lease = ledger.claim(entry.id)
        if lease is None:
            if time.monotonic() > deadline:
                raise WorkspaceError(f"another process has been registering {entry.id} for {WAIT_S:.0f} s: try again")
            time.sleep(0.02)
            continue
        try:
            if any(event.kind == "chosen" for event in ledger.events(entry.id)):
                republish(files, ledger, entry.id, folder)
                continue
            attempt = _next_attempt(ledger, entry, lease)
            _write_attempt(
                files, draft, f"{folder}/attempts/{attempt}", model_folder=model_folder, evaluation=evaluation
            )
            outcome = seal(files, folder, attempt=attempt)
            publish(files, ledger, lease, folder, outcome)
            sweep(files, folder, keep={attempt}, older_than_s=0.0)
        except FencedError:
            continue  # another driver took it over and makes it whole
        finally:
            ledger.release(lease)


def _next_attempt(ledger: Ledger, entry: Entry, lease: Lease) -> int:
    """A number that no driver used before: the intent is in the ledger before a file is written."""
    number = 1 + sum(event.kind == "intended" for event in ledger.events(entry.id))
    ledger.append(lease, [("intended", {"attempt": number})])
    return number


def _write_attempt(
    files: Files, draft: ModelVersion, target: str, *, model_folder: str, evaluation: Evaluation | None
) -> None:
    place_folder(files, model_folder, f"{target}/model")
    adopt(files.local(f"{target}/model"))
    bundle = draft.bundle
    if bundle.code is not None:
        place_folder(files, bundle.code, f"{target}/code")
        bundle = msgspec.structs.replace(bundle, code="code")
    if bundle.transform is not None:
        place_folder(files, bundle.transform.code, f"{target}/transform")
        moved = msgspec.structs.replace(bundle.transform, code="transform")
        bundle = msgspec.structs.replace(bundle, transform=moved)
    if evaluation is not None:
        files.write(f"{target}/{Path(EVALUATION_FILE).name}", pretty(evaluation))
        _place_golden(files, evaluation, target)
    files.write(f"{target}/{VERSION_FILE}", pretty(msgspec.structs.replace(draft, bundle=bundle)))


def _place_golden(files: Files, evaluation: Evaluation, target: str) -> None:
    try:
        source = f"{output_folder(files, evaluation.id)}/{GOLDEN_FOLDER}"
    except NotFoundError:
        return
    if files.exists(source):
        place_folder(files, source, f"{target}/{Path(GOLDEN_FOLDER).name}")


def _complete(files: Files, ledger: Ledger, entry: Entry) -> None:
    """Lineage and the listing's row: written after the version exists, again if a kill came between."""
    from headway.stores.ledger import Edge

    version = read_version(files, entry.name, entry.version)
    body = {
        "status": "ready",
        "digest": version.digest,
        "format": version.format,
        "metrics": version.metrics,
        "evaluation": version.evaluation,
        "dataset": version.dataset,
        "at": version.at,
    }
    ledger.link([Edge(source=source, target=entry.id, role=role) for role, source in sorted(version.links.items())])
    if entry.body != plain(body):
        ledger.update_entry(entry.id, plain(body))
