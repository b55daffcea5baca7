from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from registering import Adds, open_workspace
from scored import DIGIT_LABELS, digit_channels, digits, save_in_job, store_evaluation, write_dataset
from sklearn.linear_model import LogisticRegression

import headway.registry.register as registering
from headway.errors import DataChangedError, GateFailedError, NotFoundError, WorkspaceError
from headway.evaluation.compare import compare_stored
from headway.evaluation.gates import AtLeast, AtMost, BetterThanChampion
from headway.models.model import load as load_folder
from headway.registry.aliases import promote
from headway.registry.lookup import load, resolve, rows
from headway.registry.register import register
from headway.registry.version import Bundle
from headway.stores import commit
from headway.stores.ledger import Edge

SUPPORT = Path(registering.__file__).parents[3] / "tests" / "support"


@pytest.fixture
def workspace(tmp_path):
    files, ledger = open_workspace(tmp_path)
    yield files, ledger
    assert ledger.check() == []
    ledger.close()


@pytest.fixture(scope="module")
def fitted():
    images, target = digits()
    return [LogisticRegression(max_iter=300, C=c).fit(images[:300].reshape(300, -1), target[:300]) for c in (1.0, 1e-5)]


@pytest.fixture
def evaluated(workspace, fitted):
    """A good and a poor model of the digits with their evaluations: [(folder, evaluation), ...]."""
    files, ledger = workspace
    write_dataset(files.local("datasets/arrays/1"), digit_channels(*digits()), labels=DIGIT_LABELS)
    found = []
    for number, model in enumerate(fitted, 1):
        folder = save_in_job(files, model, job=f"train-digits-{number}", labels=DIGIT_LABELS)
        evaluation = store_evaluation(
            files, ledger, files.local("datasets/arrays/1"), files.local(folder), name=f"train-digits-{number}",
            model_ref=f"train-digits-{number}",
        )  # fmt: skip
        found.append((folder, evaluation))
    return found


def test_a_version_has_all_that_prediction_needs(workspace, evaluated, fitted):
    files, ledger = workspace
    folder, evaluation = evaluated[0]
    version = register(
        files, ledger, "digits", model_folder=folder, evaluation=evaluation, gates=[AtLeast("test:accuracy", 0.7)],
        links={"job": "train-digits-1", "manifest": "manifest-photos-1"}, tags={"team": "vision"},
        metrics={"cost": 2.5}, bundle=Bundle(labels=DIGIT_LABELS), parameters={"C": 1.0},
    )  # fmt: skip
    assert (version.id, version.name, version.version) == ("model-digits-1", "digits", 1)
    assert version.metrics == {**evaluation.metrics, "cost": 2.5}
    assert version.tags == {"team": "vision"}
    assert version.gates[0].passed
    assert version.labels == DIGIT_LABELS
    assert version.digest == evaluation.model_digest
    assert {path.name for path in version.path(files).iterdir()} == {
        "model", "golden", "evaluation.json", "version.json", "outcome.json",
    }  # fmt: skip
    commit.verify(files, "models/digits/1", attempt=1, deep=True)
    assert ledger.edges(target="model-digits-1") == [
        Edge(source="dataset-arrays-1", target="model-digits-1", role="dataset"),
        Edge(source=evaluation.id, target="model-digits-1", role="evaluation"),
        Edge(source="manifest-photos-1", target="model-digits-1", role="manifest"),
        Edge(source="train-digits-1", target="model-digits-1", role="job"),
    ]
    images, _ = digits()
    sample = images[300:320].reshape(20, -1)
    assert load(files, ledger, "digits").predict(sample).tolist() == fitted[0].predict(sample).tolist()


def test_the_same_again_is_the_version_that_is_there(workspace, evaluated):
    files, ledger = workspace
    (one, good), (two, poor) = evaluated
    first = register(files, ledger, "digits", model_folder=one, evaluation=good)
    second = register(files, ledger, "digits", model_folder=two, evaluation=poor)
    again = register(files, ledger, "digits", model_folder=one, evaluation=good, tags={"seen": "twice"})
    assert [first.version, second.version, again.version] == [1, 2, 1]
    assert again.tags == {"seen": "twice"}
    assert register(files, ledger, "digits", model_folder=one).version == 3  # without its evaluation: another version
    assert len(rows(files, ledger)) == 3


def test_a_gate_that_fails_writes_nothing(workspace, evaluated):
    files, ledger = workspace
    folder, poor = evaluated[1]
    gates = [AtLeast("test:accuracy", 0.99), AtMost("test:log_loss", 0.1)]
    with pytest.raises(GateFailedError, match="registering 'digits' is refused, nothing was written") as caught:
        register(files, ledger, "digits", model_folder=folder, evaluation=poor, gates=gates)
    assert [failed["metric"] for failed in caught.value.failed] == ["test:accuracy", "test:log_loss"]
    assert caught.value.failed[0]["value"] == poor.metrics["test:accuracy"]
    assert caught.value.failed[0]["threshold"] == 0.99
    assert ledger.entries("model") == []
    assert not files.exists("models")


def test_gates_without_an_evaluation_are_refused(workspace, evaluated):
    files, ledger = workspace
    with pytest.raises(ValueError, match="with gates needs an evaluation"):
        register(files, ledger, "digits", model_folder=evaluated[0][0], gates=[AtLeast("test:accuracy", 0.1)])


def test_the_champion_is_the_measure_once_there_is_one(workspace, evaluated):
    files, ledger = workspace
    (good_folder, good), (poor_folder, poor) = evaluated
    gate = BetterThanChampion("test:accuracy")
    first = register(files, ledger, "digits", model_folder=poor_folder, evaluation=poor, gates=[gate])
    assert "there is no champion yet" in first.gates[0].text
    promote(files, ledger, "digits", version=1)
    second = register(files, ledger, "digits", model_folder=good_folder, evaluation=good, gates=[gate])
    assert second.gates[0].threshold == poor.metrics["test:accuracy"]
    promote(files, ledger, "digits", version=2)
    with pytest.raises(GateFailedError, match="the champion has"):
        register(files, ledger, "digits", model_folder=poor_folder, evaluation=poor, gates=[gate])
    assert [entry.version for entry in ledger.entries("model", "digits")] == [1, 2]


def test_a_champion_of_other_data_is_not_compared_in_silence(workspace, evaluated, fitted):
    files, ledger = workspace
    (good_folder, good), (poor_folder, poor) = evaluated
    register(files, ledger, "digits", model_folder=poor_folder, evaluation=poor)
    promote(files, ledger, "digits", version=1)
    images, target = digits()
    write_dataset(files.local("datasets/arrays/2"), digit_channels(images, target, held=60), labels=DIGIT_LABELS)
    other = store_evaluation(
        files,
        ledger,
        files.local("datasets/arrays/2"),
        files.local(good_folder),
        name="other",
        model_ref="train-digits-1",
    )
    gate = BetterThanChampion("test:accuracy")
    with pytest.raises(
        GateFailedError, match=r"was scored on other data .*\(headway evaluate NAME@champion dataset-arrays-1\)"
    ):
        register(files, ledger, "digits", model_folder=good_folder, evaluation=other, gates=[gate])
    there = store_evaluation(
        files,
        ledger,
        files.local("datasets/arrays/2"),
        files.local(poor_folder),
        name="champ",
        model_ref="model-digits-1",
    )
    passed = register(files, ledger, "digits", model_folder=good_folder, evaluation=other, gates=[gate], champion=there)
    assert passed.version == 2
    assert compare_stored(files, other, there).verdict == "better"


def test_a_folder_without_a_model_registers_nothing(workspace):
    files, ledger = workspace
    files.write("jobs/train-a-1/attempts/1/model/notes.txt", b"no model")
    with pytest.raises(WorkspaceError, match="no model in"):
        register(files, ledger, "digits", model_folder="jobs/train-a-1/attempts/1/model")
    assert ledger.entries("model") == []


@pytest.mark.parametrize("name", ["", "a b", "../up", "a@b", "-a", "x" * 81])
def test_names_are_checked_first(name, workspace):
    with pytest.raises(ValueError, match="a model's name must be"):
        register(*workspace, name, model_folder="anything")


def test_a_script_s_own_file_is_registered_with_the_labels(workspace):
    import joblib

    files, ledger = workspace
    folder = files.local("jobs/train-s-1/attempts/1/model")
    folder.mkdir(parents=True)
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), folder / "model.joblib")
    version = register(
        files,
        ledger,
        "scripted",
        model_folder="jobs/train-s-1/attempts/1/model",
        bundle=Bundle(labels={"a": 0, "b": 1}),
    )
    found = load(files, ledger, "scripted")
    assert found.info.adopted
    assert version.labels == {"a": 0, "b": 1}
    assert found.info.digest == version.digest
    assert not (folder / "model.json").exists()
    assert version.format == "sklearn"
    again = register(
        files,
        ledger,
        "scripted",
        model_folder="jobs/train-s-1/attempts/1/model",
        bundle=Bundle(labels={"a": 0, "b": 1}),
    )
    assert again.version == 1


def test_the_job_can_be_pruned_and_its_file_damaged_copies_are_found(workspace):
    files, ledger = workspace
    folder = save_in_job(files, Adds(2), job="train-a-1")
    version = register(files, ledger, "adds", model_folder=folder)
    shutil.rmtree(files.local("jobs"))
    assert load(files, ledger, "adds").predict([1]) == [3]
    (path,) = (version.path(files) / "model").glob("data-*/model.pkl")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DataChangedError, match="is not the one that was saved"):
        load(files, ledger, "adds")


def start(root: Path, name: str, folder: str, tag: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "registering", str(root), name, folder, tag],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SUPPORT,
    )  # fmt: skip


@pytest.mark.slow
def test_eight_processes_at_once_get_versions_without_gaps(workspace, tmp_path):
    """Eight processes register: six models of their own, and two of them the same one as another."""
    files, ledger = workspace
    folders = [save_in_job(files, Adds(number), job=f"train-a-{number + 1}") for number in range(6)]
    children = [start(tmp_path, "adds", folder, str(n)) for n, folder in enumerate([*folders, *folders[:2]])]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=120)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * 8
    numbers = [int(version) for version, _ in said]
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6]
    assert numbers[:2] == numbers[6:]
    for version, digest in said:
        found = resolve(files, ledger, f"adds@{version}")
        assert found.digest == digest
        commit.verify(files, f"models/adds/{version}", attempt=int(found.folder.rpartition("/")[2]), deep=True)
    assert [row["version"] for row in sorted(rows(files, ledger), key=lambda row: row["version"])] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_killed_while_registering_and_started_again_there_is_one_whole_version(workspace, tmp_path, evidence, scale):
    files, ledger = workspace
    rng = random.Random(11)
    kills = scale(100)
    cut_short = 0
    for number in range(kills):
        folder = save_in_job(files, Adds(number, padding=3_000_000), job=f"train-k-{number + 1}")
        child = start(tmp_path, "killed", folder, "first")
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        time.sleep(rng.uniform(0.0, 0.04))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        whole = [row["version"] for row in rows(files, ledger)]
        cut_short += len(whole) == number
        for version in whole:
            load_folder(resolve(files, ledger, f"killed@{version}").path(files) / "model")
        version = register(files, ledger, "killed", model_folder=folder)
        assert version.version == number + 1
        assert load(files, ledger, f"killed@{number + 1}").predict([1]) == [1 + number]
        attempt = int(version.folder.rpartition("/")[2])
        commit.verify(files, f"models/killed/{number + 1}", attempt=attempt, deep=True)
        assert [entry.path for entry in files.list(f"models/killed/{number + 1}/attempts")] == [version.folder]
    entries = ledger.entries("model", "killed")
    assert [entry.version for entry in entries] == list(range(1, kills + 1))
    assert {entry.body["status"] for entry in entries} == {"ready"}
    evidence(
        f"{kills} kills while registering ({cut_short} before the version existed): {kills} whole versions, 0 half ones"
    )


def test_a_version_that_was_never_finished_is_not_listed(workspace):
    files, ledger = workspace
    ledger.reserve("model", "half", lookup="x", body={"status": "registering"}, expect=0)
    assert rows(files, ledger) == []
    with pytest.raises(NotFoundError, match="no registered model named 'half'"):
        resolve(files, ledger, "half")
    folder = save_in_job(files, Adds(1), job="train-a-1")
    assert register(files, ledger, "half", model_folder=folder).version == 2
    assert resolve(files, ledger, "half").version == 2
    with pytest.raises(NotFoundError, match="no version or alias named 'half@1'"):
        resolve(files, ledger, "half@1")


def test_an_evaluation_of_another_model_is_refused(workspace, evaluated):
    files, ledger = workspace
    (one, _), (_, poor) = evaluated
    with pytest.raises(ValueError, match=r"evaluate-train-digits-2-1 scored another model \(train-digits-2, digest"):
        register(files, ledger, "digits", model_folder=one, evaluation=poor)
    assert ledger.entries("model") == []


def test_code_that_was_changed_in_a_version_is_found(workspace):
    files, ledger = workspace
    folder = save_in_job(files, Adds(1), job="train-a-1")
    files.write("jobs/train-a-1/code/net.py", b"x = 1\n")
    version = register(files, ledger, "adds", model_folder=folder, bundle=Bundle(code="jobs/train-a-1/code"))
    assert load(files, ledger, "adds").predict([1]) == [2]
    path = version.path(files) / "code" / "net.py"
    path.unlink()
    path.write_text("x = 2\n")
    with pytest.raises(DataChangedError, match=r"net\.py is not the file that was registered"):
        load(files, ledger, "adds")


def test_a_result_that_was_chosen_but_not_written_is_made_again(workspace):
    """As after a kill between the append, which is the truth, and `result.json`."""
    files, ledger = workspace
    folder = save_in_job(files, Adds(1), job="train-a-1")
    first = register(files, ledger, "adds", model_folder=folder)
    files.remove("models/adds/1/result.json")
    ledger.update_entry("model-adds-1", {"status": "registering"})
    with pytest.raises(NotFoundError, match="no registered model named 'adds'"):
        resolve(files, ledger, "adds")
    assert register(files, ledger, "adds", model_folder=folder) == first
    assert resolve(files, ledger, "adds") == first
