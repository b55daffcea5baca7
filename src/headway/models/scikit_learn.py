"""Models of scikit-learn, and of whatever follows its estimators (pipelines, the scikit-learn face of boosters).

In: a fitted estimator. Out: `model.pkl`. Also reads a `.joblib` file that a script saved by itself.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, final

from headway.models.format import ModelFormat
from headway.models.pickling import dump


@final
class ScikitLearnFormat(ModelFormat):
    """Estimators, as pickles beside the versions that wrote them."""

    name: ClassVar[str] = "sklearn"
    package: ClassVar[str] = "sklearn"
    distribution: ClassVar[str] = "scikit-learn"
    extra: ClassVar[str] = "sklearn"
    suffixes: ClassVar[tuple[str, ...]] = (".joblib",)

    def handles(self, model: Any) -> bool:
        """Whether it is an instance of scikit-learn's `BaseEstimator` that predicts."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(model, base.BaseEstimator) and hasattr(model, "predict")

    def write(self, model: Any, folder: Path) -> frozenset[str]:
        """Write `model.pkl`."""
        return dump(model, folder / "model.pkl") | {"sklearn"}

    def read(self, path: Path) -> Any:
        """The estimator; scikit-learn's own warning of versions is left to ours, which names both."""
        file = path / "model.pkl" if path.is_dir() else path
        quiet = import_module("sklearn.exceptions").InconsistentVersionWarning
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", quiet)
            if file.suffix == ".joblib":
                return import_module("joblib").load(file)
            with file.open("rb") as stream:
                return pickle.load(stream)

    def predict(self, model: Any, rows: Any) -> Any:
        """What the estimator predicts."""
        return model.predict(_flat(model, rows))

    def predict_proba(self, model: Any, rows: Any) -> Any | None:
        """The estimator's probabilities, or None when it has none (a method that only some settings offer counts as
        none when the settings lack it)."""
        return model.predict_proba(_flat(model, rows)) if hasattr(model, "predict_proba") else None


def _flat(model: Any, rows: Any) -> Any:
    """Rows of pictures laid out flat where the estimator was fitted on flat rows of that length."""
    shape: tuple[int, ...] = getattr(rows, "shape", ())
    if len(shape) > 2 and getattr(model, "n_features_in_", None) is not None:
        flat = rows.reshape(shape[0], -1)
        return flat if flat.shape[1] == model.n_features_in_ else rows
    return rows
