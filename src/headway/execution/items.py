"""The driver of a job whose items are handed to independent workers: each item recorded and retried alone.

In: the items' payloads in a fixed order, and what makes a launch. Out: `ItemsOutcome`: one result or one error per
item. Items that an earlier attempt finished are taken from its records (`tasks.jsonl`) and not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from headway.engines.engine import Engine, Launch, Pool, Task, TaskNews
from headway.errors import FencedError, StoppedError
from headway.execution import stopping
from headway.execution.session import Session
from headway.execution.settle import keep_digests
from headway.jobs import life
from headway.jobs.folder import JobFolder
from headway.jobs.spec import JobSpec
from headway.records import Record
from headway.stores.ledger import Lease
from headway.worker.items import result_of

NEWS_S = 0.2
MakeLaunch = Callable[[int, int], Launch]
Retry = Callable[[Task, Mapping[str, Any]], Any]
"""Given a failed task and its error: the payload to try again with, or None to give the item up."""
Payloads = Callable[[int], Sequence[Any]]
"""Given the number of an attempt: the payloads of all items, in their order."""


class ItemsOutcome(Record):
    """What became of all items.

    Args:
        results: number -> the runner's JSON result.
        errors: number -> its last error.
        reused: how many results came from earlier attempts.
        attempt: the newest attempt of the job.
        wall_s: of this driver's part.
        busy_s: worker seconds spent on items in this attempt.
    """

    results: dict[int, Any]
    errors: dict[int, dict[str, Any]]
    reused: int
    attempt: int
    wall_s: float
    busy_s: float


@final
class ItemsDrive:
    """One driver's work on the items of one job.

    Args:
        launch: `(attempt, workers)` -> launch of that attempt with so many workers.
        retry: decides about a failed item.
        whole: whether a result of an earlier attempt needs no other try.
    """

    def __init__(
        self,
        session: Session,
        spec: JobSpec,
        lease: Lease,
        *,
        launch: MakeLaunch,
        engine: Engine,
        retry: Retry,
        whole: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        self._session, self._spec, self._lease, self._engine = session, spec, lease, engine
        self._make_launch, self._retry, self._whole = launch, retry, whole
        self._folder = JobFolder(session.files, spec.id)
        self._results: dict[int, Any] = {}
        self._errors: dict[int, dict[str, Any]] = {}
        self._busy_s = 0.0

    def run(self, num_items: int, payloads: Payloads, *, title: str) -> ItemsOutcome:
        """Do all items that are not done yet.

        Args:
            num_items: how many items the job has; an item's number is its place in `payloads(attempt)`.

        Raises:
            StoppedError, KeyboardInterrupt, FencedError: what was finished stays recorded.
        """
        began = time.monotonic()
        stopping.clear(self._session.files, self._spec.id)
        attempt = self._take_over(num_items)
        reused = len(self._results)
        missing = [number for number in range(num_items) if number not in self._results]
        self._session.progress.begin(self._spec.id, title, total=num_items, done=reused)
        try:
            if missing:
                attempt += 1
                given = payloads(attempt)
                self._run_attempt(attempt, [Task(number=n, attempt=1, payload=given[n]) for n in missing])
        finally:
            done, failed = len(self._results), len(self._errors)
            again = f", {reused} of them from before" if reused else ""
            lost = f", {failed} failed" if failed else ""
            self._session.progress.end(self._spec.id, f"{done} of {num_items}{again}{lost}")
        return ItemsOutcome(
            results=self._results,
            errors=self._errors,
            reused=reused,
            attempt=attempt,
            wall_s=time.monotonic() - began,
            busy_s=self._busy_s,
        )

    def _take_over(self, num_items: int) -> int:
        """Results of earlier attempts; the number of the newest attempt."""
        state = life.replay(self._session.ledger.events(self._spec.id))
        for handle in self._engine.find(self._spec.id):
            self._engine.stop(handle, grace_s=0)
        if state.ended:
            self._append("reopened", {})
        if state.live is not None:
            self._append("abandoned", {"attempt": state.live, "text": "its driver died"})
        attempts = self._folder.attempts()
        for attempt in attempts:
            for record in self._folder.tasks(attempt):
                if not record.get("ok") or not 0 <= record["number"] < num_items:
                    continue
                folder = self._session.files.local(f"{self._folder.attempt(attempt)}/{record['worker']}")
                result = result_of(record, str(folder))
                if self._whole(result):
                    self._results[record["number"]] = result
        return max([*attempts, state.attempts], default=0)

    def _run_attempt(self, attempt: int, tasks: Sequence[Task]) -> None:
        """One attempt over the given tasks."""
        self._append("intended", {"attempt": attempt})
        launch = self._make_launch(attempt, min(self._spec.workers, len(tasks)))
        pool = self._engine.pool(launch)
        stopped = None
        try:
            self._append("started", {"attempt": attempt, "handle": {"job": self._spec.id, "attempt": attempt}})
            pool.submit(tasks)
            stopped = self._collect(pool, {task.number: task for task in tasks})
        except FencedError:
            pool.close(grace_s=0)
            raise
        except KeyboardInterrupt:
            grace = f"{self._spec.grace_s:g} s for what is in hand; Ctrl-C again stops at once"
            self._session.progress.note(f"stopping {self._spec.id} ({grace}); the same call goes on with it")
            self._append("stop_requested", {"by": "Ctrl-C"})
            pool.close(grace_s=self._spec.grace_s)
            self._append("stopped", {})
            raise
        finally:
            pool.close(grace_s=0 if stopped is None else self._spec.grace_s)
            keep_digests(self._folder, attempt)
        if stopped is not None:
            self._append("stopped", {})
            stopping.clear(self._session.files, self._spec.id)
            raise StoppedError(f"{self._spec.id} was stopped on request; the same call goes on with it")
        self._append("settled", {"attempt": attempt, "ok": not self._errors, "errors": [], "text": ""})

    def _collect(self, pool: Pool, open_tasks: dict[int, Task]) -> dict[str, object] | None:
        """Wait until every task has ended for good; a stop request if one came in between."""
        while open_tasks:
            for news in pool.news(NEWS_S):
                if news.kind == "ended" and news.number in open_tasks:
                    self._ended(pool, news, open_tasks)
            asked = stopping.requested(self._session.files, self._spec.id)
            if asked is not None:
                self._append("stop_requested", {"by": asked.get("by", "?")})
                return asked
        return None

    def _ended(self, pool: Pool, news: TaskNews, open_tasks: dict[int, Task]) -> None:
        """One task ended: keep its result, try it again, or give it up."""
        task = open_tasks[news.number]
        if news.attempt != task.attempt:
            return
        self._busy_s += news.usage.get("wall_s", 0.0)
        if news.ok:
            self._results[news.number] = news.result
            self._errors.pop(news.number, None)
            del open_tasks[news.number]
        else:
            error = dict(news.error or {}) | {"worker": f"algo-{news.worker}", "attempt": news.attempt}
            payload = self._retry(task, error)
            if payload is None:
                self._errors[news.number] = error
                del open_tasks[news.number]
            else:
                again = Task(number=task.number, attempt=task.attempt + 1, payload=payload)
                open_tasks[news.number] = again
                pool.submit([again])
        failed = f"{len(self._errors)} failed" if self._errors else ""
        self._session.progress.advance(self._spec.id, done=len(self._results), text=failed)

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        self._session.ledger.append(self._lease, [(kind, body)])
