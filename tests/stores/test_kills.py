"""SIGKILL at random moments, at every operation, and sleepers that wake too late: real processes, fixed seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "support" / "store_kills.py"
Say = Callable[[str], None]
Scale = Callable[[int], int]


def sized(scale: Scale, whole: int, daily: int) -> int:
    """The whole size below `make prove`, a few dozen on every other day."""
    return whole if scale(whole) == whole else daily


pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(7200)]


def run(what: str, folder: Path, say: Say, *, kills: int = 0, seed: int = 11, **options: Any) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", str(PROGRAM), what, str(folder), f"--kills={kills}", f"--seed={seed}"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(", ".join(f"{name}: {value}" for name, value in counts.items() if name != "what"))
    return counts


def test_killed_at_random_moments_no_output_is_torn(tmp_path: Path, scale: Scale, evidence: Say) -> None:
    kills = sized(scale, 500, 24)
    counts = run("commit", tmp_path, evidence, kills=kills, longest_s=0.06)
    assert counts["kills"] == kills
    assert counts["results"] > 0


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path, scale: Scale, evidence: Say) -> None:
    counts = run("ledger", tmp_path, evidence, kills=sized(scale, 500, 24), longest_s=0.03)
    assert counts["acknowledged appends"] > counts["kills"]


def test_drivers_that_slept_publish_nothing(tmp_path: Path, scale: Scale, evidence: Say) -> None:
    kills = sized(scale, 100, 6)
    counts = run("sleep", tmp_path, evidence, kills=kills, longest_s=0.02)
    assert counts["takeovers"] == kills
    assert counts["events after the takeover"] == 0


@pytest.mark.slow
def test_killed_at_every_operation_another_driver_finishes(tmp_path: Path, evidence: Say) -> None:
    assert run("steps", tmp_path, evidence)["kills"] > 30


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("what", ["ledger", "sleep"])
def test_on_postgresql(own_postgres: str, tmp_path: Path, scale: Scale, evidence: Say, what: str) -> None:
    kills = scale({"ledger": 500, "sleep": 100}[what])
    assert run(what, tmp_path, evidence, kills=kills, ledger=own_postgres)["seed"] == 11


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("what", ["commit", "steps"])
def test_on_s3(tmp_path: Path, s3_server: Any, s3_place: str, scale: Scale, evidence: Say, what: str) -> None:
    options = json.dumps(s3_server.options)
    counts = run(what, tmp_path, evidence, kills=scale(100), store=s3_place, options=options, longest_s=1.0)
    assert counts["kills"] >= 10
