"""The same call on every engine of one machine, and what none of them could ever do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

import headway as hw
from headway.errors import CapabilityError

pytestmark = pytest.mark.slow


ENGINES = ["local://", "inline://"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_and_an_estimator_are_trained_scored_and_loaded(ws: hw.Workspace, engine: str) -> None:
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    data = ws.process("arrays", manifest, "prepare:to_array", engine=engine)
    rows, _ = data.open(ws.session.files).channel("validation").arrays()
    for name, program in (("function", "training:fit"), ("estimator", LogisticRegression())):
        job = ws.train(name, program, data, hyperparameters={"C": 0.5}, engine=engine)
        assert job.status == "succeeded"
        assert ws.evaluate(job, data, engine=engine).metrics["test:accuracy"] > 0.9
        model = ws.register(name, job).load()
        assert len(model.predict(rows)) == 16
        assert job.spec.engine == engine


@pytest.mark.parametrize(
    ("engine", "asked", "named"),
    [
        ("local://?cpus=2", {"resources": hw.Resources(cpus=3)}, "cores"),
        ("local://?cpus=2", {"workers": 3}, "cores"),
        ("local://?gpus=0", {"resources": hw.Resources(gpus=1)}, "GPU"),
        ("local://", {"resources": hw.Resources(memory_bytes=2**50)}, "memory"),
        ("inline://", {"workers": 2}, "worker"),
        ("inline://", {"resources": hw.Resources(cpus=4096)}, "cores"),
    ],
)
def test_what_can_never_be_had_is_refused_before_anything_starts(
    ws: hw.Workspace, project: Path, engine: str, asked: dict[str, Any], named: str
) -> None:
    (project / "ran.py").write_text(
        f"import pathlib\ndef fit():\n    pathlib.Path({str(project / 'it_ran')!r}).touch()\n"
    )
    with pytest.raises(CapabilityError, match=named):
        ws.train("big", "ran:fit", engine=engine, **asked)
    assert ws.session.ledger.entries() == []
    assert not (project / "it_ran").exists()


def test_a_disk_that_is_too_small_is_named_and_the_program_never_runs(ws: hw.Workspace, project: Path) -> None:
    (project / "ran.py").write_text(
        f"import pathlib\ndef fit():\n    pathlib.Path({str(project / 'it_ran')!r}).touch()\n"
    )
    with pytest.raises(CapabilityError, match="disk"):
        ws.train("big", "ran:fit", resources=hw.Resources(disk_bytes=2**60))
    assert not (project / "it_ran").exists()
