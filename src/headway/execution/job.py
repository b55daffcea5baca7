"""A job as the caller holds it: wait, look, stop. Works for running, ended and other drivers' jobs alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

from headway.errors import JobFailedError, NotFoundError
from headway.execution import stopping
from headway.execution.session import Session
from headway.jobs import life
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.records import Record
from headway.stores import commit
from headway.stores.files import Files

ENDED = ("succeeded", "failed", "stopped")


class ModelRef(Record):
    """A model that a job or a trial saved and that is not registered.

    Args:
        source: id of the job, or `<job>/<number>` of a trial.
        folder: of the model's files, relative to the workspace.
        code: of the code that made it, relative to the workspace.
        dataset: id of the dataset or manifest that it was trained on; empty without one.
        parameters: hyperparameters it was trained with.
    """

    source: str
    folder: str
    code: str
    dataset: str = ""
    parameters: dict[str, Any] = {}

    @property
    def job(self) -> str:
        """Id of the job."""
        return self.source.partition("/")[0]

    def path(self, files: Files) -> Path:
        """The folder on this machine."""
        return files.local(self.folder)


@final
class Job:
    """A job of this workspace.

    Args:
        session: of the workspace.
        spec: what runs.
        work: brings the job to its end; None for a job that is only looked at.
        reasons: why it was run or reused.
    """

    def __init__(
        self, session: Session, spec: JobSpec, *, work: Callable[[], Any] | None = None, reasons: tuple[str, ...] = ()
    ) -> None:
        self.spec, self.id, self.reasons = spec, spec.id, reasons
        self._session, self._work = session, work
        self._folder = JobFolder(session.files, spec.id)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"Job({self.id!r}, status={self.status!r})"

    @property
    def status(self) -> str:
        """`new`, `running`, `succeeded`, `failed`, `stopped`, or `interrupted` when its driver died."""
        return job_status(self._session, self.id)

    @property
    def result(self) -> commit.Result | None:
        """The published result; None while there is none."""
        return commit.result(self._session.files, f"jobs/{self.id}")

    @property
    def metrics(self) -> dict[str, float]:
        """Last value of each metric, also while it runs."""
        if self.result is not None:
            return dict(self.result.body.get("metrics", {}))
        attempts = self._folder.attempts()
        return {row["name"]: row["value"] for row in self._folder.metrics(attempts[-1])} if attempts else {}

    @property
    def warnings(self) -> list[str]:
        """What a user should know of a job that succeeded."""
        return list(self.result.body.get("warnings", [])) if self.result else []

    @property
    def model(self) -> ModelRef:
        """The model that it saved.

        Raises:
            JobFailedError: it has not succeeded.
            NotFoundError: it saved no model.
        """
        result = self.result
        if result is None:
            raise JobFailedError(f"{self.id} has no model: it is {self.status}", job_id=self.id)
        if not result.body.get("model"):
            raise NotFoundError("model", self.id, hint="the job saved none: see headway show " + self.id)
        return ModelRef(
            source=self.id,
            folder=f"jobs/{self.id}/attempts/{result.attempt}/model",
            code=f"jobs/{self.id}/code",
            dataset=next((i.id for i in self.spec.inputs if i.role in ("dataset", "manifest")), ""),
            parameters=self.spec.hyperparameters,
        )

    @property
    def output(self) -> Path:
        """Folder of the other outputs of the chosen attempt."""
        result = self.result
        if result is None:
            raise JobFailedError(f"{self.id} has no output: it is {self.status}", job_id=self.id)
        return self._session.files.local(f"jobs/{self.id}/attempts/{result.attempt}/output")

    def start(self) -> Job:
        """Run it in a thread of this process; the interpreter waits for it at its end."""
        self._thread = self._session.run_in_thread(self._run, name=self.id)
        return self

    def run(self) -> Job:
        """Run it here, until its end."""
        if self._work is not None:
            self._work()
        return self

    def wait(self, timeout_s: float | None = None) -> Job:
        """Wait for its end.

        Raises:
            TimeoutError: it still runs after `timeout_s`.
            JobFailedError, StoppedError: how it ended otherwise.
        """
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"{self.id} still runs after {timeout_s} s")
        if self._error is not None:
            raise self._error
        return self

    def stop(self, *, grace_s: float | None = None, by: str = "Job.stop") -> None:
        """Ask its driver, wherever that is, to stop it; a job whose driver has died is stopped here."""
        if self.status in ENDED:
            return
        stopping.request(self._session.files, self.id, by=by, grace_s=grace_s)
        with self._session.lease(self.id) as lease:
            if lease is not None:
                self._session.ledger.append(lease, [("stop_requested", {"by": by}), ("stopped", {})])
                stopping.clear(self._session.files, self.id)

    def logs(self, worker: str | int = 1, *, follow: bool = False, attempt: int | None = None) -> Iterator[str]:
        """The lines that a worker printed.

        Args:
            worker: `algo-2` or 2.
            follow: go on until the job has ended.
            attempt: None for the newest.
        """
        if self.spec.kind == "tune" and self.spec.mode == "run":
            trials = [e.id for e in self._session.ledger.entries("trial") if e.name.startswith(f"{self.spec.name}-")]
            raise NotFoundError("log", self.id, trials, hint="Each trial of a script is a job with logs of its own.")
        name = f"algo-{str(worker).removeprefix('algo-')}"
        known = [f"algo-{number + 1}" for number in range(self.spec.workers)]
        if name not in known:
            raise NotFoundError("worker", name, known)
        rank = known.index(name)
        newest = attempt if attempt is not None else max(self._folder.attempts(), default=1)
        if not follow and not self._session.files.exists(self._folder.log(newest, rank)):
            return iter(())  # the worker has not started yet
        return self._folder.log_lines(
            rank, attempt=attempt, follow=follow, stop=lambda: self.status in (*ENDED, "interrupted")
        )

    def _run(self) -> None:
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 (raised again by `wait`)
            self._error = error


def job_status(session: Session, job_id: str) -> str:
    """`new`, `running`, `succeeded`, `failed`, `stopped` or `interrupted`."""
    if commit.result(session.files, f"jobs/{job_id}") is not None:
        return "succeeded"
    state = life.replay(session.ledger.events(job_id))
    if state.ended:
        return state.status
    holder = session.ledger.holder(job_id)
    if holder is not None and holder.alive:
        return "running"
    return "interrupted" if state.attempts else "new"
