"""Two processes on one job: one runs it, the other follows its log and stops it."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import time


def wait(context):
    print("first line", flush=True)
    while not context.should_stop:
        time.sleep(0.01)
    print("asked to stop", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts `headway ...` in a folder with the program; whatever still runs at the end is ended."""
    (tmp_path / "waiting.py").write_text(PROGRAM)
    environment = {**os.environ, "HEADWAY_MACHINE_DIR": str(tmp_path / "machine")}
    running = []

    def begin(*arguments):
        command = [sys.executable, "-m", "headway", "-w", "ws", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process, *, code=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def test_a_log_is_followed_while_it_is_written_and_the_job_is_stopped_from_elsewhere(start):
    train = start("train", "long", "waiting:wait")
    for line in train.stderr:  # the job is there once its progress is told
        if "train-long-1" in line:
            break
    follow = start("logs", "train-long-1", "--follow")
    assert follow.stdout.readline() == "first line\n"
    out, _ = end(start("stop", "train-long-1", "--grace-s", "30"))
    assert "was asked to stop" in out
    rest, _ = end(follow)
    assert rest == "asked to stop\n"
    _, err = end(train, code=1)
    assert "stopped" in err
    out, _ = end(start("jobs", "--status", "stopped", "--json"))
    assert '"id": "train-long-1"' in out
    assert "ended already: stopped" in end(start("stop", "train-long-1"))[0]


def test_ctrl_c_stops_with_grace_and_says_how_to_go_on(start):
    train = start("train", "long", "waiting:wait")
    follow = None
    for line in train.stderr:
        if "train-long-1" in line:
            follow = start("logs", "train-long-1", "--follow")
            break
    assert follow.stdout.readline() == "first line\n"
    train.send_signal(signal.SIGINT)
    _, err = end(train, code=130)
    assert "Traceback" not in err
    assert "goes on where it was" in err
    assert end(follow)[0] == "asked to stop\n"
