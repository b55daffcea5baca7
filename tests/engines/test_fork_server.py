"""A forked worker must look like one that was started fresh; and what cannot be forked is started fresh."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from headway.engines.local import LocalEngine
from headway.testing.launches import ends, launch_of, run, worker_file
from headway.worker import processes

PROBE = """
import gc, json, os, random, signal, sys, threading
import __main__
def handler(number):
    found = signal.getsignal(number)
    return getattr(found, "__name__", str(found))
files = {}
for name in os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"):
    try:
        files[name] = os.path.basename(os.readlink("/proc/self/fd/" + name)).split(":")[0]
    except OSError:
        pass
facts = {
    "argv": sys.argv[1:], "script": os.path.basename(sys.argv[0]), "path0": os.path.basename(sys.path[0]),
    "path": [p for p in sys.path if "scratch" not in p], "folder": os.path.basename(os.getcwd()),
    "main": sorted(vars(__main__).keys() - {"__warningregistry__"})[:9], "file": os.path.basename(__main__.__file__),
    "name": __name__, "spec": str(__main__.__spec__), "same": sys.modules["__main__"].__dict__ is globals(),
    "signals": {n.name: handler(n) for n in signal.Signals if n.name in
                ("SIGINT", "SIGTERM", "SIGCHLD", "SIGHUP", "SIGPIPE", "SIGALRM", "SIGUSR1")},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "wakeup": signal.set_wakeup_fd(-1),
    "stdin": sys.stdin.read(), "files": sorted(files.values()), "threads": threading.active_count(),
    "main thread": threading.current_thread() is threading.main_thread(),
    "leader": os.getpgid(0) == os.getpid() != os.getsid(0),
    "gc": gc.isenabled(), "environment": sorted(set(os.environ) - {"HEADWAY_BELL_FD", "LC_CTYPE"}),
    "line buffering": sys.stdout.line_buffering, "encoding": sys.stdout.encoding, "flags": str(sys.flags),
    "umask": os.umask(0o22), "profile": sys.getprofile() is None, "excepthook": sys.excepthook is sys.__excepthook__,
    "limit": sys.getrecursionlimit(), "ours": sorted(n for n in sys.modules if n.startswith("headway.worker.host")),
    "depth": len(__import__("inspect").stack()) < 12,
}
print(json.dumps(facts))
"""


def _facts(engine: LocalEngine, folder: Path, *, fresh: bool, preload: tuple[str, ...] = ()) -> dict[str, object]:
    launch = launch_of(
        folder, PROBE, preload=preload, fresh=fresh, hyperparameters={"a": 1}, job=f"train-{folder.name}-1"
    )
    end = ends(run(engine, launch))[0]
    assert end.text == "", worker_file(launch, "log.txt")
    return dict(json.loads(worker_file(launch, "log.txt")))


def test_a_forked_worker_looks_like_a_fresh_one(engine: LocalEngine, tmp_path: Path) -> None:
    fresh = _facts(engine, tmp_path / "fresh", fresh=True)
    assert fresh.pop("ours") == []
    for name, preload in [("bare", ()), ("loaded", ("json", "decimal"))]:
        forked = _facts(engine, tmp_path / name, fresh=False, preload=preload)
        assert forked.pop("ours") == ["headway.worker.host"], "it was not forked at all"
        assert forked == fresh


def test_a_plain_python_sees_the_same_main_module(engine: LocalEngine, tmp_path: Path) -> None:
    import subprocess
    import sys

    source = (
        "import __main__, sys\nprint(sorted(vars(__main__)), __name__, __doc__, __package__, type(__loader__).__name__)"
    )
    (tmp_path / "train.py").write_text(source)
    plain = subprocess.run(
        [sys.executable, str(tmp_path / "train.py")], capture_output=True, text=True, check=True
    ).stdout
    for number, fresh in enumerate([True, False], start=1):
        launch = launch_of(tmp_path / str(number), source, fresh=fresh, attempt=number)
        run(engine, launch)
        assert worker_file(launch, "log.txt") == plain


def test_forks_draw_different_numbers(engine: LocalEngine, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    assert numpy
    source = "import random, numpy, uuid\nprint(random.random(), numpy.random.rand(), uuid.uuid4())"
    found = []
    for number in (1, 2):
        launch = launch_of(tmp_path / str(number), source, preload=("numpy", "random"), attempt=number)
        run(engine, launch)
        found.append(worker_file(launch, "log.txt").split())
    assert all(one != other for one, other in zip(*found, strict=True))


def test_modules_are_imported_once_and_libraries_get_the_workers_threads(engine: LocalEngine, tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl")
    source = """
    import sys
    print("numpy" in sys.modules)
    import numpy, threadpoolctl
    print({one["num_threads"] for one in threadpoolctl.threadpool_info()})
    """
    from headway.jobs.spec import Resources

    for number, cpus in enumerate((1, 2), start=1):
        launch = launch_of(
            tmp_path / str(number), source, preload=("numpy", "threadpoolctl"), attempt=number,
            resources=Resources(cpus=cpus),
        )  # fmt: skip
        run(engine, launch)
        assert worker_file(launch, "log.txt").split("\n")[:2] == ["True", f"{{{cpus}}}"]


@pytest.mark.parametrize("trouble", ["no_such_module", "with_thread", "raises", "exits"])
def test_what_cannot_be_preloaded_is_started_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "with_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    (modules / "raises.py").write_text("1 / 0")
    (modules / "exits.py").write_text("import sys\nsys.exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    engine = LocalEngine(cpus=4)
    try:
        launch = launch_of(
            tmp_path / "job", "import sys\nprint('headway.worker.host' in sys.modules)", preload=(trouble,)
        )
        seen = run(engine, launch)
    finally:
        engine.close()
    assert ends(seen)[0].exit_code == 0
    assert worker_file(launch, "log.txt") == "False\n"
    assert any(trouble in one.text for one in seen if one.kind == "line"), "nobody was told why"


def test_variables_of_the_interpreter_need_a_fresh_one(engine: LocalEngine, tmp_path: Path) -> None:
    source = "import sys\nprint(sys.flags.utf8_mode, 'headway.worker.host' in sys.modules)"
    launch = launch_of(tmp_path / "job", source, environment={"PYTHONUTF8": "1"})
    run(engine, launch)
    assert worker_file(launch, "log.txt") == "1 False\n"


def test_a_variable_set_after_the_hosts_start_arrives(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\nprint(os.environ.get('LATE'))"
    for number, fresh in enumerate([True, False], start=1):
        run(engine, launch_of(tmp_path / f"{number}a", source, fresh=fresh, attempt=number))
        monkeypatch.setenv("LATE", "yes")
        launch = launch_of(tmp_path / f"{number}b", source, fresh=fresh, attempt=number + 10)
        run(engine, launch)
        assert worker_file(launch, "log.txt") == "yes\n"
        monkeypatch.delenv("LATE")


def test_few_idle_hosts_are_kept(engine: LocalEngine, tmp_path: Path) -> None:
    names = ["json", "csv", "decimal", "fractions", "statistics", "textwrap"]
    for number, name in enumerate(names, start=1):
        run(engine, launch_of(tmp_path / name, "print('x')", preload=(name,), attempt=number))
    if processes.LINUX:
        end = time.monotonic() + 30
        while sum(parent == os.getpid() for parent in processes.parents().values()) > 5:
            assert time.monotonic() < end, "hosts that nobody uses stay"
            threading.Event().wait(0.01)
