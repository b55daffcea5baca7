"""The context: what a program can ask and tell while it runs as a worker.

In: a ticket and the ways to report and to learn of a stop. Out: `Context`, handed to functions that have a parameter of
that name, and found from anywhere by `current()`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, final

from headway.worker.channels import materialise
from headway.worker.metrics import number
from headway.worker.ticket import Ticket, channel_folder, worker_name

Report = Callable[[Mapping[str, float], "int | None"], None]
_current: Context | None = None


def current() -> Context | None:
    """The context of the worker that this process is; None outside of a job."""
    return _current


def activate(context: Context | None) -> None:
    """Make `context` the current one."""
    global _current
    _current = context


@final
class Channel:
    """One channel of the worker's data.

    Args:
        name: `train`, ...
        ticket: the channel as the ticket names it: kind, mode, listing, index, shards, options.
        folder: where its files are shown.
    """

    def __init__(self, name: str, ticket: dict[str, Any], folder: str) -> None:
        self.name, self.ticket, self._folder = name, ticket, folder

    @property
    def path(self) -> str:
        """The folder with the channel's files; it is filled when this is first asked for."""
        return materialise(self.ticket, self._folder)

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, kind={self.ticket.get('kind')!r}, mode={self.ticket.get('mode')!r})"


@final
class Context:
    """A worker's view of its job, or of the task that it has in hand.

    Attributes:
        job, attempt: the job's id and the number of the attempt.
        rank, world_size, hosts, worker: this worker among the others; `worker` is `algo-1` for rank 0.
        hyperparameters: the job's settings.
        channels: name -> `Channel`.
        model_dir, output_dir, scratch: folders; scratch is gone after a success.
        checkpoint_dirs: where to write checkpoints, and then those of earlier attempts, newest first.
        seed: of the job.
        options: what the runner was given.
        number: of the task in hand (mode "items"), else None.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        report: Report,
        should_stop: Callable[[], bool],
        number: int | None = None,
        task_attempt: int = 1,
    ) -> None:
        folders = ticket["folders"]
        self.ticket = ticket
        self.job: str = ticket["job"]
        self.attempt: int = ticket["attempt"]
        self.rank: int = ticket["rank"]
        self.world_size: int = ticket["world_size"]
        self.hosts: list[str] = list(ticket["hosts"])
        self.worker = worker_name(ticket)
        self.hyperparameters: dict[str, Any] = dict(ticket["hyperparameters"])
        self.channels = {
            name: Channel(name, channel, channel_folder(ticket, name)) for name, channel in ticket["channels"].items()
        }
        self.model_dir: str = folders["model"]
        self.output_dir: str = folders["output"]
        self.checkpoint_dirs: list[str] = [folders["checkpoints"], *folders.get("previous_checkpoints", [])]
        self.scratch: str = folders["scratch"]
        self.seed: int = ticket.get("seed", 0)
        self.options: dict[str, Any] = dict(ticket.get("options", {}))
        self.number, self.task_attempt = number, task_attempt
        self._report, self._should_stop = report, should_stop

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that saves the model."""
        return self.rank == 0

    @property
    def should_stop(self) -> bool:
        """Whether the program has been asked to stop: save and return. Cheap enough for every step."""
        return self._should_stop()

    @property
    def folder(self) -> str:
        """The folder of the task in hand, made when it is asked for.

        Raises:
            RuntimeError: there is no task (mode "run"): use `output_dir`.
        """
        if self.number is None:
            raise RuntimeError("context.folder is for the items of a job; this job has none: use context.output_dir")
        path = f"{self.ticket['folders']['attempt']}/items/{self.number}"
        os.makedirs(path, exist_ok=True)
        return path

    def report(self, values: Mapping[str, Any] | None = None, *, step: int | None = None, **named: Any) -> None:
        """Record metrics; they are on disk when this returns, and the driver learns of them at once.

        Args:
            values: name -> number, for names that are no Python names, `validation:accuracy`.
            step: epoch or step that they belong to.
            named: further metrics.

        Raises:
            TypeError: a value is not a number.
        """
        found: dict[str, float] = {}
        for name, value in {**(values or {}), **named}.items():
            as_number = number(value)
            if as_number is None:
                raise TypeError(f"context.report: {name} must be a number, got {value!r}")
            found[name] = as_number
        self._report(found, None if step is None else int(step))

    def for_task(self, number: int, *, attempt: int, report: Report, should_stop: Callable[[], bool]) -> Context:
        """The context of one task of this worker."""
        return Context(self.ticket, report=report, should_stop=should_stop, number=number, task_attempt=attempt)
