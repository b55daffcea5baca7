"""A workspace that is copied, pruned, read-only or newer; lineage from files to models."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import headway as hw
from headway.errors import NewerSchemaError, WorkspaceError
from headway.execution.progress import Silent
from headway.flows import inspect
from headway.flows.prune import prune

pytestmark = pytest.mark.slow


CENTRE = """
class Nearest:
    def __init__(self, middle):
        self.middle = middle
    def predict(self, rows):
        import numpy as np
        return (np.asarray(rows).mean(axis=1) < self.middle).astype(int)

def fit(context):
    X, y = context.channels["train"].arrays()
    context.report({"validation:accuracy": 1.0})
    return Nearest(float(X.mean()))
"""


@pytest.fixture
def registered(ws: hw.Workspace, project: Path) -> hw.Workspace:
    """A workspace with a registered model of a class of the user's own."""
    (project / "centre.py").write_text(CENTRE)
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    data = ws.process("arrays", manifest, "prepare:to_array")
    job = ws.train("centre", "centre:fit", data)
    evaluation = ws.evaluate(job, data)
    ws.register("signs", job, evaluation=evaluation).promote("champion")
    return ws


def test_a_model_leads_to_its_data_and_a_file_to_the_models_that_saw_it(registered: hw.Workspace) -> None:
    up = {row["id"] for row in inspect.lineage(registered.session, "signs@champion")["upstream"]}
    assert {"manifest-numbers-1", "dataset-arrays-1", "train-centre-1"} <= up
    down = {row["id"] for row in inspect.lineage(registered.session, "manifest-numbers-1")["downstream"]}
    assert "model-signs-1" in down


def test_a_copied_workspace_opens_elsewhere_and_predicts(registered: hw.Workspace, project: Path) -> None:
    registered.close()
    other = project / "elsewhere"
    shutil.copytree(project / ".headway", other)
    shutil.rmtree(project / ".headway")
    (project / "centre.py").unlink()
    (project / "prepare.py").unlink()
    with hw.open(other, progress=Silent()) as copy:
        low = copy.predict("signs@champion", [project / "data" / "low" / "001.txt"])[0].label
        high = copy.predict("signs@champion", [project / "data" / "high" / "001.txt"])[0].label
        assert (low, high) == ("low", "high")
        assert copy.job("centre").status == "succeeded"
        assert any(
            row["id"] == "dataset-arrays-1" for row in inspect.lineage(copy.session, "model-signs-1")["upstream"]
        )


def test_pruning_removes_old_attempts_and_nothing_that_is_needed(registered: hw.Workspace, project: Path) -> None:
    extra = project / ".headway" / "jobs" / "train-centre-1" / "attempts" / "9"
    extra.mkdir()
    (extra / "left.bin").write_bytes(b"x" * 100)
    (project / ".headway" / "incoming" / "gone").mkdir(parents=True)
    told = prune(registered.session, older_than_s=0, dry_run=True)
    assert extra.exists()
    assert {row["path"] for row in told} >= {"jobs/train-centre-1/attempts/9", "incoming/gone"}
    assert prune(registered.session, older_than_s=3600) == []
    prune(registered.session, older_than_s=0)
    assert not extra.exists()
    assert registered.predict("signs@champion", [project / "data" / "low" / "001.txt"])[0].label == "low"
    assert registered.model("signs").verify() == []
    assert registered.job("centre").model.path(registered.session.files).is_dir()


def test_a_workspace_of_a_newer_headway_is_refused(ws: hw.Workspace, project: Path) -> None:
    ws.close()
    path = project / ".headway" / "workspace.json"
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(NewerSchemaError, match="99"):
        hw.open(project / ".headway", progress=Silent())


def test_a_place_that_cannot_be_written_is_named(project: Path) -> None:
    blocked = project / "file"
    blocked.write_text("not a folder")
    with pytest.raises(WorkspaceError, match="file"):
        hw.open(blocked / ".headway", progress=Silent())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_read_only_workspace_can_be_looked_at_by_another_user(registered: hw.Workspace, project: Path) -> None:
    registered.close()
    public = Path(tempfile.mkdtemp(prefix="headway-read-only-"))
    try:
        shutil.copytree(project / ".headway", public / "ws")
        for path in [*public.rglob("*"), public]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            os._exit(_look_as_nobody(public / "ws"))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        for path in [public, *public.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(public)


def _look_as_nobody(place: Path) -> int:
    """In a child: 0 when the workspace can be listed, as a user who may write nothing in it, and running is refused."""
    try:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with hw.open(place, progress=Silent(), create=False) as ws:
            assert ws.job("centre").status == "succeeded"
            assert inspect.jobs(ws.session)
            with pytest.raises((WorkspaceError, PermissionError), match="ws"):
                ws.train("more", "centre:fit")
    except BaseException as error:  # noqa: BLE001 (the child says what it met)
        print(type(error), error, flush=True)
        return 1
    return 0


def test_listings_never_create_a_workspace(project: Path) -> None:
    with pytest.raises(WorkspaceError, match="no workspace"):
        hw.open(project / "nothing", progress=Silent(), create=False)
    assert not (project / "nothing").exists()


def test_a_ledger_of_another_workspace_is_refused(registered: hw.Workspace, project: Path) -> None:
    registered.close()
    with hw.open(project / "other", progress=Silent()):
        pass
    other = project / "other" / "ledger.sqlite"
    with pytest.raises(WorkspaceError, match="another workspace"):
        hw.open(project / ".headway", ledger=str(other), progress=Silent())
    with pytest.raises(WorkspaceError, match="is empty, but"):
        hw.open(project / ".headway", ledger=str(project / "new.sqlite"), progress=Silent())
    (project / "headway.toml").write_text('workspace = ".headway"\nledger = "mine.sqlite"\n')
    with hw.open(project / "third", progress=Silent()):
        assert (project / "third" / "ledger.sqlite").exists(), "the settings' ledger belongs to the settings' workspace"


def test_one_damaged_job_does_not_hide_the_others(registered: hw.Workspace, project: Path) -> None:
    path = project / ".headway" / "jobs" / "train-centre-1" / "result.json"
    path.write_bytes(path.read_bytes()[:40])
    (project / ".headway" / "jobs" / "process-arrays-1" / "why.json").write_text("{")
    rows = {row["id"]: row["status"] for row in inspect.jobs(registered.session)}
    assert rows["train-centre-1"] == "damaged"
    assert rows["process-arrays-1"] == "succeeded"
    manifest = registered.manifest("numbers")
    assert registered.process("arrays", manifest, "prepare:to_array").id == "dataset-arrays-1"
