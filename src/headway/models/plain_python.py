"""Models that are plain Python: any object with `predict`, or a callable, that can be pickled.

In: such an object. Out: `model.pkl`. Also reads a `.pkl` or `.pickle` file that a script saved by itself.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar, final

from headway.models.format import ModelFormat
from headway.models.pickling import dump


@final
class PlainPythonFormat(ModelFormat):
    """Any object with `predict(rows)`, or called with the rows."""

    name: ClassVar[str] = "pickle"
    suffixes: ClassVar[tuple[str, ...]] = (".pkl", ".pickle")

    def handles(self, model: Any) -> bool:
        """Whether it has a method `predict` or is callable; a class is not a model, its instances are."""
        return not isinstance(model, type) and (callable(getattr(model, "predict", None)) or callable(model))

    def write(self, model: Any, folder: Path) -> frozenset[str]:
        """Write `model.pkl`."""
        return dump(model, folder / "model.pkl")

    def read(self, path: Path) -> Any:
        """The object."""
        with (path / "model.pkl" if path.is_dir() else path).open("rb") as stream:
            return pickle.load(stream)

    def predict(self, model: Any, rows: Any) -> Any:
        """What `predict`, else the call, returns."""
        method = getattr(model, "predict", None)
        return method(rows) if callable(method) else model(rows)

    def predict_proba(self, model: Any, rows: Any) -> Any | None:
        """What `predict_proba` returns, or None when there is no such method."""
        method = getattr(model, "predict_proba", None)
        return method(rows) if callable(method) else None
