"""Registering and using models by name: everything that prediction needs goes into one version.

In: a model of a job or trial, its evaluation, gates. Out: `RegisteredModel`. The work is `headway.registry`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from headway.errors import NotFoundError
from headway.evaluation.evaluation import Evaluation
from headway.evaluation.gates import BetterThanChampion, Gate
from headway.execution.job import Job, ModelRef
from headway.execution.session import Session
from headway.flows.evaluate import evaluate
from headway.flows.inspect import find
from headway.flows.process import load_dataset
from headway.jobs.folder import JobFolder
from headway.models.model import LoadedModel
from headway.processing.dataset import Dataset
from headway.registry import aliases, lookup
from headway.registry import register as registering
from headway.registry.predictor import Prediction, Predictor
from headway.registry.version import Bundle, ModelVersion, Transform


@final
class RegisteredModel:
    """One registered version, to promote, look at, load and predict with.

    Args:
        version: its record.
    """

    def __init__(self, session: Session, version: ModelVersion) -> None:
        self.version, self.id = version, version.id
        self._session = session

    def __repr__(self) -> str:
        return f"RegisteredModel({self.ref!r})"

    @property
    def ref(self) -> str:
        """`name@3`."""
        return f"{self.version.name}@{self.version.version}"

    @property
    def metrics(self) -> dict[str, float]:
        """What it scored when it was registered."""
        return self.version.metrics

    @property
    def path(self) -> Path:
        """Folder of its files."""
        return self.version.path(self._session.files)

    def promote(self, alias: str = "champion", *, why: str = "") -> RegisteredModel:
        """Point an alias at this version; with its new aliases."""
        name, number = self.version.name, self.version.version
        aliases.promote(self._session.files, self._session.ledger, name, version=number, alias=alias, why=why)
        return load_model(self._session, self.ref)

    def load(self) -> LoadedModel:
        """The model itself."""
        return lookup.load(self._session.files, self._session.ledger, self.ref)

    def predict(self, paths: Sequence[str | Path]) -> list[Prediction]:
        """One prediction per raw file."""
        return self._predictor.predict_files([Path(path) for path in paths])

    def verify(self) -> list[str]:
        """What it predicts otherwise than when it was registered; [] when nothing."""
        return self._predictor.verify_golden()

    @functools.cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.path)


def register(
    session: Session,
    name: str,
    model: ModelRef | Job,
    *,
    evaluation: Evaluation | None,
    gate: Gate | Sequence[Gate],
    tags: Mapping[str, str],
) -> RegisteredModel:
    """The new version of a model; the one that is there when the same was registered before.

    Raises:
        GateFailedError: nothing was registered.
        NotFoundError: the job saved no model.
    """
    ref = model.model if isinstance(model, Job) else model
    gates: list[Gate] = [gate] if isinstance(gate, Gate) else list(gate)
    links = {"job": ref.job, "dataset": ref.dataset}
    if ref.dataset.startswith("dataset-"):
        links["manifest"] = load_dataset(session, ref.dataset).manifest
    made = registering.register(
        session.files,
        session.ledger,
        name,
        model_folder=ref.folder,
        evaluation=evaluation,
        gates=gates,
        links=links,
        tags=tags,
        bundle=_bundle(session, ref),
        champion=_champion(session, name, gates, evaluation),
        parameters={"hyperparameters": ref.parameters, "source": ref.source},
    )
    return RegisteredModel(session, made)


def _bundle(session: Session, ref: ModelRef) -> Bundle:
    """The model's own code, and the transform that made its dataset."""
    if not ref.dataset.startswith("dataset-"):
        return Bundle(code=ref.code)
    dataset = load_dataset(session, ref.dataset)
    job = JobFolder(session.files, str(dataset.transform["job"]))
    spec = job.spec()
    transform = Transform(program=spec.program, code=job.code, hyperparameters=spec.hyperparameters)
    return Bundle(labels=dataset.labels, code=ref.code, transform=transform)


def _champion(session: Session, name: str, gates: Sequence[Gate], candidate: Evaluation | None) -> Evaluation | None:
    """The champion scored on the candidate's data, where a gate asks for it; None without a champion."""
    wanted = next((gate for gate in gates if isinstance(gate, BetterThanChampion)), None)
    if wanted is None or candidate is None:
        return None
    try:
        lookup.resolve(session.files, session.ledger, f"{name}@{wanted.alias}")
    except NotFoundError:
        return None
    data: Dataset = load_dataset(session, candidate.dataset)
    return evaluate(session, f"{name}@{wanted.alias}", data, against=None, metrics=None, engine=None, fresh=False)


def load_model(session: Session, ref: str) -> RegisteredModel:
    """A registered version by `name`, `name@3`, `name@alias` or id."""
    return RegisteredModel(session, lookup.resolve(session.files, session.ledger, ref))


def find_model(session: Session, ref: str) -> ModelRef | str:
    """What people name as a model on the command line: `name@alias`, a job, or `<study>/<trial>`."""
    from headway.flows.study import load_study
    from headway.flows.train import load_job

    study, slash, number = ref.partition("/")
    if slash and number.isdecimal():
        for trial in load_study(session, study).ranking():
            if trial.number == int(number) and trial.model is not None:
                return trial.model
        raise NotFoundError("trial with a kept model", ref)
    try:
        lookup.resolve(session.files, session.ledger, ref)
    except NotFoundError as error:
        try:
            entry = find(session, ref, kinds=("train", "trial", "tune"))
        except NotFoundError:
            raise error from None
        if entry.kind == "tune":
            best = load_study(session, entry.id).best()
            if best.model is None:
                raise NotFoundError("kept model", ref) from error
            return best.model
        return load_job(session, entry.id).model
    return ref
