"""What training workers run: functions and estimators, for a job and for trials."""

import random
import subprocess
import sys

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headway.errors import ProgramError
from headway.models.model import load
from headway.training.context import context as public
from headway.training.entry import run, run_trials
from headway.training.seeds import derive, seed_everything


def test_hyperparameters_are_keywords_and_a_dict_is_metrics(worker):
    made = worker(hyperparameters={"lr": 0.5, "epochs": 2})
    assert run(made, lambda lr, epochs: {"loss": lr * epochs}) == {"loss": 1.0}
    assert run(made, lambda lr, epochs: None) == {}


def test_context_is_given_to_those_that_ask_and_found_by_the_others(worker):
    seen = []

    def asks(context):
        seen.append(context)
        context.report(loss=1, step=1)

    def finds():
        seen.append(public.channels["train"])

    reports = []
    run(worker(reports=reports), asks)
    run(worker(), finds)
    assert seen[0].rank == 0
    assert len(seen[1]) == 72
    assert reports == [({"loss": 1.0}, 1)]
    assert public.job == ""


def test_a_parameter_named_like_a_channel_is_not_magic(worker):
    with pytest.raises(TypeError, match="train"):
        run(worker(), lambda train: None)


def test_any_other_value_is_the_model_and_is_saved(worker):
    made = worker(options={"labels": {"a": 0, "b": 1, "c": 2}})

    def fit(context):
        x, y = context.channels["train"].arrays()
        return LogisticRegression().fit(x, y), {"train:loss": 0.25}

    assert run(made, fit) == {"train:loss": 0.25}
    model = load(made.model_dir)
    assert model.info.labels == {"a": 0, "b": 1, "c": 2}
    assert model.info.signature.shape == (4,)
    assert set(model.predict(np.zeros((3, 4), np.float32))) <= {0, 1, 2}


def test_other_ranks_save_nothing(worker, tmp_path):
    made = worker(rank=1, world_size=2, shards=[0])
    run(made, lambda: LogisticRegression())
    assert not (tmp_path / "jobs/train-t-1/attempts/1/model").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, r'returned the number 0.5: .*\{"loss": 0.5\}'),
        ({"history": [1, 2]}, r"'history' is list, not a number"),
        ((object(), {"a": "b"}), r"'a' is str"),
    ],
)
def test_what_is_neither_model_nor_metrics_is_told(worker, value, text):
    with pytest.raises(ProgramError, match=text):
        run(worker(), lambda: value)


def test_an_estimator_is_cloned_set_fitted_scored_and_saved(worker):
    original = make_pipeline(StandardScaler(), LogisticRegression())
    made = worker(hyperparameters={"logisticregression__C": 50.0})
    metrics = run(made, original)
    assert sorted(metrics) == ["train:accuracy", "validation:accuracy"]
    assert metrics["validation:accuracy"] == 1.0
    assert not hasattr(original[-1], "coef_")
    assert original[-1].C == 1.0
    assert load(made.model_dir).model[-1].C == 50.0


def test_a_regressor_is_scored_by_r2(worker):
    metrics = run(worker(), LinearRegression())
    assert sorted(metrics) == ["train:r2", "validation:r2"]
    assert metrics["train:r2"] == pytest.approx(1.0)


def test_a_class_of_estimators_is_made_from_the_hyperparameters(worker):
    assert run(worker(hyperparameters={"C": 2.0}), LogisticRegression)["train:accuracy"] == 1.0


def test_a_clusterer_has_no_score(worker):
    assert run(worker(), KMeans(n_clusters=3, n_init=1)) == {}


def test_wrong_hyperparameters_of_an_estimator_name_the_nearest(worker):
    made = worker(hyperparameters={"max_itr": 5})
    with pytest.raises(
        TypeError, match=r"LogisticRegression has no hyperparameter 'max_itr'; did you mean 'max_iter'\?"
    ):
        run(made, LogisticRegression())
    with pytest.raises(TypeError, match="did you mean 'max_iter'"):
        run(made, LogisticRegression)


class Mean:
    """Something with `fit` that is of no library."""

    def fit(self, x, y):
        self.shape = x.shape
        self.mean = float(np.mean(y))
        return self

    def predict(self, x):
        return np.full(len(x), self.mean)


def test_anything_with_fit_will_do(worker):
    metrics = run(worker(), Mean())
    assert sorted(metrics) == ["train:accuracy", "validation:accuracy"]
    with pytest.raises(TypeError, match="takes no hyperparameters"):
        run(worker(hyperparameters={"a": 1}), Mean())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    from process_desk import Desk

    desk = Desk(tmp_path_factory.mktemp("pictures"))
    desk.digits(60)
    return desk.process(lambda i: np.full((2, 2), int(i.path.stem) % 3, "float32"), desk.manifest(at_least=0))


def test_pictures_are_laid_flat_for_estimators_only(worker, pictures):
    index = str(pictures.root / "index.json")
    made = worker(index=index)
    assert run(made, LogisticRegression())["train:accuracy"] == 1.0
    assert load(made.model_dir).info.signature.shape == (2, 2)
    assert len(load(made.model_dir).predict(np.zeros((5, 2, 2), np.float32))) == 5
    kept = Mean()
    run(worker(index=index, attempt=2), Mean)
    assert run(worker(index=index, attempt=3), kept) is not None
    assert load(worker(index=index, attempt=3).model_dir).model.shape[1:] == (2, 2)


def test_an_empty_train_channel_is_told(worker, tmp_path):
    from process_desk import Desk

    from headway.errors import ManifestError

    desk = Desk(tmp_path)
    desk.digits(30)
    opened = desk.process(lambda i: None if i.label else 1, desk.manifest(at_least=0))
    with pytest.raises((ManifestError, ProgramError)):
        run(worker(index=str(opened.root / "index.json")), LogisticRegression())


def test_the_seeds_are_set_before_the_target_runs(worker):
    def draw():
        return {"python": random.random(), "numpy": float(np.random.rand())}  # noqa: NPY002

    assert run(worker(), draw) == run(worker(), draw)
    assert run(worker(), draw) != run(worker(seed=8), draw)


def test_numpy_is_seeded_also_when_it_is_imported_later():
    code = (
        "import sys; from headway.training.seeds import seed_everything; seed_everything(3)\n"
        "assert 'numpy' not in sys.modules\n"
        "import numpy; print(numpy.random.rand())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    seed_everything(3)
    assert found == {f"{np.random.rand()}\n"}  # noqa: NPY002


def trial(made, target, number=0, **payload):
    work = run_trials(made, target)
    task = made.for_task(number, attempt=1, report=lambda values, step: None, should_stop=bool)
    return work({"parameters": {}, "seed": 1, "keep": True, **payload}, task)


def test_a_trial_gives_metrics_and_where_its_model_lies(worker, tmp_path):
    made = worker(hyperparameters={"max_iter": 200})
    result = trial(made, LogisticRegression(), 4, parameters={"C": 3.0})
    assert result["model"] == "items/4/model"
    assert result["metrics"]["validation:accuracy"] == 1.0
    model = load(tmp_path / "jobs/train-t-1/attempts/1" / result["model"]).model
    assert (model.C, model.max_iter) == (3.0, 200)


def test_reports_of_a_trial_are_among_its_metrics(worker):
    def fit(lr, context):
        for step in range(3):
            context.report(loss=lr / (step + 1), step=step)
        return {"final": 1}

    assert trial(worker(), fit, parameters={"lr": 3.0}) == {"metrics": {"loss": 1.0, "final": 1.0}, "model": None}


def test_a_model_that_is_not_kept_is_not_saved(worker, tmp_path):
    assert trial(worker(), LogisticRegression(), keep=False)["model"] is None
    assert not (tmp_path / "jobs/train-t-1/attempts/1/items").exists()


def test_a_trial_that_saves_by_itself_is_found(worker):
    def fit(context):
        open(f"{context.model_dir}/weights.bin", "w").close()

    assert trial(worker(), fit, 9)["model"] == "items/9/model"


def test_trials_draw_by_study_seed_and_number_alone(worker):
    def draw():
        return {"value": random.random()}

    one = [trial(worker(), draw, number)["metrics"]["value"] for number in range(4)]
    other = [trial(worker(), draw, number)["metrics"]["value"] for number in reversed(range(4))]
    assert one == other[::-1]
    assert len(set(one)) == 4
    assert trial(worker(), draw, 0, seed=2)["metrics"]["value"] != one[0]
    assert derive(1, 0) == 2791857979
