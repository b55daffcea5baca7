from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
from scored import DIGIT_LABELS, digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from headway.errors import DataChangedError, MissingExtraError, NotFoundError, ProgramError, WorkspaceError
from headway.models.code_path import project_code
from headway.models.description import adopt, describe, has_model
from headway.models.format import ModelFormat, every_format
from headway.models.model import Signature, load, save


class Constant:
    """A model without any library."""

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def predict(self, rows):
        return [self.answer] * len(rows)


@pytest.fixture(scope="module")
def fitted():
    images, target = digits()
    rows = images.reshape(len(images), -1)
    return LogisticRegression(max_iter=300).fit(rows[:300], target[:300]), images, target


def test_a_scikit_learn_model_comes_back_the_same(fitted, tmp_path):
    model, images, _ = fitted
    rows = images[300:360].reshape(60, -1)
    saved = save(model, tmp_path, labels=DIGIT_LABELS, signature=Signature.of(rows), extra={"note": "first"})
    loaded = load(tmp_path)
    assert loaded.info == saved
    assert saved.format == "sklearn"
    assert saved.labels == DIGIT_LABELS
    assert saved.extra == {"note": "first"}
    assert set(saved.libraries) >= {"scikit-learn", "numpy"}
    assert saved.modules == ()
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    np.testing.assert_array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
    assert loaded.classes == list(range(10))


def test_rows_of_pictures_are_laid_out_flat_for_an_estimator_that_was_fitted_so(fitted, tmp_path):
    model, images, _ = fitted
    save(model, tmp_path)
    flat = images[:10].reshape(10, -1)
    np.testing.assert_array_equal(load(tmp_path).predict(images[:10]), model.predict(flat))


def test_rows_of_another_shape_are_refused_by_the_signature(fitted, tmp_path):
    model, images, _ = fitted
    save(model, tmp_path, signature=Signature.of(images))
    with pytest.raises(ValueError, match=r"takes rows of shape \(8, 8\).*got \(28, 28\)"):
        load(tmp_path).predict(np.zeros((2, 28, 28), dtype="float32"))


def test_plain_objects_and_functions_are_models(tmp_path):
    save(Constant(7), tmp_path / "object")
    assert load(tmp_path / "object").predict([1, 2]) == [7, 7]
    assert load(tmp_path / "object").predict_proba([1, 2]) is None
    assert load(tmp_path / "object").classes is None
    offset = 3
    save(lambda rows: [row + offset for row in rows], tmp_path / "closure")
    assert load(tmp_path / "closure").predict([1, 2]) == [4, 5]
    assert load(tmp_path / "closure").info.format == "pickle"


def test_a_pipeline_with_a_lambda_is_saved(tmp_path):
    rows = np.arange(20.0).reshape(10, 2)
    made = make_pipeline(FunctionTransformer(lambda x: x * 2), StandardScaler(), LinearRegression())
    made.fit(rows, rows.sum(axis=1))
    save(made, tmp_path)
    np.testing.assert_allclose(load(tmp_path).predict(rows), rows.sum(axis=1))


@pytest.mark.parametrize("thing", [3, "text", {"a": 1}, Constant])
def test_what_is_no_model_is_refused_with_the_type(thing, tmp_path):
    with pytest.raises(TypeError, match="cannot save .* as a model: expected .* got"):
        save(thing, tmp_path)
    assert not (tmp_path / "model.json").exists()


def test_what_cannot_be_pickled_is_refused_and_leaves_nothing(tmp_path):
    model = Constant(1)
    model.lock = threading.Lock()
    with pytest.raises(ProgramError, match=r"cannot save the Constant .* must be picklable"):
        save(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_model_has_the_same_digest_and_labels_count(tmp_path):
    first = save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "a", labels={"x": 0})
    same = save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "b", labels={"x": 0})
    other = save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "c", labels={"y": 0})
    assert first.digest == same.digest
    assert first.digest != other.digest


def test_saving_again_replaces_the_model(tmp_path):
    save(Constant(1), tmp_path)
    save(Constant(2), tmp_path)
    assert load(tmp_path).predict([0]) == [2]
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("data-")]) == 1
    save(Constant(2), tmp_path)
    assert load(tmp_path).predict([0]) == [2]


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "swap labels"])
def test_a_changed_file_is_found_before_it_is_loaded(damage, tmp_path):
    info = save(Constant(1), tmp_path, labels={"a": 0, "b": 1})
    (name,) = info.files
    path = tmp_path / name
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flip":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif damage == "remove":
        path.unlink()
    else:
        text = (tmp_path / "model.json").read_text()
        (tmp_path / "model.json").write_text(text.replace('"a": 0', '"a": 1').replace('"b": 1', '"b": 0'))
    with pytest.raises(DataChangedError, match=str(tmp_path)):
        load(tmp_path)


def test_an_unknown_format_is_refused(tmp_path):
    save(Constant(1), tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["format"] = "wizardry"
    from headway.records import digest_of

    described["digest"] = digest_of({key: described[key] for key in ("format", "labels", "signature", "files")})
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(NotFoundError, match=r"no model format named 'wizardry'; known: pickle, sklearn\. .*is refused"):
        load(tmp_path)


def test_a_folder_without_a_model_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(WorkspaceError, match=r"no model in .*got \['notes.txt'\].*SM_MODEL_DIR"):
        load(tmp_path)
    with pytest.raises(WorkspaceError, match="no model in"):
        load(tmp_path / "nowhere")
    assert not has_model(tmp_path)


def test_another_version_of_a_library_is_named_in_a_warning(tmp_path):
    save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["libraries"]["scikit-learn"] = "0.1"
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.warns(UserWarning, match=r"saved with scikit-learn 0\.1, here is"):
        load(tmp_path)


def test_without_scikit_learn_the_install_command_is_given(tmp_path):
    save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path)
    program = f"""
        import sys
        sys.modules["sklearn"] = None  # what an import finds where the package is not installed
        from headway.errors import MissingExtraError
        from headway.models.model import load
        try:
            load({str(tmp_path)!r})
        except MissingExtraError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "pip install 'headway[sklearn]'" in done.stdout
    assert issubclass(MissingExtraError, Exception)


def test_describing_a_model_does_not_load_it(tmp_path):
    save(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path)
    program = f"""
        import sys
        from headway.models.description import describe
        print(describe({str(tmp_path)!r}).format, [m for m in ("sklearn", "numpy", "cloudpickle") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "sklearn []"


@pytest.mark.parametrize(
    ("name", "dump", "format"),
    [
        ("model.joblib", joblib.dump, "sklearn"),
        ("model.pkl", lambda model, path: Path(path).write_bytes(cloudpickle.dumps(model)), "pickle"),
        ("anything.pickle", lambda model, path: Path(path).write_bytes(cloudpickle.dumps(model)), "pickle"),
    ],
)
def test_a_file_that_a_script_saved_by_itself_is_a_model(name, dump, format, tmp_path):
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    dump(model, tmp_path / name)
    assert has_model(tmp_path)
    np.testing.assert_allclose(load(tmp_path).predict(np.array([[2.0]])), [2.0])
    assert not (tmp_path / "model.json").exists()
    info = adopt(tmp_path, labels={"a": 0})
    assert (info.format, info.adopted, info.labels) == (format, True, {"a": 0})
    assert adopt(tmp_path) == describe(tmp_path) == info
    np.testing.assert_allclose(load(tmp_path).predict(np.array([[2.0]])), [2.0])


def test_two_files_that_could_be_the_model_are_not_guessed_between(tmp_path):
    for name in ("a.pkl", "b.pkl"):
        (tmp_path / name).write_bytes(cloudpickle.dumps(Constant(1)))
    assert not has_model(tmp_path)
    with pytest.raises(WorkspaceError, match="several files could be it"):
        load(tmp_path)


def test_a_class_of_the_script_itself_that_was_pickled_by_name_is_explained(tmp_path):
    program = f"""
        import pickle
        class Mine:
            def predict(self, rows):
                return rows
        pickle.dump(Mine(), open({str(tmp_path / "model.pkl")!r}, "wb"))
    """
    script = tmp_path.parent / "script.py"
    script.write_text(textwrap.dedent(program))
    subprocess.run([sys.executable, script], check=True)
    with pytest.raises(ProgramError, match="defined in the script that saved it"):
        load(tmp_path)


def test_a_class_of_the_script_itself_is_carried_by_save(tmp_path):
    program = f"""
        from headway.models.model import save
        class Mine:
            def predict(self, rows):
                return [row * 2 for row in rows]
        save(Mine(), {str(tmp_path / "model")!r})
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(program))
    subprocess.run([sys.executable, script], check=True)
    assert load(tmp_path / "model").predict([2]) == [4]


def _project(folder: Path, factor: int) -> Path:
    """A project with a model class that needs a second module, the latter only when it predicts."""
    folder.mkdir(parents=True)
    (folder / "nets.py").write_text(
        "class Net:\n    def predict(self, rows):\n        from weights import factor\n"
        "        return [row * factor for row in rows]\n"
    )
    (folder / "weights.py").write_text(f"factor = {factor}\n")
    return folder


def _saved_with(code: Path, target: Path) -> None:
    program = f"import nets; from headway.models.model import save; save(nets.Net(), {str(target)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(code)})


def test_two_models_with_two_versions_of_one_module_each_see_their_own(tmp_path):
    models = []
    for factor in (2, 10):
        code = _project(tmp_path / f"code-{factor}", factor)
        _saved_with(code, tmp_path / f"model-{factor}")
        models.append(load(tmp_path / f"model-{factor}", code=code))
    assert [model.predict([1, 2]) for model in models] == [[2, 4], [10, 20]]
    assert [model.predict([3]) for model in reversed(models)] == [[30], [6]]
    assert "nets" not in sys.modules
    assert not any(str(tmp_path) in path for path in sys.path)
    assert not list(tmp_path.rglob("__pycache__"))


def test_without_its_code_the_missing_modules_are_named(tmp_path):
    code = _project(tmp_path / "code", 2)
    _saved_with(code, tmp_path / "model")
    assert describe(tmp_path / "model").modules == ("nets",)
    with pytest.raises(ProgramError, match=r"needs the modules nets of the project.*load\(folder, code=\.\.\.\)"):
        load(tmp_path / "model")


def test_code_on_the_path_never_hides_the_standard_library_or_packages(tmp_path):
    for name in ("json", "headway"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "notes.py").write_text("")
    before = sys.modules["numpy"], sys.modules["json"]
    with project_code(tmp_path):
        assert (sys.modules["numpy"], sys.modules["json"]) == before
        import headway.records as records

        assert records.encode({"a": 1}) == b'{"a":1}'
    assert (sys.modules["numpy"], sys.modules["json"]) == before


def _save_forever(folder: str, started) -> None:
    value = 0
    while True:
        value += 1
        save(Constant(value), folder, extra={"padding": "x" * 2000})
        started.set()


@pytest.mark.slow
def test_a_save_that_is_killed_leaves_a_whole_model(tmp_path, evidence, scale):
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(7)
    whole = 0
    kills = scale(200)
    for number in range(kills):
        folder = tmp_path / str(number % 4)
        started = context.Event()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = context.Process(target=_save_forever, args=(str(folder), started))
            child.start()
        assert started.wait(60)
        child.join(float(rng.uniform(0, 0.03)))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert load(folder).predict([0])[0] >= 1
        whole += 1
    evidence(f"{kills} kills while a model was saved over another: {whole} whole, {kills - whole} torn")


def test_every_format_is_final_and_small():
    for how in every_format():
        assert isinstance(how, ModelFormat)
        source = Path(sys.modules[type(how).__module__].__file__)
        assert len(source.read_text().splitlines()) < 200


def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        save(Constant(1), tmp_path, extra={"object": object()})
    assert not any(tmp_path.iterdir())
    info = save(Constant(1), tmp_path, labels={"a": np.int64(0)})
    assert info.labels == {"a": 0}


def test_another_python_is_named_in_a_warning(tmp_path):
    save(Constant(1), tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["python"] = "2.7.18"
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.warns(UserWarning, match=r"saved with Python 2\.7\.18, here is 3\."):
        load(tmp_path)


def test_threads_that_predict_with_different_code_do_not_mix(tmp_path):
    models = {}
    for factor in (2, 10):
        code = _project(tmp_path / f"code-{factor}", factor)
        _saved_with(code, tmp_path / f"model-{factor}")
        models[factor] = load(tmp_path / f"model-{factor}", code=code)
    wrong = []

    def work(factor: int) -> None:
        for number in range(100):
            if models[factor].predict([number]) != [number * factor]:
                wrong.append((factor, number))

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (2, 10, 2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not any(name in sys.modules for name in ("nets", "weights"))
