"""Predictions for raw files, from a version's folder alone: transform, model, labels.

In: the folder of a registered version (here, copied elsewhere, or inside a wheel) and raw files. Out: `Prediction`.
Used by `headway predict NAME@ALIAS FILE...`.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, final

from headway.errors import ProgramError, WorkspaceError
from headway.models.code_path import project_code
from headway.models.model import load
from headway.records import Record, decode
from headway.registry.integrity import check_files
from headway.registry.version import VERSION_FILE, ModelVersion, Transform

FILES_AT_ONCE = 256


class Prediction(Record):
    """What a model says of one file.

    Args:
        key: the file, as it was given.
        label: the class, of classification.
        value: the number, of regression.
        probability: of the label; None when the model gives none.
        probabilities: label -> probability, the largest first.
    """

    key: str
    label: str | None = None
    value: float | None = None
    probability: float | None = None
    probabilities: dict[str, float] = {}


@final
class Predictor:
    """A registered version that predicts raw files exactly as it was trained on them.

    Args:
        folder: of the version (`models/<name>/<version>`, or the attempt inside it); it may lie anywhere.

    Raises:
        WorkspaceError: there is no whole version in the folder.
        DataChangedError: a file is not the one that was registered.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = _attempt_of(Path(folder).absolute())
        path = self.folder / VERSION_FILE
        self.version = decode(path.read_bytes(), ModelVersion, where=str(path))
        check_files(self.folder)
        bundle = self.version.bundle
        code = self.folder / bundle.code if bundle.code is not None else None
        self.model = load(self.folder / "model", code=code)
        self._transform = _Transform(bundle.transform, self.folder) if bundle.transform is not None else None

    def predict_file(self, path: Path | str) -> Prediction:
        """The prediction for one raw file."""
        return self.predict_files([path])[0]

    def predict_files(self, paths: Sequence[Path | str]) -> list[Prediction]:
        """One prediction per raw file, in their order.

        Raises:
            FileNotFoundError: a file is not there.
            ProgramError: the transform fails on a file, or there is none.
        """
        if self._transform is None:
            raise ProgramError(
                f"{self.version.id} was registered without a transform, so raw files cannot be predicted: "
                "use predict_rows with rows as the model takes them"
            )
        for path in paths:
            if not Path(path).is_file():
                raise FileNotFoundError(f"cannot predict {str(path)!r}: there is no such file")
        found: list[Prediction] = []
        for start in range(0, len(paths), FILES_AT_ONCE):
            some = paths[start : start + FILES_AT_ONCE]
            rows = self._transform.rows([Path(path) for path in some])
            found += self.predict_rows(rows, keys=[str(path) for path in some])
        return found

    def predict_rows(self, rows: Any, *, keys: Sequence[str] | None = None) -> list[Prediction]:
        """One prediction per row.

        Args:
            rows: as the transform gives them: an array, or a dict of fields.
            keys: names for the rows; None: their numbers.
        """
        from headway.models.answers import ask_classes, ask_numbers, count_rows

        names = list(keys) if keys is not None else [str(number) for number in range(count_rows(rows))]
        if self._is_regression():
            values = ask_numbers(self.model, rows)
            return [Prediction(key=key, value=float(value)) for key, value in zip(names, values, strict=True)]
        answers = ask_classes(self.model, rows, labels=self.version.labels)
        found = []
        for number, key in enumerate(names):
            position = int(answers.predicted[number])
            table: Mapping[str, float] = {}
            if answers.probabilities is not None:
                row = answers.probabilities[number]
                pairs = zip(answers.names, row.tolist(), strict=True)
                table = dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
            label = answers.names[position]
            found.append(Prediction(key=key, label=label, probability=table.get(label), probabilities=dict(table)))
        return found

    def verify_golden(self) -> list[str]:
        """What the model predicts otherwise than when it was scored, as sentences; empty when all is as it was.

        Raises:
            WorkspaceError: the version has no golden predictions.
            DataChangedError: they are damaged.
        """
        from headway.evaluation.golden import differences, read_golden

        folder = self.folder / "golden"
        if not folder.is_dir():
            raise WorkspaceError(
                f"{self.version.id} has no golden predictions: register it with an evaluation to have them"
            )
        golden, samples = read_golden(folder)
        return differences(self.model, golden, samples)

    def _is_regression(self) -> bool:
        return self.version.task == "regression"


def verify_golden(folder: Path | str) -> list[str]:
    """What a version in a folder predicts otherwise than when it was scored; empty when all is as it was."""
    return Predictor(folder).verify_golden()


@final
class _Transform:
    """The transform of a version, with its code."""

    def __init__(self, transform: Transform, folder: Path) -> None:
        if transform.program.kind != "function":
            raise ProgramError(
                f"the data of this model were processed by the script {transform.program.name!r}: single files can "
                "only be predicted when the transform is a function"
            )
        self._transform, self._code = transform, folder / transform.code
        with project_code(self._code):
            self._target = load_target(transform, self._code)

    def rows(self, paths: Sequence[Path]) -> Any:
        """Rows as the model takes them."""
        from headway.evaluation.golden import stack
        from headway.processing.collect import fields_of
        from headway.processing.listing import Item
        from headway.processing.transform import Transform as Caller

        caller = Caller(self._target, hyperparameters=self._transform.hyperparameters, batch=self._transform.batch)
        samples = []
        with project_code(self._code):
            for path in paths:
                item = Item(key=path.name, path=path.absolute(), label=None, code=-1)
                try:
                    value = caller.one(item)
                except Exception as error:
                    raise ProgramError(
                        f"the transform {self._transform.program.name} failed on {str(path)!r}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                if value is None:
                    raise ProgramError(f"the transform {self._transform.program.name} leaves out {str(path)!r}")
                samples.append({name: part for name, part in fields_of(value).items() if name != "y"})
        fields = sorted(samples[0])
        if len(fields) == 1:
            return stack([sample[fields[0]] for sample in samples])
        return stack(samples, fields)


def load_target(transform: Transform, code: Path) -> Callable[..., Any]:
    """The transform's function out of its snapshot; call it inside `project_code(code)`.

    Raises:
        ProgramError: it cannot be imported from there.
    """
    program = transform.program
    try:
        if program.pickle is not None:
            with (code / program.pickle).open("rb") as file:
                found: Any = pickle.load(file)
        else:
            found = import_module(str(program.module))
            for part in str(program.qualname).split("."):
                found = getattr(found, part)
    except (ImportError, AttributeError, OSError) as error:
        raise ProgramError(
            f"cannot import the transform {program.name} from {code}: {error}; the version was registered with the "
            "code that processed its data: check that the folder was copied whole"
        ) from error
    if not callable(found):
        raise ProgramError(f"the transform {program.name} in {code} is a {type(found).__name__}, expected a function")
    target: Callable[..., Any] = found
    return target


def _attempt_of(folder: Path) -> Path:
    """The folder with `version.json`: this one, or the attempt that its `result.json` names."""
    if (folder / VERSION_FILE).exists():
        return folder
    result = folder / "result.json"
    if result.exists():
        chosen = folder / "attempts" / str(json.loads(result.read_bytes())["attempt"])
        if (chosen / VERSION_FILE).exists():
            return chosen
    raise WorkspaceError(f"no registered version in {folder}: expected {VERSION_FILE}, or result.json beside attempts/")
