"""Warm workers under hard treatment: killed, slow, cancelled, broken, more than fit."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headway.engines.engine import Pool, Task, TaskNews
from headway.engines.local import LocalEngine
from headway.errors import CapabilityError
from headway.testing.launches import drain, launch_of, outcome, worker_file
from headway.worker import processes

PROGRAM = """
import os, signal, sys, threading, time
def work(i, kind="", seconds=0.0, size=0, context=None):
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(3)
    if kind == "sysexit":
        sys.exit("bye")
    if kind == "wait":
        while not context.should_stop:
            threading.Event().wait(0.005)
        return "stopped"
    if kind == "deaf":
        while True:
            threading.Event().wait(10)
    if kind == "print":
        print("item", i)
    if kind == "folder":
        open(context.folder + "/made", "w").close()
        return context.folder
    if kind == "odd":
        return {1, 2}
    if kind == "nan":
        return [float("nan"), 1.0]
    if size:
        return "x" * size
    if seconds:
        time.sleep(seconds)
    return i
"""


@contextmanager
def _pool(
    engine: LocalEngine, folder: Path, workers: int = 2, source: str = PROGRAM, **options: object
) -> Iterator[Pool]:
    pool = engine.pool(launch_of(folder, source, function="work", mode="items", workers=workers, **options))  # type: ignore[arg-type]
    try:
        yield pool
    finally:
        pool.close(grace_s=5.0)


def _ended(news: list[TaskNews]) -> dict[int, TaskNews]:
    ended = [one for one in news if one.kind == "ended"]
    assert len({one.number for one in ended}) == len(ended), "a task ended twice"
    return {one.number: one for one in ended}


def _tasks(*payloads: dict[str, object]) -> list[Task]:
    return [Task(number=number, payload={"i": number, **payload}) for number, payload in enumerate(payloads)]


def _records(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("attempts/1/algo-*/tasks.jsonl"))
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "forked"])
def test_workers_killed_at_random_lose_only_what_they_had_in_hand(
    engine: LocalEngine, tmp_path: Path, fresh: bool, evidence: Callable[[str], None],
    scale: Callable[[int], int],
) -> None:  # fmt: skip
    chance, kills, total = random.Random(7), scale(100), scale(3000)
    with _pool(engine, tmp_path / "job", fresh=fresh) as pool:
        pool.submit(_tasks(*[{"seconds": 0.0005 if number % 5 else 0.004} for number in range(total)]))
        news: list[TaskNews] = []
        killed, at = 0, sorted(chance.sample(range(total - 50), kills))
        while sum(one.kind == "ended" for one in news) < total:
            news += pool.news(5.0)
            done = sum(one.kind == "ended" for one in news)
            if killed < kills and done >= at[killed]:
                killed += _kill_one(chance)
    ended = _ended(news)
    lost = {number for number, one in ended.items() if not one.ok}
    assert len(ended) == total
    assert len(lost) <= killed
    assert all((ended[number].error or {})["lost"] for number in lost)
    recorded = [record["number"] for record in _records(tmp_path / "job")]
    assert len(recorded) == len(set(recorded)), "a task was done twice"
    assert set(recorded) == set(ended) - lost, "news and records differ"
    evidence(f"{killed} workers killed over {total} tasks: {len(lost)} lost in hand, 0 doubled, 0 others lost")


def _kill_one(chance: random.Random) -> int:
    """SIGKILL a random warm worker of this process."""
    table = processes.parents()
    hosts = [pid for pid, parent in table.items() if parent == os.getpid()]
    workers = [pid for pid, parent in table.items() if parent in hosts and os.getpgid(pid) == pid]
    if not workers:
        return 0
    os.kill(chance.choice(workers), signal.SIGKILL)
    return 1


def test_a_task_that_ends_its_worker_is_named_and_others_go_on(engine: LocalEngine, tmp_path: Path) -> None:
    kinds = {3: "kill", 9: "exit", 12: "sysexit"}
    with _pool(engine, tmp_path / "job") as pool:
        pool.submit(_tasks(*[{"kind": kinds.get(number, "")} for number in range(20)]))
        ended = _ended(drain(pool, 20))
    errors = {number: one.error or {} for number, one in ended.items() if not one.ok}
    assert set(errors) == {3, 9, 12}
    assert "killed by SIGKILL" in errors[3]["message"]
    assert errors[3]["lost"] is True
    assert "code 3" in errors[9]["message"]
    assert (errors[12]["type"], errors[12]["message"]) == ("SystemExit", "bye")


def test_one_slow_task_holds_up_no_other(engine: LocalEngine, tmp_path: Path) -> None:
    """Fast tasks that wait behind a slow one are taken back for the worker that has nothing to do."""
    with _pool(engine, tmp_path / "job") as pool:
        pool.submit(_tasks(*[{} for _ in range(300)]))
        drain(pool, 300)
        tasks = [Task(number=1000 + k, payload={"i": k, "kind": "wait" if k == 20 else ""}) for k in range(100)]
        pool.submit(tasks)
        ended = _ended(drain(pool, 99))
        assert 1020 not in ended
        pool.cancel(1020, grace_s=30)
        last = _ended(drain(pool, 1))
    assert (last[1020].ok, last[1020].result) == (True, "stopped")


def test_a_running_task_that_does_not_stop_is_ended_after_the_grace(engine: LocalEngine, tmp_path: Path) -> None:
    with _pool(engine, tmp_path / "job", workers=1) as pool:
        pool.submit(_tasks({"kind": "print"}))
        drain(pool, 1)
        pool.submit([Task(number=1, payload={"i": 1, "kind": "deaf"}), Task(number=2, payload={"i": 2})])
        pool.cancel(1, grace_s=0.2)
        ended = _ended(drain(pool, 2))
    assert (ended[1].error or {})["cancelled"] is True
    assert ended[2].result == 2


def test_order_is_kept_for_a_single_worker(engine: LocalEngine, tmp_path: Path) -> None:
    with _pool(engine, tmp_path / "job", workers=1) as pool:
        pool.submit(_tasks(*[{} for _ in range(500)]))
        news = drain(pool, 500)
    assert [one.number for one in news if one.kind == "ended"] == list(range(500))
    assert [record["number"] for record in _records(tmp_path / "job")] == list(range(500))


def test_large_results_go_round_the_driver_and_too_large_ones_are_refused(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _pool(engine, tmp_path / "job", workers=1) as pool:
        pool.submit(_tasks({"size": 1000}, {"size": 200_000}, {"size": 50_000_001}))
        ended = _ended(drain(pool, 3))
    assert [len(ended[number].result or "") for number in (0, 1)] == [1000, 200_000]
    assert "write it below context.folder" in (ended[2].error or {})["message"]
    records = {record["number"]: record for record in _records(tmp_path / "job")}
    assert records[1]["result"] is None
    assert records[1]["result_file"] == "results/1-1.json"
    assert len(worker_file(launch_of(tmp_path / "job", PROGRAM, function="work"), "tasks.jsonl")) < 4000


def test_results_must_be_json(engine: LocalEngine, tmp_path: Path) -> None:
    with _pool(engine, tmp_path / "job", workers=1) as pool:
        pool.submit(_tasks({"kind": "odd"}, {"kind": "nan"}, {"kind": "folder"}))
        ended = _ended(drain(pool, 3))
    assert "must return a JSON value" in (ended[0].error or {})["message"]
    assert ended[1].result == [None, 1.0]
    assert Path(ended[2].result, "made").exists()


def test_output_of_tasks_is_in_the_workers_log_and_secrets_are_not(engine: LocalEngine, tmp_path: Path) -> None:
    source = "import os\ndef work(i):\n    print('token', os.environ['TOKEN'])\n    return os.environ['TOKEN']"
    with _pool(engine, tmp_path / "job", workers=1, source=source, secrets={"TOKEN": "s3cr3t"}) as pool:
        pool.submit(_tasks({}))
        drain(pool, 1)
    assert (tmp_path / "job/attempts/1/algo-1/log.txt").read_text() == "token ***\n"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes(), path


def test_a_program_that_cannot_be_loaded_is_an_error_with_its_reason(engine: LocalEngine, tmp_path: Path) -> None:
    with (
        _pool(engine, tmp_path / "job", source="import no_such_thing\ndef work(i): pass") as pool,
        pytest.raises(CapabilityError, match=r"no_such_thing.*log\.txt"),
    ):
        pool.submit(_tasks({}, {}))
        drain(pool, 2)


def test_more_workers_than_fit_join_when_there_is_room(tmp_path: Path) -> None:
    small = LocalEngine(cpus=2)
    source = "import os, time\ndef work(i):\n    time.sleep(0.01)\n    return os.getpid()"
    try:
        with (
            _pool(small, tmp_path / "a", workers=1, source=source, job="process-a-1") as first,
            _pool(small, tmp_path / "b", workers=3, source=source, job="process-b-1") as second,
        ):
            second.submit(_tasks(*[{} for _ in range(10)]))
            assert {one.worker for one in drain(second, 10)} == {1}
            first.close(grace_s=5)
            second.submit([Task(number=100 + k, payload={"i": k}) for k in range(60)])
            assert {one.worker for one in drain(second, 60)} == {1, 2}
    finally:
        small.close()


def test_a_pool_that_must_wait_says_why(tmp_path: Path) -> None:
    small = LocalEngine(cpus=1)
    try:
        with (
            _pool(small, tmp_path / "a", workers=1, job="process-a-1"),
            _pool(small, tmp_path / "b", workers=1, job="process-b-1") as second,
        ):
            second.submit(_tasks({}))
            said = [(one.kind, one.text) for one in second.news(5.0)]
            assert said == [("waiting", "needs 1 cores, 0 of 1 are free (used by process-a-1)")]
    finally:
        small.close()


def test_a_killed_host_costs_tasks_in_hand_only(engine: LocalEngine, tmp_path: Path) -> None:
    with _pool(engine, tmp_path / "job") as pool:
        pool.submit(_tasks(*[{"seconds": 0.002} for _ in range(200)]))
        news = drain(pool, 20)
        for pid, parent in processes.parents().items():
            if parent == os.getpid():
                os.kill(pid, signal.SIGKILL)
        news += drain(pool, 200 - sum(one.kind == "ended" for one in news))
    ended = _ended(news)
    lost = [number for number, one in ended.items() if not one.ok]
    assert len(ended) == 200
    assert len(lost) <= 2


def test_a_trace_is_on_disk_before_the_records_that_rely_on_it(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("1")
    source = f"""
    import os
    def work(i):
        open({str(tmp_path / "table.csv")!r}).close()
        if i:
            os.kill(os.getpid(), 9)
    """
    with _pool(engine, tmp_path / "job", workers=1, source=source) as pool:
        pool.submit(_tasks({}, {}))
        ended = _ended(drain(pool, 2))
    assert (ended[0].ok, ended[1].ok) == (True, False)
    trace = json.loads((tmp_path / "job/attempts/1/algo-1/trace.json").read_text())
    assert trace["files"] == {str(tmp_path / "table.csv"): None}
    assert "program.py" in trace["modules"]


def test_a_leak_fails_the_item_that_leaked(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "test.png").write_text("x")
    source = f"def work(i):\n    if i == 1:\n        open({str(tmp_path / 'test.png')!r}).close()\n    return i"
    with _pool(engine, tmp_path / "job", workers=1, source=source, forbidden=[str(tmp_path / "test.png")]) as pool:
        pool.submit(_tasks({}, {}, {}))
        ended = _ended(drain(pool, 3))
    assert [ended[number].ok for number in range(3)] == [True, False, True]
    assert (ended[1].error or {})["type"] == "ChannelLeakError"
    assert outcome(launch_of(tmp_path / "job", source, function="work"))["leaks"] == [str(tmp_path / "test.png")]


def test_a_runner_makes_what_is_called_for_each_task_once(engine: LocalEngine, tmp_path: Path) -> None:
    source = """
    import os
    made = []
    def work(i): return 2 * i
    def runner(context, target):
        made.append(1)
        return lambda payload, task: [target(payload["i"]), len(made), task.number, context.options["k"]]
    """
    with _pool(engine, tmp_path / "job", workers=1, source=source, runner="program:runner", options={"k": 5}) as pool:
        pool.submit(_tasks({}, {}))
        ended = _ended(drain(pool, 2))
    assert [ended[number].result for number in (0, 1)] == [[0, 1, 0, 5], [2, 1, 1, 5]]


def test_tasks_may_be_submitted_from_another_thread(engine: LocalEngine, tmp_path: Path) -> None:
    with _pool(engine, tmp_path / "job") as pool:
        thread = threading.Thread(
            target=lambda: [pool.submit([Task(number=number, payload={"i": number})]) for number in range(200)]
        )
        thread.start()
        ended = _ended(drain(pool, 200))
        thread.join()
    assert len(ended) == 200


def test_two_thousand_items_a_second_are_done_and_recorded(engine: LocalEngine, tmp_path: Path) -> None:
    """The limit of the benchmark, at half its size, on a machine that does other things too."""
    with _pool(engine, tmp_path / "job", source="def work(i):\n    return i") as pool:
        pool.submit([Task(number=-1 - k, payload={"i": 0}) for k in range(2)])
        drain(pool, 2)
        began = time.monotonic()
        pool.submit(_tasks(*[{} for _ in range(2000)]))
        drain(pool, 2000)
        rate = 2000 / (time.monotonic() - began)
    assert rate > 1000, f"{rate:.0f} items a second"
    assert len(_records(tmp_path / "job")) == 2002
