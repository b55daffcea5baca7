"""What long work shows: a live bar on a terminal, plain lines elsewhere.

In: what the flows say (`begin`, `advance`, `note`, `end`). Out: text on standard error. Nothing here decides anything.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TextIO, final


class Progress(ABC):
    """Told of long work while it happens. May be called from several threads."""

    @abstractmethod
    def begin(self, key: str, title: str, *, total: int | None = None, done: int = 0) -> None:
        """A piece of work begins, or goes on; `total` is its number of units where it is known."""

    @abstractmethod
    def advance(self, key: str, *, done: int, text: str = "") -> None:
        """So many units are done; `text` is the newest thing worth knowing (a metric, a reason to wait)."""

    @abstractmethod
    def end(self, key: str, text: str = "") -> None:
        """It ended; `text` sums it up."""

    @abstractmethod
    def note(self, text: str) -> None:
        """A line worth reading that belongs to no bar."""


@final
class Silent(Progress):
    """Says nothing."""

    def begin(self, key: str, title: str, *, total: int | None = None, done: int = 0) -> None:
        """Nothing."""

    def advance(self, key: str, *, done: int, text: str = "") -> None:
        """Nothing."""

    def end(self, key: str, text: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@final
class Lines(Progress):
    """Plain lines: at the begin, at the end, and in between at most one each `every_s` seconds."""

    def __init__(
        self, stream: TextIO | None = None, *, every_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._every_s, self._clock = stream or sys.stderr, every_s, clock
        self._works: dict[str, dict[str, Any]] = {}

    def begin(self, key: str, title: str, *, total: int | None = None, done: int = 0) -> None:
        """One line."""
        self._works[key] = {"title": title, "total": total, "said": self._clock(), "text": ""}
        self._print(f"{title} ..." if total is None else f"{title}: {done}/{total}")

    def advance(self, key: str, *, done: int, text: str = "") -> None:
        """A line when something new was said or time has passed."""
        work = self._works.get(key)
        if work is None or self._clock() - work["said"] < self._every_s:
            return
        work["said"] = self._clock()
        count = f": {done}/{work['total']}" if work["total"] else ""
        self._print(f"{work['title']}{count}{'  ' + text if text else ''}")

    def end(self, key: str, text: str = "") -> None:
        """One line."""
        work = self._works.pop(key, None)
        if work is not None:
            self._print(f"{work['title']}: {text or 'done'}")

    def note(self, text: str) -> None:
        """One line."""
        self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


@final
class Bars(Progress):
    """Live bars by rich; each piece of work leaves one line when it ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True)
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, tuple[Any, str, float]] = {}

    def begin(self, key: str, title: str, *, total: int | None = None, done: int = 0) -> None:
        """A new bar."""
        if not self._tasks:
            self._bars.start()
        self._tasks[key] = (self._bars.add_task(title, total=total, completed=done, text=""), title, time.monotonic())

    def advance(self, key: str, *, done: int, text: str = "") -> None:
        """The bar moves."""
        if key in self._tasks:
            update: dict[str, Any] = {"completed": done} | ({"text": text} if text else {})
            self._bars.update(self._tasks[key][0], **update)

    def end(self, key: str, text: str = "") -> None:
        """The bar goes, its line stays."""
        if key not in self._tasks:
            return
        task, title, started = self._tasks.pop(key)
        self._bars.remove_task(task)
        if not self._tasks:
            self._bars.stop()
        self._console.print(f"[green]✓[/] {title}: {text or 'done'} [dim]({time.monotonic() - started:.1f} s)[/]")

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, highlight=False, markup=False)


def default_progress() -> Progress:
    """Bars when standard error is a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()
