"""Admission: is there finished work that answers this request, work to go on with, or is it new?

In: a draft of a specification and a packed program. Out: `Admission` with the specification to run (or the finished
job), and plain reasons, which `headway why` prints. A finished job answers when entry, arguments, inputs and
environment have the same digests and every project file that really ran, or was read, is unchanged.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headway.errors import DataChangedError, WorkspaceError
from headway.jobs import environment
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec, ProgramRecord
from headway.lineage.reuse import explain
from headway.lineage.trace import Change, Trace, changed, merge
from headway.records import Record, decode, digest_of, pretty
from headway.stores.commit import result, verify
from headway.stores.files import Files
from headway.stores.ledger import Edge, Entry, Ledger

POLL_S = 0.02
Pack = Callable[[Path], ProgramRecord]


class Admission(Record):
    """What becomes of a request.

    Args:
        spec: the job that answers it.
        decision: `new`, `resumed` (it was begun and did not end), `reused` (it is finished), or `refused` (only a new
            job would answer, and none may be made; `spec` is the draft).
        reasons: why, in plain sentences.
    """

    spec: JobSpec
    decision: str
    reasons: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What progress says of it; of a new job what its program was warned of, mostly nothing."""
        said = {
            "reused": "finished before; nothing that it ran or read has changed",
            "resumed": "goes on where it was",
        }
        if self.decision in said:
            return f"{self.spec.id}: {said[self.decision]}"
        return "\n".join(f"{self.spec.id}: {warning}" for warning in self.spec.program.warnings)


class _Found(Record):
    """An earlier job with the same lookup, and what of its code differs now."""

    spec: JobSpec
    finished: bool
    changes: tuple[Change, ...]


def admit(
    files: Files, ledger: Ledger, draft: JobSpec, pack: Pack, *, fresh: bool = False, allow_new: bool = True
) -> Admission:
    """The job that answers a request: a finished one, one to go on with, or a new one that is now in the catalogue.

    Args:
        draft: the specification with `id`, `version` and `program` still to be filled.
        pack: writes the snapshot of the program into a folder and describes it.
        fresh: never reuse or resume.
        allow_new: whether a new job may be made when none answers.

    Guarantees: safe when several drivers ask at once: they get the same job. A crash leaves no half job: the
    specification is written after the code.
    """
    incoming = files.local("incoming") / uuid.uuid4().hex
    incoming.mkdir(parents=True)
    try:
        program = pack(incoming / "code")
        draft = msgspec.structs.replace(draft, program=program, environment=environment.lock())
        draft = msgspec.structs.replace(draft, lookup=_lookup(draft))
        while True:
            admission = _try(files, ledger, draft, incoming / "code", fresh=fresh, allow_new=allow_new)
            if admission is not None:
                if admission.decision != "refused":
                    _remember(files, admission)
                return admission
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _lookup(draft: JobSpec) -> str:
    """Digest of what a finished job must share to be found again: everything but code, limits and place."""
    return digest_of(
        {
            "kind": draft.kind,
            "entry": [draft.program.kind, draft.program.name, draft.program.runner, draft.mode],
            "hyperparameters": draft.hyperparameters,
            "channels": {k: v.digest for k, v in draft.channels.items()},
            "inputs": sorted((i.role, i.digest) for i in draft.inputs),
            "workers": draft.workers if draft.coupled else 1,
            "seed": draft.seed,
            "metrics": draft.metrics,
            "allow_test": draft.allow_test,
            "environment": environment.digest(draft.environment),
            "options": draft.options.get("lookup"),
        }
    )


def _try(files: Files, ledger: Ledger, draft: JobSpec, code: Path, *, fresh: bool, allow_new: bool) -> Admission | None:
    """One try; None when another driver was faster and the question must be asked again."""
    newest = ledger.entry(draft.kind, draft.name)
    reasons: list[str] = ["asked for as new"] if fresh and newest else []
    if newest is not None and not fresh:
        same = [e for e in reversed(ledger.entries(draft.kind, draft.name)) if e.lookup == draft.lookup]
        for entry in same:
            found = _earlier(files, ledger, entry, draft, code)
            if found is not None and found.finished and not found.changes:
                return Admission(spec=found.spec, decision="reused", reasons=(_reused_reason(found.spec),))
            if found is not None and not found.finished and not found.changes:
                spec = _with_limits_of(files, found.spec, draft)
                return Admission(spec=spec, decision="resumed", reasons=("it had been begun and had not ended",))
        reasons = _why_new(files, ledger, newest, draft, code)
        if not allow_new:
            return Admission(spec=draft, decision="refused", reasons=tuple(reasons))
    entry, created = ledger.reserve(
        draft.kind, draft.name, lookup=draft.lookup, body={"status": "new"}, expect=newest.version if newest else 0
    )
    if not created:
        return None
    spec = msgspec.structs.replace(draft, id=entry.id, version=entry.version, created_at=time.time())
    _settle_in(files, ledger, spec, code)
    spec = JobFolder(files, spec.id).spec()
    return Admission(spec=spec, decision="new", reasons=tuple(reasons) or ("nothing of this name had run before",))


def _settle_in(files: Files, ledger: Ledger, spec: JobSpec, code: Path) -> None:
    """The job's folder: code first, specification last; by one driver, the others wait for it."""
    home, path = files.local(f"jobs/{spec.id}"), f"jobs/{spec.id}/job.json"
    pause = threading.Event()
    while not files.exists(path):
        lease = ledger.claim(spec.id)
        if lease is None:
            pause.wait(POLL_S)
            continue
        try:
            if not files.exists(path):
                home.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(home / "code", ignore_errors=True)
                os.rename(code, home / "code")
                ledger.link([Edge(source=i.id, target=spec.id, role=i.role) for i in spec.inputs])
                files.write(path, pretty(spec))
        finally:
            ledger.release(lease)


def _earlier(files: Files, ledger: Ledger, entry: Entry, draft: JobSpec, code: Path) -> _Found | None:
    """An earlier job of the same lookup with what differs in its code; None if its outputs are damaged or gone."""
    folder = JobFolder(files, entry.id)
    try:
        spec = folder.spec()
    except FileNotFoundError:
        # Its driver is about to write it, or died before: this request is the same, so go on with it.
        spec = msgspec.structs.replace(draft, id=entry.id, version=entry.version, created_at=time.time())
        _settle_in(files, ledger, spec, code)
        return _Found(spec=folder.spec(), finished=False, changes=())
    chosen = result(files, folder.path)
    if chosen is not None:
        try:
            verify(files, folder.path, attempt=chosen.attempt)
        except DataChangedError:
            return None
    finished = chosen is not None
    old = folder.snapshot_path()
    if not finished:
        same = spec.program.digest == draft.program.digest
        return _Found(spec=spec, finished=False, changes=() if same else tuple(_differences(old, code)))
    trace = merge([Trace.read(path) for path in folder.traces()])
    return _Found(spec=spec, finished=True, changes=tuple(changed(trace, old, code)))


def _differences(old: Path, new: Path) -> list[Change]:
    """Changes between two snapshots as if every file had run."""
    return changed(None, old, new) or [Change(path=".", what="changed")]


def _with_limits_of(files: Files, spec: JobSpec, draft: JobSpec) -> JobSpec:
    """The specification of a job that goes on, with the limits and the place that are asked for now."""
    changed = msgspec.structs.replace(
        spec,
        resources=draft.resources,
        retries=draft.retries,
        timeout_s=draft.timeout_s,
        grace_s=draft.grace_s,
        secrets=draft.secrets,
        engine=draft.engine,
        workers=spec.workers if spec.coupled else draft.workers,
    )
    if changed != spec:
        files.write(f"jobs/{spec.id}/job.json", pretty(changed))
    return changed


def _why_new(files: Files, ledger: Ledger, newest: Entry, draft: JobSpec, code: Path) -> list[str]:
    """Why the newest job of this name does not answer the request."""
    found = None
    try:
        old = JobFolder(files, newest.id).spec()
    except FileNotFoundError:
        return [f"{newest.id} was reserved and never begun"]
    if newest.lookup == draft.lookup:
        found = _earlier(files, ledger, newest, draft, code)
        if found is None:
            return [f"outputs of {newest.id} are missing or damaged"]
    changes: list[Any] = (
        list(found.changes) if found else _differences(JobFolder(files, newest.id).snapshot_path(), code)
    )
    if newest.lookup != draft.lookup and old.program.digest == draft.program.digest:
        changes = []
    return explain(old, draft, changes) or [f"{newest.id} does not answer it"]


def _reused_reason(spec: JobSpec) -> str:
    """Why a finished job answers."""
    return (
        f"{spec.id} is finished, and entry, arguments, inputs, environment and every file of its code that ran are "
        "unchanged"
    )


def _remember(files: Files, admission: Admission) -> None:
    """Keep the reasons where `headway why` finds them."""
    path = f"jobs/{admission.spec.id}/why.json"
    why: dict[str, Any] = {"schema": 1, "created": {}, "last": {}}
    if files.exists(path):
        try:
            why |= decode(files.read(path), dict, where=path)
        except WorkspaceError:
            why["created"] = {}  # damaged: an explanation is lost, no work
    said = {"decision": admission.decision, "reasons": list(admission.reasons), "at": time.time()}
    if admission.decision == "new" or not why["created"]:
        why["created"] = said
    why["last"] = said
    files.write(path, pretty(why))
