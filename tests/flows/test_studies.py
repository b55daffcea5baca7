"""Studies through the facade: the test channel stays closed, patterns are checked, models are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headway as hw
from headway.errors import JobFailedError, ProgramError
from headway.models.model import load


def _data(ws: hw.Workspace) -> hw.Dataset:
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    return ws.process("arrays", manifest, "prepare:to_array")


def test_no_trial_can_reach_the_test_channel(ws: hw.Workspace, project: Path) -> None:
    (project / "curious.py").write_text(
        "import glob, os\n"
        "def by_name(context, x):\n"
        "    return {'score': len(context.channels['test'].keys())}\n"
        "def by_path(context, x):\n"
        f"    found = glob.glob({str(project)!r} + '/.headway/datasets/*/*/attempts/*/test/**/*.npy', recursive=True)\n"
        "    assert found\n"
        "    return {'score': sum(len(open(path, 'rb').read()) for path in found)}\n"
        "def by_raw_file(context, x):\n"
        f"    found = glob.glob({str(project)!r} + '/data/*/*.txt')\n"
        "    assert found\n"
        "    return {'score': sum(len(open(path, 'rb').read()) for path in found)}\n"
    )
    data = _data(ws)
    for way in ("by_name", "by_path", "by_raw_file"):
        with pytest.raises(JobFailedError, match="test channel"):
            ws.tune(
                way, f"curious:{way}", data, space={"x": hw.Float(0, 1)}, objective=hw.Maximize("score"), trials=1,
                max_attempts=1,
            )  # fmt: skip


def test_the_models_of_the_best_trials_are_kept_and_can_be_loaded(ws: hw.Workspace, project: Path) -> None:
    (project / "constant.py").write_text(
        "class Constant:\n"
        "    def __init__(self, value):\n        self.value = value\n"
        "    def predict(self, rows):\n        return [self.value for _ in rows]\n"
        "def fit(context, x):\n"
        "    context.report({'score': x})\n"
        "    return Constant(x)\n"
    )
    study = ws.tune(
        "kept", "constant:fit", space={"x": hw.Choice(1, 2, 3, 4, 5)}, objective=hw.Maximize("score"), trials=5,
        searcher="grid", keep_best=2,
    )  # fmt: skip
    ranking = study.ranking()
    assert [trial.parameters["x"] for trial in ranking] == [5, 4, 3, 2, 1]
    assert [trial.model is not None for trial in ranking] == [True, True, False, False, False]
    for trial in ranking[:2]:
        assert trial.model is not None
        code = ws.session.files.local(trial.model.code)
        model = load(trial.model.path(ws.session.files), code=code)
        assert list(model.predict(np.zeros((2, 1)))) == [trial.value] * 2


def test_a_script_whose_pattern_never_matches_is_told_after_its_first_trial(ws: hw.Workspace) -> None:
    script = hw.Script("train.py", source_dir="src", metrics={"accuracy": r"accuracy=([0-9.]+)"})
    space, objective = {"scale": hw.Float(0.5, 2)}, hw.Maximize("accuracy")
    data = _data(ws)
    with pytest.raises(ProgramError, match="'accuracy'"):
        ws.tune("mute", script, data, space=space, objective=objective, trials=50)
    assert len(ws.study("mute").trials()) == 1
    broken = hw.Script("train.py", source_dir="src", metrics={"accuracy": r"accuracy=([0-9.]+"})
    with pytest.raises(ProgramError, match="accuracy"):
        ws.tune("broken", broken, data, space=space, objective=objective, trials=50)
    assert ws.session.ledger.entries("tune", "broken") == []


def test_a_metric_that_is_not_reported_stops_the_study_after_its_first_trial(ws: hw.Workspace, project: Path) -> None:
    (project / "other.py").write_text("def fit(x):\n    return {'loss': x, 'seconds': 1}\n")
    with pytest.raises(ProgramError, match="without the metric 'accuracy'; metrics seen: loss, seconds"):
        ws.tune("n", "other:fit", space={"x": hw.Float(0, 1)}, objective=hw.Minimize("accuracy"), trials=50)
    assert len(ws.study("n").trials()) == 1


def test_a_function_from_parameters_to_metrics_is_enough(ws: hw.Workspace, project: Path) -> None:
    (project / "blackbox.py").write_text("def f(x, y):\n    return {'cost': abs(x - 3) + (y == 'b')}\n")
    space = {"x": hw.Int(1, 4), "y": hw.Choice("a", "b")}
    study = ws.tune("box", "blackbox:f", space=space, objective=hw.Minimize("cost"), trials=8, parallel=2)
    assert study.best().parameters == {"x": 3, "y": "a"}
    assert {row["metrics"]["cost"] for row in study.trials()} == {0, 1, 2, 3}
