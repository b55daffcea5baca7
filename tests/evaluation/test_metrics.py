from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn import metrics as reference

from headway.errors import NotFoundError
from headway.evaluation.metrics import METRICS, Scored, choose, compute


def test_every_entry_names_a_function_of_scikit_learn():
    for name, metric in METRICS.items():
        assert callable(getattr(reference, metric.function)), name


def test_every_metric_of_classes_is_computed():
    rng = np.random.default_rng(0)
    sure = rng.dirichlet(np.ones(4), size=60)
    true = np.arange(60) % 4
    scored = Scored(true=true, predicted=sure.argmax(axis=1), probabilities=sure, names=("a", "b", "c", "d"))
    names = [name for name, metric in METRICS.items() if metric.task == "classification"]
    values, notes = compute(names, scored)
    assert set(values) == set(names)
    assert notes == []
    assert values["top_3_accuracy"] == pytest.approx(reference.top_k_accuracy_score(true, sure, k=3))
    assert values["matthews"] == pytest.approx(reference.matthews_corrcoef(true, scored.predicted))


def test_every_metric_of_numbers_is_computed():
    rng = np.random.default_rng(0)
    true = rng.normal(size=50)
    scored = Scored(true=true, predicted=true + rng.normal(size=50))
    names = [name for name, metric in METRICS.items() if metric.task == "regression"]
    values, notes = compute(names, scored)
    assert set(values) == set(names)
    assert notes == []


def test_two_classes_use_the_second_column():
    true, sure = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.8, 0.2]])
    scored = Scored(true=true, predicted=sure.argmax(axis=1), probabilities=sure, names=("a", "b"))
    values, _ = compute(["roc_auc_ovr", "log_loss", "top_3_accuracy"], scored)
    assert values["roc_auc_ovr"] == pytest.approx(reference.roc_auc_score(true, sure[:, 1]))
    assert values["log_loss"] == pytest.approx(reference.log_loss(true, sure))


def test_a_metric_that_is_not_defined_is_left_out_with_the_reason():
    scored = Scored(true=np.array([1.0]), predicted=np.array([2.0]))
    values, notes = compute(["mse", "r2"], scored)
    assert values == {"mse": 1.0}
    assert notes == ["r2 is left out: it is nan for these rows"]
    _, notes = compute(["accuracy"], Scored(true=np.zeros(0, int), predicted=np.zeros(0, int), names=("a",)))
    assert notes == ["accuracy is left out: there are no rows"]


def test_weights_count_rows_more_than_once():
    true, predicted = np.array([0, 1, 1]), np.array([0, 1, 0])
    weights = np.array([1.0, 2.0, 3.0])
    once = compute(["accuracy", "f1_macro"], Scored(true=true, predicted=predicted, names=("a", "b"), weights=weights))[
        0
    ]
    rows = np.repeat([0, 1, 2], [1, 2, 3])
    again = compute(["accuracy", "f1_macro"], Scored(true=true[rows], predicted=predicted[rows], names=("a", "b")))[0]
    assert once == pytest.approx(again)


def test_the_default_metrics_fit_the_task():
    assert choose("classification", None) == (
        "accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "recall_macro", "log_loss", "roc_auc_ovr",
    )  # fmt: skip
    assert choose("regression", None) == ("mse", "rmse", "mae", "r2")
    assert choose("regression", ["mae", "mae"]) == ("mae",)
    with pytest.raises(NotFoundError, match="known: explained_variance, mae"):
        choose("regression", ["unheard of"])


def test_without_scikit_learn_the_install_command_is_given():
    program = """
        import sys
        sys.modules["sklearn"] = None  # what an import finds where the package is not installed
        import numpy as np
        from headway.errors import MissingExtraError
        from headway.evaluation.metrics import Scored, compute
        try:
            compute(["mse"], Scored(true=np.ones(2), predicted=np.ones(2)))
        except MissingExtraError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "computing metrics needs the package 'scikit-learn': pip install 'headway[sklearn]'"
