"""The commit protocol: an output appears whole, once, or not at all, on every store.

In: a folder with `attempts/<n>/`, written by workers. Out: `result.json`, the only sign of success. The steps:

1. every attempt writes below its own `attempts/<n>/`, which is never renamed;
2. `seal` lists name, size and digest of each output in `attempts/<n>/outcome.json`, which is made once;
3. `verify` lists the store again, without a cache, and compares;
4. `publish` appends the choice of the attempt to the ledger under the epoch: that append is the truth; then it makes
   `result.json`, which any driver can make again from the append (`republish`);
5. readers follow `result.json` only (`result`); `sweep` removes what is left over.
"""

from __future__ import annotations

import hashlib
import io
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from headway.errors import DataChangedError, WorkspaceError
from headway.records import Record, decode, digest_of, pretty
from headway.stores.files import Entry, Files
from headway.stores.ledger import Event, Lease, Ledger

_READERS = 4
CHOSEN = "chosen"
"""The kind of event that makes an attempt the result of a folder."""


class Output(Record):
    """One file of an attempt.

    Args:
        name: relative to `attempts/<n>/`.
        digest: SHA-256 of its bytes.
    """

    name: str
    size_bytes: int
    digest: str


class Outcome(Record):
    """What an attempt made: `attempts/<n>/outcome.json`."""

    schema: int = 1
    attempt: int
    outputs: tuple[Output, ...]
    body: dict[str, Any] = {}


class Result(Record):
    """Which attempt counts, and what it made: `result.json`.

    Args:
        owner: whose event chose it.
        epoch: under which epoch.
        outcome_digest: `digest_of` the outcome.
        body: what the chooser had to say: metrics, counts.
        at: when it was chosen, UTC epoch seconds.
    """

    schema: int = 1
    owner: str
    attempt: int
    epoch: int
    outcome_digest: str
    outputs: tuple[Output, ...]
    body: dict[str, Any] = {}
    at: float


def attempt_folder(folder: str, attempt: int) -> str:
    """Where an attempt writes: `<folder>/attempts/<n>`."""
    return f"{folder}/attempts/{attempt}" if folder else f"attempts/{attempt}"


def seal(
    files: Files,
    folder: str,
    *,
    attempt: int,
    body: dict[str, Any] | None = None,
    only: Sequence[str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Outcome:
    """The outcome of an attempt whose outputs are all written; recorded beside them.

    Args:
        files: the store.
        folder: what the attempt belongs to, a job's folder.
        attempt: its number.
        body: small JSON to keep with it.
        only: files and folders below the attempt that are outputs; None: all.
        digests: what is known already, by name: outputs whose writer took their SHA-256 are not read again.

    Raises:
        FileNotFoundError: the attempt's folder, or one named in `only`, is not there.
        DataChangedError: it was sealed before with other outputs: an attempt is sealed once.

    Guarantees:
        Idempotent: sealed again, it gives the outcome that is recorded.
    """
    place = attempt_folder(folder, attempt)
    record = f"{place}/outcome.json"
    found, known = _outputs(files, place, only), digests or {}
    with ThreadPoolExecutor(_READERS) as readers:
        missing = [name for name in found if name not in known]
        taken = dict(zip(missing, readers.map(lambda name: _digest(files, found[name].path), missing), strict=True))
    outputs = tuple(
        Output(name=name, size_bytes=entry.size_bytes, digest=taken.get(name) or known[name])
        for name, entry in found.items()
    )
    outcome = Outcome(attempt=attempt, outputs=outputs, body=body or {})
    if files.create(record, pretty(outcome)):
        return outcome
    before = _outcome(files, record)
    if before.outputs != outputs:
        raise DataChangedError(
            f"attempt {attempt} of {files.url_of(folder)} was sealed before, and its outputs have changed since: "
            f"{_difference(before.outputs, outputs)}; start a new attempt"
        )
    return before


def verify(files: Files, folder: str, *, attempt: int, outcome: Outcome | None = None, deep: bool = False) -> Outcome:
    """The outcome of an attempt, when every output that it lists is there.

    Args:
        outcome: the outcome to check; None reads the recorded one.
        deep: compare digests too, not only sizes.

    Raises:
        DataChangedError: the attempt was never sealed, or an output is missing or differs; the text names it.
    """
    place = attempt_folder(folder, attempt)
    if outcome is None:
        try:
            outcome = _outcome(files, f"{place}/outcome.json")
        except FileNotFoundError as error:
            raise DataChangedError(f"{files.url_of(place)} has no outcome.json: it was never sealed") from error
    try:
        there = {entry.path[len(place) + 1 :]: entry for entry in files.walk(place)}
    except FileNotFoundError:
        there = {}
    for output in outcome.outputs:
        path = f"{place}/{output.name}"
        entry = there.get(output.name)
        if entry is None:
            raise DataChangedError(f"{files.url_of(path)} is missing: it was {output.size_bytes} bytes when sealed")
        if entry.size_bytes != output.size_bytes:
            raise DataChangedError(
                f"{files.url_of(path)} has {entry.size_bytes} bytes, and had {output.size_bytes} when sealed"
            )
        if deep and _digest(files, path) != output.digest:
            raise DataChangedError(f"{files.url_of(path)} has other bytes than when it was sealed (same size)")
    return outcome


def publish(
    files: Files, ledger: Ledger, lease: Lease, folder: str, outcome: Outcome, *, body: dict[str, Any] | None = None
) -> Result:
    """Make an attempt the result of its folder.

    Args:
        lease: of the owner of the folder; its epoch is checked.
        outcome: from `seal` or `verify`.
        body: small JSON to keep with the result.

    Raises:
        FencedError: another driver took the work over; nothing was published.
        WorkspaceError: another attempt was chosen before.

    Guarantees:
        Idempotent for one outcome. Once the append is done, `republish` by anybody gives the same result.
    """
    chosen = _chosen(ledger, lease.owner, folder)
    digest = digest_of(outcome)
    if chosen is None:
        choice = {"folder": folder, "attempt": outcome.attempt, "outcome_digest": digest, "body": body or {}}
        last = ledger.append(lease, [(CHOSEN, choice)])
        (chosen,) = ledger.events(lease.owner, after=last - 1)
    elif chosen.body["outcome_digest"] != digest:
        raise WorkspaceError(
            f"{files.url_of(folder)}: attempt {chosen.body['attempt']} was chosen already, so attempt "
            f"{outcome.attempt} cannot be; republish() gives the result"
        )
    return _write_result(files, folder, _result_of(chosen, outcome))


def republish(files: Files, ledger: Ledger, owner: str, folder: str) -> Result | None:
    """The result of a folder, with `result.json` made again from the append; None when no attempt was chosen.

    Raises:
        DataChangedError: the chosen attempt's outcome or outputs are missing or differ.
    """
    chosen = _chosen(ledger, owner, folder)
    if chosen is None:
        return None
    attempt = int(chosen.body["attempt"])
    outcome = verify(files, folder, attempt=attempt)
    if digest_of(outcome) != chosen.body["outcome_digest"]:
        raise DataChangedError(
            f"{files.url_of(attempt_folder(folder, attempt))}/outcome.json is not the one that was chosen"
        )
    return _write_result(files, folder, _result_of(chosen, outcome))


def result(files: Files, folder: str) -> Result | None:
    """What `result.json` says, None when there is none: not done yet, failed, or lost."""
    path = f"{folder}/result.json" if folder else "result.json"
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    return decode(data, Result, where=files.url_of(path))


def sweep(files: Files, folder: str, *, keep: set[int], older_than_s: float) -> list[str]:
    """Remove what is left over below a folder: temporary files, and attempts that are not kept.

    Args:
        keep: attempts that stay; the one that `result.json` names stays in any case.
        older_than_s: only what nobody has changed for so long.

    Returns:
        The paths removed.

    Guarantees:
        Killed at any moment, an attempt is either whole or no longer sealed (its outcome goes first).
    """
    before = time.time() - older_than_s
    removed = []
    try:
        leftovers = [entry.path for entry in files.leftovers(folder) if entry.mtime <= before]
        attempts = _attempts(files, folder)
    except FileNotFoundError:
        return []
    published = result(files, folder)
    kept = keep | ({published.attempt} if published else set())
    for path in leftovers:
        files.remove(path, missing_ok=True)
        removed.append(path)
    for attempt in attempts - kept:
        place = attempt_folder(folder, attempt)
        try:
            times = [entry.mtime for entry in files.walk(place)]
            newest = max(times) if times else files.info(place).mtime
        except FileNotFoundError:
            continue  # somebody else sweeps too
        if not times and not files.is_local:
            continue  # an object store that still shows a folder whose objects are gone
        if newest <= before:
            files.remove(f"{place}/outcome.json", missing_ok=True)
            files.remove(place, missing_ok=True)
            removed.append(place)
    return sorted(removed)


def _attempts(files: Files, folder: str) -> set[int]:
    try:
        entries = files.list(f"{folder}/attempts" if folder else "attempts")
    except FileNotFoundError:
        return set()
    names = (entry.path.rpartition("/")[2] for entry in entries if entry.is_folder)
    return {int(name) for name in names if name.isdecimal()}


def _outputs(files: Files, place: str, only: Sequence[str] | None) -> dict[str, Entry]:
    """The outputs by name, each once, sorted."""
    if only is None:
        found = {entry.path: entry for entry in files.walk(place)}
    else:
        found = {}
        for name in only:
            path = f"{place}/{name}".rstrip("/")
            entry = files.info(path)
            found |= {inner.path: inner for inner in files.walk(path)} if entry.is_folder else {path: entry}
    found.pop(f"{place}/outcome.json", None)
    return {path[len(place) + 1 :]: found[path] for path in sorted(found)}


def _digest(files: Files, path: str) -> str:
    if files.is_local and not stat.S_ISREG(files.local(path).stat().st_mode):
        raise WorkspaceError(
            f"{files.url_of(path)} is no file but a pipe, socket or device, and cannot be an output: remove it"
        )
    with files.open(path, "rb") as stream:
        return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()


def _outcome(files: Files, path: str) -> Outcome:
    return decode(files.read(path), Outcome, where=files.url_of(path))


def _chosen(ledger: Ledger, owner: str, folder: str) -> Event | None:
    """The event that chose an attempt for a folder: the first one counts."""
    events = ledger.events(owner, kinds=[CHOSEN])
    return next((event for event in events if event.body.get("folder") == folder), None)


def _result_of(event: Event, outcome: Outcome) -> Result:
    return Result(
        owner=event.owner,
        attempt=outcome.attempt,
        epoch=event.epoch,
        outcome_digest=event.body["outcome_digest"],
        outputs=outcome.outputs,
        body=event.body["body"],
        at=event.at,
    )


def _write_result(files: Files, folder: str, made: Result) -> Result:
    path = f"{folder}/result.json" if folder else "result.json"
    if not files.create(path, pretty(made)) and result(files, folder) != made:
        files.write(path, pretty(made))  # the append is the truth, whatever lies there
    return made


def _difference(before: Sequence[Output], after: Sequence[Output]) -> str:
    then, now = {output.name: output for output in before}, {output.name: output for output in after}
    tell: list[tuple[str, Callable[[str], bool]]] = [
        ("missing", lambda name: name not in now),
        ("new", lambda name: name not in then),
        ("changed", lambda name: name in now and name in then and now[name] != then[name]),
    ]
    return ", ".join(f"{word} {name}" for word, when in tell for name in sorted({**then, **now}) if when(name))
