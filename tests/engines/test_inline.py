"""What the engine inside this process does to the process: nothing that stays."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from headway.engines.engine import Task
from headway.engines.inline import InlineEngine
from headway.errors import CapabilityError
from headway.testing.launches import drain, ends, launch_of, outcome, run, until, worker_file
from headway.worker import context as contexts

MESS = """
import io, os, sys
os.environ["MESS"] = "1"
os.environ.pop("HOME", None)
os.makedirs("elsewhere")
os.chdir("elsewhere")
sys.path.insert(0, "/nowhere")
sys.argv[:] = ["other"]
sys.stdout = io.StringIO()
sys.modules["__main__"] = sys
"""


def _state() -> dict[str, object]:
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path), "argv": list(sys.argv),
        "main": sys.modules["__main__"], "stdout": sys.stdout, "stderr": sys.stderr, "context": contexts.current(),
        "threads": threading.active_count(),
    }  # fmt: skip


@pytest.mark.parametrize("last", ["", "raise ValueError", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_the_process_is_as_before(tmp_path: Path, last: str) -> None:
    before = _state()
    launch = launch_of(tmp_path, MESS + last)
    engine = InlineEngine()
    handle = engine.start(launch)
    if "Keyboard" in last:
        with pytest.raises(KeyboardInterrupt):
            engine.observe([handle], timeout_s=1)
        assert ends(engine.observe([handle], timeout_s=1))[0].exit_code == 130
    else:
        until(engine, handle, lambda seen: bool(ends(seen)))
    assert _state() == before
    assert outcome(launch)["ok"] is (not last)


def test_a_module_that_changed_after_its_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has the old function; the snapshot has the new one."""
    (tmp_path / "program.py").write_text("def fit():\n    return {'x': 1}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import program  # type: ignore[import-not-found]

    try:
        launch = launch_of(tmp_path / "same", "# a comment\ndef fit():\n    return {'x': 1}\n", function="fit")
        assert ends(run(InlineEngine(), launch))[0].text == ""
        launch = launch_of(tmp_path / "other", "def fit():\n    return {'x': 2}\n", function="fit")
        end = ends(run(InlineEngine(), launch))[0]
        assert "was changed after this process had imported 'program'" in end.text
        assert sys.modules["program"] is program
    finally:
        del sys.modules["program"]


def test_modules_of_a_snapshot_do_not_stay(tmp_path: Path) -> None:
    for number in (1, 2):
        launch = launch_of(
            tmp_path / str(number), f"def fit():\n    return {{'x': {number}}}", function="fit", attempt=number
        )
        run(InlineEngine(), launch)
        assert outcome(launch)["metrics"] == {"x": number}
    assert "program" not in sys.modules


def test_independent_workers_run_one_after_the_other_and_gangs_are_refused(tmp_path: Path) -> None:
    launch = launch_of(tmp_path / "a", "import os\nprint(os.environ['SM_CURRENT_HOST'])", workers=3)
    run(InlineEngine(), launch)
    assert [worker_file(launch, "log.txt", rank=rank) for rank in range(3)] == ["algo-1\n", "algo-2\n", "algo-3\n"]
    with pytest.raises(CapabilityError, match="use engine='local://'"):
        InlineEngine().start(launch_of(tmp_path / "b", "", workers=2, coupled=True))


def test_a_stop_from_another_thread_is_seen(tmp_path: Path) -> None:
    source = """
    import threading
    def fit(context):
        open(context.output_dir + "/running", "w").close()
        while not context.should_stop:
            threading.Event().wait(0.005)
        return {"stopped": 1}
    """
    launch = launch_of(tmp_path, source, function="fit")
    engine = InlineEngine()
    handle = engine.start(launch)
    running = Path(launch.tickets[0]["folders"]["output"]) / "running"

    def stop() -> None:
        while not running.exists():
            threading.Event().wait(0.005)
        engine.stop(handle, grace_s=1)

    thread = threading.Thread(target=stop)
    thread.start()
    until(engine, handle, lambda seen: bool(ends(seen)))
    thread.join()
    assert outcome(launch)["metrics"] == {"stopped": 1.0}


def test_an_attempt_that_was_stopped_before_it_ran_does_not_run(tmp_path: Path) -> None:
    engine = InlineEngine()
    launch = launch_of(tmp_path, "print('never')")
    handle = engine.start(launch)
    engine.stop(handle, grace_s=1)
    assert [one.text for one in engine.observe([handle], timeout_s=1)] == ["stopped before it started"]
    assert engine.find(launch.job) == []


def test_a_pool_between_two_calls_leaves_the_process_alone(tmp_path: Path) -> None:
    before = _state()
    source = """
    import os
    def work(i):
        os.environ["COUNT"] = str(int(os.environ.get("COUNT", "0")) + 1)
        return os.environ["COUNT"]
    """
    pool = InlineEngine().pool(launch_of(tmp_path, source, function="work", mode="items"))
    found = []
    for number in range(3):
        pool.submit([Task(number=number, payload={"i": number})])
        found += [news.result for news in drain(pool, 1)]
        assert _state() == before
    pool.close(grace_s=1)
    pool.close(grace_s=1)
    assert found == ["1", "2", "3"]


def test_a_program_of_a_pool_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    pool = InlineEngine().pool(launch_of(tmp_path, "import no_such_thing", function="work", mode="items"))
    pool.submit([Task(number=0)])
    with pytest.raises(CapabilityError, match="no_such_thing"):
        pool.news(1.0)
    pool.close(grace_s=1)
