"""One attempt as the local engine keeps it: its workers, what was set aside for them, what the driver has yet to hear.

In: the engine's steps. Out: the state of the workers and their observations. No I/O here.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING, Any, final

from headway.engines.engine import Handle, Launch, Observation

if TYPE_CHECKING:
    from headway.engines.capacity import Ask, Grant


@final
class LocalWorker:
    """One worker: it waits, is `running`, has `ended` at last."""

    def __init__(self, attempt: LocalAttempt, rank: int) -> None:
        self.attempt, self.rank = attempt, rank
        self.name = f"{attempt.launch.job}/{attempt.launch.attempt}/{rank}"
        self.ticket: dict[str, Any] = copy.deepcopy(attempt.launch.tickets[rank])
        self.ask_id = ""
        self.running = self.ended = False


@final
class LocalAttempt:
    """One attempt of a job.

    Args:
        launch: what was asked for.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.handle: Handle = {"job": launch.job, "attempt": launch.attempt, "engine": "local"}
        self.workers = [LocalWorker(self, rank) for rank in range(len(launch.tickets))]
        self.waiting: dict[str, tuple[Ask, list[LocalWorker]]] = {}
        self.stopped = False
        self.news: deque[Observation] = deque()
        self._said = ""

    @property
    def coupled(self) -> bool:
        """Whether its workers start all or none."""
        return bool(self.launch.tickets and self.launch.tickets[0].get("coupled"))

    @property
    def ended(self) -> bool:
        """Whether all workers have ended."""
        return all(worker.ended for worker in self.workers)

    def tell(self, kind: str, *, rank: int | None = None, **fields: Any) -> None:
        """Something for the driver to hear."""
        self.news.append(Observation(job=self.launch.job, attempt=self.launch.attempt, rank=rank, kind=kind, **fields))

    def tell_waiting(self, reason: str) -> None:
        """Why workers wait, when it is another reason than before."""
        if reason != self._said:
            self._said = reason
            self.tell("waiting", text=reason)

    def equip(self, grant: Grant, workers: list[LocalWorker], *, hide_gpus: bool) -> None:
        """Write into the tickets what was granted: GPUs and the gang's port."""
        for position, worker in enumerate(workers):
            worker.ask_id = grant.id
            equip(worker.ticket, grant, position=position, workers=len(workers), hide_gpus=hide_gpus)


def equip(ticket: dict[str, Any], grant: Grant, *, position: int = 0, workers: int = 1, hide_gpus: bool) -> None:
    """Write into a ticket what its worker was granted.

    Args:
        position, workers: which of the workers that share the grant.
        hide_gpus: whether there are GPUs that a worker without any must not see.
    """
    each = len(grant.gpus) // workers
    mine = list(grant.gpus[position * each : (position + 1) * each])
    ticket["resources"] = ticket["resources"] | {"gpu_ids": mine if mine or hide_gpus else None}
    if grant.port:
        ticket |= {"master_addr": "127.0.0.1", "master_port": grant.port}
