"""Jobs on the local engine, seen from outside: retries, limits, stops, gangs, secrets, bad programs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import headway as hw
from headway.errors import CapabilityError, ChannelLeakError, JobFailedError, ProgramError, StoppedError

Write = Callable[[str, str], str]


def _until(condition: Callable[[], bool], *, limit_s: float = 20.0) -> None:
    """Wait for a condition; fail when it does not come."""
    end = time.monotonic() + limit_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never happened"
        pause.wait(0.02)


def test_a_failed_attempt_is_tried_again_from_its_checkpoint(ws: hw.Workspace, module: Write) -> None:
    module(
        "flaky",
        """
        import os, signal
        def fit(context):
            state = context.checkpoint.load() or {"step": 0}
            for step in range(state["step"] + 1, 7):
                context.report({"step": step}, step=step)
                context.checkpoint.save({"step": step}, step=step)
                if step == 3 and context.attempt == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            return {"first": state["step"], "last": step}
        """,
    )
    job = ws.train("flaky", "flaky:fit", retries=1)
    assert job.metrics["first"] == 3.0
    assert job.metrics["last"] == 6.0
    assert job.result is not None
    assert job.result.attempt == 2


def test_a_job_that_is_out_of_retries_names_the_signal(ws: hw.Workspace, module: Write) -> None:
    module("dies", "import os, signal\ndef fit():\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(JobFailedError, match="SIGKILL"):
        ws.train("dies", "dies:fit")


def test_a_time_limit_ends_a_job(ws: hw.Workspace, module: Write) -> None:
    module("slow", "import time\ndef fit():\n    time.sleep(600)\n")
    with pytest.raises(JobFailedError, match="time limit"):
        ws.train("slow", "slow:fit", timeout_s=0.5)


def test_a_stop_from_elsewhere_ends_a_job_and_the_same_call_goes_on(ws: hw.Workspace, module: Write) -> None:
    module(
        "long",
        """
        import time
        def fit(context):
            step = (context.checkpoint.load() or 0)
            while not context.should_stop and step < 5:
                if context.attempt == 1 and step == 2:
                    time.sleep(0.02)
                    continue
                step += 1
                context.checkpoint.save(step, step=step)
                context.report({"step": step}, step=step)
            return {"last": step}
        """,
    )
    job = ws.train("long", "long:fit", wait=False)
    _until(lambda: job.metrics.get("step") == 2.0)
    ws.job("long").stop()
    with pytest.raises(StoppedError, match="same call"):
        job.wait()
    assert job.status == "stopped"
    again = ws.train("long", "long:fit")
    assert again.id == job.id
    assert again.metrics["last"] == 5.0


def test_two_workers_of_a_gang_talk_over_a_socket(ws: hw.Workspace, module: Write) -> None:
    module(
        "pair",
        """
        import os, socket
        def fit(context):
            place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            if context.rank == 0:
                with socket.create_server(place) as server:
                    other, _ = server.accept()
                    with other:
                        return {"heard": float(other.recv(16))}
            while True:
                try:
                    with socket.create_connection(place) as mine:
                        mine.sendall(b"42")
                        return None
                except ConnectionRefusedError:
                    continue
        """,
    )
    job = ws.train("pair", "pair:fit", workers=2)
    assert job.metrics["heard"] == 42.0
    assert list(job.logs("algo-2")) == []


def test_when_one_of_a_gang_dies_all_stop_and_the_cause_comes_first(ws: hw.Workspace, module: Write) -> None:
    module(
        "gang",
        """
        import time
        def fit(context):
            if context.rank == 1:
                raise ValueError("rank 1 has enough")
            while not context.should_stop:
                time.sleep(0.01)
        """,
    )
    with pytest.raises(JobFailedError, match="rank 1 has enough") as caught:
        ws.train("gang", "gang:fit", workers=2)
    assert caught.value.errors[0]["worker"] == "algo-2"


def test_what_can_never_fit_is_an_error_before_anything_starts(ws: hw.Workspace, module: Write) -> None:
    module("ok", "def fit():\n    return {'x': 1}\n")
    with pytest.raises(CapabilityError, match="cores"):
        ws.train("big", "ok:fit", resources=hw.Resources(cpus=4096))
    assert ws.session.ledger.entries() == []


def test_more_disk_than_there_is_is_an_error_before_anything_starts(ws: hw.Workspace, module: Write) -> None:
    module("ok", "def fit():\n    return {'x': 1}\n")
    with pytest.raises(CapabilityError, match="free"):
        ws.train("big", "ok:fit", resources=hw.Resources(disk_bytes=10**18))
    assert ws.session.ledger.entries() == []


def test_a_gang_takes_no_more_cores_than_there_are(ws: hw.Workspace, module: Write) -> None:
    module("ok", "def fit():\n    return {'x': 1}\n")
    with pytest.raises(CapabilityError):
        ws.train("wide", "ok:fit", workers=3, engine="local://?cpus=2")


def test_secrets_reach_the_worker_and_nothing_else(
    ws: hw.Workspace, module: Write, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    module(
        "secret",
        "import os\ndef fit():\n    print('it is', os.environ['TOKEN'])\n    return {'n': len(os.environ['TOKEN'])}\n",
    )
    monkeypatch.setenv("MY_TOKEN", "hunter2-hunter2")
    job = ws.train("secret", "secret:fit", secrets={"TOKEN": "env:MY_TOKEN"})
    assert job.metrics["n"] == 15
    assert "hunter2" not in "\n".join(job.logs())
    for path in (project / ".headway").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_a_missing_secret_is_named_before_the_start(ws: hw.Workspace, module: Write) -> None:
    module("ok", "def fit():\n    return {'x': 1}\n")
    with pytest.raises(ProgramError, match="NO_SUCH_TOKEN"):
        ws.train("s", "ok:fit", secrets={"TOKEN": "env:NO_SUCH_TOKEN"})


def test_a_wrong_hyperparameter_is_named_with_the_known_ones(ws: hw.Workspace, module: Write) -> None:
    module("known", "def fit(epochs=1, rate=0.1):\n    return {'x': 1}\n")
    with pytest.raises(TypeError, match=r"epoch.*epochs"):
        ws.train("k", "known:fit", hyperparameters={"epoch": 2})


def test_a_pattern_that_never_matches_is_told_with_the_last_lines(ws: hw.Workspace, project: Path) -> None:
    (project / "quiet.py").write_text("print('loss was not printed')\n")
    job = ws.train("quiet", hw.Script("quiet.py", metrics={"loss": r"loss=([0-9.]+)"}))
    assert any("never matched" in said and "loss was not printed" in said for said in job.warnings)


def test_a_script_without_a_model_cannot_be_evaluated_and_says_so(ws: hw.Workspace, project: Path) -> None:
    (project / "nothing.py").write_text("")
    job = ws.train("nothing", hw.Script("nothing.py"))
    assert job.status == "succeeded"
    with pytest.raises(hw.errors.NotFoundError, match="saved none"):
        _ = job.model


def test_a_script_that_leaves_through_os_exit_is_no_success(ws: hw.Workspace, project: Path) -> None:
    (project / "leave.py").write_text("import os\nos._exit(0)\n")
    with pytest.raises(JobFailedError, match="outcome"):
        ws.train("leave", hw.Script("leave.py"))


def test_a_script_that_ignores_sigterm_is_killed_after_the_grace(ws: hw.Workspace, project: Path) -> None:
    (project / "deaf.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)\n"
    )
    job = ws.train("deaf", hw.Script("deaf.py"), wait=False)
    log = Path(ws.session.files.local(f"jobs/{job.id}/attempts/1/algo-1/log.txt"))
    _until(lambda: log.exists() and "deaf" in log.read_text())
    job.stop(grace_s=0.2)
    with pytest.raises(StoppedError):
        job.wait()


def test_the_test_channel_cannot_be_asked_for_by_a_training_function(
    ws: hw.Workspace, module: Write, project: Path
) -> None:
    for label in ("a", "b"):
        (project / "data" / label).mkdir(parents=True)
        for number in range(20):
            (project / "data" / label / f"{number}.txt").write_text(f"{label} {number}")
    manifest = ws.manifest("texts", "data", split=hw.Split(validation=0.2, test=0.2))
    module(
        "honest", "def fit(context):\n    return {'n': len(__import__('os').listdir(context.channels['train'].path))}\n"
    )
    assert ws.train("honest", "honest:fit", manifest).metrics["n"] > 0
    module("curious", "def fit(context):\n    context.channels['test']\n")
    with pytest.raises((ChannelLeakError, JobFailedError), match="test"):
        ws.train("curious", "curious:fit", manifest)
    pattern = f"{project / 'data'}/*/*"
    spy = f"import glob\ndef fit():\n    return {{'n': sum(len(open(f).read()) for f in glob.glob({pattern!r}))}}\n"
    module("spy", spy)
    with pytest.raises(ChannelLeakError, match="test channel"):
        ws.train("spy", "spy:fit", manifest)


@pytest.mark.parametrize("moment", ["begin", "middle"])
def test_a_driver_that_was_killed_is_taken_over(
    project: Path, module: Write, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "hold").touch()
    monkeypatch.setenv("HOLD", str(project / "hold"))
    module(
        "count",
        """
        import os, time
        def fit(context):
            step = context.checkpoint.load() or 0
            while step < 4:
                step += 1
                context.checkpoint.save(step, step=step)
                context.report({"step": step}, step=step)
                while step == 2 and os.path.exists(os.environ["HOLD"]):
                    time.sleep(0.01)
            return {"last": step}
        """,
    )
    child = os.fork()
    if child == 0:
        from headway.execution.progress import Silent

        try:
            hw.open(project / ".headway", progress=Silent()).train("count", "count:fit")
        finally:
            os._exit(1)
    ready = project / ".headway" / "jobs" / "train-count-1"
    mark = ready / "attempts" / "1" / "checkpoints"
    _until(lambda: (mark / "2").exists() if moment == "middle" else (ready / "job.json").exists())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (project / "hold").unlink()
    from headway.execution.progress import Silent

    with hw.open(project / ".headway", progress=Silent()) as ws:
        job = ws.train("count", "count:fit", timeout_s=None)
        assert job.id == "train-count-1"
        assert job.metrics["last"] == 4.0
        assert ws.session.ledger.check() == []


def test_credentials_of_the_settings_are_given_by_name(
    project: Path, module: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.execution.progress import Silent

    (project / "headway.toml").write_text('[credentials.warehouse]\nTOKEN = "env:MY_TOKEN"\n')
    monkeypatch.setenv("MY_TOKEN", "hunter2-hunter2")
    module(
        "needy",
        "import os\ndef fit():\n    return {'n': len(os.environ.get('TOKEN', '')), 'm': 'MY_TOKEN' in os.environ}\n",
    )
    with hw.open(progress=Silent()) as ws:
        assert ws.train("t", "needy:fit", secrets="warehouse").metrics == {"n": 15, "m": 0}
        assert ws.train("without", "needy:fit").metrics == {"n": 0, "m": 0}, "a job that asks for no secret got one"
        with pytest.raises(hw.errors.NotFoundError, match="warehouse"):
            ws.train("t", "needy:fit", secrets="warehous")
    assert b"hunter2" not in (project / ".headway/jobs/train-t-1/job.json").read_bytes()
    (project / "headway.toml").write_text('[credentials.warehouse]\nTOKEN = "hunter2"\n')
    with pytest.raises(hw.errors.WorkspaceError, match="reference"):
        hw.open(progress=Silent())
