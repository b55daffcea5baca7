"""Capacity between drivers: nobody gets what another has, whoever dies gives back, gangs start all or none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.engines import machine
from headway.engines.capacity import Ask, Capacity, Grant, Total
from headway.engines.local import LocalEngine
from headway.errors import CapabilityError
from headway.jobs.spec import Resources
from headway.testing.launches import ends, launch_of, until, worker_file

TOTAL = Total(cpus=4, memory_bytes=1000, gpus=("0", "1", "2"))


def _me() -> list[machine.Owner]:
    return [machine.owner(os.getpid())]


def _ask(name: str, **fields: object) -> Ask:
    return Ask(id=name, job=name, attempt=1, **fields)  # type: ignore[arg-type]


def _grant(capacity: Capacity, ask: Ask) -> Grant:
    got = capacity.reserve(ask, holders=_me())
    assert isinstance(got, Grant), got
    return got


def test_what_does_not_fit_waits_with_the_reason(tmp_path: Path) -> None:
    capacity = Capacity(TOTAL, folder=tmp_path)
    _grant(capacity, _ask("first", cpus=3))
    reason = "needs 2 cores, 1 of 4 are free (used by first)"
    assert capacity.reserve(_ask("second", cpus=2), holders=_me()) == reason
    assert capacity.reserve(_ask("third", cpus=1), holders=_me()) == "second waits before it"
    assert capacity.reserve(_ask("rude", cpus=1, queue=False), holders=_me()) == "second waits before it"
    capacity.release("first")
    _grant(capacity, _ask("second", cpus=2))
    _grant(capacity, _ask("third", cpus=1))
    assert capacity.reserve(_ask("more", memory_bytes=1), holders=_me()).__class__ is Grant
    assert "bytes of memory" in str(Capacity(TOTAL, folder=tmp_path / "b").never(_ask("big", memory_bytes=1001)))


def test_gangs_get_all_or_nothing(tmp_path: Path) -> None:
    capacity = Capacity(TOTAL, folder=tmp_path)
    assert capacity.never(_ask("gang", workers=3, cpus=2)).startswith(
        "gang needs 6 cores (3 workers x 2), this machine has 4"
    )
    grant = _grant(capacity, _ask("gang", workers=2, cpus=1, gpus=1, memory_bytes=400, ports=3))
    assert len(set(grant.gpus)) == 2
    assert 20000 <= grant.port < 32000
    assert "GPUs" in str(capacity.reserve(_ask("late", gpus=2), holders=_me()))
    capacity.release("late")
    assert "memory" in str(capacity.reserve(_ask("large", memory_bytes=300), holders=_me()))
    capacity.release("large")
    other = _grant(capacity, _ask("one", gpus=1))
    assert not set(other.gpus) & set(grant.gpus)


def test_a_second_try_keeps_the_place_and_a_damaged_file_stops_nobody(tmp_path: Path) -> None:
    capacity = Capacity(TOTAL, folder=tmp_path)
    _grant(capacity, _ask("first", cpus=4))
    for _ in range(3):
        assert isinstance(capacity.reserve(_ask("second"), holders=_me()), str)
    assert capacity.reserve(_ask("third"), holders=_me()) == "second waits before it"
    (tmp_path / "capacity.json").write_text("{ torn")
    _grant(capacity, _ask("third", cpus=4))


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "release"]), st.integers(0, 5), st.integers(1, 4), st.integers(0, 3)),
        max_size=25,
    )
)
def test_never_more_than_there_is(steps: list[tuple[str, int, int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        capacity = Capacity(TOTAL, folder=Path(folder))
        held: dict[str, tuple[int, tuple[str, ...]]] = {}
        for what, number, cpus, gpus in steps:
            name = f"job-{number}"
            if what == "release":
                capacity.release(name)
                held.pop(name, None)
            elif name not in held:
                got = capacity.reserve(_ask(name, cpus=cpus, gpus=gpus), holders=_me())
                if isinstance(got, Grant):
                    held[name] = (cpus, got.gpus)
            assert sum(one for one, _ in held.values()) <= TOTAL.cpus
            used = [gpu for _, ids in held.values() for gpu in ids]
            assert len(used) == len(set(used))


def test_a_dead_driver_holds_nothing(tmp_path: Path) -> None:
    source = f"""
import os, sys, time
from pathlib import Path
from headway.engines import machine
from headway.engines.capacity import Ask, Capacity, Total
capacity = Capacity(Total(cpus=4, memory_bytes=1000), folder=Path({str(tmp_path)!r}))
me = [machine.owner(os.getpid())]
print(capacity.reserve(Ask(id="other", job="other", attempt=1, cpus=4), holders=me), flush=True)
print(capacity.reserve(Ask(id="queued", job="queued", attempt=1, cpus=1), holders=me), flush=True)
time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert "Grant" in other.stdout.readline()
    assert "cores" in other.stdout.readline()
    capacity = Capacity(TOTAL, folder=tmp_path)
    assert capacity.reserve(_ask("mine"), holders=_me()) == "queued waits before it"
    other.kill()
    other.wait()
    other.stdout.close()
    _grant(capacity, _ask("mine", cpus=4))


def test_another_driver_waits_for_the_same_cores(tmp_path: Path) -> None:
    first, second = LocalEngine(cpus=2), LocalEngine(cpus=2)
    source = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
    try:
        blocking = launch_of(tmp_path / "a", source, resources=Resources(cpus=2), job="train-first-1")
        handle = first.start(blocking)
        until(first, handle, lambda seen: any(one.text == "ready" for one in seen))
        waiting = launch_of(tmp_path / "b", "print('done')", job="train-second-1")
        later = second.start(waiting)
        seen = until(second, later, lambda seen: bool(seen))
        assert [(one.kind, one.text) for one in seen] == [
            ("waiting", "needs 1 cores, 0 of 2 are free (used by train-first-1)")
        ]
        assert second.find("train-second-1") == [later]
        first.stop(handle, grace_s=30)
        seen = until(second, later, lambda seen: bool(ends(seen)))
        assert ends(seen)[0].exit_code == 0
    finally:
        first.close()
        second.close()


def test_a_gang_waits_until_all_fit_and_then_starts_together(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os, time
    print("ready", flush=True)
    while not os.path.exists(os.environ["HEADWAY_STOP_FILE"]):
        time.sleep(0.005)
    """
    single = engine.start(launch_of(tmp_path / "single", source, resources=Resources(cpus=2), job="train-single-1"))
    until(engine, single, lambda seen: any(one.text == "ready" for one in seen))
    gang = engine.start(
        launch_of(tmp_path / "gang", source, workers=2, coupled=True, resources=Resources(cpus=2), job="train-gang-1")
    )
    seen = engine.observe([gang], timeout_s=0.5)
    assert [one.kind for one in seen] == ["waiting"]
    engine.stop(single, grace_s=30)
    until(engine, gang, lambda seen: sum(one.text == "ready" for one in seen) == 2)
    engine.stop(gang, grace_s=30)
    ended = ends(until(engine, gang, lambda seen: len(ends(seen)) == 2))
    assert [(one.signal, one.text) for one in ended] == [("SIGTERM", "stopped on request")] * 2


def test_independent_workers_take_turns(tmp_path: Path) -> None:
    engine = LocalEngine(cpus=1)
    source = "import time\nprint(time.monotonic())\ntime.sleep(0.05)\nprint(time.monotonic())"
    try:
        launch = launch_of(tmp_path / "job", source, workers=3)
        seen = until(engine, engine.start(launch), lambda seen: len(ends(seen)) == 3)
    finally:
        engine.close()
    assert [one.exit_code for one in ends(seen)] == [0, 0, 0]
    times = sorted([float(t) for t in worker_file(launch, "log.txt", rank=rank).split()] for rank in range(3))
    assert times[0][1] < times[1][0]
    assert times[1][1] < times[2][0]


def test_a_job_that_waits_can_be_stopped(tmp_path: Path) -> None:
    engine = LocalEngine(cpus=1)
    try:
        running = engine.start(launch_of(tmp_path / "a", "import time\ntime.sleep(600)", job="train-a-1"))
        waiting = engine.start(launch_of(tmp_path / "b", "print('never')", job="train-b-1"))
        engine.stop(waiting, grace_s=1)
        end = ends(until(engine, waiting, lambda seen: bool(ends(seen))))[0]
        assert (end.exit_code, end.text) == (None, "stopped before it started")
        engine.stop(running, grace_s=0)
        assert ends(until(engine, running, lambda seen: bool(ends(seen))))[0].signal == "SIGKILL"
    finally:
        engine.close()


def test_too_small_a_disk_is_said_at_once(engine: LocalEngine, tmp_path: Path) -> None:
    launch = launch_of(tmp_path / "job", "", resources=Resources(disk_bytes=10**18))
    with pytest.raises(CapabilityError, match=r"needs 1,000,000,000,000,000,000 bytes of disk"):
        engine.start(launch)


def test_a_process_id_that_is_used_again_is_another_owner() -> None:
    me = machine.owner(os.getpid())
    assert me.is_alive()
    assert not machine.Owner(pid=me.pid, started=(me.started or 0) + 1, boot=me.boot).is_alive()
    assert not machine.Owner(pid=me.pid, started=me.started, boot="another boot").is_alive()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    owner = machine.owner(child.pid)
    assert owner.is_alive()
    child.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while owner.is_alive():  # a zombie holds nothing
        assert time.monotonic() < end
        threading.Event().wait(0.005)
    child.wait()


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown, expected in [("0,2", ("0", "2")), ("", ()), ("-1", ()), ("GPU-abc", ("GPU-abc",))]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        machine.gpu_ids.cache_clear()
        assert machine.gpu_ids() == expected
    machine.gpu_ids.cache_clear()


def test_workers_see_only_their_own_gpus(tmp_path: Path) -> None:
    engine = LocalEngine(cpus=4, gpus=3)
    source = "import os\nprint(os.environ['CUDA_VISIBLE_DEVICES'] + '.', os.environ['SM_NUM_GPUS'])"
    try:
        launch = launch_of(tmp_path / "gang", source, workers=2, coupled=True, resources=Resources(gpus=1))
        until(engine, engine.start(launch), lambda seen: len(ends(seen)) == 2)
        without = launch_of(tmp_path / "none", source, attempt=2)
        until(engine, engine.start(without), lambda seen: bool(ends(seen)))
    finally:
        engine.close()
    assert [worker_file(launch, "log.txt", rank=rank) for rank in (0, 1)] == ["0. 1\n", "1. 1\n"]
    assert worker_file(without, "log.txt") == ". 0\n"


def test_ports_in_use_are_left_alone(tmp_path: Path) -> None:
    capacity = Capacity(TOTAL, folder=tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = [_grant(capacity, _ask(f"gang-{number}", ports=3, cpus=1)).port for number in range(4)]
    ranges = sorted(ports)
    assert all(later - earlier >= 3 for earlier, later in zip(ranges, ranges[1:], strict=False))


@pytest.mark.parametrize("grace_s", [0.0, 10.0])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "forked"])
def test_a_stop_right_after_the_start_is_not_lost(
    engine: LocalEngine, tmp_path: Path, fresh: bool, grace_s: float
) -> None:
    for number in range(1, 6):
        launch = launch_of(tmp_path / str(number), "import time\ntime.sleep(600)", attempt=number, fresh=fresh)
        handle = engine.start(launch)
        until(engine, handle, lambda seen: any(one.kind == "started" for one in seen))
        engine.stop(handle, grace_s=grace_s)
        end = ends(until(engine, handle, lambda seen: bool(ends(seen)), limit_s=20))[0]
        assert end.signal == ("SIGTERM" if grace_s else "SIGKILL")


def test_a_worker_that_is_a_driver_itself_shares_its_own_share(tmp_path: Path) -> None:
    """It holds the machine's only core, and must not wait for it."""
    engine = LocalEngine(cpus=1)
    inner = tmp_path / "inner"
    source = f"""
    from pathlib import Path
    from headway.engines.local import LocalEngine
    from headway.testing.launches import ends, launch_of, run
    engine = LocalEngine()
    print(engine.capabilities().cpus)
    print(ends(run(engine, launch_of(Path({str(inner)!r}), "print('inner')")))[0].exit_code)
    engine.close()
    """
    try:
        launch = launch_of(tmp_path / "outer", source)
        until(engine, engine.start(launch), lambda seen: bool(ends(seen)))
    finally:
        engine.close()
    assert worker_file(launch, "log.txt") == "1\n0\n"


def test_closing_ends_those_that_wait(tmp_path: Path) -> None:
    engine = LocalEngine(cpus=1)
    engine.start(launch_of(tmp_path / "a", "import time\ntime.sleep(600)", job="train-a-1"))
    waiting = engine.start(launch_of(tmp_path / "b", "print('never')", job="train-b-1"))
    engine.close()
    end = ends(engine.observe([waiting], timeout_s=5))[0]
    assert end.text == "the engine was closed before it started"
    with pytest.raises(CapabilityError, match="has been closed"):
        engine.start(launch_of(tmp_path / "c", "", job="train-c-1"))
