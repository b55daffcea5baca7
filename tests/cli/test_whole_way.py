"""The command line over one real workspace: from a folder of files to predictions, then every way of looking at it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from headway.cli.main import run

pytestmark = pytest.mark.slow


RECIPE = """
import numpy as np


def to_array(item):
    with open(item.path, "rb") as file:
        return np.frombuffer(file.read()[:4], dtype=np.uint8).astype("float32")


class Nearest:
    # The class whose mean is nearest.

    def __init__(self, means):
        self.means = means

    def predict(self, rows):
        return np.argmin([((rows - mean) ** 2).sum(axis=1) for mean in self.means], axis=0)


def fit(context, smoothing=1e-9, kind="plain"):
    rows, labels = context.channels["train"].arrays()
    model = Nearest([rows[labels == label].mean(axis=0) for label in np.unique(labels)])
    rows, labels = context.channels["validation"].arrays()
    score = float((model.predict(rows) == labels).mean())
    context.report({"validation:accuracy": score, "validation:loss": 1 - score})
    print(f"{kind}: {score:.2f}")
    return model


def broken(context):
    raise RuntimeError("the disk is on fire")


def silent(context, x=0.0):
    context.report({"other": 1.0})
"""


class Shop:
    """A folder with data and programs, and the command line started in it."""

    def __init__(self, folder):
        self.folder = folder
        for label, base in (("low", 20), ("high", 200)):
            (folder / "files" / label).mkdir(parents=True)
            for number in range(40):
                content = bytes([base + number % 7, base + number % 5, number, base])
                (folder / "files" / label / f"{number:03}.bin").write_bytes(content)
        (folder / "recipe.py").write_text(RECIPE)

    def __call__(self, capsys, *arguments, code=0):
        """What a command printed; its errors when it should end with another code than 0."""
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            capsys.readouterr()
            found = run([str(argument) for argument in arguments])
        finally:
            os.chdir(here)
        printed = capsys.readouterr()
        assert found == code, (found, printed.out, printed.err)
        return printed.out if code == 0 else printed.err

    def json(self, capsys, *arguments):
        """The JSON that a command printed."""
        return json.loads(self(capsys, *arguments, "--json"))


@pytest.fixture(scope="module", autouse=True)
def machine_of_our_own(tmp_path_factory):
    """Reservations of cores that no other test waits for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWAY_MACHINE_DIR", str(tmp_path_factory.mktemp("machine")))
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The whole way once, as the README tells it."""
    folder = tmp_path_factory.mktemp("shop")
    found = Shop(folder)
    quiet = type("Quiet", (), {"readouterr": lambda self: type("Text", (), {"out": "", "err": ""})})()
    for command in (
        ["manifest", "build", "numbers", "files/", "--label", "{label}/*", "--validation", 0.2, "--test", 0.2],
        ["process", "arrays", "numbers", "recipe:to_array", "--workers", 2],
        [
            *["tune", "strength", "recipe:fit", "arrays", "--float", "smoothing=1e-9:1e-1:log"],
            *["--choice", "kind=plain,fancy", "--maximize", "validation:accuracy", "--trials", 4, "--parallel", 2],
        ],
        ["evaluate", "strength", "arrays"],
        ["model", "register", "numbers", "strength", "--at-least", "test:accuracy=0.9"],
        ["model", "promote", "numbers", "champion"],
    ):
        found(quiet, *command)
    return found


def test_a_manifest_is_shown_with_classes_and_channels(shop, capsys):
    lines = shop(capsys, "manifest", "show", "numbers").splitlines()
    assert lines[0].split() == ["id:", "manifest-numbers-1"]
    assert [line.split() for line in lines[-4:]] == [
        ["label", "train", "validation", "test"],
        ["high", "24", "8", "8"],
        ["low", "24", "8", "8"],
        ["all", "48", "16", "16"],
    ]
    assert shop.json(capsys, "manifest", "show", "numbers@1")["labels"] == {"high": 0, "low": 1}
    assert [row["id"] for row in shop.json(capsys, "manifest", "list")] == ["manifest-numbers-1"]
    assert len(shop.json(capsys, "manifest", "trend", "numbers")) == 1
    assert "0 errors" in shop(capsys, "manifest", "check", "numbers")


def test_two_versions_of_a_manifest_are_compared(shop, capsys, tmp_path):
    shutil.copytree(shop.folder / "files", tmp_path / "files")
    at = ["-w", tmp_path / "ws"]
    shop(capsys, *at, "manifest", "build", "n", tmp_path / "files")
    assert "no manifest" not in shop(capsys, *at, "manifest", "list")
    assert "first version" in shop(capsys, *at, "manifest", "diff", "n", code=2)
    (tmp_path / "files" / "low" / "new.bin").write_bytes(b"new")
    (tmp_path / "files" / "low" / "000.bin").unlink()
    assert shop(capsys, *at, "manifest", "check", "n", code=1) == ""
    shop(capsys, *at, "manifest", "build", "n", tmp_path / "files")
    text = shop(capsys, *at, "manifest", "diff", "n")
    assert "manifest-n-1 -> manifest-n-2" in text
    assert "added: 1  (low/new.bin" in text
    assert "removed: 1  (low/000.bin" in text
    assert shop.json(capsys, *at, "manifest", "diff", "n@1", "n@2")["added"]["num"] == 1


def test_moved_data_are_pointed_to_again(shop, capsys, tmp_path):
    shutil.copytree(shop.folder / "files", tmp_path / "before")
    at = ["-w", tmp_path / "ws"]
    shop(capsys, *at, "manifest", "build", "n", tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    shop(capsys, *at, "relocate", "n", tmp_path / "elsewhere", code=1)
    assert f"data at {tmp_path / 'after'}" in shop(capsys, *at, "relocate", "n", tmp_path / "after")
    assert "0 errors" in shop(capsys, *at, "manifest", "check", "n")


def test_jobs_are_listed_oldest_first_and_filtered(shop, capsys):
    rows = shop.json(capsys, "jobs")
    assert [row["id"] for row in rows][:2] == ["process-arrays-1", "tune-strength-1"]
    assert {row["status"] for row in rows} >= {"succeeded"}
    assert [row["kind"] for row in shop.json(capsys, "jobs", "--kind", "tune")] == ["tune"]
    assert shop(capsys, "jobs", "--status", "running") == "no such job\n"
    assert "process-arrays-1" in shop(capsys, "jobs")


def test_a_study_is_shown_and_ranked_by_any_metric(shop, capsys):
    found = shop.json(capsys, "study", "show", "strength")
    assert (found["ended"], found["trials"], len(found["rows"])) == (4, 4, 4)
    assert found["rows"][0]["number"] == found["best"]["number"]
    text = shop(capsys, "study", "show", "strength", "--by", "validation:loss")
    assert text.startswith("tune-strength-1 succeeded: 4/4 trials, best validation:accuracy")
    assert text.splitlines()[1].split()[:4] == ["trial", "status", "validation:loss", "kind"]
    assert "did you mean" in shop(capsys, "study", "show", "strength", "--by", "validation:los", code=2)
    assert [row["id"] for row in shop.json(capsys, "study", "list")] == ["tune-strength-1"]


def test_a_study_is_extended_and_other_settings_are_refused(shop, capsys, tmp_path):
    ws = tmp_path / "ws"
    shutil.copytree(shop.folder / ".headway", ws)
    found = shop.json(capsys, "-w", ws, "study", "resume", "strength", "--trials", 6)
    assert (found["ended"], found["trials"]) == (6, 6)
    command = ["tune", "strength", "recipe:fit", "arrays", "--float", "smoothing=1e-9:1:log"]
    error = shop(capsys, "-w", ws, *command, "--maximize", "validation:accuracy", code=2)
    assert "other settings" in error
    assert "--new" in error


def test_the_log_of_every_worker_is_printed(shop, capsys):
    lines = [shop(capsys, "logs", "tune-strength-1", "--worker", each) for each in ("algo-1", 2)]
    assert "".join(lines).count(": 1.00") >= 1
    error = shop(capsys, "logs", "strength", "--worker", "algo-9", code=2)
    assert "algo-1" in error or "algo-2" in error


def test_a_dataset_is_shown(shop, capsys):
    assert "48 rows, 1 shards" in shop(capsys, "dataset", "show", "arrays")
    assert [row["status"] for row in shop.json(capsys, "dataset", "list")] == ["ready"]


def test_models_are_listed_searched_and_shown(shop, capsys):
    assert [row["ref"] for row in shop.json(capsys, "model", "list")] == ["numbers@1"]
    assert shop.json(capsys, "model", "list", "--where", "test:accuracy>=0.99999999")[0]["aliases"] == ["champion"]
    assert shop(capsys, "model", "list", "nothing-like-it") == "no registered model\n"
    text = shop(capsys, "model", "show", "numbers@champion")
    assert "gate passed: test:accuracy is 1" in text
    assert shop.json(capsys, "model", "show", "numbers")["id"] == "model-numbers-1"
    assert [row["kind"] for row in shop.json(capsys, "model", "history", "numbers")] == ["promoted"]
    assert "predicts what it predicted" in shop(capsys, "model", "verify", "numbers")


def test_a_gate_refuses_with_value_and_threshold(shop, capsys):
    error = shop(capsys, "model", "register", "numbers", "strength", "--at-least", "test:accuracy=2", code=1)
    assert "test:accuracy is 1, the gate asks for at least 2" in error
    assert "pointed at version 1 only" in shop(capsys, "model", "rollback", "numbers", code=2)


def test_raw_files_are_predicted(shop, capsys):
    rows = shop.json(capsys, "predict", "numbers@champion", "files/low/003.bin", "files/high/003.bin")
    assert [row["label"] for row in rows] == ["low", "high"]
    assert "low" in shop(capsys, "predict", "numbers", "files/low/003.bin")
    assert "no such file" in shop(capsys, "predict", "numbers", "files/none.bin", code=1)
    assert "numbers@champion" in shop(capsys, "predict", "numbers@champio", "files/low/003.bin", code=2)


def test_lineage_leads_from_a_file_to_the_models_and_back(shop, capsys):
    text = shop(capsys, "lineage", "files/low/003.bin")
    assert "is low/003.bin of manifest-numbers-1, channel" in text
    assert "model-numbers-1" in text
    up = {row["id"] for row in shop.json(capsys, "lineage", "model-numbers-1")["upstream"]}
    assert up >= {"manifest-numbers-1", "dataset-arrays-1", "process-arrays-1", "tune-strength-1"}


def test_why_says_reused_and_what_changed(shop, capsys):
    shop(capsys, "process", "arrays", "numbers", "recipe:to_array", "--workers", 2)
    assert "last time: reused" in shop(capsys, "why", "process-arrays-1")
    assert shop.json(capsys, "why", "arrays")["id"] in ("process-arrays-1", "dataset-arrays-1")


def test_show_and_compare_tell_everything(shop, capsys):
    assert shop.json(capsys, "show", "tune-strength-1")["status"] == "succeeded"
    assert "recipe:fit" in shop(capsys, "show", "tune-strength-1")
    text = shop(capsys, "compare", "process-arrays-1", "tune-strength-1")
    assert text.splitlines()[0].split() == ["process-arrays-1", "tune-strength-1"]
    assert "differs" in text
    assert shop.json(capsys, "compare", "process-arrays-1", "tune-strength-1")["ids"][0] == "process-arrays-1"


def test_a_job_that_fails_is_said_in_two_lines_and_can_be_looked_at(shop, capsys):
    error = shop(capsys, "train", "fire", "recipe:broken", "arrays", code=1).splitlines()
    said = [line for line in error if line.startswith(("headway:", "see:"))]
    assert len(said) == 2
    assert "the disk is on fire" in said[0]
    assert "headway logs train-fire-1" in said[1]
    assert "the disk is on fire" in shop(capsys, "show", "train-fire-1")
    assert "failed" in shop(capsys, "stop", "train-fire-1")


def test_a_metric_that_never_appears_stops_the_search(shop, capsys):
    command = ["tune", "lost", "recipe:silent", "arrays", "--float", "x=0:1", "--maximize", "accuracy"]
    error = shop(capsys, *command, "--trials", 64, code=2)
    assert "without the metric 'accuracy'; metrics seen: other" in error


def test_wrong_hyperparameters_are_refused_before_anything_starts(shop, capsys):
    error = shop(capsys, "train", "typo", "recipe:fit", "arrays", "--set", "smoothin=1", code=2)
    assert "smoothing" in error
    assert "train-typo-1" not in shop(capsys, "jobs")


def test_nothing_is_left_to_prune(shop, capsys):
    assert shop(capsys, "prune", "--dry-run") == "nothing to remove\n"


def test_unknown_names_list_the_known_ones(shop, capsys):
    assert "did you mean 'tune-strength-1'" in shop(capsys, "show", "tune-strengt-1", code=2)
    assert "no manifest named 'photos'" in shop(capsys, "manifest", "show", "photos", code=2)
    assert "known: numbers" in shop(capsys, "model", "show", "shoes", code=2)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("show tune-s", {"tune-strength-1"}),
        ("logs proc", {"process-arrays-1"}),
        ("model show num", {"numbers"}),
        ("manifest show ", {"numbers", "manifest-numbers-1"}),
        ("study show str", {"strength"}),
        ("evaluate strength arr", {"arrays"}),
    ],
)
def test_the_tab_key_offers_what_there_is(shop, words, offered):
    given = f"headway {words}"
    environment = {
        **os.environ,
        "_HEADWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": given,
        "COMP_CWORD": str(len(given.split()) - (not given.endswith(" "))),
    }
    command = [sys.executable, "-m", "headway"]
    done = subprocess.run(command, cwd=shop.folder, env=environment, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == offered, done.stderr


def test_the_tab_key_is_silent_where_there_is_no_workspace(tmp_path):
    environment = {
        **os.environ,
        "_HEADWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": "headway show x",
        "COMP_CWORD": "2",
    }
    command = [sys.executable, "-m", "headway"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
