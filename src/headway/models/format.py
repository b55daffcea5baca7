"""The seam to a framework's models: how one format is written, read and asked for predictions.

In: a model object. Out: files in a folder, and predictions. A format is found by its name in `FORMATS`, a table of
import strings: nothing is imported before a model of that format is saved or loaded. Used by `headway.models.model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from headway.errors import MissingExtraError, NotFoundError

FORMATS: dict[str, str] = {
    "sklearn": "headway.models.scikit_learn:ScikitLearnFormat",
    "pickle": "headway.models.plain_python:PlainPythonFormat",
}
"""Name -> import string, in the order in which they are asked whether they handle a model."""


class ModelFormat(ABC):
    """How the models of one framework are kept.

    Attributes:
        name: as `model.json` records it.
        package: the package that loading needs, as it is imported; empty: none beside the core.
        distribution: the same package as it is installed.
        extra: the extra of Headway that installs it.
        suffixes: endings of the files that `read` understands when a program saved them by itself.
    """

    name: ClassVar[str]
    package: ClassVar[str] = ""
    distribution: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def handles(self, model: Any) -> bool:
        """Whether a model object is of this format; imports nothing that is not loaded already."""

    @abstractmethod
    def write(self, model: Any, folder: Path) -> frozenset[str]:
        """Write the model's files into an empty folder; the names of the top-level modules that loading it needs."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """The model object out of the file or folder that `write`, or a program of the user's, made."""

    @abstractmethod
    def predict(self, model: Any, rows: Any) -> Any:
        """One prediction per row."""

    @abstractmethod
    def predict_proba(self, model: Any, rows: Any) -> Any | None:
        """One probability per row and class, in the order of the model's classes; None if the model gives none."""


def open_format(name: str, *, purpose: str) -> ModelFormat:
    """The format of that name.

    Args:
        name: as `model.json` records it.
        purpose: what is being done, for the error: `loading the model in jobs/train-a-1/...`.

    Raises:
        NotFoundError: a format that this version does not know: nothing of it is read.
        MissingExtraError: its package is not installed.
    """
    if name not in FORMATS:
        hint = f"{purpose} is refused: it was saved by a newer Headway or by a package that is not here."
        raise NotFoundError("model format", name, FORMATS, hint=hint)
    made = _made(FORMATS[name])
    if made.package and find_spec(made.package) is None:
        raise MissingExtraError(made.distribution, extra=made.extra, purpose=purpose)
    return made


def every_format() -> list[ModelFormat]:
    """All formats of the table, in its order; their packages need not be installed."""
    return [_made(target) for target in FORMATS.values()]


def format_of(model: Any) -> ModelFormat:
    """The first format of the table that handles a model object.

    Raises:
        TypeError: no format does; the text says what a model needs.
    """
    for made in every_format():
        if made.handles(model):
            return made
    raise TypeError(
        f"cannot save {model!r} as a model: expected a scikit-learn estimator, an object with a method `predict`, "
        f"or a callable that takes the rows; got {type(model).__name__}"
    )


def _made(target: str) -> ModelFormat:
    module, _, attribute = target.partition(":")
    made = getattr(import_module(module), attribute)()
    if not isinstance(made, ModelFormat):
        raise TypeError(f"{target} must be a ModelFormat, got {made!r}")
    return made
