from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from process_desk import Desk
from registering import Adds
from scored import DIGIT_LABELS, digits, png, save_in_job, store_evaluation
from sklearn.linear_model import LogisticRegression

from headway.errors import DataChangedError, ProgramError, WorkspaceError
from headway.evaluation.evaluation import Evaluation
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


def make_desk(folder: Path) -> Desk:
    """A workspace with 100 digits as PNG files, and a project that prepares them."""
    made = Desk(folder)
    images, target = digits()
    made.write({f"{target[n]}/digit {n:03d}.png": png(images[n]) for n in range(100)})
    project = folder / "project"
    project.mkdir()
    (project / "prepare.py").write_text(textwrap.dedent(PREPARE))
    (project / "shades.py").write_text("def darken(values):\n    return 255 - values\n")
    return made


@pytest.fixture
def desk(tmp_path):
    return make_desk(tmp_path)


@dataclass(frozen=True)
class Made:
    """A workspace with a registered model of the digits, to be used up by a test."""

    root: Path
    folder: Path
    keys: list[str]
    evaluation: Evaluation

    def predictor(self) -> Predictor:
        return Predictor(self.folder)

    def file(self, number: int) -> Path:
        return self.root / "source" / self.keys[number]


@pytest.fixture(scope="module", params=["to_array", "to_array_of_many"])
def either(request, tmp_path_factory):
    return registered(make_desk(tmp_path_factory.mktemp("made")), request.param)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return registered(make_desk(tmp_path_factory.mktemp("made")))


@pytest.fixture
def made(template, tmp_path):
    shutil.copytree(template.root, tmp_path / "copy")
    folder = tmp_path / "copy" / template.folder.relative_to(template.root)
    return replace(template, root=tmp_path / "copy", folder=folder)


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


def registered(desk: Desk, name: str = "to_array") -> Made:
    """A model of the digits, trained on what workers made, evaluated and registered with its transform."""
    transform = transform_of(desk, name)
    opened = processed(desk, transform)
    rows, codes = opened.channel("train").arrays()
    model = LogisticRegression(max_iter=400).fit(np.asarray(rows).reshape(len(rows), -1), codes)
    labels = opened.dataset.labels
    folder = save_in_job(desk.files, model, job="train-digits-1", labels=labels)
    with Ledger.open(desk.files.local("ledger.sqlite")) as ledger:
        evaluation = store_evaluation(
            desk.files, ledger, opened.root, desk.files.local(folder), name="digits", model_ref="train-digits-1"
        )
        version = register(
            desk.files,
            ledger,
            "digits",
            model_folder=folder,
            evaluation=evaluation,
            bundle=Bundle(labels=labels, transform=transform),
        )
    keys = opened.channel("test", allow_test=True).keys()
    return Made(root=desk.folder, folder=version.path(desk.files), keys=keys, evaluation=evaluation)


def test_raw_files_are_predicted_as_the_evaluation_predicted_their_rows(either):
    found = {
        str(one.key): one for one in either.predictor().predict_files([either.root / "source" / k for k in either.keys])
    }
    assert len(found) == len(either.keys)
    samples = [sample for sample in either.evaluation.samples if sample.channel == "test"]
    assert len(samples) > 10
    for sample in samples:
        prediction = found[str(either.root / "source" / sample.key)]
        assert prediction.label == sample.predicted
        assert prediction.probability == pytest.approx(sample.probability, rel=1e-6)
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert next(iter(prediction.probabilities)) == prediction.label
    assert "prepare" not in sys.modules
    assert "shades" not in sys.modules


@pytest.mark.slow
def test_a_copied_workspace_predicts_from_another_folder_with_the_project_gone(made, tmp_path):
    before = made.predictor().predict_file(made.file(0))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(made.root / "ws" / "models", elsewhere / "models")
    shutil.copy(made.file(0), elsewhere / "a picture.png")
    shutil.rmtree(made.root)
    program = """
        import sys
        from headway.registry.predictor import Predictor
        predictor = Predictor(sys.argv[1])
        found = predictor.predict_file(sys.argv[2])
        print(found.label, f"{found.probability:.9f}", predictor.verify_golden())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), "models/digits/1", "a picture.png"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [before.label, f"{before.probability:.9f}", "[]"]
    assert not list(elsewhere.rglob("__pycache__"))


def test_golden_predictions_tell_a_changed_model(made):
    golden = made.folder / "golden"
    assert verify_golden(made.folder) == []
    rows = json.loads((golden / "golden.json").read_text())
    rows["rows"][0]["label"] = next(label for label in DIGIT_LABELS if label != rows["rows"][0]["label"])
    rows["rows"][1]["probability"] *= 0.99
    (golden / "golden.json").write_text(json.dumps(rows))
    found = verify_golden(made.folder)
    assert len(found) == 2
    assert found[0].startswith(rows["rows"][0]["key"])
    (golden / "golden.npz").write_bytes(b"damaged")
    with pytest.raises(DataChangedError, match="cannot read the golden predictions"):
        verify_golden(made.folder)


def test_a_file_that_the_transform_cannot_take_is_named(made, tmp_path):
    predictor = made.predictor()
    bad = tmp_path / "no picture.txt"
    bad.write_text("words")
    with pytest.raises(
        ProgramError, match=r"transform prepare:to_array failed on '.*no picture\.txt': UnidentifiedImageError"
    ):
        predictor.predict_file(bad)
    with pytest.raises(FileNotFoundError, match=r"cannot predict 'nothing\.png': there is no such file"):
        predictor.predict_file("nothing.png")
    assert predictor.predict_files([]) == []


def test_the_transform_is_the_one_of_its_time(made):
    """The project changes after registering; the registered version still predicts with what it was trained with."""
    before = made.predictor().predict_file(made.file(0))
    (made.root / "project" / "shades.py").write_text("def darken(values):\n    return values * 0\n")
    sys.path.insert(0, str(made.root / "project"))
    try:
        import shades

        assert made.predictor().predict_file(made.file(0)) == before
        assert sys.modules["shades"] is shades
    finally:
        sys.path.remove(str(made.root / "project"))
        sys.modules.pop("shades", None)


def test_a_file_that_the_transform_leaves_out_is_named(desk):
    transform = transform_of(desk, "picky", job="process-picky-1")
    folder = save_in_job(desk.files, Adds(1), job="train-a-1")
    ledger = Ledger.open(desk.files.local("ledger.sqlite"))
    version = register(desk.files, ledger, "adds", model_folder=folder, bundle=Bundle(transform=transform))
    picture = next(desk.source.rglob("*.png"))
    with pytest.raises(ProgramError, match="the transform prepare:picky leaves out"):
        Predictor(version.path(desk.files)).predict_file(picture)


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
