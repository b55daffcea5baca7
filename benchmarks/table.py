"""What a benchmark gives back, and the two ways of taking time that all of them share."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Table:
    """One measurement: rows of cells below columns.

    Args:
        title: what was measured, a heading.
        columns: their names, with units.
        rows: cells; floats are shown with three digits, everything else as it is.
        note: how it was measured, in one or two sentences.
        missed: goals that were not reached, one sentence each; they make the run end with exit code 1.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""
    missed: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table as Markdown, without a heading."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([_cell(cell) for cell in row]) for row in self.rows]
        lines += ["", self.note] if self.note else []
        lines += [f"\n**Goal missed:** {goal}" for goal in self.missed]
        return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def median_s(function: Callable[[], object], *, times: int) -> float:
    """The median of the seconds that calls of a function take."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def command_s(command: Sequence[str], *, times: int) -> float:
    """The median of the seconds that a command takes, from its start to its end; its failure is an error."""
    return median_s(lambda: subprocess.run(command, check=True, capture_output=True), times=times)


def alternating_s(functions: dict[str, Callable[[], object]], *, times: int) -> dict[str, float]:
    """Medians of several functions, called in turn, so that a busy moment of the machine meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(times):
        for name, function in functions.items():
            taken[name].append(median_s(function, times=1))
    return {name: statistics.median(values) for name, values in taken.items()}
