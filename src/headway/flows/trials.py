"""What really runs the trials of a study: warm workers for functions, a job of its own for each trial of a script.

In: started trials with their parameters. Out: reports for `headway.tuning.loop`. Both follow its `TrialRunner`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, final

from headway.engines.engine import Observation, Pool, Task, TaskNews
from headway.errors import HeadwayError
from headway.execution import stopping
from headway.execution.job import Job
from headway.execution.session import Session
from headway.tuning.loop import TrialReport

TRACEBACK_LINES = 8
StartJob = Callable[[int, int, dict[str, Any], Callable[[Observation], None]], Job]
"""`(number, attempt, parameters, watch)` -> the trial's job, brought to its end when it returns."""


@final
class PoolTrials:
    """Trials as tasks of warm workers.

    Args:
        pool: opened when the first trial starts.
        seed: of the study; a trial's own seed is made of it and its number by the runner.
        place: where a trial's artifact lies, relative to the workspace, given its number and the runner's result.
        grace_s: between asking a trial to stop and ending its worker.
        tell: shows text to the caller: why a trial failed, while the study goes on.
    """

    def __init__(
        self,
        pool: Callable[[], Pool],
        *,
        seed: int,
        place: Callable[[int, Mapping[str, Any]], str | None],
        grace_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._open, self._seed, self._place, self._grace_s = pool, seed, place, grace_s
        self._tell = tell
        self._pool: Pool | None = None

    def start(self, number: int, attempt: int, parameters: dict[str, Any]) -> None:
        """Hand the trial to the pool."""
        if self._pool is None:
            self._pool = self._open()
        payload = {"parameters": parameters, "seed": self._seed, "keep": True}
        self._pool.submit([Task(number=number, attempt=attempt, payload=payload)])

    def reports(self, timeout_s: float) -> list[TrialReport]:
        """What the pool says, as reports."""
        if self._pool is None:
            return []
        return [self._report(news) for news in self._pool.news(timeout_s)]

    def stop(self, number: int, reason: str) -> None:
        """Ask its worker to stop it."""
        if self._pool is not None:
            self._pool.cancel(number, grace_s=self._grace_s)

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close(grace_s=0)
            self._pool = None

    def _report(self, news: TaskNews) -> TrialReport:
        if news.kind == "reported":
            return TrialReport(
                kind="reported", number=news.number, attempt=news.attempt, values=news.values, step=news.step
            )
        if not news.ok and not (news.error or {}).get("cancelled"):
            self._tell(failure_text(news))
        return trial_report(
            news.number,
            news.attempt,
            ok=news.ok,
            result=news.result,
            error=news.error,
            usage=news.usage,
            place=self._place,
        )


def failure_text(news: TaskNews) -> str:
    """Why a trial failed: worker, message, and the last lines of its traceback."""
    error = news.error or {}
    lines = str(error.get("traceback") or "").rstrip().splitlines()[-TRACEBACK_LINES:]
    head = f"trial {news.number} failed on algo-{news.worker} (attempt {news.attempt}): {error.get('message', '')}"
    return "\n".join([head, *(f"    {line}" for line in lines)])


def trial_report(
    number: int,
    attempt: int,
    *,
    ok: bool,
    result: Any,
    error: Mapping[str, Any] | None,
    usage: Mapping[str, float],
    place: Callable[[int, Mapping[str, Any]], str | None],
) -> TrialReport:
    """The report of a task that ended, from the pool or from a record that an earlier driver left."""
    wall_s = usage.get("wall_s")
    if not ok:
        why = error or {}
        text = str(why.get("traceback") or why.get("message") or "it failed without a word")
        lines = [line for line in text.strip().splitlines() if line.strip()]
        message = str(why.get("message") or lines[-1])
        return TrialReport(kind="failed", number=number, attempt=attempt, error=message, wall_s=wall_s)
    return TrialReport(
        kind="ended",
        number=number,
        attempt=attempt,
        values=result.get("metrics", {}),
        artifact=place(number, result),
        wall_s=wall_s,
    )


@final
class JobTrials:
    """Trials as jobs: for scripts, and whatever needs a process or a gang of its own.

    Args:
        session: of the workspace.
        start_job: starts the job of a trial and blocks until its end.
    """

    def __init__(self, session: Session, start_job: StartJob) -> None:
        self._session, self._start_job = session, start_job
        self._reports: queue.Queue[TrialReport] = queue.Queue()
        self._jobs: dict[int, str] = {}
        self._threads: dict[int, threading.Thread] = {}

    def start(self, number: int, attempt: int, parameters: dict[str, Any]) -> None:
        """Run the trial's job in a thread."""
        thread = threading.Thread(target=self._run, args=(number, attempt, parameters), name=f"trial-{number}")
        self._threads[number] = thread
        thread.start()

    def reports(self, timeout_s: float) -> list[TrialReport]:
        """What the jobs said."""
        found: list[TrialReport] = []
        try:
            found.append(self._reports.get(timeout=timeout_s))
            while True:
                found.append(self._reports.get_nowait())
        except queue.Empty:
            return found

    def stop(self, number: int, reason: str) -> None:
        """Ask the trial's job to stop."""
        if number in self._jobs:
            stopping.request(self._session.files, self._jobs[number], by=reason)

    def close(self) -> None:
        """Stop and wait for what still runs."""
        for number, thread in self._threads.items():
            if thread.is_alive():
                self.stop(number, "the study ended")
                thread.join()

    def _run(self, number: int, attempt: int, parameters: dict[str, Any]) -> None:
        def watch(seen: Observation) -> None:
            self._jobs[number] = seen.job
            self._reports.put(
                TrialReport(kind="reported", number=number, attempt=attempt, values=seen.values, step=seen.step)
            )

        try:
            job = self._start_job(number, attempt, parameters, watch)
        except HeadwayError as error:
            text = str(error)
            self._reports.put(TrialReport(kind="failed", number=number, attempt=attempt, error=text))
            return
        except BaseException as error:  # noqa: BLE001 (reported: a thread's own end would be seen by nobody)
            text = f"{type(error).__name__}: {error}"
            self._reports.put(TrialReport(kind="failed", number=number, attempt=attempt, error=text))
            return
        artifact = job.model.folder if job.result and job.result.body.get("model") else None
        self._reports.put(
            TrialReport(kind="ended", number=number, attempt=attempt, values=job.metrics, artifact=artifact)
        )
