"""The commit protocol: what each step promises, and a fault at every operation of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from store_faults import Faults, arm

from headway.errors import DataChangedError, FencedError, NewerSchemaError, WorkspaceError
from headway.records import digest_of
from headway.stores.commit import Outcome, publish, republish, result, seal, sweep, verify
from headway.stores.files import TEMPORARY, Files
from headway.stores.ledger import Lease, Ledger

CONTENT = {"a.bin": b"a" * 10, "model/weights": os.urandom(70_000), "model/note.txt": b"", "with space,ü": b"x"}


def write_attempt(files: Files, attempt: int, *, content: dict[str, bytes] = CONTENT, folder: str = "jobs/j") -> None:
    for number, (name, data) in enumerate(content.items()):
        path = f"{folder}/attempts/{attempt}/{name}"
        if number % 2:
            with files.open(path, "wb") as stream:
                stream.write(data[: len(data) // 2])
                stream.write(data[len(data) // 2 :])
        else:
            files.write(path, data)


def claim(ledger: Ledger, **options) -> Lease:
    lease = ledger.claim("j", **options)
    assert lease is not None
    return lease


def test_the_whole_way(files: Files, sqlite: Ledger) -> None:
    lease = claim(sqlite)
    write_attempt(files, 1)
    assert result(files, "jobs/j") is None
    outcome = seal(files, "jobs/j", attempt=1, body={"metrics": {"f1": 0.5}})
    assert {(o.name, o.size_bytes) for o in outcome.outputs} == {(n, len(d)) for n, d in CONTENT.items()}
    assert seal(files, "jobs/j", attempt=1) == outcome
    assert verify(files, "jobs/j", attempt=1, deep=True) == outcome
    assert result(files, "jobs/j") is None
    made = publish(files, sqlite, lease, "jobs/j", outcome, body={"status": "done"})
    assert result(files, "jobs/j") == made
    (event,) = sqlite.events("j")
    assert (event.kind, made.at, made.epoch, made.owner) == ("chosen", event.at, 1, "j")
    assert made.outcome_digest == digest_of(outcome)
    assert (made.attempt, made.outputs, made.body) == (1, outcome.outputs, {"status": "done"})
    assert publish(files, sqlite, lease, "jobs/j", outcome) == made
    assert len(sqlite.events("j")) == 1


def test_any_driver_writes_the_result_again(files: Files, sqlite: Ledger) -> None:
    lease = claim(sqlite)
    write_attempt(files, 3)
    assert republish(files, sqlite, "j", "jobs/j") is None
    made = publish(files, sqlite, lease, "jobs/j", seal(files, "jobs/j", attempt=3))
    sqlite.release(lease)
    files.remove("jobs/j/result.json")
    assert republish(files, sqlite, "j", "jobs/j") == made == result(files, "jobs/j")
    files.write("jobs/j/result.json", files.read("jobs/j/result.json").replace(b'"attempt": 3', b'"attempt": 1'))
    assert republish(files, sqlite, "j", "jobs/j") == made == result(files, "jobs/j")


def test_only_named_outputs_are_sealed(files: Files) -> None:
    write_attempt(files, 1)
    outcome = seal(files, "jobs/j", attempt=1, only=["model", "a.bin", "model/weights"])
    assert [o.name for o in outcome.outputs] == ["a.bin", "model/note.txt", "model/weights"]
    files.write("jobs/j/attempts/1/log.txt", b"more")
    assert seal(files, "jobs/j", attempt=1, only=["model", "a.bin"]) == outcome
    with pytest.raises(FileNotFoundError):
        seal(files, "jobs/j", attempt=1, only=["nothing"])
    with pytest.raises(FileNotFoundError):
        seal(files, "jobs/j", attempt=2)


def test_digests_that_are_known_are_not_taken_again(files: Files) -> None:
    write_attempt(files, 1)
    outcome = seal(files, "jobs/j", attempt=1, digests={"a.bin": "0" * 64, "other": "1" * 64})
    assert {o.name: o.digest == "0" * 64 for o in outcome.outputs} == {name: name == "a.bin" for name in CONTENT}
    with pytest.raises(DataChangedError, match=r"a\.bin has other bytes"):
        verify(files, "jobs/j", attempt=1, deep=True)


def test_an_attempt_without_outputs_can_be_sealed(files: Files, sqlite: Ledger) -> None:
    files.write("jobs/j/attempts/1/log.txt", b"")
    outcome = seal(files, "jobs/j", attempt=1, only=[])
    assert outcome.outputs == ()
    assert publish(files, sqlite, claim(sqlite), "jobs/j", outcome).outputs == ()


def test_what_changed_after_sealing_is_found(files: Files) -> None:
    write_attempt(files, 1)
    outcome = seal(files, "jobs/j", attempt=1)
    place = "jobs/j/attempts/1"
    with pytest.raises(DataChangedError, match="never sealed"):
        verify(files, "jobs/j", attempt=2)
    files.write(f"{place}/a.bin", b"b" * 10)
    assert verify(files, "jobs/j", attempt=1) == outcome
    with pytest.raises(DataChangedError, match=r"a\.bin has other bytes"):
        verify(files, "jobs/j", attempt=1, deep=True)
    files.write(f"{place}/a.bin", b"b" * 11)
    with pytest.raises(DataChangedError, match=r"a\.bin has 11 bytes, and had 10"):
        verify(files, "jobs/j", attempt=1)
    files.remove(f"{place}/a.bin")
    with pytest.raises(DataChangedError, match=r"a\.bin is missing"):
        verify(files, "jobs/j", attempt=1)
    files.write(f"{place}/new", b"")
    with pytest.raises(DataChangedError, match=r"(?s)sealed before.*missing a\.bin, new new.*new attempt"):
        seal(files, "jobs/j", attempt=1)
    files.remove(place)
    with pytest.raises(DataChangedError, match="missing"):
        verify(files, "jobs/j", attempt=1, outcome=outcome)


def test_a_chosen_attempt_that_was_damaged_is_not_published_again(files: Files, sqlite: Ledger) -> None:
    write_attempt(files, 1)
    publish(files, sqlite, claim(sqlite), "jobs/j", seal(files, "jobs/j", attempt=1))
    record = "jobs/j/attempts/1/outcome.json"
    files.remove("jobs/j/result.json")
    files.write(record, files.read(record).replace(b'"body": {}', b'"body": {"x": 1}'))
    with pytest.raises(DataChangedError, match="not the one that was chosen"):
        republish(files, sqlite, "j", "jobs/j")
    files.remove("jobs/j/attempts/1/a.bin")
    with pytest.raises(DataChangedError, match=r"a\.bin is missing"):
        republish(files, sqlite, "j", "jobs/j")
    assert result(files, "jobs/j") is None


def test_a_driver_that_was_taken_over_publishes_nothing(files: Files, sqlite: Ledger) -> None:
    old = claim(sqlite)
    write_attempt(files, 1)
    outcome = seal(files, "jobs/j", attempt=1)
    new = claim(sqlite, force=True)
    with pytest.raises(FencedError):
        publish(files, sqlite, old, "jobs/j", outcome)
    assert result(files, "jobs/j") is None
    assert sqlite.events("j") == []
    write_attempt(files, 2)
    second = publish(files, sqlite, new, "jobs/j", seal(files, "jobs/j", attempt=2))
    with pytest.raises(WorkspaceError, match="attempt 2 was chosen already"):
        publish(files, sqlite, old, "jobs/j", outcome)
    assert result(files, "jobs/j") == second


def test_one_owner_may_have_several_folders(files: Files, sqlite: Ledger) -> None:
    lease = claim(sqlite)
    for folder in ("jobs/j", "models/m/1", ""):
        write_attempt(files, 1, folder=folder or ".", content={"x": folder.encode()})
        publish(files, sqlite, lease, folder, seal(files, folder, attempt=1, only=["x"]))
    for folder in ("jobs/j", "models/m/1", ""):
        assert result(files, folder) == republish(files, sqlite, "j", folder)
        assert files.read(f"{folder or '.'}/attempts/1/x") == folder.encode()


def test_results_of_a_newer_schema_are_refused(files: Files, sqlite: Ledger) -> None:
    write_attempt(files, 1)
    publish(files, sqlite, claim(sqlite), "jobs/j", seal(files, "jobs/j", attempt=1))
    for path in ("jobs/j/result.json", "jobs/j/attempts/1/outcome.json"):
        files.write(path, files.read(path).replace(b'"schema": 1', b'"schema": 9'))
    with pytest.raises(NewerSchemaError, match="schema 9"):
        result(files, "jobs/j")
    with pytest.raises(NewerSchemaError, match="schema 9"):
        verify(files, "jobs/j", attempt=1)
    files.write("jobs/j/result.json", b'{"schema": 1')
    with pytest.raises(WorkspaceError, match=r"cannot read .*result\.json"):
        result(files, "jobs/j")


def test_the_sweep_takes_left_overs_only(files: Files, sqlite: Ledger) -> None:
    for attempt in (1, 2, 3, 4):
        write_attempt(files, attempt)
    files.write("jobs/j/job.json", b"")
    files.write("jobs/j/attempts/notes.txt", b"")
    publish(files, sqlite, claim(sqlite), "jobs/j", seal(files, "jobs/j", attempt=3))
    if files.is_local:
        Path(files.url, f"jobs/j/attempts/4/{TEMPORARY}dead").write_bytes(b"torn")
    assert sweep(files, "jobs/j", keep={1}, older_than_s=3600) == []
    removed = sweep(files, "jobs/j", keep={1, 4}, older_than_s=-10)
    assert removed == (
        ["jobs/j/attempts/2", f"jobs/j/attempts/4/{TEMPORARY}dead"] if files.is_local else ["jobs/j/attempts/2"]
    )
    assert sweep(files, "jobs/j", keep=set(), older_than_s=-10) == ["jobs/j/attempts/1", "jobs/j/attempts/4"]
    assert sweep(files, "jobs/j", keep=set(), older_than_s=-10) == []
    verify(files, "jobs/j", attempt=3, deep=True)
    assert files.exists("jobs/j/job.json")
    assert sweep(files, "nowhere", keep=set(), older_than_s=0) == []


def drive(files: Files, ledger: Ledger, lease: Lease) -> None:
    """Everything that a driver and its worker do for one folder, from wherever it was left."""
    done = republish(files, ledger, lease.owner, "jobs/j")
    if done is None:
        there = [entry.path for entry in files.list("jobs/j/attempts")] if files.exists("jobs/j/attempts") else []
        attempt = 1 + max((int(path.rpartition("/")[2]) for path in there), default=0)
        write_attempt(files, attempt)
        outcome = seal(files, "jobs/j", attempt=attempt)
        verify(files, "jobs/j", attempt=attempt, outcome=outcome)
        publish(files, ledger, lease, "jobs/j", outcome)
    sweep(files, "jobs/j", keep=set(), older_than_s=-10)


def check_invariants(files: Files, ledger: Ledger, owner: str, *, finished: bool) -> None:
    """No torn output, no result that names what is missing, no success without an append."""
    chosen = ledger.events(owner, kinds=["chosen"])
    made = result(files, "jobs/j")
    assert len(chosen) <= 1
    if made is not None:
        assert chosen[0].body["attempt"] == made.attempt
        assert verify(files, "jobs/j", attempt=made.attempt, deep=True).outputs == made.outputs
    assert made is not None or not finished
    for entry in files.walk("jobs/j") if files.exists("jobs/j") else []:
        name = entry.path.split("/", 4)[-1] if "/attempts/" in entry.path else ""
        if name in CONTENT:
            assert files.read(entry.path) == CONTENT[name], f"{entry.path} is torn"
    if finished:
        assert list(files.leftovers("jobs/j")) == []


def fault_everywhere(files: Files, ledger: Ledger, when: str) -> None:
    """One run for each operation, which fails; then another driver takes over and finishes."""
    k, faults = 0, Faults(0, "before")
    while faults.done >= faults.k:
        k += 1
        store, owner = files.under(f"run-{k}"), f"run-{k}"
        lease = ledger.claim(owner)
        assert lease is not None
        faults = Faults(k, when)  # type: ignore[arg-type]
        disarm = arm(faults, files, ledger)
        try:
            drive(store, ledger, lease)
        except OSError as error:
            if "fault" not in str(error):
                raise
        finally:
            disarm()
        check_invariants(store, ledger, owner, finished=False)
        other = ledger.claim(owner, force=True)
        assert other is not None
        drive(store, ledger, other)
        check_invariants(store, ledger, owner, finished=True)
        with pytest.raises(FencedError):
            ledger.append(lease, [("chosen", {})])
    print(f"{k - 1} faults, one {when} each operation: {', '.join(faults.names)}")
    assert k > 15
    assert ledger.check() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("files", ["local", "memory"], indirect=True)
def test_a_fault_at_every_operation(files: Files, sqlite: Ledger, when: str) -> None:
    fault_everywhere(files, sqlite, when)


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.xdist_group("s3")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_a_fault_at_every_operation_on_s3(files: Files, sqlite: Ledger, when: str) -> None:
    fault_everywhere(files, sqlite, when)


def test_an_outcome_says_what_it_is_in_json(files: Files) -> None:
    files.write("j/attempts/1/x", b"12")
    seal(files, "j", attempt=1, body={"n": 1})
    import json

    assert json.loads(files.read("j/attempts/1/outcome.json")) == {
        "schema": 1,
        "attempt": 1,
        "outputs": [
            {
                "name": "x",
                "size_bytes": 2,
                "digest": "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918",
            }
        ],
        "body": {"n": 1},
    }
    assert isinstance(verify(files, "j", attempt=1), Outcome)
