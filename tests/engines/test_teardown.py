"""No process is left: drivers and hosts are killed, their descendants counted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.engines.local import LocalEngine
from headway.testing.launches import ends, launch_of, run, until, worker_file
from headway.worker import processes

pytestmark = pytest.mark.skipif(not processes.LINUX, reason="looks for processes in /proc")

PROGRAM = """
import os, signal, subprocess, sys, time
sleep = "import time; time.sleep(600)"
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
def spawn():
    subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
    subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True, env={})
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.waitpid(between, 0)
    if os.environ.get("DEAF"):
        subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
    print("ready", flush=True)
    time.sleep(600)
"""

DRIVER = """
import os, sys, time
from pathlib import Path
from headway.engines.engine import Task
from headway.engines.local import LocalEngine
from headway.testing.launches import launch_of, until

folder, how = Path(sys.argv[1]), sys.argv[2]
program = Path(sys.argv[3]).read_text()
engine = LocalEngine(cpus=4)
options = {"environment": {"DEAF": "1"} if how == "deaf" else {}, "fresh": how == "fresh"}
if how == "pool":
    pool = engine.pool(launch_of(folder, program, function="spawn", mode="items", workers=2))
    pool.submit([Task(number=0, payload={}), Task(number=1, payload={})])
    logs = [folder / f"attempts/1/algo-{k}/log.txt" for k in (1, 2)]
    while not all(log.exists() and "ready" in log.read_text() for log in logs):
        pool.news(0.05)
else:
    handle = engine.start(launch_of(folder, program + "\\nspawn()", workers=2, coupled=True, **options))
    until(engine, handle, lambda seen: sum(one.text == "ready" for one in seen) == 2)
if how == "fork" and os.fork() == 0:
    time.sleep(600)
print("ready", flush=True)
if how == "exit":
    sys.exit(0)
time.sleep(600)
"""


def _wait(condition: Callable[[], bool], what: str, *, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        threading.Event().wait(0.01)


def _alive(pids: dict[int, int | None]) -> list[int]:
    return [pid for pid, started in pids.items() if processes.is_running(pid, started)]


def _family(pid: int) -> dict[int, int | None]:
    """All descendants of a process and itself, with their start times."""
    return {one: processes.started_at(one) for one in processes.descendants([pid], processes.parents())}


Begin = Callable[[str], tuple["subprocess.Popen[str]", dict[int, "int | None"]]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a driver; gives it with the ids of all its descendants. What the test leaves is killed."""
    seen: dict[int, int | None] = {}

    def start(how: str) -> tuple[subprocess.Popen[str], dict[int, int | None]]:
        driver, family = _driver(tmp_path, how)
        seen.update(family)
        return driver, family

    yield start
    for pid in _alive(seen):
        os.kill(pid, signal.SIGKILL)


def _driver(tmp_path: Path, how: str) -> tuple[subprocess.Popen[str], dict[int, int | None]]:
    """A driver whose workers and grandchildren all run, and everybody's process ids."""
    (tmp_path / "program.txt").write_text(PROGRAM)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "job"), how, str(tmp_path / "program.txt")],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    # The driver, its host, two workers, three grandchildren each.
    _wait(lambda: len(_family(driver.pid)) >= 10 or how == "exit", f"only {_family(driver.pid)}")
    return driver, _family(driver.pid)


def _end_of(driver: subprocess.Popen[str]) -> None:
    driver.wait(30)
    assert driver.stdout is not None
    driver.stdout.close()


@pytest.mark.parametrize("how", ["fresh", "forked", "pool", "group", pytest.param("deaf", marks=pytest.mark.slow)])
def test_nothing_outlives_a_killed_driver(begin: Begin, how: str) -> None:
    driver, family = begin(how)
    if how == "group":
        os.killpg(driver.pid, signal.SIGKILL)
    else:
        driver.kill()
    _end_of(driver)
    _wait(lambda: not _alive(family), f"still there: {_alive(family)}")


def test_nothing_outlives_a_driver_that_just_ends(begin: Begin) -> None:
    driver, _ = begin("exit")
    _end_of(driver)
    mark = f"hw{driver.pid}-"
    _wait(lambda: not _marked(mark), f"still there: {_marked(mark)}")


def test_a_forked_child_of_the_driver_does_not_keep_its_workers_alive(begin: Begin) -> None:
    driver, family = begin("fork")
    child = [pid for pid in family if pid != driver.pid and os.getpgid(pid) == driver.pid]
    assert len(child) == 1
    driver.kill()
    _end_of(driver)
    _wait(lambda: _alive(family) == child, f"still there: {_alive(family)}")


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _marked(mark: str) -> list[int]:
    return [pid for pid in processes.parents() if (processes.mark_of(pid) or "").startswith(mark)]


def test_a_killed_host_is_reported_and_its_workers_end(engine: LocalEngine, tmp_path: Path) -> None:
    handle = engine.start(launch_of(tmp_path / "job", PROGRAM + "\nspawn()"))
    until(engine, handle, lambda seen: any(one.text == "ready" for one in seen))
    family = _family(os.getpid())
    host = next(pid for pid in family if b"--host" in _command_line(pid))
    # The process without any environment carries no mark: after its host nobody can know whose it was.
    bare = {pid for pid in _family(host) if pid != host and not Path(f"/proc/{pid}/environ").read_bytes()}
    assert len(bare) == 1
    os.kill(host, signal.SIGKILL)
    end = ends(until(engine, handle, lambda seen: bool(ends(seen))))[0]
    assert "host process ended (killed by SIGKILL)" in end.text
    rest = {pid: started for pid, started in family.items() if pid not in bare and pid != os.getpid()}
    _wait(lambda: not _alive(rest), f"still there: {_alive(rest)}")
    for pid in bare:
        os.kill(pid, signal.SIGKILL)
    again = launch_of(tmp_path / "again", "print('works')", attempt=2)
    assert ends(run(engine, again))[0].exit_code == 0
    assert worker_file(again, "log.txt") == "works\n"


def test_what_a_driver_and_its_host_leave_when_both_are_killed_is_swept_by_the_next(
    engine: LocalEngine, tmp_path: Path, begin: Begin
) -> None:
    driver, family = begin("fresh")
    host = next(pid for pid in family if b"--host" in _command_line(pid))
    workers = [pid for pid, parent in processes.parents().items() if parent == host and os.getpgid(pid) == pid]
    bare = {pid for pid in family if not Path(f"/proc/{pid}/environ").read_bytes()}
    driver.send_signal(signal.SIGSTOP)  # so that it cannot sweep before it is killed too
    os.kill(host, signal.SIGKILL)
    driver.kill()
    _end_of(driver)
    _wait(lambda: not _alive({pid: family[pid] for pid in workers if pid in family}), "workers outlive their host")
    run(engine, launch_of(tmp_path / "next", "print('x')"))
    rest = {pid: started for pid, started in family.items() if pid not in bare}
    _wait(lambda: not _alive(rest), f"still there: {_alive(rest)}")


def test_a_driver_killed_while_its_host_still_imports(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "slow_module.py").write_text(
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(600)"
    )
    source = f"""
import sys, time
from pathlib import Path
from headway.engines.local import LocalEngine
from headway.testing.launches import launch_of
LocalEngine(cpus=4).start(launch_of(Path({str(tmp_path / "job")!r}), "", preload=("slow_module",)))
time.sleep(600)
"""
    driver = subprocess.Popen(
        [sys.executable, "-c", source], env={**os.environ, "PYTHONPATH": str(modules)}, start_new_session=True
    )
    _wait((tmp_path / "begun").exists, "the import never began")
    family = _family(driver.pid)
    assert len(family) == 2
    driver.kill()
    driver.wait(30)
    _wait(lambda: not _alive(family), f"still there: {_alive(family)}")


def test_closing_an_engine_ends_everything(tmp_path: Path) -> None:
    engine = LocalEngine(cpus=4)
    handle = engine.start(launch_of(tmp_path / "job", PROGRAM + "\nspawn()"))
    until(engine, handle, lambda seen: any(one.text == "ready" for one in seen))
    _wait(lambda: len(_family(os.getpid())) >= 6, "the grandchildren never came")
    family = {pid: started for pid, started in _family(os.getpid()).items() if pid != os.getpid()}
    engine.close()
    engine.close()
    assert not _alive(family)


BUSY = """
import sys
from pathlib import Path
from headway.engines.engine import Task
from headway.engines.local import LocalEngine
from headway.testing.launches import ends, launch_of
folder, program = Path(sys.argv[1]), Path(sys.argv[2]).read_text()
engine = LocalEngine(cpus=8)
print("ready", flush=True)
number = 0
while True:
    number += 1
    gang = engine.start(launch_of(folder / "gang", program + "\\nspawn()", workers=2, coupled=True, attempt=number))
    pool = engine.pool(launch_of(folder / "pool", program, function="spawn", mode="items", workers=2, attempt=number,
                                 job="process-pool-1", fresh=bool(number % 2)))
    pool.submit([Task(number=0, payload={}), Task(number=1, payload={})])
    pool.news(0.02)
    engine.observe([gang], timeout_s=0.02)
    engine.stop(gang, grace_s=0.01)
    pool.close(grace_s=0.01)
"""


@pytest.mark.slow
def test_drivers_killed_at_random_moments_leave_nothing(
    tmp_path: Path, scale: Callable[[int], int], evidence: Callable[[str], None]
) -> None:
    """Also in the middle of a start, a fork, a stop."""
    chance, kills, seen = random.Random(11), scale(100), 0
    (tmp_path / "program.txt").write_text(PROGRAM)
    for number in range(kills):
        driver = subprocess.Popen(
            [sys.executable, "-c", BUSY, str(tmp_path / str(number)), str(tmp_path / "program.txt")],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        threading.Event().wait(chance.uniform(0.02, 0.6))  # the moment of the kill, not a synchronisation
        family = _family(driver.pid)
        seen += len(family)
        driver.kill()
        _end_of(driver)
        mark = f"hw{driver.pid}-"
        _wait(
            lambda family=family, mark=mark: not _alive(family) and not _marked(mark), f"kill {number} left processes"
        )
    evidence(f"{kills} drivers killed with {seen} processes below them: none left")
