"""Checkpoints are whole or absent, the damaged one is passed over, the newest few are kept."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from headway.errors import ProgramError
from headway.training.checkpoint import Checkpoints


def test_nothing_is_loaded_before_something_is_saved(tmp_path):
    kept = Checkpoints([tmp_path / "own", tmp_path / "earlier"])
    assert kept.load() is None
    assert kept.latest() is None
    assert kept.steps() == []


def test_the_greatest_step_is_loaded(tmp_path):
    kept = Checkpoints([tmp_path])
    for step in (1, 10, 9):
        kept.save({"step": step, "weights": np.arange(step)}, step=step)
    state = Checkpoints([tmp_path]).load()
    assert state["step"] == 10
    assert state["weights"].tolist() == list(range(10))


def test_the_newest_few_are_kept(tmp_path):
    kept = Checkpoints([tmp_path], keep=3)
    for step in range(8):
        kept.save(step, step=step)
    assert kept.steps() == [7, 6, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "6", "7"]


def test_earlier_attempts_are_gone_on_with_and_left_alone(tmp_path):
    Checkpoints([tmp_path / "1"]).save("from 1", step=5)
    Checkpoints([tmp_path / "2"]).save("from 2", step=3)
    kept = Checkpoints([tmp_path / "3", tmp_path / "2", tmp_path / "1"])
    assert kept.load() == "from 1"
    assert kept.step == 5
    kept.save("from 3", step=5)
    assert kept.load() == "from 3"
    assert (tmp_path / "1/5").is_dir()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "record", "unrecorded"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, damage):
    kept = Checkpoints([tmp_path])
    kept.save("good", step=1)
    kept.save("bad", step=2)
    state = tmp_path / "2/state.pkl"
    if damage == "flip":
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    elif damage == "cut":
        os.truncate(state, 3)
    elif damage == "gone":
        state.unlink()
    elif damage == "record":
        (tmp_path / "2/checkpoint.json").write_text("{")
    else:
        (tmp_path / "2/checkpoint.json").unlink()
    with pytest.warns(UserWarning, match=r"2 is damaged .* the one before is used"):
        assert kept.load() == "good"


def test_the_same_step_again_replaces(tmp_path):
    kept = Checkpoints([tmp_path])
    kept.save("one", step=1)
    kept.save("two", step=1)
    assert kept.load() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_files_of_ones_own(tmp_path):
    kept = Checkpoints([tmp_path])
    with kept.folder(4) as folder:
        (folder / "weights").mkdir()
        (folder / "weights/a.bin").write_bytes(b"abc")
    assert kept.latest() == tmp_path / "4"
    assert (kept.latest() / "weights/a.bin").read_bytes() == b"abc"
    assert json.loads((tmp_path / "4/checkpoint.json").read_text())["files"]["weights/a.bin"]["size_bytes"] == 3
    assert kept.load() is None


def test_a_block_that_raises_leaves_nothing(tmp_path):
    kept = Checkpoints([tmp_path])
    with pytest.raises(RuntimeError, match="no"), kept.folder(4) as folder:
        (folder / "half").write_bytes(b"abc")
        raise RuntimeError("no")
    assert list(tmp_path.iterdir()) == []


def test_lambdas_and_closures_go_by_cloudpickle(tmp_path):
    factor = 3
    kept = Checkpoints([tmp_path])
    kept.save({"f": lambda x: x * factor}, step=0)
    assert kept.load()["f"](2) == 6


def test_what_cannot_be_pickled_says_so(tmp_path):
    with pytest.raises(ProgramError, match=r"step 3 .*state_dict"):
        Checkpoints([tmp_path]).save((n for n in range(3)), step=3)


def test_other_ranks_read_and_do_not_write(tmp_path):
    Checkpoints([tmp_path]).save("rank 0", step=1)
    other = Checkpoints([tmp_path], writes=False)
    assert other.save("rank 1", step=2) is None
    with other.folder(3) as folder:
        (folder / "mine").write_text("thrown away")
    assert other.steps() == [1]
    assert other.load() == "rank 0"


def test_negative_steps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="negative"):
        Checkpoints([tmp_path]).save(1, step=-1)


LOOP = """
import sys
from headway.training.checkpoint import Checkpoints
kept = Checkpoints([sys.argv[1]])
state = kept.load() or {"step": 0, "sum": 0, "ballast": b""}
print("ready", flush=True)
while state["step"] < 10_000:
    step = state["step"] + 1
    state = {"step": step, "sum": state["sum"] + step, "ballast": bytes(step % 251) * 1000}
    kept.save(state, step=step)
"""


@pytest.mark.slow
def test_killed_at_random_moments_at_most_the_step_in_hand_is_lost(tmp_path, scale, evidence):
    """A loop that saves at every step, killed again and again; what it loads is whole and not older than was seen."""
    seed, kills = 3, scale(200)
    moments = random.Random(seed)
    reached = 0
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.001, 0.05))  # the moment of the kill
        seen = max((int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()), default=0)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        state = Checkpoints([tmp_path]).load()
        step = state["step"] if state else 0
        assert step >= max(seen, reached)
        assert state is None or state["sum"] == step * (step + 1) // 2
        reached = step
    evidence(f"seed {seed}: {kills} kills while saving, {reached} steps reached, none lost after it was saved, 0 torn")
