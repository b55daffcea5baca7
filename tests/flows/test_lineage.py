"""From a model back to every file that made it, from a file to everything that saw it; codes that never change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import headway as hw
from headway.evaluation.evaluation import Evaluation
from headway.flows import inspect
from headway.flows.register import RegisteredModel
from headway.manifests.manifest import Manifest
from headway.manifests.trend import find_file
from headway.records import decode

pytestmark = pytest.mark.slow


SPLIT = hw.Split(validation=0.2, test=0.2)
NEAREST = """
import numpy as np

class Nearest:
    def __init__(self, means):
        self.means = means
    def predict(self, rows):
        return np.argmin([((np.asarray(rows) - mean) ** 2).sum(axis=1) for mean in self.means], axis=0)

def fit(context):
    rows, codes = context.channels["train"].arrays()
    return Nearest([rows[codes == code].mean(axis=0) for code in np.unique(codes)])
"""


def _register(ws: hw.Workspace, project: Path) -> RegisteredModel:
    (project / "nearest.py").write_text(NEAREST)
    manifest = ws.manifest("numbers", "data", split=SPLIT)
    data = ws.process("arrays", manifest, "prepare:to_array", workers=2)
    job = ws.train("fit", "nearest:fit", data)
    return ws.register("signs", job, evaluation=ws.evaluate(job, data))


def test_a_model_names_the_files_and_digests_it_was_made_of_and_a_file_the_models(
    ws: hw.Workspace, project: Path
) -> None:
    version = _register(ws, project)
    up = {row["id"]: row["kind"] for row in inspect.lineage(ws.session, version.id)["upstream"]}
    assert {"train-fit-1", "dataset-arrays-1", "process-arrays-1"} <= set(up)
    (manifest_id,) = [id for id, kind in up.items() if kind == "manifest"]
    rows = Manifest.load(ws.session.files, ws.session.ledger, manifest_id).table(ws.session.files).to_pylist()
    told = {row["key"]: row["digest"] for row in rows}
    real = {
        str(path.relative_to(project / "data")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project / "data").rglob("*.txt")
    }
    assert told == real

    (seen,) = find_file(ws.session.files, ws.session.ledger, project / "data" / "low" / "007.txt")
    assert (seen.manifest, seen.key) == (manifest_id, "low/007.txt")
    down = {row["id"] for row in inspect.lineage(ws.session, seen.manifest)["downstream"]}
    assert {"process-arrays-1", "dataset-arrays-1", "train-fit-1", version.id} <= down


def test_a_version_keeps_its_scores_on_validation_and_test_and_sample_predictions(
    ws: hw.Workspace, project: Path
) -> None:
    version = _register(ws, project)
    path = version.path / "evaluation.json"
    kept = decode(path.read_bytes(), Evaluation, where=str(path))
    assert kept.metrics["validation:accuracy"] > 0.9
    assert kept.metrics["test:accuracy"] > 0.9
    assert len(kept.samples) > 5
    assert all(sample.predicted in ("low", "high") for sample in kept.samples)
    assert version.metrics == kept.metrics


def test_codes_stay_when_classes_arrive_and_labels_come_back_at_prediction(ws: hw.Workspace, project: Path) -> None:
    before = _register(ws, project)
    (project / "data" / "above").mkdir()  # the first in the alphabet
    for number in range(40):
        (project / "data" / "above" / f"{number:03d}.txt").write_text(f"9 9 {9 + number / 1000}")
    after = _register(ws, project)
    assert (before.ref, after.ref) == ("signs@1", "signs@2")
    assert ws.manifest("numbers@1").labels == {"high": 0, "low": 1}
    assert ws.manifest("numbers@2").labels == {"high": 0, "low": 1, "above": 2}
    assert json.loads((after.path / "model" / "model.json").read_text())["labels"] == {"high": 0, "low": 1, "above": 2}
    files = [project / "data" / label / "001.txt" for label in ("above", "low", "high")]
    assert [one.label for one in after.predict(files)] == ["above", "low", "high"]
    assert [one.label for one in before.predict(files[1:])] == ["low", "high"]
