from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from process_desk import Desk
from registering import Adds
from scored import DIGIT_LABELS, digits, png, save_in_job, store_evaluation
from sklearn.linear_model import LogisticRegression

from headway.errors import DataChangedError, ProgramError, WorkspaceError
from headway.jobs.code import snapshot
from headway.jobs.program import Function
from headway.models.code_path import project_code
from headway.registry.predictor import Predictor, load_target, verify_golden
from headway.registry.register import register
from headway.registry.version import Bundle, Transform
from headway.stores.ledger import Ledger

PREPARE = """
    from io import BytesIO
    import numpy as np
    from PIL import Image
    from shades import darken

    def to_array(item, scale):
        assert item.path.is_absolute()
        with Image.open(BytesIO(item.path.read_bytes())) as picture:
            return darken(np.asarray(picture, dtype="float32")) * scale

    def to_array_of_many(items, scale):
        return np.stack([to_array(item, scale) for item in items])

    def picky(item, scale):
        if b"PNG" not in item.path.read_bytes():
            raise ValueError("this is no picture")
        return None
"""


@pytest.fixture
def desk(tmp_path):
    """A workspace with 120 digits as PNG files, and a project that prepares them."""
    made = Desk(tmp_path)
    images, target = digits()
    made.write({f"{target[n]}/digit {n:03d}.png": png(images[n]) for n in range(120)})
    project = tmp_path / "project"
    project.mkdir()
    (project / "prepare.py").write_text(textwrap.dedent(PREPARE))
    (project / "shades.py").write_text("def darken(values):\n    return 255 - values\n")
    return made


def transform_of(desk: Desk, name: str, *, job: str = "process-small-1") -> Transform:
    """The packed transform of a processing job."""
    code = desk.files.local(f"jobs/{job}/code")
    program = snapshot(Function(f"prepare:{name}"), code, roots=[desk.folder / "project"])
    return Transform(program=program, code=f"jobs/{job}/code", hyperparameters={"scale": 0.5})


def processed(desk: Desk, transform: Transform):
    """The dataset as workers make it, at its place in the workspace."""
    code = desk.files.local(transform.code)
    manifest = desk.manifest(validation=0.2, test=0.3)
    with project_code(code):
        target = load_target(transform, code)
        return desk.process(
            target,
            manifest,
            name="ws/datasets/d/1",
            part_rows=16,
            ticket={"hyperparameters": transform.hyperparameters},
        )


def registered(desk: Desk, name: str = "to_array", *, model=None):
    """A model of the digits, registered with its transform: (version, dataset, ledger)."""
    transform = transform_of(desk, name)
    opened = processed(desk, transform)
    rows, codes = opened.channel("train").arrays()
    model = model or LogisticRegression(max_iter=400).fit(np.asarray(rows).reshape(len(rows), -1), codes)
    labels = opened.dataset.labels
    folder = save_in_job(desk.files, model, job="train-digits-1", labels=labels)
    ledger = Ledger.open(desk.files.local("ledger.sqlite"))
    evaluation = store_evaluation(
        desk.files, ledger, opened.root, desk.files.local(folder), name="digits", model_ref="train-digits-1"
    )
    version = register(
        desk.files, ledger, "digits", model_folder=folder, evaluation=evaluation,
        bundle=Bundle(labels=labels, transform=transform),
    )  # fmt: skip
    return version, opened, evaluation


@pytest.mark.parametrize("name", ["to_array", "to_array_of_many"])
def test_raw_files_are_predicted_as_the_evaluation_predicted_their_rows(name, desk):
    version, opened, evaluation = registered(desk, name)
    predictor = Predictor(version.path(desk.files))
    keys = opened.channel("test", allow_test=True).keys()
    found = {str(one.key): one for one in predictor.predict_files([desk.source / key for key in keys])}
    assert len(found) == len(keys)
    samples = [sample for sample in evaluation.samples if sample.channel == "test"]
    assert len(samples) > 10
    for sample in samples:
        prediction = found[str(desk.source / sample.key)]
        assert prediction.label == sample.predicted
        assert prediction.probability == pytest.approx(sample.probability, rel=1e-6)
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert next(iter(prediction.probabilities)) == prediction.label
    assert "prepare" not in sys.modules
    assert "shades" not in sys.modules


@pytest.mark.slow
def test_a_copied_workspace_predicts_from_another_folder_with_the_project_gone(desk, tmp_path):
    version, opened, _ = registered(desk)
    key = opened.channel("test", allow_test=True).keys()[0]
    before = Predictor(version.path(desk.files)).predict_file(desk.source / key)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(desk.files.local("models"), elsewhere / "models")
    picture = elsewhere / "a picture.png"
    shutil.copy(desk.source / key, picture)
    for gone in ("project", "ws"):
        shutil.rmtree(desk.folder / gone)
    program = """
        import sys
        from headway.registry.predictor import Predictor
        predictor = Predictor(sys.argv[1])
        found = predictor.predict_file(sys.argv[2])
        print(found.label, f"{found.probability:.9f}", predictor.verify_golden())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), "models/digits/1", "a picture.png"],
        cwd=elsewhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [before.label, f"{before.probability:.9f}", "[]"]
    assert not list(elsewhere.rglob("__pycache__"))


def test_golden_predictions_tell_a_changed_model(desk):
    version, _, _ = registered(desk)
    folder = version.path(desk.files)
    assert verify_golden(folder) == []
    stored = (folder / "golden" / "golden.json").read_text()
    label = Predictor(folder).version.labels
    wrong = stored.replace('"label": "1"', '"label": "2"') if '"label": "1"' in stored else stored.replace("0.9", "0.8")
    os.unlink(folder / "golden" / "golden.json")
    (folder / "golden" / "golden.json").write_text(wrong)
    found = verify_golden(folder)
    assert found
    assert "then," in found[0]
    assert label == DIGIT_LABELS
    (folder / "golden" / "golden.npz").write_bytes(b"damaged")
    with pytest.raises(DataChangedError, match="cannot read the golden predictions"):
        verify_golden(folder)


def test_a_file_that_the_transform_cannot_take_is_named(desk, tmp_path):
    version, _, _ = registered(desk)
    predictor = Predictor(version.path(desk.files))
    bad = tmp_path / "no picture.txt"
    bad.write_text("words")
    with pytest.raises(
        ProgramError, match=r"transform prepare:to_array failed on '.*no picture\.txt': UnidentifiedImageError"
    ):
        predictor.predict_file(bad)
    with pytest.raises(FileNotFoundError, match=r"cannot predict 'nothing\.png': there is no such file"):
        predictor.predict_file("nothing.png")
    assert predictor.predict_files([]) == []


def test_a_file_that_the_transform_leaves_out_is_named(desk):
    transform = transform_of(desk, "picky", job="process-picky-1")
    folder = save_in_job(desk.files, Adds(1), job="train-a-1")
    ledger = Ledger.open(desk.files.local("ledger.sqlite"))
    version = register(desk.files, ledger, "adds", model_folder=folder, bundle=Bundle(transform=transform))
    picture = next(desk.source.rglob("*.png"))
    with pytest.raises(ProgramError, match="the transform prepare:picky leaves out"):
        Predictor(version.path(desk.files)).predict_file(picture)


def test_the_transform_is_the_one_of_its_time(desk):
    """The project changes after registering; the registered version still predicts with what it was trained with."""
    version, opened, _ = registered(desk)
    key = opened.channel("test", allow_test=True).keys()[0]
    before = Predictor(version.path(desk.files)).predict_file(desk.source / key)
    (desk.folder / "project" / "shades.py").write_text("def darken(values):\n    return values * 0\n")
    sys.path.insert(0, str(desk.folder / "project"))
    try:
        import shades

        assert Predictor(version.path(desk.files)).predict_file(desk.source / key) == before
        assert sys.modules["shades"] is shades
    finally:
        sys.path.remove(str(desk.folder / "project"))
        sys.modules.pop("shades", None)


def test_without_a_transform_rows_are_predicted_and_files_refused(desk):
    folder = save_in_job(
        desk.files, LogisticRegression().fit([[0.0], [1.0]], [0, 1]), job="train-a-1", labels={"no": 0, "yes": 1}
    )
    ledger = Ledger.open(desk.folder / "ledger.sqlite")
    version = register(desk.files, ledger, "plain", model_folder=folder)
    predictor = Predictor(version.path(desk.files))
    found = predictor.predict_rows(np.array([[0.0], [1.0]]), keys=["first", "second"])
    assert [(one.key, one.label) for one in found] == [("first", "no"), ("second", "yes")]
    with pytest.raises(ProgramError, match="registered without a transform"):
        predictor.predict_file(next(desk.source.rglob("*.png")))
    with pytest.raises(WorkspaceError, match="has no golden predictions"):
        predictor.verify_golden()


def test_a_folder_without_a_version_is_named(tmp_path):
    with pytest.raises(WorkspaceError, match=r"no registered version in .*: expected version\.json"):
        Predictor(tmp_path)


def test_a_lambda_is_a_transform_too(desk, tmp_path):
    code: Path = desk.files.local("jobs/process-lambda-1/code")
    program = snapshot(Function(lambda item: np.frombuffer(item.path.read_bytes(), "<u1")[:2].astype("float64")), code)
    transform = Transform(program=program, code="jobs/process-lambda-1/code")
    folder = save_in_job(desk.files, Adds(0), job="train-a-1")
    ledger = Ledger.open(desk.files.local("ledger.sqlite"))
    version = register(desk.files, ledger, "first", model_folder=folder, bundle=Bundle(transform=transform))
    (tmp_path / "two").write_bytes(bytes([7, 9]))
    predictor = Predictor(version.path(desk.files))
    assert predictor._transform is not None
    assert predictor._transform.rows([tmp_path / "two"]).tolist() == [[7.0, 9.0]]
