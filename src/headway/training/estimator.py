"""Fitting of anything with `fit`: an estimator on the train channel, scored on the validation channel.

In: an estimator (or its class), hyperparameters, channels. Out: the fitted estimator and its metrics. Works with what
follows scikit-learn's interface, without importing scikit-learn itself.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from headway.errors import ManifestError, ProgramError
from headway.training.channels import TrainingChannel

TRAIN, VALIDATION = "train", "validation"


def is_estimator(target: Any) -> bool:
    """Whether a program is fitted rather than called."""
    return callable(getattr(target, "fit", None)) and not inspect.isroutine(target)


def fit(
    target: Any, *, hyperparameters: Mapping[str, Any], channels: Mapping[str, TrainingChannel]
) -> tuple[Any, dict[str, float]]:
    """The fitted estimator and `train:...`, `validation:...` of its score.

    Args:
        target: an estimator, which is left as it is (a clone is fitted), or a class of estimators.
        hyperparameters: for `set_params`, also of nested ones (`svc__C`).
        channels: `train`, and `validation` where there is one; both processed.

    Raises:
        TypeError: the estimator has no such hyperparameter.
        ManifestError: there is no sample to fit on.
        ProgramError: the samples are not one array.
    """
    model = _configured(target, hyperparameters)
    X, y = _rows(model, channels[TRAIN])  # noqa: N806  the field's own name
    if len(X) == 0:
        raise ManifestError("the channel train has no sample: nothing can be fitted; look at the manifest's report")
    if "y" in inspect.signature(model.fit).parameters or not _is_unsupervised(model):
        model.fit(X, y)
    else:
        model.fit(X)
    metrics = _scores(model, TRAIN, X, y)
    if VALIDATION in channels and len(channels[VALIDATION]):
        metrics |= _scores(model, VALIDATION, *_rows(model, channels[VALIDATION]))
    return model, metrics


def _configured(target: Any, hyperparameters: Mapping[str, Any]) -> Any:
    if isinstance(target, type):
        known = [name for name in inspect.signature(target).parameters if name != "self"]
        _check_names(target.__name__, hyperparameters, known)
        return target(**hyperparameters)
    model = _clone(target)
    if not hyperparameters:
        return model
    if not hasattr(model, "set_params"):
        raise TypeError(
            f"{type(model).__name__} has no set_params, so it takes no hyperparameters, got {sorted(hyperparameters)}; "
            "give its class, or a function that makes and fits it"
        )
    _check_names(type(model).__name__, hyperparameters, list(model.get_params(deep=True)))
    return model.set_params(**hyperparameters)


def _check_names(what: str, hyperparameters: Mapping[str, Any], known: list[str]) -> None:
    for name in hyperparameters:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise TypeError(f"{what} has no hyperparameter {name!r}; {meant}known: {', '.join(sorted(known))}")


def _clone(target: Any) -> Any:
    """An unfitted copy."""
    base = sys.modules.get("sklearn.base")
    if base is not None and hasattr(target, "get_params"):
        return base.clone(target)
    return copy.deepcopy(target)


def _rows(model: Any, channel: TrainingChannel) -> tuple[Any, Any]:
    """X and y of a channel as the estimator takes them."""
    X, y = channel.arrays()  # noqa: N806
    if not isinstance(X, np.ndarray):
        got = f"the fields {sorted(X)}" if isinstance(X, dict) else "samples of different shapes"
        raise ProgramError(
            f"{type(model).__name__} is fitted on one array of equal rows, the channel {channel.name!r} has {got}: "
            "return one array of one shape from the transform, or train with a function"
        )
    if X.ndim > 2 and hasattr(model, "get_params"):  # estimators of this kind take tables
        X = X.reshape(len(X), -1)  # noqa: N806
    return (X.reshape(-1, 1) if X.ndim == 1 else X), y


def _scores(model: Any, channel: str, X: Any, y: Any) -> dict[str, float]:  # noqa: N803
    """Accuracy of classifiers, R squared of what predicts numbers; {} for what predicts nothing."""
    if not hasattr(model, "predict") or y is None or _is_unsupervised(model):
        return {}
    predicted = np.asarray(model.predict(X))
    if predicted.shape != np.shape(y):
        return {}
    if _is_classifier(model, y):
        return {f"{channel}:accuracy": float(np.mean(predicted == y))}
    y = np.asarray(y, dtype=np.float64)
    spread = float(np.sum((y - y.mean(axis=0)) ** 2))
    missed = float(np.sum((y - predicted) ** 2))
    return {f"{channel}:r2": 1.0 - missed / spread} if spread > 0 else {}


def _is_classifier(model: Any, y: Any) -> bool:
    kind = _kind(model)
    if kind is not None:
        return kind == "classifier"
    return hasattr(model, "classes_") or np.asarray(y).dtype.kind in "iub"


def _is_unsupervised(model: Any) -> bool:
    return _kind(model) in ("clusterer", "transformer")


def _kind(model: Any) -> str | None:
    """`classifier`, `regressor`, ... as the estimator says of itself; None when it says nothing."""
    base = sys.modules.get("sklearn.base")
    if base is not None and isinstance(model, base.BaseEstimator):
        if base.is_classifier(model):
            return "classifier"
        if base.is_regressor(model):
            return "regressor"
        if base.is_clusterer(model):
            return "clusterer"
        return "transformer" if hasattr(model, "transform") and not hasattr(model, "predict") else None
    kind = getattr(model, "_estimator_type", None)
    return kind if isinstance(kind, str) else None
