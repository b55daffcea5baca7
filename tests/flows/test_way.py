"""The whole way on small real files: manifest, processing, training, tuning, evaluation, registry, prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

import headway as hw
from headway.errors import GateFailedError, JobFailedError, NotFoundError, StudyChangedError
from headway.flows import inspect

SPLIT = hw.Split(validation=0.2, test=0.2, at_least=2)


def _dataset(ws: hw.Workspace) -> hw.Dataset:
    manifest = ws.manifest("numbers", "data", label="{label}/*", split=SPLIT)
    return ws.process("arrays", manifest, hw.Function("prepare:to_array"), workers=2)


def test_from_files_to_a_prediction(ws: hw.Workspace, project: Path) -> None:
    data = _dataset(ws)
    assert data.rows == {"train": 48, "validation": 16, "test": 16}
    study = ws.tune(
        "sizes", hw.Function("training:fit"), data, space={"C": hw.Float(0.01, 10, log=True)},
        objective=hw.Maximize("validation:accuracy"), trials=3, parallel=2,
    )  # fmt: skip
    best = study.best()
    assert best.model is not None
    evaluation = ws.evaluate(best.model, data)
    assert evaluation.metrics["test:accuracy"] > 0.9
    version = ws.register("signs", best.model, evaluation=evaluation, gate=hw.AtLeast("test:accuracy", 0.9))
    assert version.promote("champion").ref == "signs@1"
    prediction = ws.model("signs@champion").predict([project / "data" / "low" / "000.txt"])[0]
    assert prediction.label == "low"
    assert version.verify() == []


def test_the_same_call_returns_what_is_there(ws: hw.Workspace) -> None:
    data = _dataset(ws)
    assert _dataset(ws) == data
    first = ws.train("base", hw.Function("training:fit"), data)
    again = ws.train("base", hw.Function("training:fit"), data)
    assert again.id == first.id
    assert "unchanged" in again.reasons[0]
    assert len(inspect.jobs(ws.session)) == 2


def test_changed_arguments_make_a_new_version_and_say_why(ws: hw.Workspace) -> None:
    data = _dataset(ws)
    ws.train("base", hw.Function("training:fit"), data)
    other = ws.train("base", hw.Function("training:fit"), data, hyperparameters={"C": 2.0})
    assert other.id == "train-base-2"
    assert any("C" in reason for reason in inspect.why(ws.session, other.id)["created"]["reasons"])


def test_a_script_is_run_as_it_is_and_its_metric_read_from_the_log(ws: hw.Workspace) -> None:
    data = _dataset(ws)
    script = hw.Script("train.py", source_dir="src", metrics={"score": r"score=([0-9.]+)"})
    job = ws.train("script", script, data, hyperparameters={"scale": 1.5})
    assert job.metrics["score"] == pytest.approx(3.0)
    assert any(line.startswith("files ") for line in job.logs())
    assert (job.model.path(ws.session.files) / "weights.json").exists()


def test_a_script_is_tuned_by_what_it_prints(ws: hw.Workspace) -> None:
    data = _dataset(ws)
    script = hw.Script("train.py", source_dir="src", metrics={"score": r"score=([0-9.]+)"})
    study = ws.tune(
        "script", script, data, space={"scale": hw.Float(0.5, 2)}, objective=hw.Maximize("score"), trials=2, parallel=2
    )
    assert {row["status"] for row in study.trials()} == {"ended"}
    assert study.best().value == pytest.approx(2 * study.best().parameters["scale"], abs=1e-3)
    assert study.best().model is not None


def test_a_failing_function_tells_its_traceback(ws: hw.Workspace, project: Path) -> None:
    (project / "broken.py").write_text("def fit(context):\n    raise RuntimeError('no luck')\n")
    data = _dataset(ws)
    with pytest.raises(JobFailedError, match="no luck") as caught:
        ws.train("broken", hw.Function("broken:fit"), data)
    assert "broken.py" in str(caught.value)
    assert "headway logs train-broken-1" in str(caught.value)
    assert ws.job("train-broken-1").status == "failed"


@pytest.mark.slow
def test_a_gate_keeps_a_bad_model_out(ws: hw.Workspace) -> None:
    data = _dataset(ws)
    job = ws.train("base", hw.Function("training:fit"), data)
    evaluation = ws.evaluate(job, data)
    with pytest.raises(GateFailedError):
        ws.register("signs", job, evaluation=evaluation, gate=hw.AtLeast("test:accuracy", 1.5))
    with pytest.raises(NotFoundError):
        ws.model("signs")


def test_a_study_with_other_settings_needs_a_word(ws: hw.Workspace) -> None:
    data = _dataset(ws)

    def tune(space: dict[str, object], **more: object) -> object:
        return ws.tune(
            "s", hw.Function("training:fit"), data, space=space, objective=hw.Maximize("validation:accuracy"),
            trials=1, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    tune({"C": hw.Float(0.1, 1)})
    with pytest.raises(StudyChangedError):
        tune({"C": hw.Float(0.1, 2)})
    assert tune({"C": hw.Float(0.1, 2)}, new=True).id == "tune-s-2"  # type: ignore[attr-defined]
