"""The digits demo as a whole: what it ends with; killed it is in tests/flows/test_demo_kill.py."""

import re
import subprocess
import sys
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


def demo(folder):
    """One run of the demo: exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, DEMO, "demo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def essence(text):
    """What the demo ends with, without the time that it took."""
    return [line for line in text.splitlines() if re.match(r"best of|registered|loaded back", line)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A run: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("calm")
    code, text = demo(folder)
    assert code == 0, text
    return folder, text


def test_the_demo_ends_with_a_registered_model_and_the_commands(calm):
    folder, text = calm
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
    folder, text = calm
    jobs = folder / "demo" / ".headway" / "jobs"
    before = sorted(path for path in jobs.glob("*/attempts/*"))
    code, again = demo(folder)
    assert code == 0, again
    assert essence(again) == essence(text)
    assert sorted(path for path in jobs.glob("*/attempts/*")) == before
