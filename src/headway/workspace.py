"""The thin facade that `headway.open()` gives: names and aliases become values, each verb calls one flow.

In: what people write. Out: records and handles. The rules: a verb blocks unless `wait=False`; the same name with the
same digests resumes or returns what is there; changed digests make a new version (of a study: an error).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from headway.config import find_settings

if TYPE_CHECKING:
    from headway.engines.engine import Engine
    from headway.evaluation.evaluation import Evaluation
    from headway.execution.job import Job, ModelRef
    from headway.execution.progress import Progress
    from headway.flows.register import RegisteredModel
    from headway.flows.study import Study
    from headway.jobs.spec import ChannelMode, Resources
    from headway.manifests.manifest import Manifest
    from headway.manifests.split import Split
    from headway.processing.dataset import Dataset
    from headway.registry.predictor import Prediction
    from headway.tuning.objective import Maximize, Minimize


def open(
    url: str | os.PathLike[str] | None = None,
    *,
    ledger: str | None = None,
    engine: str | Engine | None = None,
    profile: str | None = None,
    progress: Progress | None = None,
    create: bool = True,
) -> Workspace:
    """The workspace at a folder or URL, made there if there is none.

    Args:
        url: None for HEADWAY_WORKSPACE, else the nearest headway.toml upwards, else the nearest `.headway` upwards,
            else `.headway` here.
        ledger: path or database URL; None for the SQLite file in the workspace.
        engine: where jobs run unless they say otherwise; None for the settings' or `local://`.
        profile: a profile of the settings file.
        progress: told of long work; None for bars on a terminal and lines elsewhere.
        create: False refuses to make a new workspace (listings do that).

    Raises:
        WorkspaceError: it cannot be opened; NewerSchemaError: a newer Headway wrote it.
    """
    from headway.execution.opening import open_session

    settings = find_settings(Path.cwd(), os.environ, profile=profile)
    if url is not None:
        # A ledger belongs to its workspace: that of the settings is not another one's.
        settings = replace(settings, workspace=os.fspath(url), ledger=None, origin="argument")
    session = open_session(settings, ledger=ledger, engine=engine, progress=progress, create=create)
    return Workspace(session)


@final
class Workspace:
    """Files under one URL plus a ledger, and the verbs over them. Use as a context manager, or call `close()`."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Workspace({self.session.files.url!r})"

    def close(self) -> None:
        """End what this workspace runs and close its ledger. Idempotent."""
        self.session.close()

    def manifest(
        self,
        name: str,
        source: str | os.PathLike[str] | None = None,
        *,
        label: str | Mapping[str, str] = "{label}/*",
        split: Split | None = None,
    ) -> Manifest:
        """The manifest of a folder: one file per channel, every key in exactly one. Without `source`: the newest of
        that name (`name@2`: that version).

        Args:
            source: folder or fsspec URL with the data.
            label: pattern on the key, `{label}/*`, a regular expression with `(?P<label>...)`, or a table key -> label.
            split: shares, minimum per class and unit; None for 80/10/10.

        Raises:
            ManifestError, ShortfallError, ChannelLeakError: the data are not what a manifest needs.
        """
        from headway.flows.manifest import build_manifest, load_manifest

        if source is None:
            return load_manifest(self.session, name)
        return build_manifest(self.session, name, os.fspath(source), label=label, split=split)

    def process(
        self,
        name: str,
        data: Manifest | str,
        transform: Any,
        *,
        workers: int = 1,
        shards: int | None = None,
        sharding: str = "by_key",
        hyperparameters: Mapping[str, Any] | None = None,
        resources: Resources | None = None,
        max_failed: int = 0,
        engine: str | Engine | None = None,
        fresh: bool = False,
    ) -> Dataset:
        """The dataset that a transform makes of a manifest, all channels by the same code.

        Args:
            transform: a function of one `Item(key, path, label, code)`, `Function("module:name")` or a `Script`.
            workers: independent workers; shards: None for the ranks that the dataset will feed (1).
            max_failed: so many items may fail without failing the whole.
        """
        from headway.flows.process import process

        return process(
            self.session,
            name,
            self._manifest(data),
            transform,
            workers=workers,
            shards=shards,
            sharding=sharding,
            hyperparameters=hyperparameters or {},
            resources=resources,
            max_failed=max_failed,
            engine=engine,
            fresh=fresh,
        )

    def dataset(self, name: str) -> Dataset:
        """A dataset by name (the newest), `name@2` or id."""
        from headway.flows.process import load_dataset

        return load_dataset(self.session, name)

    def train(
        self,
        name: str,
        program: Any,
        data: Dataset | Manifest | str | None = None,
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        workers: int = 1,
        resources: Resources | None = None,
        retries: int = 0,
        timeout_s: float | None = None,
        seed: int = 0,
        secrets: Mapping[str, str] | str | None = None,
        metrics: Mapping[str, str] | None = None,
        mode: ChannelMode = "link",
        allow_test: bool = False,
        engine: str | Engine | None = None,
        fresh: bool = False,
        wait: bool = True,
    ) -> Job:
        """A training job: a function, anything with `fit`, or an unmodified script.

        Args:
            workers: more than one makes a gang with ranks and addresses.
            resources: of each worker.
            secrets: environment variable -> `env:NAME` or `file:/path`; or the name of credentials in headway.toml.
            metrics: name -> regular expression over the log.
            allow_test: recorded; gives a script the test channel.
            wait: False runs it in a thread of this process.

        Raises:
            JobFailedError, StoppedError, ChannelLeakError, CapabilityError, ProgramError.
        """
        from headway.flows.train import TrainOptions, train
        from headway.jobs.spec import Resources

        options = TrainOptions(
            hyperparameters=dict(hyperparameters or {}),
            workers=workers,
            resources=resources or Resources(),
            retries=retries,
            timeout_s=timeout_s,
            seed=seed,
            secrets=self.session.secrets(secrets),
            metrics=dict(metrics or {}),
            mode=mode,
            allow_test=allow_test,
        )
        return train(self.session, name, program, self._data(data), options, engine=engine, fresh=fresh, wait=wait)

    def tune(
        self,
        name: str,
        program: Any,
        data: Dataset | Manifest | str | None = None,
        *,
        space: Mapping[str, Any],
        objective: Maximize | Minimize,
        trials: int,
        parallel: int = 1,
        searcher: Any = "random",
        scheduler: Any = "none",
        hyperparameters: Mapping[str, Any] | None = None,
        resources: Resources | None = None,
        max_attempts: int = 2,
        keep_best: int = 1,
        seed: int = 0,
        engine: str | Engine | None = None,
        new: bool = False,
    ) -> Study:
        """A study: `trials` trials over `space`, at most `parallel` at once; resumes where it was.

        Args:
            hyperparameters: fixed for all trials.
            max_attempts: a trial that failed so often counts as ended.
            keep_best: models of that many trials are kept.
            new: True begins a new version although one of other settings exists.

        Raises:
            StudyChangedError: a study of this name exists with other settings; lists what differs.
        """
        from headway.flows.tune import tune

        return tune(
            self.session,
            name,
            program,
            self._data(data),
            space=space,
            objective=objective,
            trials=trials,
            parallel=parallel,
            searcher=searcher,
            scheduler=scheduler,
            hyperparameters=hyperparameters or {},
            resources=resources,
            max_attempts=max_attempts,
            keep_best=keep_best,
            seed=seed,
            engine=engine,
            new=new,
        )

    def study(self, name: str) -> Study:
        """A study by name (the newest) or id, to look at."""
        from headway.flows.study import load_study

        return load_study(self.session, name)

    def evaluate(
        self,
        model: ModelRef | Job | str,
        data: Dataset | str,
        *,
        against: str | None = None,
        metrics: Sequence[str] | None = None,
        engine: str | Engine | None = None,
        fresh: bool = False,
    ) -> Evaluation:
        """Scores on validation and test: the only way to the test channel.

        Args:
            model: what a job or trial gave, or `name@alias` of a registered version.
            against: `name@champion`: the version to compare with on the same data.
            metrics: names; None for those that fit the labels.
        """
        from headway.flows.evaluate import evaluate

        return evaluate(
            self.session,
            model,
            self.dataset(data) if isinstance(data, str) else data,
            against=against,
            metrics=metrics,
            engine=engine,
            fresh=fresh,
        )

    def page(self, evaluation: Evaluation) -> Path:
        """The page of an evaluation: metrics, sample predictions with their pictures, confusion matrix; one file."""
        from headway.flows.evaluate import write_page

        return write_page(self.session, evaluation)

    def register(
        self,
        name: str,
        model: ModelRef | Job,
        *,
        evaluation: Evaluation | None = None,
        gate: Any = (),
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """A new version of a registered model, with all that prediction needs; the same model again gives the same one.

        Raises:
            GateFailedError: the evaluation does not pass; nothing was registered.
        """
        from headway.flows.register import register

        return register(self.session, name, model, evaluation=evaluation, gate=gate, tags=tags or {})

    def model(self, ref: str) -> RegisteredModel:
        """A registered version: `name`, `name@3` or `name@champion`."""
        from headway.flows.register import load_model

        return load_model(self.session, ref)

    def predict(self, ref: str, paths: Sequence[str | os.PathLike[str]]) -> list[Prediction]:
        """One prediction per raw file by a registered version: label, probability, all probabilities."""
        return self.model(ref).predict([Path(path) for path in paths])

    def job(self, ref: str) -> Job:
        """A job by id, or the newest of a name."""
        from headway.flows.train import load_job

        return load_job(self.session, ref)

    def jobs(self) -> Any:
        """All jobs as a pandas DataFrame: one row each, with status, duration and metrics."""
        from headway.flows.inspect import jobs_frame

        return jobs_frame(self.session)

    def show(self, ref: str) -> dict[str, Any]:
        """Everything worth knowing of one job, manifest, dataset or model version."""
        from headway.flows.inspect import show

        return show(self.session, ref)

    def _manifest(self, data: Manifest | str) -> Manifest:
        return self.manifest(data) if isinstance(data, str) else data

    def _data(self, data: Dataset | Manifest | str | None) -> Dataset | Manifest | None:
        """A name means a dataset if there is one of that name, else a manifest."""
        from headway.errors import NotFoundError

        if not isinstance(data, str):
            return data
        try:
            return self.dataset(data)
        except NotFoundError as no_dataset:
            try:
                return self.manifest(data)
            except NotFoundError as no_manifest:
                known = {*no_dataset.known, *no_manifest.known}
                raise NotFoundError("dataset or manifest", data, known) from None
