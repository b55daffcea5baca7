"""Events, who holds an owner, and the lease under which a driver appends: the values of `headway.stores.ledger`."""

from __future__ import annotations

import os
import threading
from typing import Any, final

from headway.errors import FencedError, WorkspaceError
from headway.records import Record
from headway.stores.driver import Driver


class Event(Record):
    """One thing that was decided.

    Args:
        sequence: counted from 1 without gaps for each owner.
        epoch: under which driver's epoch it was appended.
        at: UTC epoch seconds by the driver's clock.
    """

    owner: str
    sequence: int
    epoch: int
    kind: str
    at: float
    body: dict[str, Any]


class Holder(Record):
    """Who drives an owner's work just now.

    Args:
        heartbeat_at: UTC epoch seconds of the last claim or heartbeat.
        alive: whether the driver lives: by its process id on this machine, else by its heartbeat.
    """

    epoch: int
    driver: Driver
    heartbeat_at: float
    alive: bool


@final
class Lease:
    """The right to append to an owner's events until somebody else takes it over; made by `Ledger.claim`.

    Safe in threads: appends under one lease come one after the other. It does not survive a fork.
    """

    __slots__ = ("_last", "_lock", "_pid", "driver", "epoch", "owner")

    def __init__(self, owner: str, epoch: int, driver: Driver, *, last: int | None = None) -> None:
        self.owner = owner
        self.epoch = epoch
        self.driver = driver
        self._last = last  # sequence of the last event; None: ask the ledger
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Lease(owner={self.owner!r}, epoch={self.epoch})"

    def check_process(self) -> None:
        """Refuse the use in a forked child, where the parent's lease would have two users.

        Raises:
            WorkspaceError: this is another process.
        """
        if self._pid != os.getpid():
            raise WorkspaceError(f"{self!r} belongs to process {self._pid}: a forked child must claim for itself")

    def check_epoch(self, row: Any) -> None:
        """Compare with the row that the ledger has: its epoch comes first.

        Raises:
            FencedError: the work was taken over.
        """
        if row is None or row[0] != self.epoch:
            raise self.fenced(row[0] if row else None)

    def fenced(self, epoch: int | None = None) -> FencedError:
        """The error that says so."""
        now = f" (epoch {epoch}, this lease has {self.epoch})" if epoch is not None else ""
        return FencedError(
            f"another driver took over {self.owner!r}{now}: nothing that this one does is published any more"
        )
