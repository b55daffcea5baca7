"""The whole way where no network is: nothing but this machine is ever asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


DRIVER = """
import headway as hw
with hw.open() as ws:
    data = ws.process("arrays", ws.manifest("numbers", "data", split=hw.Split(validation=.2, test=.2)),
                      "prepare:to_array", workers=2)
    study = ws.tune("sizes", "training:fit", data, space={"C": hw.Float(0.1, 10, log=True)},
                    objective=hw.Maximize("validation:accuracy"), trials=2)
    best = study.best().model
    evaluation = ws.evaluate(best, data)
    ws.register("signs", best, evaluation=evaluation, gate=hw.AtLeast("test:accuracy", 0.9)).promote("champion")
    ws.page(evaluation)
    print("label", ws.predict("signs@champion", ["data/low/000.txt"])[0].label)
"""

WATCH = """
import os, socket, sys
def watch(event, arguments):
    if event == "socket.getaddrinfo":
        told = f"asked for the address of {arguments[0]!r}"
    elif event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        told = f"{event} {arguments[1]!r}"
    else:
        return
    with open(os.environ["NETWORK"], "a") as stream:
        stream.write(f"{told} in {sys.argv}\\n")
    raise OSError(101, "Network is unreachable")
sys.addaudithook(watch)
open(os.path.join(os.environ["WATCHED"], str(os.getpid())), "w").close()
"""


def test_the_whole_way_asks_no_network(project: Path) -> None:
    (project / "watch").mkdir()
    (project / "watched").mkdir()
    (project / "watch" / "sitecustomize.py").write_text(WATCH)
    (project / "driver.py").write_text(DRIVER)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{project / 'watch'}{os.pathsep}{project}",
        "NETWORK": str(project / "network.txt"),
        "WATCHED": str(project / "watched"),
    }
    apart = [shutil.which("unshare") or "", "--map-root-user", "--net"]  # a network namespace with nothing in it
    if not apart[0] or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        apart = []
    command = [*apart, sys.executable, "driver.py"]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "label low" in done.stdout
    assert not (project / "network.txt").exists(), (project / "network.txt").read_text()
    assert len(list((project / "watched").iterdir())) >= 3, "driver and workers were to be watched"
