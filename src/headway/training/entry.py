"""What a training worker runs: a function or an estimator, for a job of its own or for one trial after another.

In: the worker's context and the target. Out: metrics, and the model in the job's (or trial's) model folder. Runners:
`headway.training.entry:run` and, for trials on warm workers, `headway.training.entry:run_trials`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headway.errors import ProgramError
from headway.training.context import TrainingContext
from headway.training.seeds import derive, seed_everything
from headway.worker.context import Context
from headway.worker.metrics import number

MODEL = "model"


def run(context: Context, target: Any) -> dict[str, float]:
    """The final metrics of a job, after its model is saved (by rank 0 of a gang).

    A returned dict of numbers is the metrics; any other value is the model; `(model, metrics)` is both.
    """
    training = TrainingContext(context)
    seed_everything(training.seed)
    with training.active():
        model, metrics = _train(training, target)
        if model is not None and training.is_first:
            _save(model, Path(training.model_dir), training)
    return metrics


def run_trials(context: Context, target: Any) -> Callable[[Mapping[str, Any], Context], dict[str, Any]]:
    """A function (payload, task) -> `{"metrics": {...}, "model": path or None}` that runs one trial after another.

    The payload: `parameters` (over the job's hyperparameters), `seed` (of the study), `keep` (whether the model is
    saved, into `items/<number>/model`, the path that the result names relative to the attempt).
    """
    del context

    def one_trial(payload: Mapping[str, Any], task: Context) -> dict[str, Any]:
        if task.number is None:
            raise ValueError("a trial needs the context of a task, got one without a number")
        seed = derive(int(payload.get("seed", task.seed)), task.number)
        training = TrainingContext(task, hyperparameters=payload.get("parameters"), seed=seed)
        seed_everything(seed)
        with training.active():
            model, metrics = _train(training, target)
            place = Path(task.ticket["folders"]["attempt"]) / "items" / str(task.number) / MODEL
            if model is not None and payload.get("keep", True):
                _save(model, place, training)
        kept = f"items/{task.number}/{MODEL}" if _holds_files(place) else None
        return {"metrics": training.reported | metrics, "model": kept}

    return one_trial


def _train(training: TrainingContext, target: Any) -> tuple[Any, dict[str, float]]:
    """Model (or None) and metrics of one run of the target."""
    from headway.training import estimator

    if estimator.is_estimator(target):
        return estimator.fit(target, hyperparameters=training.hyperparameters, channels=training.channels)
    keywords = dict(training.hyperparameters)
    if "context" in _parameters(target):
        keywords["context"] = training
        _ = training.should_stop  # from now on SIGTERM asks, and does not kill: the function can look
    return _sorted_out(target(**keywords))


def _sorted_out(value: Any) -> tuple[Any, dict[str, float]]:
    """What a function returned, as model (or None) and metrics."""
    if value is None:
        return None, {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict):
        return value[0], _metrics(value[1])
    if isinstance(value, dict):
        return None, _metrics(value)
    if number(value) is not None:
        raise ProgramError(
            f'the training function returned the number {value!r}: return it with its name, {{"loss": {value!r}}}, '
            "or return the model"
        )
    return value, {}


def _metrics(values: Mapping[Any, Any]) -> dict[str, float]:
    found = {str(name): number(value) for name, value in values.items()}
    wrong = [name for name, value in found.items() if value is None]
    if wrong:
        raise ProgramError(
            f"the training function returned a dict, which is its metrics, but {wrong[0]!r} is "
            f"{type(values.get(wrong[0])).__name__}, not a number; return (model, metrics) to return a model too"
        )
    return {name: value for name, value in found.items() if value is not None}


def _save(model: Any, folder: Path, training: TrainingContext) -> None:
    from headway.models.model import save

    labels = training.options.get("labels")
    save(model, folder, labels=labels or None, signature=_signature(training))


def _signature(training: TrainingContext) -> Any:
    """What a row of the train channel looks like, when it is one array of one shape."""
    from headway.models.model import Signature

    if "train" not in training.channels or training.channels["train"].kind != "dataset":
        return None
    data = training.channels["train"].data
    names = [name for name in data.field_names if name != "y"]
    if len(names) != 1:
        return None
    info = data.field_info(names[0])
    if info.kind != "dense" or -1 in info.shape:
        return None
    import numpy as np

    return Signature(shape=info.shape, dtype=str(np.dtype(info.dtype)))


def _parameters(target: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # builtins without a signature
        return set()


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
