"""Programs as they are found: noisy, silent, binary, with children, with threads; each as a real process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from headway.engines.engine import Observation
from headway.engines.local import LocalEngine
from headway.errors import CapabilityError
from headway.testing.launches import ends, launch_of, outcome, run, until, worker_file
from headway.worker import processes

pytestmark = pytest.mark.slow


LINUX_ONLY = pytest.mark.skipif(not processes.LINUX, reason="needs /proc and a subreaper")


def _end(
    engine: LocalEngine, folder: Path, source: str, **options: object
) -> tuple[Observation, str, dict[str, object]]:
    """Run a script: how it ended, its log, its outcome."""
    launch = launch_of(folder, source, **options)  # type: ignore[arg-type]
    end = ends(run(engine, launch))[0]
    return end, worker_file(launch, "log.txt"), outcome(launch)


def test_100_mb_of_output_stall_and_bloat_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os, sys
    line = ("x" * 99 + "\\n").encode() * 1000
    for _ in range(1000):
        os.write(1, line)
    print("acc=0.5")
    """
    launch = launch_of(tmp_path / "job", source, metrics={"acc": "acc=([0-9.]+)"})
    before = _own_memory()
    seen = run(engine, launch)
    assert ends(seen)[0].exit_code == 0
    log = Path(launch.tickets[0]["folders"]["worker"]) / "log.txt"
    assert log.stat().st_size == 100_000_000 + len("acc=0.5\n")
    assert len([one for one in seen if one.kind == "line"]) < 200
    assert [one.values for one in seen if one.kind == "reported"] == [{"acc": 0.5}]
    assert _own_memory() - before < 64_000_000


def _own_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_no_output_at_all(engine: LocalEngine, tmp_path: Path) -> None:
    end, log, found = _end(engine, tmp_path / "job", "")
    assert (end.exit_code, end.text, log, found["ok"]) == (0, "", "", True)


def test_a_last_line_without_its_end_counts(engine: LocalEngine, tmp_path: Path) -> None:
    source = "import sys\nsys.stdout.write('first\\nacc=0.25')"
    launch = launch_of(tmp_path / "job", source, metrics={"acc": "acc=([0-9.]+)"})
    seen = run(engine, launch)
    assert worker_file(launch, "log.txt") == "first\nacc=0.25"
    assert [one.values for one in seen if one.kind == "reported"] == [{"acc": 0.25}]
    assert [one.text for one in seen if one.kind == "line"][-1] == "acc=0.25"


def test_bytes_that_are_no_text_are_kept_as_they_are(engine: LocalEngine, tmp_path: Path) -> None:
    source = "import os\nos.write(1, bytes(range(256)) + b'\\xff acc=1\\n')"
    launch = launch_of(tmp_path / "job", source, metrics={"acc": r"acc=(\d)"})
    seen = run(engine, launch)
    log = Path(launch.tickets[0]["folders"]["worker"]) / "log.txt"
    assert log.read_bytes() == bytes(range(256)) + b"\xff acc=1\n"
    assert [one.values for one in seen if one.kind == "reported"] == [{"acc": 1.0}]


def test_progress_bars_are_lines_too(engine: LocalEngine, tmp_path: Path) -> None:
    source = "import sys\nfor i in range(3):\n    sys.stdout.write(f'\\rloss={i}')\n    sys.stdout.flush()"
    launch = launch_of(tmp_path / "job", source, metrics={"loss": r"loss=(\d)"})
    seen = run(engine, launch)
    assert [one.values["loss"] for one in seen if one.kind == "reported"] == [0.0, 1.0, 2.0]


def test_a_metric_is_seen_while_the_program_runs_and_soon(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os, time
    print(f"at={time.time():.6f}")
    while not os.path.exists(os.environ["HEADWAY_STOP_FILE"]):
        time.sleep(0.005)
    """
    handle = engine.start(launch_of(tmp_path / "job", source, metrics={"at": "at=([0-9.]+)"}))
    seen = until(engine, handle, lambda seen: any(one.kind == "reported" for one in seen))
    latency = time.time() - next(one.values["at"] for one in seen if one.kind == "reported")
    assert latency < 0.5, f"it took {latency * 1e3:.0f} ms"
    engine.stop(handle, grace_s=30)
    until(engine, handle, lambda seen: bool(ends(seen)))


def test_a_metrics_file_is_read(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import json, os
    with open(os.environ["HEADWAY_METRICS_FILE"], "a") as stream:
        stream.write(json.dumps({"loss": 0.5, "acc": 1, "step": 2}) + "\\nno json\\n")
        stream.write(json.dumps({"name": "f1", "value": float("nan")}) + "\\n")
    """
    launch = launch_of(tmp_path / "job", source)
    run(engine, launch)
    rows = [json.loads(line) for line in worker_file(launch, "metrics.jsonl").splitlines()]
    assert [(row["name"], row["value"], row["step"], row["source"]) for row in rows] == [
        ("loss", 0.5, 2, "file"),
        ("acc", 1.0, 2, "file"),
        ("f1", None, None, "file"),
    ]
    assert rows[2]["text"] == "nan"


@LINUX_ONLY
@pytest.mark.parametrize("how", ["child", "setsid", "daemon", "bare", pytest.param("deaf", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "forked"])
def test_children_end_with_their_worker(engine: LocalEngine, tmp_path: Path, how: str, fresh: bool) -> None:
    """Also those that left the session, the environment, and keep the worker's output open."""
    daemon = """
p = os.fork()
if p == 0:
    os.setsid()
    DEAF
    q = os.fork()
    if q == 0:
        open("pid", "w").write(str(os.getpid()))
        os.rename("pid", "ready")
        time.sleep(600)
    os._exit(0)
os.waitpid(p, 0)
while not os.path.exists("ready"):
    time.sleep(0.005)
p = int(open("ready").read())
"""
    start = {
        "child": "p = subprocess.Popen(sleep).pid",
        "setsid": "p = subprocess.Popen(sleep, start_new_session=True).pid",
        "daemon": daemon.replace("DEAF", ""),
        "deaf": daemon.replace("DEAF", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
        "bare": "p = subprocess.Popen(sleep, start_new_session=True, env={}).pid",
    }[how]
    source = f"""
import os, signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; print('still here', flush=True); time.sleep(600)"]
{start}
print("child", p, flush=True)
"""
    launch = launch_of(tmp_path / "job", source, fresh=fresh)
    end = ends(run(engine, launch))[0]
    assert (end.exit_code, end.text) == (0, "")
    pid = int(worker_file(launch, "log.txt").split("child ")[1].split()[0])
    assert not processes.is_running(pid, None)


@LINUX_ONLY
def test_children_of_one_worker_do_not_cost_another_its_own(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("child", child.pid, flush=True)
    while sys.argv[2] == "stay" and not os.path.exists(os.environ["HEADWAY_STOP_FILE"]):
        time.sleep(0.005)
    """
    stays = launch_of(tmp_path / "a", source, hyperparameters={"how": "stay"}, job="train-stays-1")
    goes = launch_of(tmp_path / "b", source, hyperparameters={"how": "go"}, job="train-goes-1")
    handle = engine.start(stays)
    until(engine, handle, lambda seen: any(one.text.startswith("child") for one in seen))
    run(engine, goes)
    pids = [int(worker_file(launch, "log.txt").split()[1]) for launch in (stays, goes)]
    assert [processes.is_running(pid, None) for pid in pids] == [True, False]
    engine.stop(handle, grace_s=30)
    until(engine, handle, lambda seen: bool(ends(seen)))
    assert not processes.is_running(pids[0], None)


def test_threads_are_joined_and_handlers_run_before_the_outcome(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import atexit, os, threading, time
    def late():
        time.sleep(0.1)
        print("thread")
    folder = os.path.dirname(os.environ["HEADWAY_STOP_FILE"])
    atexit.register(lambda: print("handler", os.path.exists(folder + "/outcome.json")))
    threading.Thread(target=late).start()
    print("main")
    """
    end, log, found = _end(engine, tmp_path / "job", source)
    assert log.split("\n")[:3] == ["main", "thread", "handler False"]
    assert (end.exit_code, found["ok"]) == (0, True)


def test_native_code_that_aborts_at_the_very_end_spoils_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    """What gloo does: a handler of the C library that aborts the process while it is torn down."""
    source = """
    import ctypes, os
    libc = ctypes.CDLL(None)
    abort = ctypes.cast(libc.abort, ctypes.CFUNCTYPE(None))
    register = libc.__cxa_atexit if hasattr(libc, "__cxa_atexit") else libc.atexit
    assert register(abort, None, None) == 0
    print("work done")
    """
    end, _, found = _end(engine, tmp_path / "job", source)
    assert (end.exit_code, end.signal, found["ok"]) == (0, None, True)


def test_an_interrupt_inside_the_program_is_a_failure(engine: LocalEngine, tmp_path: Path) -> None:
    end, log, _ = _end(engine, tmp_path / "job", "raise KeyboardInterrupt")
    assert (end.exit_code, end.text) == (130, "KeyboardInterrupt")
    assert "KeyboardInterrupt" in log


def test_a_handler_that_raises_does_not_hide_the_end(engine: LocalEngine, tmp_path: Path) -> None:
    end, log, found = _end(engine, tmp_path / "job", "import atexit\natexit.register(lambda: 1 / 0)\nprint('x')")
    assert (end.exit_code, found["ok"]) == (0, True)
    assert "ZeroDivisionError" in log


def test_a_secret_cut_in_two_by_the_output_is_masked(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os, time
    secret = os.environ["TOKEN"]
    for letter in "a " + secret + " b\\n":
        os.write(1, letter.encode())
        time.sleep(0.001)
    """
    _, log, _ = _end(engine, tmp_path / "job", source, secrets={"TOKEN": "0123456789abcdef"})
    assert log == "a *** b\n"


def test_an_open_of_the_test_channel_fails_the_job(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_text("x")
    source = f"try:\n    open({str(tmp_path / 'test' / '1.png')!r}).close()\nexcept Exception:\n    pass"
    end, _, found = _end(engine, tmp_path / "job", source, forbidden=[f"{tmp_path}/test/"])
    assert (end.exit_code, found["ok"]) == (1, False)
    assert found["leaks"] == [str(tmp_path / "test" / "1.png")]
    assert "test channel" in end.text


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "forked"])
def test_the_trace_names_modules_and_files(engine: LocalEngine, tmp_path: Path, fresh: bool) -> None:
    code = tmp_path / "job" / "code"
    (code / "package").mkdir(parents=True)
    (code / "package" / "__init__.py").write_text("from package import used")
    (code / "package" / "used.py").write_text("open(__file__.replace('used.py', 'table.csv')).close()")
    (code / "package" / "unused.py").write_text("")
    (code / "package" / "table.csv").write_text("1")
    (tmp_path / "outside.csv").write_text("1")
    source = (
        f"import package\nopen('x', 'w').close()\nopen('x').close()\nopen({str(tmp_path / 'outside.csv')!r}).close()"
    )
    launch = launch_of(tmp_path / "job", source, fresh=fresh)
    run(engine, launch)
    trace = json.loads(worker_file(launch, "trace.json"))
    assert trace["modules"] == dict.fromkeys(["package/__init__.py", "package/used.py", "train.py"])
    assert trace["files"] == dict.fromkeys([str(tmp_path / "outside.csv"), "package/table.csv"])


def test_use_of_memory_and_time_is_measured(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import time
    x = bytearray(200_000_000)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    """
    end, _, _ = _end(engine, tmp_path / "job", source)
    assert 200e6 < end.usage["peak_memory_bytes"] < 300e6
    assert 0.2 <= end.usage["cpu_s"] < 2
    assert end.usage["wall_s"] >= 0.2


@LINUX_ONLY
def test_a_full_disk_under_the_log_does_not_end_the_work(engine: LocalEngine, tmp_path: Path) -> None:
    launch = launch_of(tmp_path / "job", "print('x' * 100)")
    os.symlink("/dev/full", Path(launch.tickets[0]["folders"]["worker"]) / "log.txt")
    end = ends(run(engine, launch))[0]
    assert end.exit_code == 0
    assert "No space left on device" in end.text


def test_channels_are_folders(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a b,'ü.png").write_text("1")
    listing = tmp_path / "train.json"
    listing.write_text(json.dumps({"root": str(tmp_path / "data"), "files": [["a b,'ü.png", "cat/1.png"]]}))
    channels = {
        name: {"kind": "files", "mode": name, "listing": str(listing), "index": None, "shards": None, "options": {}}
        for name in ("copy", "link", "stream")
    }
    source = """
    import os
    for name in ("COPY", "LINK", "STREAM"):
        path = os.environ["SM_CHANNEL_" + name] + "/cat/1.png"
        print(name, os.path.islink(path), open(path).read())
    """
    _, log, found = _end(engine, tmp_path / "job", source, channels=channels)
    assert log == "COPY False 1\nLINK True 1\nSTREAM True 1\n"
    assert found["ok"] is True


def test_a_missing_channel_is_named(engine: LocalEngine, tmp_path: Path) -> None:
    channel = {"kind": "files", "mode": "link", "listing": str(tmp_path / "gone.json"), "index": None, "shards": None}
    end, _, found = _end(engine, tmp_path / "job", "print('never')", channels={"train": channel})
    assert end.exit_code == 1
    assert "gone.json" in end.text
    assert found["ok"] is False


def test_an_interpreter_that_is_not_there(engine: LocalEngine, tmp_path: Path) -> None:
    import msgspec

    launch = msgspec.structs.replace(launch_of(tmp_path / "job", "print('x')"), python="/no/such/python")
    with pytest.raises(CapabilityError, match="/no/such/python"):
        engine.start(launch)


def test_a_function_must_return_metrics(engine: LocalEngine, tmp_path: Path) -> None:
    launch = launch_of(tmp_path / "job", "def fit():\n    return 'a model'", function="fit")
    end = ends(run(engine, launch))[0]
    assert end.exit_code == 1
    assert "only a runner can keep it" in end.text


def test_a_runner_runs_the_function(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os
    def fit(lr):
        return lr
    def runner(context, target):
        return {"got": target(**context.hyperparameters), "text": "ignored"}
    """
    launch = launch_of(tmp_path / "job", source, function="fit", runner="program:runner", hyperparameters={"lr": 0.5})
    run(engine, launch)
    assert outcome(launch)["metrics"] == {"got": 0.5}


def test_a_worker_runs_where_headway_is_not_installed(tmp_path: Path) -> None:
    """The worker's folder alone, copied elsewhere, with an interpreter that knows nothing of us."""
    import shutil
    import subprocess
    import sys

    import headway.worker

    shutil.copytree(
        Path(headway.worker.__file__).parent, tmp_path / "shipped", ignore=shutil.ignore_patterns("__pycache__")
    )
    launch = launch_of(tmp_path / "job", "from headway.worker.context import current\nprint(current().worker)")
    ticket = tmp_path / "ticket.json"
    ticket.write_text(json.dumps(launch.tickets[0]))
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(tmp_path / "shipped" / "__main__.py"), str(ticket)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "algo-1\n", "")
    assert outcome(launch)["ok"] is True


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "forked"])
def test_modules_of_the_program_win_over_loaded_ones_of_the_same_name(
    engine: LocalEngine, tmp_path: Path, fresh: bool
) -> None:
    code = tmp_path / "job" / "code"
    (code / "selectors").mkdir(parents=True)
    (code / "selectors" / "__init__.py").write_text("MINE = 1")
    (code / "fractions.py").write_text("MINE = 2")
    source = "import selectors, fractions\nprint(selectors.MINE, fractions.MINE)"
    end, log, _ = _end(engine, tmp_path / "job", source, fresh=fresh, preload=("fractions",))
    assert (end.text, log) == ("", "1 2\n")
