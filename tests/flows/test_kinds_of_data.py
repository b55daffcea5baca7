"""One plain function each for pictures, texts and tables: no class to derive from, no code that distributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headway as hw

TRANSFORMS = """
import csv
import numpy as np
from PIL import Image

def picture(item):
    return np.asarray(Image.open(item.path), dtype="float32").ravel() / 255

def text(item):
    words = item.path.read_text().lower().split()
    return np.asarray([words.count(word) for word in ("sun", "rain")], dtype="int64")

def table(item):
    with open(item.path, newline="") as stream:
        rows = [[float(row["a"]), float(row["b"])] for row in csv.DictReader(stream)]
    return {"x": np.asarray(rows).mean(axis=0), "num_rows": np.int64(len(rows))}
"""


def _write(kind: str, path: Path, number: int) -> None:
    if kind == "picture":
        Image.fromarray(np.full((4, 3), number, dtype=np.uint8)).save(path.with_suffix(".png"))
    elif kind == "text":
        path.with_suffix(".txt").write_text("Sun " * number + "rain\n", encoding="utf-8")
    else:
        path.with_suffix(".csv").write_text(f"a,b\n{number},1\n{number},3\n")


@pytest.mark.parametrize(
    ("kind", "first_row"), [("picture", [25 / 255] * 12), ("text", [25, 1]), ("table", [25.0, 2.0])]
)
def test_a_plain_function_is_all_that_each_kind_needs(
    ws: hw.Workspace, project: Path, kind: str, first_row: list[float]
) -> None:
    (project / "kinds.py").write_text(TRANSFORMS)
    for label, first in (("a", 0), ("b", 20)):
        (project / kind / label).mkdir(parents=True)
        for number in range(10):
            _write(kind, project / kind / label / f"{number:02d}", first + number)
    data = ws.process(kind, ws.manifest(kind, kind), f"kinds:{kind}", workers=2, shards=2)
    assert data.rows == {"train": 16, "validation": 2, "test": 2}
    found = {}
    for channel in ("train", "validation", "test"):
        opened = data.open(ws.session.files).channel(channel, allow_test=True)
        rows, codes = opened.arrays()
        found |= {key: (row, code) for key, row, code in zip(opened.keys(), _x(rows), codes, strict=True)}
    row, code = next(value for key, value in found.items() if key.startswith("b/05."))
    assert np.allclose(row, first_row)
    assert code == 1
    assert len(found) == 20


def _x(rows: object) -> np.ndarray:
    return rows["x"] if isinstance(rows, dict) else np.asarray(rows)  # type: ignore[no-any-return]
