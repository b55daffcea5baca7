"""When finished work answers again, and why it does not."""

from __future__ import annotations

from pathlib import Path

import headway as hw
from headway.flows import inspect


def _why(ws: hw.Workspace, job: str) -> list[str]:
    reasons: list[str] = inspect.why(ws.session, job)["created"]["reasons"]
    return reasons


def test_only_what_really_ran_or_was_read_counts(ws: hw.Workspace, project: Path) -> None:
    (project / "words.txt").write_text("one")
    (project / "other.py").write_text("def unused():\n    return 1\n")
    (project / "work.py").write_text(
        "import pathlib\n"
        f"WORDS = pathlib.Path({str(project / 'words.txt')!r})\n"
        "def fit(context):\n"
        "    if len(WORDS.read_text()) > 100:\n"
        "        import other\n"
        "    return {'n': len(WORDS.read_text())}\n"
    )
    first = ws.train("w", "work:fit")
    assert ws.train("w", "work:fit").id == first.id
    (project / "other.py").write_text("def unused():\n    return 2\n")
    assert ws.train("w", "work:fit").id == first.id, "a file that did not run counts"
    (project / "work.py").write_text((project / "work.py").read_text() + "# a comment\n")
    assert ws.train("w", "work:fit").id == first.id, "a comment counts"
    (project / "words.txt").write_text("two words")
    second = ws.train("w", "work:fit")
    assert second.id == "train-w-2"
    assert second.metrics["n"] == 9
    assert any("words.txt" in reason for reason in _why(ws, second.id))
    (project / "work.py").write_text((project / "work.py").read_text().replace("'n':", "'m':"))
    third = ws.train("w", "work:fit")
    assert third.id == "train-w-3"
    assert any("work.py" in reason for reason in _why(ws, third.id))


def test_processing_and_tuning_are_found_again_and_run_again_for_a_reason(ws: hw.Workspace, project: Path) -> None:
    (project / "scale.txt").write_text("2")
    (project / "scaled.py").write_text(
        "import pathlib\nimport numpy as np\n"
        f"SCALE = pathlib.Path({str(project / 'scale.txt')!r})\n"
        "def to_array(item):\n"
        "    return np.full(2, float(SCALE.read_text()))\n"
        "def fit(context, x):\n"
        "    X, y = context.channels['train'].arrays()\n"
        "    return {'score': x * float(X.mean())}\n"
    )
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))

    def both() -> tuple[str, str]:
        data = ws.process("scaled", manifest, "scaled:to_array", workers=2)
        study = ws.tune(
            "s", "scaled:fit", data, space={"x": hw.Float(0, 1)}, objective=hw.Maximize("score"), trials=2, new=True
        )
        return data.id, study.id

    assert both() == ("dataset-scaled-1", "tune-s-1")
    assert ws.process("scaled", manifest, "scaled:to_array", workers=1).id == "dataset-scaled-1"
    (project / "scale.txt").write_text("3")
    assert both() == ("dataset-scaled-2", "tune-s-2")
    assert any("scale.txt" in reason for reason in _why(ws, "process-scaled-2"))


def test_damaged_outputs_are_made_again(ws: hw.Workspace, project: Path) -> None:
    (project / "out.py").write_text(
        "import pathlib\ndef fit(context):\n    (pathlib.Path(context.output_dir) / 'table.csv').write_text('1,2,3')\n"
    )
    job = ws.train("o", "out:fit")
    (job.output / "table.csv").unlink()
    again = ws.train("o", "out:fit")
    assert again.id == "train-o-2"
    assert (again.output / "table.csv").read_text() == "1,2,3"
    assert any("missing or damaged" in reason for reason in _why(ws, again.id))
