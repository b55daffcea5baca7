"""The digits demo as a whole: what it ends with, and that it goes on where it was."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "digits" / "demo.py"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module", autouse=True)
def machine_of_our_own(tmp_path_factory):
    """Reservations of cores that no other test waits for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWAY_MACHINE_DIR", str(tmp_path_factory.mktemp("machine")))
        yield


def demo(folder, *, kill_after_s=None):
    """One run of the demo: exit code, what it printed, how long it took; killed with its whole group if asked."""
    began = time.monotonic()
    with open(folder / "output.txt", "w+") as output:
        command = [sys.executable, DEMO, "demo"]
        pipes = {"stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, cwd=folder, **pipes)
        try:
            process.wait(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return process.returncode, output.read(), time.monotonic() - began


def essence(text):
    """What the demo ends with, without the time that it took."""
    return [line for line in text.splitlines() if re.match(r"best of|registered|loaded back", line)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """An undisturbed run: its folder, what it printed, how long it took."""
    folder = tmp_path_factory.mktemp("calm")
    code, text, took_s = demo(folder)
    assert code == 0, text
    return folder, text, took_s


def test_the_demo_ends_with_a_registered_model_and_the_commands(calm):
    folder, text, _ = calm
    found = essence(text)
    assert len(found) == 3, text
    assert float(re.search(r"test accuracy ([0-9.]+)", found[1])[1]) >= 0.95
    assert "is a 7" in found[2]
    page = re.search(r"sample predictions: (\S+)", text)[1]
    html = (folder / page).read_text()
    assert html.count("data:image/png;base64,") >= 10
    commands = re.findall(r"^  (\S*headway -w .*)$", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_a_second_run_does_nothing_again(calm):
    folder, text, _ = calm
    jobs = folder / "demo" / ".headway" / "jobs"
    before = sorted(path for path in jobs.glob("*/attempts/*"))
    code, again, _ = demo(folder)
    assert code == 0, again
    assert essence(again) == essence(text)
    assert sorted(path for path in jobs.glob("*/attempts/*")) == before


@pytest.mark.kill
def test_a_demo_that_is_killed_goes_on_and_ends_the_same(calm, tmp_path, scale, evidence):
    """The whole process group is killed at random moments of its way; the seed is fixed."""
    kills, draw, killed = scale(20), random.Random(3), 0
    for _ in range(kills):
        code, _, _ = demo(tmp_path, kill_after_s=draw.uniform(0.2, calm[2] / 2))
        killed += code == -signal.SIGKILL
    code, text, _ = demo(tmp_path)
    assert code == 0, text
    assert killed > 0
    assert essence(text) == essence(calm[1])
    jobs = tmp_path / "demo" / ".headway" / "jobs"
    assert sorted(path.name for path in jobs.iterdir()) == sorted(
        path.name for path in (calm[0] / "demo" / ".headway" / "jobs").iterdir()
    )
    evidence(f"{killed} SIGKILLs of the demo's process group: the same model, scores and answer as undisturbed")
