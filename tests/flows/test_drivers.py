"""Drivers that die, are interrupted, or are two: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.execution.progress import Silent

pytestmark = pytest.mark.slow


DRIVER = """
import sys
import headway as hw
from headway.execution.progress import Silent
print("ready", flush=True)
with hw.open(progress=Silent()) as ws:
    m = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    d = ws.process("arrays", m, hw.Function("steady:to_array"), workers=2, shards=12)
    s = ws.tune("s", hw.Function("steady:fit"), d, space={"x": hw.Float(0, 1)}, objective=hw.Maximize("score"),
                trials=12, parallel=2)
    job = ws.train("count", hw.Function("steady:count"))
    print("done", d.digest, s.best().value, job.metrics["last"], flush=True)
"""

STEADY = """
import numpy as np
import time

def to_array(item):
    time.sleep(0.002)
    return np.asarray([float(word) for word in item.path.read_text().split()])

def fit(context, x):
    for step in range(5):
        context.report({"score": x * step}, step=step)
        time.sleep(0.01)

def count(context):
    step = context.checkpoint.load() or 0
    while step < 10:
        step += 1
        time.sleep(0.01)
        context.checkpoint.save(step, step=step)
    return {"last": step}
"""


def _drive(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "driver.py"], cwd=project, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture
def driven(project: Path) -> Path:
    """The project with a program that drives four verbs."""
    (project / "steady.py").write_text(textwrap.dedent(STEADY))
    (project / "driver.py").write_text(textwrap.dedent(DRIVER))
    return project


def _facts(project: Path) -> dict[str, Any]:
    with hw.open(project / ".headway", progress=Silent()) as ws:
        assert ws.session.ledger.check() == []
        told = [e.body["number"] for e in ws.session.ledger.events("tune-s-1") if e.kind == "study.told"]
        return {
            "ids": sorted(entry.id for entry in ws.session.ledger.entries()),
            "dataset": ws.dataset("arrays").digest,
            "trials": [(r["number"], r["parameters"], r["status"], r["value"]) for r in ws.study("s").trials()],
            "told": sorted(told),
            "count": ws.job("count").metrics,
        }


@pytest.mark.kill
def test_a_driver_killed_again_and_again_ends_where_an_undisturbed_one_does(
    driven: Path, scale: Callable[[int], int], evidence: Callable[[str], None]
) -> None:
    kills = scale(100)
    draw, killed, runs = random.Random(11), 0, 0
    while True:
        runs += 1
        process = _drive(driven)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            out, _ = process.communicate(timeout=draw.uniform(0.2, 2.0) if killed < kills else 120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
            continue
        assert out.startswith("done"), out
        if killed >= kills or runs > 3 * kills:
            break
    facts = _facts(driven)
    evidence(f"{killed} kills in {runs} starts of four verbs: every trial told once, one of everything, ledger whole")
    assert facts["told"] == list(range(1, 13))
    assert {status for _, _, status, _ in facts["trials"]} == {"ended"}
    assert facts["count"]["last"] == 10.0
    assert facts["ids"] == ["dataset-arrays-1", "manifest-numbers-1", "process-arrays-1", "train-count-1", "tune-s-1"]


def test_two_drivers_at_once_make_one_of_everything(driven: Path) -> None:
    both = [_drive(driven), _drive(driven)]
    said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in both]
    assert said[0].startswith("done")
    assert said[0] == said[1]
    facts = _facts(driven)
    assert facts["told"] == list(range(1, 13))
    assert len(facts["ids"]) == 5


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_stops_with_grace_and_twice_at_once(project: Path, presses: int) -> None:
    (project / "wait.py").write_text(
        "import time\n"
        "def fit(context):\n"
        "    context.report({'begun': 1})\n"
        f"    while {'not context.should_stop' if presses == 1 else 'context.should_stop or True'}:\n"
        "        time.sleep(0.01)\n"
        "    return {'tidy': 1}\n"
    )
    (project / "driver.py").write_text(
        "import headway as hw\nws = hw.open()\nws.train('wait', hw.Function('wait:fit'))\n"
    )
    process = _drive(project)
    try:
        _press(process, project, presses)
    finally:
        process.kill()
        process.communicate()
    with hw.open(project / ".headway", progress=Silent()) as ws:
        assert ws.job("train-wait-1").status == "stopped"


def _press(process: subprocess.Popen[str], project: Path, presses: int) -> None:
    """Ctrl-C once the function runs; the second time when the first has been taken in."""
    metrics = project / ".headway/jobs/train-wait-1/attempts/1/algo-1/metrics.jsonl"
    stop = metrics.with_name("stop")
    pause, end = threading.Event(), time.monotonic() + 30
    while not (metrics.exists() and metrics.read_text().endswith("\n")):
        assert time.monotonic() < end
        pause.wait(0.02)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    if presses == 2:
        while not stop.exists():
            assert time.monotonic() < end
            pause.wait(0.02)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - began < 9, "it waited for the whole grace of ten seconds"
