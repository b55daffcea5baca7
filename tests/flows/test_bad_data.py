"""Processing when something is wrong with the data, the transform or the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import DataChangedError, JobFailedError

SPLIT = hw.Split(validation=0.2, test=0.2)


def _manifest(ws: hw.Workspace) -> hw.Manifest:
    return ws.manifest("numbers", "data", split=SPLIT)


def test_one_file_that_raises_is_named_and_the_rest_is_kept(ws: hw.Workspace, project: Path) -> None:
    (project / "picky.py").write_text(
        "import os\nimport numpy as np\n"
        "def to_array(item):\n"
        "    if item.key == 'low/007.txt' and not os.path.exists(os.environ['MENDED']):\n"
        "        raise ValueError('seven is not allowed')\n"
        "    return np.zeros(3)\n"
    )
    os.environ["MENDED"] = str(project / "mended")
    try:
        manifest = _manifest(ws)
        with pytest.raises(JobFailedError, match="seven is not allowed") as caught:
            ws.process("picky", manifest, "picky:to_array", workers=2)
        assert "low/007.txt" in str(caught.value)
        assert "max_failed=1" in str(caught.value)
        partly = ws.process("partly", manifest, "picky:to_array", max_failed=1)
        assert sum(partly.rows.values()) == 79
        assert [p.key for problems in partly.problems.values() for p in problems] == ["low/007.txt"]
        (project / "mended").touch()
        before = _records(project, "process-picky-1")
        whole = ws.process("picky", manifest, "picky:to_array", workers=2)
        assert sum(whole.rows.values()) == 80
        assert _records(project, "process-picky-1") - before == 1, "more was done again than the part that had failed"
    finally:
        del os.environ["MENDED"]


def _records(project: Path, job: str) -> int:
    """How many parts were done in all attempts of a job."""
    return sum(
        len(path.read_text().splitlines())
        for path in (project / ".headway" / "jobs" / job).glob("attempts/*/algo-*/tasks.jsonl")
    )


def test_a_worker_that_dies_costs_only_its_item(ws: hw.Workspace, project: Path) -> None:
    (project / "deadly.py").write_text(
        "import os, signal\nimport numpy as np\n"
        "def to_array(item):\n"
        "    if item.key == 'high/003.txt':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return np.zeros(3)\n"
    )
    with pytest.raises(JobFailedError, match=r"high/003\.txt"):
        ws.process("deadly", _manifest(ws), "deadly:to_array", workers=2)
    data = ws.process("deadly", _manifest(ws), "deadly:to_array", workers=2, max_failed=1)
    assert sum(data.rows.values()) == 79


def test_a_file_that_changed_since_the_manifest_is_an_error(ws: hw.Workspace, project: Path) -> None:
    manifest = _manifest(ws)
    (project / "data" / "low" / "000.txt").write_text("9 9 9 9 9 9")
    with pytest.raises(DataChangedError, match=r"low/000\.txt"):
        ws.process("arrays", manifest, "prepare:to_array")


def test_fewer_files_than_workers(ws: hw.Workspace, project: Path) -> None:
    for label in ("x", "y"):
        (project / "few" / label).mkdir(parents=True)
        for number in range(3):
            (project / "few" / label / f"{number}.txt").write_text(f"{number} {ord(label)} 2")
    manifest = ws.manifest("few", "few", split=hw.Split(validation=0.34, test=0.34))
    data = ws.process("few", manifest, "prepare:to_array", workers=8, shards=4)
    assert sum(data.rows.values()) == 6
    assert data.num_shards == 4


def test_more_shards_or_workers_make_the_same_dataset(ws: hw.Workspace) -> None:
    manifest = _manifest(ws)
    one = ws.process("one", manifest, "prepare:to_array")
    many = ws.process("many", manifest, "prepare:to_array", workers=2, shards=5)
    assert one.digest == many.digest
    assert many.num_shards == 5


def test_a_study_whose_metric_never_appears_stops_with_what_was_seen(ws: hw.Workspace, project: Path) -> None:
    (project / "named.py").write_text("def fit(x):\n    return {'loss': x}\n")
    with pytest.raises(hw.errors.ProgramError, match="loss"):
        ws.tune("n", "named:fit", space={"x": hw.Float(0, 1)}, objective=hw.Maximize("accuracy"), trials=8)
    assert len(ws.study("n").trials()) < 8


def test_a_trial_that_dies_ends_as_failed_and_the_study_goes_on(ws: hw.Workspace, project: Path) -> None:
    (project / "fragile.py").write_text(
        "import os, signal\n"
        "def fit(x):\n"
        "    if x == 'bad':\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return {'score': 1.0}\n"
    )
    study = ws.tune(
        "f", "fragile:fit", space={"x": hw.Choice("good", "bad", "fine")}, objective=hw.Maximize("score"), trials=3,
        parallel=2, searcher="grid",
    )  # fmt: skip
    assert sorted(row["status"] for row in study.trials()) == ["ended", "ended", "failed"]
    failed = next(row for row in study.trials() if row["status"] == "failed")
    assert failed["parameters"] == {"x": "bad"}
    assert failed["failures"] == 2


def test_several_deadly_files_in_one_part_are_all_found(ws: hw.Workspace, project: Path) -> None:
    (project / "deadlier.py").write_text(
        "import os, signal\nimport numpy as np\n"
        "def to_array(item):\n"
        "    if item.key.endswith(('1.txt', '2.txt')) and item.label == 'low':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return np.zeros(3)\n"
    )
    data = ws.process("deadlier", _manifest(ws), "deadlier:to_array", workers=2, max_failed=8)
    lost = [problem for problems in data.problems.values() for problem in problems]
    assert len(lost) == 8
    assert "SIGKILL" in lost[0].message


def test_a_script_can_be_the_transform(ws: hw.Workspace, project: Path) -> None:
    (project / "convert.py").write_text(
        "import json, os\n"
        "channel = json.loads(os.environ['SM_CHANNELS'])[0].upper()\n"
        "source, target = os.environ['SM_CHANNEL_' + channel], os.environ['SM_OUTPUT_DATA_DIR']\n"
        "for folder, _, names in os.walk(source):\n"
        "    for name in names:\n"
        "        path = os.path.join(folder, name)\n"
        "        out = os.path.join(target, os.path.relpath(path, source))\n"
        "        os.makedirs(os.path.dirname(out), exist_ok=True)\n"
        "        open(out, 'w').write(open(path).read().upper())\n"
    )
    data = ws.process("script", _manifest(ws), hw.Script("convert.py"), workers=2)
    written = data.open(ws.session.files).channel("train").files()
    assert len(written) == 48
    assert all(path.suffix == ".txt" for path in written)


def test_training_on_raw_files_that_changed_is_an_error(ws: hw.Workspace, project: Path) -> None:
    (project / "count.py").write_text(
        "import os\ndef fit(context):\n    return {'n': sum(map(len, os.walk(context.channels['train'].path)))}\n"
    )
    manifest = _manifest(ws)
    (project / "data" / "low" / "001.txt").unlink()
    with pytest.raises(DataChangedError, match=r"low/001\.txt"):
        ws.train("c", "count:fit", manifest)


def test_a_transform_that_leaves_everything_out_is_an_error(ws: hw.Workspace, project: Path) -> None:
    (project / "nothing.py").write_text("def to_array(item):\n    return None\n")
    with pytest.raises(JobFailedError, match="returned None for all 80"):
        ws.process("nothing", _manifest(ws), "nothing:to_array")


@pytest.mark.parametrize(
    "wrong",
    [{"seed": "a"}, {"workers": 1.5}, {"retries": -1}, {"timeout_s": 0}, {"workers": 0}],
)
def test_a_wrong_argument_is_refused_and_leaves_nothing_behind(
    ws: hw.Workspace, project: Path, wrong: dict[str, Any]
) -> None:
    (project / "fine.py").write_text("def fit():\n    return {'x': float('nan')}\n")
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        ws.train("fine", "fine:fit", **wrong)
    assert ws.session.ledger.entries() == []
    assert ws.train("fine", "fine:fit").status == "succeeded", "a metric that is no number must not break the job"


def test_a_study_without_a_finite_value_says_so(ws: hw.Workspace, project: Path) -> None:
    (project / "lost.py").write_text("def fit(x):\n    return {'loss': float('nan')}\n")
    with pytest.raises(JobFailedError, match="finite value of 'loss'"):
        ws.tune("lost", "lost:fit", space={"x": hw.Float(0, 1)}, objective=hw.Minimize("loss"), trials=2)
    assert ws.study("lost").status == "failed"
