"""Metrics by name: scikit-learn's functions, chosen by what the model predicts.

In: true and predicted values (and probabilities). Out: numbers by name, and a note for each that is not defined for
these data. Used by `headway.evaluation.entry` and `headway.evaluation.compare`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import MissingExtraError, NotFoundError
from headway.evaluation.evaluation import Task
from headway.records import Record


class Metric(Record):
    """One entry of the table.

    Args:
        function: name in `sklearn.metrics`.
        task: for which predictions it is defined.
        options: keyword arguments.
        needs_probabilities: whether it is computed from probabilities.
        is_default: whether it is computed when nobody says which.
    """

    function: str
    task: Task
    options: dict[str, Any] = {}
    needs_probabilities: bool = False
    is_default: bool = True


def _averaged(function: str, average: str, *, is_default: bool = False) -> Metric:
    options = {"average": average, "zero_division": 0.0}
    return Metric(function=function, task="classification", options=options, is_default=is_default)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(function="accuracy_score", task="classification"),
    "balanced_accuracy": Metric(function="balanced_accuracy_score", task="classification"),
    "f1_macro": _averaged("f1_score", "macro", is_default=True),
    "f1_micro": _averaged("f1_score", "micro"),
    "f1_weighted": _averaged("f1_score", "weighted"),
    "precision_macro": _averaged("precision_score", "macro", is_default=True),
    "precision_weighted": _averaged("precision_score", "weighted"),
    "recall_macro": _averaged("recall_score", "macro", is_default=True),
    "recall_weighted": _averaged("recall_score", "weighted"),
    "cohen_kappa": Metric(function="cohen_kappa_score", task="classification", is_default=False),
    "matthews": Metric(function="matthews_corrcoef", task="classification", is_default=False),
    "log_loss": Metric(function="log_loss", task="classification", needs_probabilities=True),
    "roc_auc_ovr": Metric(
        function="roc_auc_score", task="classification", options={"multi_class": "ovr"}, needs_probabilities=True
    ),
    "top_3_accuracy": Metric(
        function="top_k_accuracy_score",
        task="classification",
        options={"k": 3},
        needs_probabilities=True,
        is_default=False,
    ),
    "mse": Metric(function="mean_squared_error", task="regression"),
    "rmse": Metric(function="root_mean_squared_error", task="regression"),
    "mae": Metric(function="mean_absolute_error", task="regression"),
    "median_absolute_error": Metric(function="median_absolute_error", task="regression", is_default=False),
    "mape": Metric(function="mean_absolute_percentage_error", task="regression", is_default=False),
    "max_error": Metric(function="max_error", task="regression", is_default=False),
    "r2": Metric(function="r2_score", task="regression"),
    "explained_variance": Metric(function="explained_variance_score", task="regression", is_default=False),
}
"""Name -> what computes it; the names are what gates and searches write after `test:`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The rows of one channel, predicted.

    Attributes:
        true, predicted: positions in `names` (classification) or values (regression).
        probabilities: (rows, names), or None.
        names: labels; empty for regression.
        weights: one per row, or None: then every row counts once.
    """

    true: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()
    weights: NDArray[np.float64] | None = None


def choose(task: Task, names: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics to compute: those named, else the default ones of the task.

    Raises:
        NotFoundError: a name that is not in the table.
        ValueError: a metric of the other task.
    """
    if names is None:
        return tuple(name for name, metric in METRICS.items() if metric.task == task and metric.is_default)
    for name in names:
        if name not in METRICS:
            raise NotFoundError("metric", name, (n for n, m in METRICS.items() if m.task == task))
        if METRICS[name].task != task:
            raise ValueError(f"{name!r} is a metric of {METRICS[name].task}, the model does {task}")
    return tuple(dict.fromkeys(names))


def compute(names: Sequence[str], scored: Scored) -> tuple[dict[str, float], list[str]]:
    """Values by name, and a note for each metric that is left out because it is not defined for these rows.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    module = _library()
    values: dict[str, float] = {}
    notes = []
    for name in names:
        why = _undefined(name, scored)
        if not why:
            value, why = _value(getattr(module, METRICS[name].function), name, scored)
        if why:
            notes.append(f"{name} is left out: {why}")
        else:
            values[name] = value
    return values, notes


def confusion_counts(scored: Scored, positions: Sequence[int]) -> list[list[int]]:
    """`counts[true][predicted]` over the labels at these positions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is only one label: said in a note of the evaluation
        table = _library().confusion_matrix(scored.true, scored.predicted, labels=list(positions))
    return [[int(n) for n in row] for row in table]


def _library() -> Any:
    if find_spec("sklearn") is None:
        raise MissingExtraError("scikit-learn", extra="sklearn", purpose="computing metrics")
    return import_module("sklearn.metrics")


def _undefined(name: str, scored: Scored) -> str:
    """Why a metric is not defined for these rows; empty when it may be."""
    if len(scored.true) == 0:
        return "there are no rows"
    if not METRICS[name].needs_probabilities:
        return ""
    if scored.probabilities is None:
        return "the model gives no probabilities"
    if len(scored.names) < 2:
        return "there is only one class"
    if name == "roc_auc_ovr":
        missing = [scored.names[n] for n in range(len(scored.names)) if n not in set(scored.true.tolist())]
        if missing:
            shown = ", ".join(repr(label) for label in missing[:5]) + (", ..." if len(missing) > 5 else "")
            return f"no row of the channel is {shown}"
    return ""


def _value(function: Any, name: str, scored: Scored) -> tuple[float, str]:
    options: Mapping[str, Any] = METRICS[name].options
    given: Any = scored.predicted
    if METRICS[name].needs_probabilities:
        given, options = _with_probabilities(name, scored, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = float(_call(function, scored, given, options))
        except ValueError as error:
            return math.nan, str(error).partition("\n")[0]
    return (value, "") if math.isfinite(value) else (value, f"it is {value} for these rows")


def _call(function: Any, scored: Scored, given: Any, options: Mapping[str, Any]) -> Any:
    if scored.weights is None:
        return function(scored.true, given, **options)
    return function(scored.true, given, sample_weight=scored.weights, **options)


def _with_probabilities(name: str, scored: Scored, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    table = scored.probabilities
    if table is None:
        raise ValueError(f"{name} needs probabilities")
    if len(scored.names) == 2 and name == "roc_auc_ovr":
        return table[:, 1], {}
    if name == "top_3_accuracy" and len(scored.names) == 2:
        return table[:, 1], {"k": 1}
    labels = list(range(len(scored.names)))
    sums = table.sum(axis=1, keepdims=True)
    return table / np.where(sums > 0, sums, 1.0), {**options, "labels": labels}
