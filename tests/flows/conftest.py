"""A small project with real files: two classes of numbers in text files, a transform, a training function, a script."""

from __future__ import annotations

import random
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import headway as hw
from headway.execution.progress import Silent

PREPARE = """
import numpy as np

def to_array(item):
    values = [float(word) for word in item.path.read_text().split()]
    return np.asarray(values, "float32")
"""

TRAIN = """
import numpy as np

class Side:
    def __init__(self, offset, classes):
        self.offset, self.classes_ = offset, classes
    def predict(self, rows):
        return (np.asarray(rows).mean(axis=1) < self.offset).astype(int)

def fit(context, C=1.0):
    X, y = context.channels["train"].arrays()
    model = Side(float(X.mean()) * C, [0, 1])
    V, w = context.channels["validation"].arrays()
    context.report({"validation:accuracy": float((model.predict(V) == w).mean())}, step=1)
    return model
"""

SCRIPT = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--scale", type=float, default=1.0)
arguments = parser.parse_args()
names = sorted(os.listdir(os.environ["SM_CHANNEL_TRAIN"]))
print("files", len(names))
print(f"score={arguments.scale * 2:.3f}")
with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights.json"), "w") as stream:
    json.dump({"scale": arguments.scale}, stream)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with `data/`, `prepare.py`, `training.py` and `src/train.py`; it is the current folder."""
    draw = random.Random(7)
    for label, centre in (("low", -1.0), ("high", 1.0)):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        for number in range(40):
            values = [centre + draw.gauss(0, 0.4) for _ in range(3)]
            (folder / f"{number:03d}.txt").write_text(" ".join(f"{value:.6f}" for value in values))
    (tmp_path / "prepare.py").write_text(textwrap.dedent(PREPARE))
    (tmp_path / "training.py").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(textwrap.dedent(SCRIPT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HEADWAY_MACHINE_DIR", str(tmp_path / "machine"))
    yield tmp_path
    for name in ("prepare", "training"):
        sys.modules.pop(name, None)


@pytest.fixture
def ws(project: Path) -> Iterator[hw.Workspace]:
    """A new workspace in the project."""
    with hw.open(project / ".headway", progress=Silent()) as workspace:
        yield workspace
