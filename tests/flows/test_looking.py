"""What the caller is told and can look at: new limits, early looks, failed trials, frames, stops without a driver."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import headway as hw
from headway.errors import JobFailedError, NotFoundError
from headway.execution.progress import Lines


def test_a_failed_job_goes_on_with_the_limits_that_are_asked_for_now(ws: hw.Workspace, project: Path) -> None:
    (project / "slow.py").write_text(
        "import os, time\n"
        "def fit():\n"
        "    time.sleep(0.5 if os.environ['HEADWAY_ATTEMPT'] != '1' else 60)\n"
        "    return {'x': 1}\n"
    )
    with pytest.raises(JobFailedError, match="time limit"):
        ws.train("slow", "slow:fit", timeout_s=0.3)
    job = ws.train("slow", "slow:fit", timeout_s=60)
    assert job.id == "train-slow-1"
    assert job.metrics["x"] == 1


def test_a_look_at_the_log_before_the_worker_has_started_is_empty(ws: hw.Workspace, project: Path) -> None:
    (project / "quick.py").write_text("def fit():\n    print('done')\n    return {'x': 1}\n")
    job = ws.train("quick", "quick:fit", wait=False)
    early = list(job.logs())
    job.wait()
    assert early in ([], ["done"])
    assert list(job.logs()) == ["done"]
    with pytest.raises(NotFoundError, match="algo-1"):
        job.logs("algo-7")


def test_a_failed_trial_is_told_with_its_traceback_while_the_study_goes_on(project: Path) -> None:
    (project / "some.py").write_text(
        "def fit(x):\n    if x == 'b':\n        raise ValueError('b is bad')\n    return {'score': 1.0}\n"
    )
    told = io.StringIO()
    with hw.open(project / ".headway", progress=Lines(told)) as ws:
        study = ws.tune(
            "t", "some:fit", space={"x": hw.Choice("a", "b", "c")}, objective=hw.Maximize("score"), trials=3,
            searcher="grid", max_attempts=1,
        )  # fmt: skip
        assert sum(row["trials"] for row in study.durations()) == 3
        frame = ws.jobs()
        assert list(frame["id"]) == ["tune-t-1"]
        assert frame["duration_s"][0] > 0
        assert frame["metric:score"][0] == 1.0
    assert "b is bad" in told.getvalue()
    assert "some.py" in told.getvalue()
    assert "algo-1" in told.getvalue()


def test_a_job_whose_driver_died_can_be_stopped(ws: hw.Workspace, project: Path) -> None:
    (project / "w.py").write_text("def fit():\n    return {'x': 1}\n")
    job = ws.train("w", "w:fit")
    assert job.status == "succeeded"
    job.stop()
    assert job.status == "succeeded"
    session = ws.session
    entry, _ = session.ledger.reserve("train", "gone", lookup="x", body={})
    lease = session.ledger.claim(entry.id)
    assert lease is not None
    session.ledger.append(lease, [("intended", {"attempt": 1})])
    session.ledger.release(lease)
    spec = job.spec
    from msgspec.structs import replace

    from headway.execution.job import Job

    gone = Job(session, replace(spec, id=entry.id))
    assert gone.status == "interrupted"
    gone.stop()
    assert gone.status == "stopped"
