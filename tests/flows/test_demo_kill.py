"""The demo, killed at random moments: its end is the same, and what was finished is not done again.

Killed in two ways in turn: the whole process group, and `make` alone, so that its child lives on and the next start
meets a live driver.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.execution.progress import Silent
from headway.stores.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
LIMIT_S = 300.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(shutil.which("make") is None, reason="there is no make"),
]


def _start(folder: Path, mark: str, *, log: Path) -> subprocess.Popen[bytes]:
    """`make demo` in a session of its own; only the part behind the installation, which has tests of its own."""
    environment = os.environ | {"HEADWAY_KILL_MARK": mark, "HEADWAY_MACHINE_DIR": str(log.parent / "machine")}
    command = ["make", "--no-print-directory", "-o", "install", "demo", f"ARGS={folder}"]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )


def _marked(mark: str) -> set[int]:
    """Processes that descend from a start with this mark."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if f"HEADWAY_KILL_MARK={mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found - {os.getpid()}


def _end_state(folder: Path) -> dict[str, Any]:
    """All that must not depend on kills: digests, trials, metrics, ids."""
    with hw.open(folder / ".headway", progress=Silent()) as ws:
        study = ws.study("sizes")
        model = ws.model("digits@champion")
        entries = sorted(entry.id for entry in ws.session.ledger.entries())
        state = {
            "ids": entries,
            "manifest": ws.manifest("digits").digest,
            "dataset": ws.dataset("arrays").digest,
            "trials": [(row["number"], row["parameters"], row["status"], row["value"]) for row in study.trials()],
            "model": model.version.digest,
            "metrics": model.metrics,
        }
    with Ledger.open(folder / ".headway" / "ledger.sqlite") as ledger:
        assert ledger.check() == []
        told = [e.body["number"] for e in ledger.events("tune-sizes-1") if e.kind == "study.told"]
        assert sorted(told) == sorted(set(told)), "a trial was counted twice"
    return state


def _finish(folder: Path, mark: str, log: Path) -> None:
    """Run the demo to its end."""
    process = _start(folder, mark, log=log)
    assert process.wait(LIMIT_S) == 0, log.read_text()[-3000:]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_demo_survives_kills(tmp_path: Path, evidence: Callable[[str], None]) -> None:
    mark, log, draw = uuid.uuid4().hex, tmp_path / "log.txt", random.Random(20261121)
    began = time.monotonic()
    _finish(tmp_path / "undisturbed", mark, log)
    whole_s = time.monotonic() - began
    expected = _end_state(tmp_path / "undisturbed")
    killed, rounds, runs = {"group": 0, "make": 0}, 0, 0
    while sum(killed.values()) < KILLS:
        rounds += 1
        folder = tmp_path / f"round-{rounds}"
        for _ in range(8):
            runs += 1
            process = _start(folder, mark, log=log)
            try:
                process.wait(draw.uniform(0.1, whole_s / 3))
                break
            except subprocess.TimeoutExpired:
                pass
            how = draw.choice(["group", "make"])
            killed[how] += 1
            if how == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
            if sum(killed.values()) >= KILLS:
                break
        _finish(folder, mark, log)
        assert _end_state(folder) == expected
    end = time.monotonic() + 60
    while _marked(mark) and time.monotonic() < end:
        os.sched_yield()
    left = _marked(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    evidence(
        f"{sum(killed.values())} kills in {runs} starts ({killed['group']} of the group, {killed['make']} of make "
        f"alone, whose child lived on): {rounds} demos ended, all as the undisturbed one, 0 processes left"
    )
