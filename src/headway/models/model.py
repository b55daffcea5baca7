"""Save, load and ask a model for predictions.

In: a model object and a folder. Out: the model's files and `model.json` (format, versions, labels, digests); back again
as a `LoadedModel`. Before: `headway.processing` (rows). After: training saves, `headway.evaluation` and
`headway.registry` load.

A saved model is a pickle in most formats, and **loading a pickle runs code**: load only models from people you trust.
The digest shows that files are the ones that were saved; it does not show who saved them.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

from headway.errors import ProgramError
from headway.models.code_path import project_code
from headway.models.description import (
    DESCRIPTION,
    ModelInfo,
    Signature,
    describe,
    digest_tree,
    make_info,
    read_info,
    write_info,
)
from headway.models.format import ModelFormat, format_of, open_format
from headway.records import encode

__all__ = ["LoadedModel", "ModelInfo", "Signature", "describe", "load", "save"]


@final
class LoadedModel:
    """A model that predicts.

    Attributes:
        info: what `model.json` says.
        model: the object itself.
    """

    def __init__(self, model: Any, *, info: ModelInfo, how: ModelFormat, code: Path | None = None) -> None:
        self.model, self.info = model, info
        self._how, self._code = how, code

    @property
    def classes(self) -> list[Any] | None:
        """What the columns of `predict_proba` stand for: codes or labels; None when the model does not say."""
        classes = getattr(self.model, "classes_", None)
        return None if classes is None else [c.item() if hasattr(c, "item") else c for c in classes]

    def predict(self, rows: Any) -> Any:
        """One prediction per row.

        Raises:
            ValueError: the rows have another shape than the model was trained on.
        """
        self._check(rows)
        with project_code(self._code):
            return self._how.predict(self.model, rows)

    def predict_proba(self, rows: Any) -> Any | None:
        """One probability per row and class (columns as in `classes`); None when the model gives none."""
        self._check(rows)
        with project_code(self._code):
            return self._how.predict_proba(self.model, rows)

    def _check(self, rows: Any) -> None:
        expected = self.info.signature
        if expected is not None and hasattr(rows, "shape") and tuple(rows.shape[1:]) != expected.shape:
            raise ValueError(
                f"the model takes rows of shape {expected.shape} ({expected.dtype}), got {tuple(rows.shape[1:])!r} "
                f"({rows.dtype}): apply the transform that the model was trained with"
            )


def save(
    model: Any,
    folder: Path | str,
    *,
    labels: Mapping[str, int] | None = None,
    signature: Signature | None = None,
    extra: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Save a model; what the folder's `model.json` then says.

    Args:
        model: an estimator, an object with `predict`, or a callable that takes the rows.
        folder: made if needed. A model that is there already stays loadable until the new one is whole.
        labels: label -> code of the data that it was trained on; predictions are decoded by it.
        signature: `Signature.of(X)` of the training rows; predictions then refuse rows of another shape.
        extra: plain JSON to keep beside it.

    Raises:
        TypeError: the object is not a model, or extra is no JSON.
        ProgramError: it cannot be pickled.

    Guarantees:
        `model.json` is replaced last and whole: a save that was killed leaves the model from before, or none.
    """
    how = format_of(model)
    encode(extra)  # what is no JSON is refused before anything is written
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    before = read_info(target) if (target / DESCRIPTION).exists() else None
    fresh = target / f".tmp-saving-{os.getpid()}-{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        modules = how.write(model, fresh)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, Exception):
            raise ProgramError(
                f"cannot save the {type(model).__name__} into {target}: {type(error).__name__}: {error}. A model must "
                "be picklable: keep open files, locks and generators out of it"
            ) from error
        raise
    root = f"data-{digest_tree(fresh)[:12]}"
    if (target / root).exists():
        shutil.rmtree(fresh)
    else:
        os.replace(fresh, target / root)
    info = make_info(
        target, root, how, kind=_kind_of(model), modules=modules, labels=labels, signature=signature, extra=extra
    )
    write_info(target, info)
    if before is not None and before.root != root:
        shutil.rmtree(target / before.root, ignore_errors=True)
    return info


def load(folder: Path | str, *, code: Path | str | None = None) -> LoadedModel:
    """The model of a folder, checked against its digests.

    Args:
        folder: where `save` put it, or where a script left one file `*.joblib`, `*.pkl` or `*.pickle`.
        code: the snapshot of the user's modules that it needs (`code/` of the job that trained it).

    Raises:
        WorkspaceError: there is no whole model in the folder.
        DataChangedError: a file is missing or is not the one that was saved.
        NotFoundError: the format is not known.
        MissingExtraError: the format's package is not installed.
        ProgramError: a class or module that it needs cannot be imported.

    Guarantees:
        No file is read as a model before all of them matched their digests. A library of another version than the
        one that saved the model is named in a warning.
    """
    source = Path(folder)
    info = describe(source)
    how = open_format(info.format, purpose=f"loading the model in {source}")
    _warn_of_versions(info, source)
    snapshot = Path(code) if code is not None else None
    with project_code(snapshot):
        try:
            model = how.read(source / info.root)
        except (ImportError, AttributeError) as error:
            raise ProgramError(_import_text(info, source, snapshot, error)) from error
        except Exception as error:
            raise ProgramError(
                f"cannot read the model in {source} ({info.format}, {info.kind}): {type(error).__name__}: {error}"
            ) from error
    if not how.handles(model) and not callable(getattr(model, "predict", None)):
        raise ProgramError(
            f"{source / info.root} holds {type(model).__name__}, which is not a model: it cannot predict"
        )
    return LoadedModel(model, info=info, how=how, code=snapshot)


def _kind_of(model: Any) -> str:
    kind = type(model)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__


def _warn_of_versions(info: ModelInfo, source: Path) -> None:
    here_python = platform.python_version()
    if info.python.split(".")[:2] != here_python.split(".")[:2]:
        warnings.warn(
            f"the model in {source} was saved with Python {info.python}, here is {here_python}: pickled functions may "
            "not run",
            stacklevel=3,
        )
    for name, saved in info.libraries.items():
        try:
            here = version(name)
        except PackageNotFoundError:
            here = "not installed"
        if here != saved:
            warnings.warn(
                f"the model in {source} was saved with {name} {saved}, here is {here}: it may predict otherwise, or "
                f"fail; pip install '{name}=={saved}' to be sure",
                stacklevel=3,
            )


def _import_text(info: ModelInfo, source: Path, code: Path | None, error: Exception) -> str:
    text = f"cannot import what the model in {source} is made of: {error}."
    if "__main__" in str(error):
        return (
            f"{text} Its class was defined in the script that saved it, and a pickle holds only the name of such a "
            "class: move the class into a module beside the script, or save with headway.models.model.save"
        )
    if info.modules:
        text += f" It needs the modules {', '.join(info.modules)} of the project that trained it."
    where = f" Looked for in {code}" if code is not None else " Give the folder of its code: load(folder, code=...)"
    return text + where
