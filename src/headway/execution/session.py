"""What every piece of work needs at hand: files, ledger, engines, progress, and the leases that this driver holds.

In: an opened workspace. Out: `Session`, handed to the flows. It keeps the only thread of its own: the heartbeat.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

from headway.engines.engine import Engine
from headway.errors import CapabilityError, HeadwayError, NotFoundError
from headway.execution.progress import Progress
from headway.jobs.spec import Resources
from headway.stores.files import Files
from headway.stores.ledger import Lease, Ledger

HEARTBEAT_S = 5.0


@final
class Session:
    """Files, ledger, engines and progress of one driver.

    Args:
        files: the workspace's files.
        ledger: its ledger.
        engine: URL of the default engine, or an engine.
        progress: told of long work.
        credentials: name -> environment variable -> reference, from the settings.
    """

    def __init__(
        self,
        files: Files,
        ledger: Ledger,
        *,
        engine: str | Engine = "local://",
        progress: Progress,
        credentials: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.files, self.ledger, self.progress = files, ledger, progress
        self._credentials = credentials or {}
        self.default_engine = engine
        self._engines: dict[str, Engine] = {}
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._beat: threading.Thread | None = None

    def secrets(self, given: Mapping[str, str] | str | None) -> dict[str, str]:
        """References to secrets, by environment variable; a name stands for credentials of the settings.

        Raises:
            NotFoundError: no credentials of that name.
        """
        if not isinstance(given, str):
            return dict(given or {})
        if given not in self._credentials:
            hint = "They are tables [credentials.NAME] in headway.toml."
            raise NotFoundError("credentials", given, self._credentials, hint=hint)
        return dict(self._credentials[given])

    @property
    def secret_variables(self) -> set[str]:
        """The variables of this process that hold secrets: a worker gets those that its job asks for, and no others."""
        references = [one for table in self._credentials.values() for one in table.values()]
        return {one.removeprefix("env:") for one in references if one.startswith("env:")}

    def check_disk(self, resources: Resources, *, workers: int) -> None:
        """Refuse what needs more disk than the workspace has, before anything starts.

        Raises:
            CapabilityError: with what is free.
        """
        need = (resources.disk_bytes or 0) * workers
        if need and self.files.is_local and (free := shutil.disk_usage(self.files.local()).free) < need:
            raise CapabilityError(
                f"{workers} workers with {resources.disk_bytes:,} bytes of disk each were asked for, and "
                f"{self.files.url} has {free:,} bytes free; ask for less, or put the workspace on a larger disk"
            )

    def engine(self, engine: str | Engine | None = None) -> Engine:
        """The engine of a URL (opened once and kept), the one given, or the default one."""
        from headway.engines.registry import open_engine

        chosen = engine if engine is not None else self.default_engine
        if isinstance(chosen, Engine):
            return chosen
        with self._lock:
            if chosen not in self._engines:
                self._engines[chosen] = open_engine(chosen)
            return self._engines[chosen]

    def engine_url(self, engine: str | Engine | None = None) -> str:
        """How the engine is written down in a job's specification."""
        chosen = engine if engine is not None else self.default_engine
        return chosen if isinstance(chosen, str) else f"{chosen.capabilities().name}://"

    @contextmanager
    def lease(self, owner: str) -> Iterator[Lease | None]:
        """The right to decide about `owner` while the block runs; None if a live driver has it."""
        lease = self.ledger.claim(owner)
        if lease is None:
            yield None
            return
        with self._lock:
            self._leases[owner] = lease
            if self._beat is None:
                self._beat = threading.Thread(target=self._heartbeat, name="headway-heartbeat", daemon=True)
                self._beat.start()
        try:
            yield lease
        finally:
            with self._lock:
                self._leases.pop(owner, None)
            self.ledger.release(lease)

    def run_in_thread(self, work: Callable[[], None], *, name: str) -> threading.Thread:
        """Start work that goes on beside the caller; `close`, and the interpreter's end, wait for it."""
        thread = threading.Thread(target=work, name=name)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return thread

    def close(self) -> None:
        """Wait for work in threads, then end the engines and the ledger's connections. Idempotent."""
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                self.progress.note(f"waiting for {thread.name} to end (headway stop {thread.name} stops it)")
                thread.join()
        self._closed.set()
        if self._beat is not None and self._beat is not threading.current_thread():
            self._beat.join(timeout=HEARTBEAT_S)
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.close()
        self.ledger.close()

    def _heartbeat(self) -> None:
        """Keep the leases alive for drivers on other hosts; a lost one shows at its next append."""
        while not self._closed.wait(HEARTBEAT_S):
            with self._lock:
                leases = list(self._leases.values())
            for lease in leases:
                try:
                    self.ledger.heartbeat(lease)
                except HeadwayError as error:
                    self.progress.note(f"{lease.owner}: heartbeat failed ({error})")
                    with self._lock:
                        self._leases.pop(lease.owner, None)
