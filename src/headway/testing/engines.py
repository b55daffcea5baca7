"""The contract of the engine seam as checks on real programs, for everybody who writes an engine.

In: a way to make an engine, and a folder. Out: nothing, or an AssertionError that says what is not as it must be. The
checks are a table, `CHECKS`; `applicable` says which of them an engine's capabilities call for, so that a test can
count them: a check that is left out cannot look green.

Example::

    @pytest.mark.parametrize("check", applicable(MyEngine().capabilities()), ids=name_of)
    def test_contract(check, tmp_path):
        with closing(MyEngine()) as engine:
            check(engine, tmp_path)

    def test_all_checks_apply():
        assert len(applicable(MyEngine().capabilities())) == len(CHECKS)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from headway.engines.engine import Capabilities, Engine, Launch, Task, TaskNews
from headway.errors import CapabilityError
from headway.jobs.spec import Resources
from headway.testing.launches import JOB, drain, ends, launch_of, outcome, run, until, worker_file

Check = Callable[[Engine, Path], None]


def check_a_script_runs_and_its_output_is_in_the_log(engine: Engine, folder: Path) -> None:
    """Arguments, working folder, log, outcome, observations of a script that succeeds."""
    launch = launch_of(
        folder, "import sys\nprint('arguments', sys.argv[1:], __name__)\nopen('made', 'w').close()",
        hyperparameters={"lr": 0.5, "C": 2},
    )  # fmt: skip
    seen = run(engine, launch)
    assert [one.kind for one in seen if one.kind != "line"] == ["started", "ended"]
    assert ends(seen)[0].exit_code == 0
    assert ends(seen)[0].text == ""
    assert worker_file(launch, "log.txt") == "arguments ['-C', '2', '--lr', '0.5'] __main__\n"
    assert outcome(launch)["ok"] is True
    assert not (folder / "code" / "made").exists(), "the program wrote into its snapshot"


def check_a_second_start_is_the_first(engine: Engine, folder: Path) -> None:
    """`start` is idempotent."""
    launch = launch_of(folder, "print('once')")
    first = engine.start(launch)
    assert engine.start(launch) == first
    until(engine, first, lambda seen: len(ends(seen)) == 1)
    assert engine.start(launch) == first
    assert worker_file(launch, "log.txt") == "once\n"


def check_an_exception_is_reported_with_its_traceback(engine: Engine, folder: Path) -> None:
    """Type, text and line of an error reach the outcome, the log and the observation."""
    launch = launch_of(folder, "def inner():\n    raise ValueError('no such thing')\ninner()")
    end = ends(run(engine, launch))[0]
    assert (end.exit_code, end.text) == (1, "ValueError: no such thing")
    error = outcome(launch)["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no such thing")
    assert "line 2, in inner" in error["traceback"]
    assert "headway/worker" not in error["traceback"], "frames of the runtime are shown to the user"
    assert "ValueError: no such thing" in worker_file(launch, "log.txt")


def check_exit_codes_are_those_of_python(engine: Engine, folder: Path) -> None:
    """`sys.exit` of nothing, a number, a text."""
    for number, (argument, code, text) in enumerate(
        [("", 0, ""), ("None", 0, ""), ("0", 0, ""), ("3", 3, "sys.exit(3)"), ("'why'", 1, "sys.exit: why")], start=1
    ):
        launch = launch_of(folder / str(number), f"import sys\nsys.exit({argument})", attempt=number)
        end = ends(run(engine, launch))[0]
        assert (end.exit_code, end.text) == (code, text)
        assert outcome(launch)["ok"] is (code == 0)


def check_metrics_come_from_the_log_and_from_reports(engine: Engine, folder: Path) -> None:
    """Several matches on a line, reports with a step, in the file and as observations."""
    launch = launch_of(
        folder,
        """
        from headway.worker.context import current
        print("loss=0.5 loss=0.25 acc=1")
        current().report({"validation:accuracy": 0.75, "n": 2}, step=3)
        """,
        metrics={"loss": r"loss=([0-9.]+)", "never": r"xyz=(\d+)"},
    )
    seen = [one for one in run(engine, launch) if one.kind == "reported"]
    values = [(name, value, one.step) for one in seen for name, value in one.values.items()]
    assert sorted(values, key=str) == [
        ("loss", 0.25, None),
        ("loss", 0.5, None),
        ("n", 2.0, 3),
        ("validation:accuracy", 0.75, 3),
    ]
    rows = [json.loads(line) for line in worker_file(launch, "metrics.jsonl").splitlines()]
    assert sorted((row["name"], row["value"], row["step"], row["source"]) for row in rows if row["name"] != "loss") == [
        ("n", 2.0, 3, "report"),
        ("validation:accuracy", 0.75, 3, "report"),
    ]
    assert [row["value"] for row in rows if row["name"] == "loss"] == [0.5, 0.25]


def check_secrets_are_present_and_masked(engine: Engine, folder: Path) -> None:
    """A secret is in the environment, and nowhere on disk."""
    launch = launch_of(
        folder,
        "import os\nprint('token', os.environ['TOKEN'])\nraise RuntimeError('refused: ' + os.environ['TOKEN'])",
        secrets={"TOKEN": "s3cr3t-value"},
    )
    assert ends(run(engine, launch))[0].text == "RuntimeError: refused: ***"
    assert worker_file(launch, "log.txt").startswith("token ***\n")
    for path in folder.rglob("*"):
        assert not path.is_file() or b"s3cr3t-value" not in path.read_bytes(), f"{path} holds the secret"


def check_the_environment_contract(engine: Engine, folder: Path) -> None:
    """The variables that programs rely on."""
    launch = launch_of(
        folder, "import os, json\nprint(json.dumps(dict(os.environ)))", hyperparameters={"max-iter": 3, "flag": True}
    )
    run(engine, launch)
    found = json.loads(worker_file(launch, "log.txt"))
    folders = launch.tickets[0]["folders"]
    expected = {
        "SM_MODEL_DIR": folders["model"], "SM_OUTPUT_DATA_DIR": folders["output"], "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]', "SM_HPS": '{"flag":true,"max-iter":3}', "SM_HP_MAX-ITER": "3", "SM_HP_FLAG": "true",
        "SM_CHANNELS": "[]", "SM_NUM_GPUS": "0", "SM_NUM_CPUS": "1", "OMP_NUM_THREADS": "1",
        "HEADWAY_JOB": JOB, "HEADWAY_ATTEMPT": "1", "HEADWAY_CHECKPOINT_DIR": folders["checkpoints"],
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert "RANK" not in found, "only coupled workers have a rank"


def check_a_function_gets_keywords_and_context(engine: Engine, folder: Path) -> None:
    """Hyperparameters as keywords, the context by name, a returned dict as metrics."""
    launch = launch_of(
        folder,
        "def fit(lr, context):\n    return {'lr': lr, 'rank': context.rank, 'world': context.world_size}",
        function="fit",
        hyperparameters={"lr": 0.5},
    )
    run(engine, launch)
    assert outcome(launch)["metrics"] == {"lr": 0.5, "rank": 0.0, "world": 1.0}


def check_a_running_attempt_is_found(engine: Engine, folder: Path) -> None:
    """`find` lists what has not ended, and nothing else."""
    launch = launch_of(folder, "print('x')")
    handle = engine.start(launch)
    assert engine.find(JOB) == [handle]
    assert engine.find("train-other-1") == []
    until(engine, handle, lambda seen: len(ends(seen)) == 1)
    assert engine.find(JOB) == []
    engine.stop(handle, grace_s=1)
    assert engine.observe([handle], timeout_s=0) == []


def check_what_can_never_fit_is_refused(engine: Engine, folder: Path) -> None:
    """Too many cores or GPUs are an error before anything starts."""
    have = engine.capabilities()
    asks = [Resources(cpus=(have.cpus or 10**9) + 1), Resources(gpus=(have.gpus or 0) + 1)]
    for number, resources in enumerate(asks, start=1):
        launch = launch_of(folder / str(number), "print('x')", resources=resources, attempt=number)
        refusal = _refusal(engine, launch)
        assert refusal is not None, f"{resources} was accepted by an engine with {have}"
        assert JOB in refusal, f"the text does not name the job: {refusal}"
        assert worker_file(launch, "log.txt") == ""


def _refusal(engine: Engine, launch: Launch) -> str | None:
    try:
        engine.start(launch)
    except CapabilityError as error:
        return str(error)
    return None


def check_a_pool_does_every_task_once(engine: Engine, folder: Path) -> None:
    """Results in full, failures as data, records on disk before they are told."""
    launch = launch_of(
        folder,
        """
        def double(i, context):
            if i % 10 == 3:
                raise ValueError(f"item {i} is bad")
            context.report(i=i)
            return {"twice": 2 * i, "number": context.number}
        """,
        function="double",
        mode="items",
    )
    pool = engine.pool(launch)
    try:
        pool.submit([Task(number=i, payload={"i": i}) for i in range(40)])
        news: list[TaskNews] = []
        while sum(one.kind == "ended" for one in news) < 40:
            more = pool.news(5.0)
            recorded = {json.loads(line)["number"] for line in worker_file(launch, "tasks.jsonl").splitlines()}
            assert {one.number for one in more if one.kind == "ended"} <= recorded
            news += more
    finally:
        pool.close(grace_s=5.0)
    ended = {one.number: one for one in news if one.kind == "ended"}
    assert sum(one.kind == "ended" for one in news) == len(ended) == 40
    assert {number for number, one in ended.items() if not one.ok} == {3, 13, 23, 33}
    assert ended[4].result == {"twice": 8, "number": 4}
    assert (ended[3].error or {})["message"] == "item 3 is bad"
    assert {one.values["i"] for one in news if one.kind == "reported"} == {float(i) for i in range(40) if i % 10 != 3}
    assert outcome(launch)["ok"] is True


def check_a_waiting_task_can_be_cancelled(engine: Engine, folder: Path) -> None:
    """A cancelled task ends without having been done."""
    launch = launch_of(folder, "def same(i):\n    return i", function="same", mode="items")
    pool = engine.pool(launch)
    try:
        tasks = [Task(number=i, payload={"i": i}) for i in range(400)]
        pool.submit(tasks)
        pool.cancel(399, grace_s=0)
        ended = {one.number: one for one in drain(pool, 400) if one.kind == "ended"}
    finally:
        pool.close(grace_s=5.0)
    assert (ended[399].error or {}).get("cancelled") is True
    assert all(ended[i].result == i for i in range(399))


def check_a_killed_worker_is_named_with_its_signal(engine: Engine, folder: Path) -> None:
    """SIGKILL from outside or from the system."""
    launch = launch_of(folder, "import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)")
    end = ends(run(engine, launch))[0]
    assert (end.exit_code, end.signal) == (None, "SIGKILL")
    assert end.text == "killed by SIGKILL (out of memory?)"
    assert worker_file(launch, "log.txt") == "last words\n"


def check_code_0_without_an_outcome_is_no_success(engine: Engine, folder: Path) -> None:
    """`os._exit(0)` ends a process without having finished the work."""
    launch = launch_of(folder, "import os\nos._exit(0)")
    end = ends(run(engine, launch))[0]
    assert end.exit_code == 0
    assert "wrote no outcome" in end.text
    assert outcome(launch) == {}


def check_a_program_that_ignores_the_request_is_killed(engine: Engine, folder: Path) -> None:
    """SIGTERM, a grace, SIGKILL."""
    launch = launch_of(
        folder,
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\nsignal.pause()\nsignal.pause()",
    )
    handle = engine.start(launch)
    until(engine, handle, lambda seen: any(one.text == "ready" for one in seen))
    engine.stop(handle, grace_s=0.3)
    end = ends(until(engine, handle, lambda seen: len(ends(seen)) == 1))[0]
    assert end.signal == "SIGKILL"
    assert "grace" in end.text


def check_a_program_that_looks_can_stop_by_itself(engine: Engine, folder: Path) -> None:
    """`context.should_stop` becomes true, the function returns, the job has succeeded."""
    launch = launch_of(
        folder,
        """
        import threading
        def fit(context):
            print("ready", flush=True)
            while not context.should_stop:
                threading.Event().wait(0.01)
            return {"stopped": 1}
        """,
        function="fit",
    )
    handle = engine.start(launch)
    until(engine, handle, lambda seen: any(one.text == "ready" for one in seen))
    engine.stop(handle, grace_s=30)
    assert ends(until(engine, handle, lambda seen: len(ends(seen)) == 1))[0].exit_code == 0
    assert outcome(launch)["metrics"] == {"stopped": 1.0}


def check_coupled_workers_meet(engine: Engine, folder: Path) -> None:
    """Two workers talk to each other at MASTER_ADDR and MASTER_PORT."""
    launch = launch_of(
        folder,
        """
        import os, socket, time
        address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        if os.environ["RANK"] == "0":
            server = socket.create_server(address)
            peer, _ = server.accept()
            peer.sendall(peer.recv(100).upper())
        else:
            end = time.monotonic() + 30
            while True:
                try:
                    peer = socket.create_connection(address)
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < end
                    time.sleep(0.01)
            peer.sendall(b"hello from " + os.environ["SM_CURRENT_HOST"].encode())
            print(peer.recv(100).decode(), os.environ["WORLD_SIZE"])
        """,
        workers=2,
        coupled=True,
    )
    assert [one.exit_code for one in ends(run(engine, launch))] == [0, 0]
    assert worker_file(launch, "log.txt", rank=1) == "HELLO FROM ALGO-2 2\n"


def check_a_dead_worker_of_a_pool_costs_one_task(engine: Engine, folder: Path) -> None:
    """The task in hand is lost and named; all others are done, by a worker that took its place."""
    launch = launch_of(
        folder,
        "import os\ndef work(i):\n    if i == 7:\n        os.kill(os.getpid(), 9)\n    return i",
        function="work",
        mode="items",
    )
    pool = engine.pool(launch)
    try:
        pool.submit([Task(number=i, payload={"i": i}) for i in range(20)])
        ended = {one.number: one for one in drain(pool, 20) if one.kind == "ended"}
    finally:
        pool.close(grace_s=5.0)
    assert {number for number, one in ended.items() if not one.ok} == {7}
    error = ended[7].error or {}
    assert error["lost"] is True
    assert "SIGKILL" in error["message"]
    assert "algo-1" in error["message"]


CHECKS: tuple[Check, ...] = (
    check_a_script_runs_and_its_output_is_in_the_log,
    check_a_second_start_is_the_first,
    check_an_exception_is_reported_with_its_traceback,
    check_exit_codes_are_those_of_python,
    check_metrics_come_from_the_log_and_from_reports,
    check_secrets_are_present_and_masked,
    check_the_environment_contract,
    check_a_function_gets_keywords_and_context,
    check_a_running_attempt_is_found,
    check_what_can_never_fit_is_refused,
)
POOL_CHECKS: tuple[Check, ...] = (check_a_pool_does_every_task_once, check_a_waiting_task_can_be_cancelled)
ISOLATION_CHECKS: tuple[Check, ...] = (
    check_a_killed_worker_is_named_with_its_signal,
    check_code_0_without_an_outcome_is_no_success,
    check_a_program_that_ignores_the_request_is_killed,
    check_a_program_that_looks_can_stop_by_itself,
)
GANG_CHECKS: tuple[Check, ...] = (check_coupled_workers_meet,)
ISOLATED_POOL_CHECKS: tuple[Check, ...] = (check_a_dead_worker_of_a_pool_costs_one_task,)


def applicable(capabilities: Capabilities) -> list[Check]:
    """The checks that an engine with these capabilities must pass."""
    found = [*CHECKS]
    found += POOL_CHECKS if capabilities.pool else ()
    found += ISOLATION_CHECKS if capabilities.isolation else ()
    found += GANG_CHECKS if capabilities.max_workers is None or capabilities.max_workers > 1 else ()
    found += ISOLATED_POOL_CHECKS if capabilities.pool and capabilities.isolation else ()
    return found


def name_of(check: Check) -> str:
    """A check's name without the prefix, for the names of tests."""
    return check.__name__.removeprefix("check_")
