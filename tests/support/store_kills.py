"""Kills real processes at random moments, and checks what they leave; run as a program, one thread, forks only.

    python store_kills.py commit|steps|ledger|sleep FOLDER --kills N --seed S [--store URL] [--ledger URL]

Prints one JSON line of counts. Every check runs in a process of its own, as a reader that comes along would.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store_faults import Faults, arm

from headway.errors import FencedError, WorkspaceError
from headway.stores import _sqlite
from headway.stores.commit import publish, republish, result, seal, sweep, verify
from headway.stores.files import Files
from headway.stores.ledger import Ledger

PHASES = ("start", "claim", "write", "seal", "verify", "append", "result", "sweep", "release")
_phase = mmap.mmap(-1, 2)  # shared with the children: what they were doing when they died
FENCED = 42


def phase(name: str) -> None:
    _phase[0] = PHASES.index(name)


def fork(work: Callable[[], Any]) -> int:
    """The process id of a child that runs `work` and exits; 1 and a traceback when it fails."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work() or 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(work: Callable[[], Any]) -> None:
    code = finish(fork(work))
    if code:
        sys.exit(f"a check failed: {code}")


def kill(pid: int) -> bool:
    """Whether the child lived until it was killed; a child that failed ends everything."""
    os.kill(pid, signal.SIGKILL)
    code = finish(pid)
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"a child failed: {code}")
    return code != 0


# the commit protocol


def content(job: int, name: str) -> bytes:
    """What an output must hold: a torn one is seen at once."""
    drawn = random.Random(f"{job}/{name}")
    return drawn.randbytes(drawn.choice((0, 10, 1000, 30_000, 300_000)))


def outputs(job: int) -> list[str]:
    return [f"part-{n}.bin" for n in range(1 + job % 4)] + ["model/weights"]


def write_outputs(files: Files, job: int, attempt: int) -> None:
    for number, name in enumerate(outputs(job)):
        path, data = f"jobs/{job}/attempts/{attempt}/{name}", content(job, name)
        if number % 2:
            with files.open(path, "wb") as stream:
                for start in range(0, len(data), 4096):
                    stream.write(data[start : start + 4096])
        else:
            files.write(path, data)


def drive(files: Files, ledger: Ledger, job: int) -> None:
    """One job from wherever it was left, as a driver and its worker do it."""
    phase("claim")
    folder, owner = f"jobs/{job}", f"job-{job}"
    lease = ledger.claim(owner)
    assert lease is not None, f"{owner} is still held by {ledger.holder(owner)}"
    phase("result")
    if republish(files, ledger, owner, folder) is None:
        place = f"{folder}/attempts"
        there = [entry.path for entry in files.list(place)] if files.exists(place) else []
        attempt = 1 + max((int(path.rpartition("/")[2]) for path in there), default=0)
        phase("write")
        write_outputs(files, job, attempt)
        phase("seal")
        outcome = seal(files, folder, attempt=attempt, body={"job": job})
        phase("verify")
        verify(files, folder, attempt=attempt, outcome=outcome)
        phase("append")
        publish(files, ledger, lease, folder, outcome)
    phase("sweep")
    sweep(files, folder, keep=set(), older_than_s=-10)
    phase("release")
    ledger.release(lease)


def committing(open_files: Callable[[], Files], ledger_url: str, ready: int) -> None:
    with Ledger.open(ledger_url) as ledger:
        files = open_files()
        job = max((int(owner[4:]) for owner in ledger.owners("job-")), default=0)
        os.write(ready, b"x")
        while True:
            drive(files, ledger, job)
            job += 1


def inspect(open_files: Callable[[], Files], ledger_url: str, *, last: int | None, counts: dict[str, int]) -> None:
    """The invariants of all jobs, or of the last few."""
    files = open_files()
    with Ledger.open(ledger_url) as ledger:
        problems = ledger.check()
        assert problems == [], problems
        jobs = sorted(int(owner[4:]) for owner in ledger.owners("job-"))
        for job in jobs[-last:] if last else jobs:
            folder = f"jobs/{job}"
            chosen = ledger.events(f"job-{job}", kinds=["chosen"])
            made = result(files, folder)
            assert len(chosen) <= 1, f"job {job} was chosen {len(chosen)} times"
            counts["results"] += made is not None
            _phase[1] = bool(chosen) and made is None
            if made is not None:
                assert chosen, f"job {job} has a result without an append"
                assert (chosen[0].body["attempt"], chosen[0].epoch) == (made.attempt, made.epoch)
                verify(files, folder, attempt=made.attempt, deep=True)
                assert {o.name for o in made.outputs} == set(outputs(job))
            assert made is not None or job == jobs[-1], f"job {job} was left without a result"
            if chosen:
                verify(files, folder, attempt=chosen[0].body["attempt"], deep=True)
            for entry in files.walk(folder) if files.exists(folder) else []:
                name = "/".join(entry.path.split("/")[4:])
                if "/attempts/" in entry.path and name != "outcome.json":
                    assert files.read(entry.path) == content(job, name), f"{entry.path} is torn"
                    counts["whole files"] += 1


def commit(place: argparse.Namespace) -> dict[str, Any]:
    open_files = place.open_files
    drawn = random.Random(place.seed)
    phases: Counter[str] = Counter()
    kills = between = 0
    while kills < place.kills:
        ready, tell = os.pipe()
        pid = fork(lambda: committing(open_files, place.ledger, tell))  # noqa: B023
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        time.sleep(drawn.uniform(0, place.longest_s))
        assert kill(pid)
        phases[PHASES[_phase[0]]] += 1
        kills += 1
        counts = dict.fromkeys(("results", "whole files"), 0)
        check(lambda: inspect(open_files, place.ledger, last=2, counts=counts))  # noqa: B023
        between += _phase[1]
    said = Path(place.folder) / "counts.json"

    def last() -> None:
        with Ledger.open(place.ledger) as ledger:
            drive(open_files(), ledger, max(int(owner[4:]) for owner in ledger.owners("job-")))
        total = dict.fromkeys(("results", "whole files"), 0)
        inspect(open_files, place.ledger, last=None, counts=total)
        assert list(open_files().leftovers("jobs")) == []
        said.write_text(json.dumps(total))

    check(last)
    counted = {"kills": kills, "killed during": dict(phases), "of them between append and result.json": between}
    return {**counted, **json.loads(said.read_text())}


def steps(place: argparse.Namespace) -> dict[str, Any]:
    """SIGKILL before every operation of one job in turn, another driver finishes."""
    kills, k = 0, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    while True:
        k += 1

        def doomed() -> None:
            with Ledger.open(place.ledger) as ledger:
                files = place.open_files()
                arm(Faults(k, "before", die), files, ledger)  # noqa: B023
                drive(files, ledger, k)  # noqa: B023

        def heir() -> None:
            counts = dict.fromkeys(("results", "whole files"), 0)
            with Ledger.open(place.ledger) as ledger:
                drive(place.open_files(), ledger, k)  # noqa: B023
                assert ledger.check() == []
            inspect(place.open_files, place.ledger, last=1, counts=counts)
            assert counts["results"] == 1
            assert list(place.open_files().leftovers("jobs")) == []

        code = finish(fork(doomed))
        assert code in (0, -signal.SIGKILL), code
        check(heir)
        if code == 0:
            return {"kills": kills}
        kills += 1


# the ledger


def appending(url: str, owner: str, ready: int) -> None:
    """Append without end; each acknowledged sequence number goes down the pipe."""
    with Ledger.open(url) as ledger:
        lease = ledger.claim(owner)
        assert lease is not None, f"{owner} is still held by {ledger.holder(owner)}"
        while True:
            number = ledger.append(lease, [("event", {"fill": "x" * 300})] * (1 + lease.epoch % 3))
            with contextlib.suppress(BlockingIOError):
                os.write(ready, number.to_bytes(4, "big"))


def ledger(place: argparse.Namespace) -> dict[str, Any]:
    """Four writers; a random one is killed again and again and starts anew. No acknowledged append may be lost."""
    _sqlite.WAL_BYTES = 100_000  # many checkpoints
    drawn = random.Random(place.seed)
    owners = [f"owner-{n}" for n in range(4)]
    acknowledged = dict.fromkeys(owners, 0)
    children: dict[str, tuple[int, int]] = {}

    def start(owner: str) -> None:
        ready, tell = os.pipe()
        children[owner] = (fork(lambda: appending(place.ledger, owner, tell)), ready)
        os.close(tell)

    def bury(owner: str) -> None:
        pid, ready = children.pop(owner)
        assert kill(pid)
        listen(owner, ready)
        os.close(ready)

    def listen(owner: str, ready: int) -> None:
        """Keep the last number of each pipe, and the pipe from filling up."""
        os.set_blocking(ready, False)
        try:
            while data := os.read(ready, 65536):
                acknowledged[owner] = int.from_bytes(data[-4:], "big")
        except BlockingIOError:
            pass

    for owner in owners:
        start(owner)
    for _ in range(place.kills):
        time.sleep(drawn.uniform(0, place.longest_s))
        owner = drawn.choice(owners)
        for name, (_, ready) in children.items():
            listen(name, ready)
        bury(owner)
        start(owner)
    for owner in owners:
        bury(owner)

    def inspect_ledger() -> None:
        with Ledger.open(place.ledger) as made:
            assert made.check() == []
            for owner in owners:
                events = made.events(owner)
                numbers = [event.sequence for event in events]
                assert numbers == list(range(1, len(numbers) + 1))
                assert len(numbers) >= acknowledged[owner] > 0, f"{owner}: an acknowledged append was lost"
                epochs = [event.epoch for event in events]
                assert epochs == sorted(epochs)

    check(inspect_ledger)
    return {"kills": place.kills + len(owners), "acknowledged appends": sum(acknowledged.values())}


# sleepers


def sleeping(url: str, owner: str, ready: int) -> int:
    """A driver that appends and publishes without end, until it is fenced."""
    with Ledger.open(url) as ledger:
        lease = ledger.claim(owner, force=True)
        assert lease is not None
        os.write(ready, b"x")
        try:
            while True:
                ledger.append(lease, [("told", {"by": "sleeper"})])
                hashlib.pbkdf2_hmac("sha256", b"", b"", 1000)  # what a driver thinks between two appends
        except FencedError:
            return FENCED


def taking_over(url: str, owner: str) -> int:
    with Ledger.open(url, lock_timeout_s=0.25) as ledger:
        try:
            lease = ledger.claim(owner, force=True)
        except WorkspaceError:
            return FENCED  # it was stopped inside a transaction: nobody can write until it goes on or dies
        assert lease is not None
        for _ in range(3):
            ledger.append(lease, [("told", {"by": "heir"})])
        return 0


def sleep(place: argparse.Namespace) -> dict[str, Any]:
    """A driver is stopped (SIGSTOP), taken over, woken (SIGCONT): it must publish nothing from then on."""
    drawn = random.Random(place.seed)
    counts = Counter({"takeovers": 0, "stopped inside a transaction": 0})
    number = 0
    while counts["takeovers"] < place.kills:
        number += 1
        owner = f"study-{number}"
        ready, tell = os.pipe()
        pid = fork(lambda: sleeping(place.ledger, owner, tell))  # noqa: B023
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        time.sleep(drawn.uniform(0, place.longest_s))
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        blocked = finish(fork(lambda: taking_over(place.ledger, owner)))  # noqa: B023
        if blocked:
            assert blocked == FENCED
            counts["stopped inside a transaction"] += 1
        os.kill(pid, signal.SIGCONT)
        if blocked:
            assert finish(fork(lambda: taking_over(place.ledger, owner))) == 0  # noqa: B023
        counts["takeovers"] += 1
        assert finish(pid) == FENCED, "the driver that slept was not fenced"

    def inspect_events() -> None:
        late = total = 0
        with Ledger.open(place.ledger) as made:
            assert made.check() == []
            for n in range(1, number + 1):
                events = made.events(f"study-{n}")
                taken = next(i for i, event in enumerate(events) if event.body["by"] == "heir")
                late += sum(event.body["by"] == "sleeper" for event in events[taken:])
                assert [event.body["by"] for event in events[-3:]] == ["heir"] * 3
                total += len(events)
        assert late == 0, f"{late} events of sleepers after they were taken over"
        Path(place.folder, "counts.json").write_text(json.dumps({"events": total, "events after the takeover": late}))

    check(inspect_events)
    return {**counts, **json.loads(Path(place.folder, "counts.json").read_text())}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("commit", "steps", "ledger", "sleep"))
    parser.add_argument("folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store")
    parser.add_argument("--options", default="{}")
    parser.add_argument("--ledger")
    parser.add_argument("--longest-s", type=float, default=0.05)
    place = parser.parse_args()
    place.ledger = place.ledger or f"{place.folder}/ledger.sqlite"
    place.open_files = lambda: Files(place.store or f"{place.folder}/store", options=json.loads(place.options))
    began = time.monotonic()
    with Ledger.open(place.ledger):
        pass  # what children need is loaded before the first fork
    if place.store and place.store.startswith("s3:"):
        import s3fs  # noqa: F401
    made = {"commit": commit, "steps": steps, "ledger": ledger, "sleep": sleep}[place.what](place)
    print(json.dumps({"what": place.what, "seed": place.seed, **made, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
