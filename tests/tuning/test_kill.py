"""A study whose driver is killed again and again: no trial is lost, doubled or computed anew."""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import killed_study
import pytest

from headway.tuning.study import StudyState, fingerprint

pytestmark = pytest.mark.slow


PROGRAM = Path(killed_study.__file__)


def drive(folder, *, trials, parallel, seed, points):
    """One process of the driver; its exit code."""
    arguments = [folder / "events.jsonl", folder / "work.txt", trials, parallel, seed, points]
    done = subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def undisturbed(folder, *, trials):
    folder.mkdir()
    assert drive(folder, trials=trials, parallel=1, seed=0, points=0) == 0
    return StudyState.replay(killed_study.read(folder / "events.jsonl"))


def ended(folder):
    """How often each trial has ended according to the event log."""
    events = killed_study.read(folder / "events.jsonl")
    return Counter(body["number"] for kind, body in events if kind in ("told", "stopped"))


def started(folder):
    """(number, attempt) of every start that really happened."""
    path = folder / "work.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split()[1]), int(line.split()[2])) for line in lines]


@pytest.mark.kill
@pytest.mark.parametrize("parallel", [1, 4])
def test_a_driver_killed_again_and_again_ends_every_trial_once(tmp_path, parallel, scale, evidence):
    kills, draw = scale(300), random.Random(20261121 + parallel)
    trials = 2 * kills
    calm = undisturbed(tmp_path / "calm", trials=trials)
    for run in range(1, kills + 1):
        done, before = ended(tmp_path), len(started(tmp_path))
        code = drive(tmp_path, trials=trials, parallel=parallel, seed=run, points=draw.randint(1, 35))
        assert code == -signal.SIGKILL, f"the study ended before kill {run}: take more trials"
        again = [number for number, _ in started(tmp_path)[before:] if number in done]
        assert again == [], "a finished trial was started again"
    assert drive(tmp_path, trials=trials, parallel=parallel, seed=0, points=0) == 0

    events = killed_study.read(tmp_path / "events.jsonl")
    state = StudyState.replay(events)
    starts = started(tmp_path)
    assert ended(tmp_path) == Counter(range(1, trials + 1))
    assert len(starts) == len(set(starts)), "an attempt was started twice"
    assert fingerprint(state) == fingerprint(calm)
    if parallel == 1:  # then every end, too, is that of the undisturbed study
        same = [[(trial.status, trial.value) for trial in one.trials.values()] for one in (state, calm)]
        assert same[0] == same[1]
    requeued = sum(kind == "requeued" for kind, _ in events)
    evidence(
        f"{kills} SIGKILLs of a study's driver, {parallel} at once: {trials} of {trials} trials ended, "
        f"each once, {requeued} attempts put back, configurations equal to the undisturbed study's"
    )
