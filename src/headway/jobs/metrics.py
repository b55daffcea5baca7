"""Metrics that are read from a log: the patterns, checked before anything starts, and what never matched.

In: name -> regular expression, from a program. Out: the same, known to be good, for `JobSpec.metrics`; the worker's
host matches them line by line (`headway.worker`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from headway.errors import ProgramError


def compile_patterns(patterns: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """The compiled patterns by metric.

    Args:
        patterns: metric -> regular expression with exactly one group, which catches the number.

    Raises:
        ProgramError: a pattern does not compile (the text gives name, pattern and position), or has no or several
            groups.

    Example:
        >>> compile_patterns({"validation:accuracy": r"val_acc=([0-9.]+)"})["validation:accuracy"].groups
        1
    """
    compiled = {}
    for name, pattern in patterns.items():
        if not str(name).strip() or not str(name).isprintable():
            raise ProgramError(f"a metric needs a name, got {name!r}")
        try:
            found = re.compile(pattern)
        except re.error as error:
            place = "" if error.pos is None else f" at position {error.pos}: {_shown(pattern, error.pos)}"
            raise ProgramError(
                f"the pattern of the metric {name!r} does not compile: {error.msg}{place}; got {pattern!r}"
            ) from error
        if found.groups != 1:
            raise ProgramError(
                f"the pattern of the metric {name!r} needs exactly one group, round the number, and has "
                f"{found.groups}: got {pattern!r}; "
                + ("write (?:...) for the others" if found.groups else r"for example 'loss=([0-9.]+)'")
            )
        compiled[name] = found
    return compiled


def never_matched(patterns: Mapping[str, str], seen: Collection[str], *, last_lines: Sequence[str] = ()) -> list[str]:
    """One sentence for each pattern that matched no line of any worker's log.

    Args:
        patterns: as in `JobSpec.metrics`.
        seen: names of the metrics that came.
        last_lines: the end of the log, shown below.
    """
    missing = [name for name in patterns if name not in seen]
    if not missing:
        return []
    lines = [f"the metric {name!r} never appeared: no line of the log matched {patterns[name]!r}" for name in missing]
    if not last_lines:
        lines[-1] += "; the log is empty"
    else:
        lines[-1] += "; the log ends with:\n" + "\n".join(f"    {line.rstrip()}" for line in last_lines)
    return lines


def _shown(pattern: str, position: int) -> str:
    """The pattern with a mark where it went wrong."""
    return f"{pattern[:position]}>>>{pattern[position:]}"
