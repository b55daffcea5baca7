"""What a training program can ask and tell: channels with samples, reports, checkpoints, whether to stop, who it is.

In: the worker's context. Out: `TrainingContext`, given to functions that have a parameter `context`, and found from
anywhere, also in scripts, by `from headway import context`. Outside a job the same names do nothing, so that a program
runs by itself: reports go nowhere, nothing is loaded, nobody asks it to stop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from headway.training.channels import Channels, TrainingChannel
from headway.training.checkpoint import Checkpoints
from headway.worker import context as worker_context
from headway.worker import metrics as worker_metrics
from headway.worker import ticket as worker_ticket

_active: TrainingContext | None = None


@final
class TrainingContext:
    """A worker's view of its job, or of the trial that it has in hand.

    Args:
        inner: the worker's context.
        hyperparameters: of the trial, over those of the job.
        seed: of the trial; None: the job's.

    Attributes:
        job, attempt: id of the job and number of the attempt.
        rank, world_size, hosts, worker, is_first: this worker among the others of its gang.
        hyperparameters: settings of the job, or of the trial.
        channels: name -> `TrainingChannel`: `.arrays()`, `.batches(...)`, `.path`.
        checkpoint: `Checkpoints`: `.save(state, step=)`, `.load()`, `.folder(step)`, `.latest()`.
        seed: of the job, or of the trial.
        options: what the job was given besides.
        number: of the trial; None in a job of its own.
    """

    def __init__(
        self,
        inner: worker_context.Context,
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        self.inner = inner
        self.job, self.attempt, self.number = inner.job, inner.attempt, inner.number
        self.rank, self.world_size, self.hosts, self.worker = inner.rank, inner.world_size, inner.hosts, inner.worker
        self.is_first = inner.is_first
        self.hyperparameters = {**inner.hyperparameters, **(hyperparameters or {})}
        self.seed = inner.seed if seed is None else seed
        self.options = inner.options
        self.reported: dict[str, float] = {}
        gang = bool(inner.ticket.get("coupled"))
        place = {"rank": inner.rank, "world_size": inner.world_size} if gang else {"rank": 0, "world_size": 1}
        allow_test = bool(inner.ticket.get("allow_test", False))
        self.channels = Channels(
            {
                name: TrainingChannel(channel, seed=self.seed, allow_test=allow_test, **place)
                for name, channel in inner.channels.items()
            },
            where=inner.job,
        )
        self.checkpoint = Checkpoints(_checkpoint_folders(inner), writes=not gang or inner.is_first)

    @property
    def model_dir(self) -> str:
        """The folder for the model, unless the program returns it; a trial has its own, made when asked for."""
        if self.number is None:
            return self.inner.model_dir
        return _made(os.path.join(self.inner.folder, "model"))

    @property
    def output_dir(self) -> str:
        """The folder for anything else that is to be kept."""
        return self.inner.output_dir if self.number is None else self.inner.folder

    @property
    def scratch(self) -> str:
        """A folder for what may be lost; it is removed after a success."""
        return self.inner.scratch

    @property
    def should_stop(self) -> bool:
        """Whether the program has been asked to stop: save a checkpoint and return. Cheap enough for every step."""
        return self.inner.should_stop

    def report(self, values: Mapping[str, Any] | None = None, *, step: int | None = None, **named: Any) -> None:
        """Record metrics: `report(loss=0.3, step=4)`, or `report({"validation:accuracy": 0.9})`.

        Raises:
            TypeError: a value is not a number.
        """
        self.inner.report(values, step=step, **named)
        for name, value in {**(values or {}), **named}.items():
            self.reported[name] = float(value)

    @contextlib.contextmanager
    def active(self) -> Iterator[TrainingContext]:
        """While the block runs, `from headway import context` gives this one."""
        global _active
        before, _active = _active, self
        try:
            yield self
        finally:
            _active = before


@final
class Outside:
    """The context of a program that does not run as a job: the same names, and nothing happens."""

    job, attempt, number = "", 0, None
    rank, world_size, worker, is_first = 0, 1, "algo-1", True
    should_stop = False
    seed = 0

    def __init__(self) -> None:
        self.hosts = ["algo-1"]
        self.hyperparameters: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.reported: dict[str, float] = {}
        self.channels = Channels({}, where="")
        self.checkpoint = Checkpoints([])

    @property
    def model_dir(self) -> str:
        """`./model`, or what SM_MODEL_DIR says; made when asked for."""
        return _made(os.environ.get("SM_MODEL_DIR", "model"))

    @property
    def output_dir(self) -> str:
        """`./output`, or what SM_OUTPUT_DATA_DIR says; made when asked for."""
        return _made(os.environ.get("SM_OUTPUT_DATA_DIR", "output"))

    @property
    def scratch(self) -> str:
        """The folder for temporary files."""
        import tempfile

        return tempfile.gettempdir()

    def report(self, values: Mapping[str, Any] | None = None, *, step: int | None = None, **named: Any) -> None:
        """Nothing, but a value that is not a number is an error here, too."""
        del step
        for name, value in {**(values or {}), **named}.items():
            if worker_metrics.number(value) is None:
                raise TypeError(f"context.report: {name} must be a number, got {value!r}")


@final
class CurrentContext:
    """What `from headway import context` gives: the context of the job or trial that runs, else one that does nothing.

    Example:
        >>> from headway import context
        >>> context.rank, context.world_size, context.checkpoint.load()
        (0, 1, None)
        >>> context.report(loss=0.5)
    """

    def __init__(self) -> None:
        self._outside = Outside()
        self._wrapped: TrainingContext | None = None
        self._from_ticket: tuple[str, worker_context.Context] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __repr__(self) -> str:
        found = self._find()
        return f"<context of {found.job}>" if found.job else "<context outside a job>"

    def _find(self) -> TrainingContext | Outside:
        if _active is not None:
            return _active
        inner = worker_context.current() or self._from_environment()
        if inner is None:
            return self._outside
        if self._wrapped is None or self._wrapped.inner is not inner:
            self._wrapped = TrainingContext(inner)
        return self._wrapped

    def _from_environment(self) -> worker_context.Context | None:
        """The context of a process that a job's script started."""
        path = os.environ.get("HEADWAY_TICKET")
        if not path or not os.path.exists(path):
            return None
        if self._from_ticket is None or self._from_ticket[0] != path:
            ticket = worker_ticket.read(path)
            stop_file = worker_ticket.stop_file(ticket)
            inner = worker_context.Context(
                ticket, report=_file_report(ticket), should_stop=lambda: os.path.exists(stop_file)
            )
            self._from_ticket = path, inner
        return self._from_ticket[1]


context = CurrentContext()


def _checkpoint_folders(inner: worker_context.Context) -> list[Path]:
    """Where to write, then where earlier attempts wrote, newest first."""
    if inner.number is None:
        return [Path(folder) for folder in inner.checkpoint_dirs]
    attempts = Path(inner.ticket["folders"]["job"]) / "attempts"
    below = f"items/{inner.number}/checkpoints"
    own = Path(inner.ticket["folders"]["attempt"]) / below
    return [own, *(attempts / str(n) / below for n in range(inner.attempt - 1, 0, -1))]


def _file_report(ticket: worker_ticket.Ticket) -> worker_context.Report:
    """Reports of a process that a script started: through the metrics file."""
    import time

    def report(values: Mapping[str, float], step: int | None) -> None:
        lines = [worker_metrics.line(n, v, step=step, at=time.time(), source="report") for n, v in values.items()]
        worker_metrics.append(worker_ticket.metrics_file(ticket), b"".join(lines))

    return report


def _made(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    return path
