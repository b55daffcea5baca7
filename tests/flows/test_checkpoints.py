"""Checkpoints are for going on with the same work: never a model, never the start of other work."""

from __future__ import annotations

from pathlib import Path

import pytest

import headway as hw
from headway.errors import NotFoundError


def test_a_checkpoint_is_no_model_and_no_start_for_other_work(ws: hw.Workspace, project: Path) -> None:
    (project / "steps.py").write_text(
        "def fit(context, rate=1.0):\n"
        "    began = context.checkpoint.load() or 0\n"
        "    context.checkpoint.save(began + 1, step=1)\n"
        "    return {'began': began}\n"
    )
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    data = ws.process("arrays", manifest, "prepare:to_array")
    first = ws.train("steps", "steps:fit", data)
    assert list((project / ".headway/jobs/train-steps-1/attempts/1/checkpoints").iterdir())
    for use in (lambda: first.model, lambda: ws.evaluate(first, data), lambda: ws.register("steps", first)):
        with pytest.raises(NotFoundError, match="saved none"):
            use()
    second = ws.train("steps", "steps:fit", data, hyperparameters={"rate": 2.0})
    again = ws.train("steps", "steps:fit", data, fresh=True)
    assert [job.metrics["began"] for job in (first, second, again)] == [0, 0, 0]
