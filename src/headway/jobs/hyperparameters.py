"""Hyperparameters: plain values, and names that the program takes, checked in the caller before anything starts.

In: what the user gave, and the packed program. Out: plain JSON values for `JobSpec.hyperparameters`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from headway.jobs.spec import ProgramRecord


def check_hyperparameters(
    program: ProgramRecord, hyperparameters: Mapping[str, Any], *, given_by_runner: Collection[str] | None = None
) -> dict[str, Any]:
    """The hyperparameters as plain JSON values.

    Args:
        program: its `argument_names` are the names that count; None lets every name pass.
        hyperparameters: name -> value.
        given_by_runner: arguments that the runner fills itself, so that they are not missing; None: do not look for
            missing ones.

    Raises:
        TypeError: a name that the program does not take (the text lists those it takes and the nearest), a missing one
            without a default, or a value that JSON cannot hold.
        ValueError: a value that is not a number (NaN) or infinite.
    """
    known = program.argument_names
    for name in hyperparameters:
        if not _is_name(name):
            raise TypeError(f"a hyperparameter's name is a text without spaces and '=', got {name!r}")
        if known is not None and name not in known:
            raise TypeError(_unknown(program, name, known))
    given = {*hyperparameters, *(program.required_names if given_by_runner is None else given_by_runner)}
    missing = [name for name in program.required_names if name not in given]
    if missing:
        names = ", ".join(missing)
        raise TypeError(
            f"{program.name} needs {names}: no default and not among the hyperparameters {sorted(hyperparameters)}; "
            f"give hyperparameters={{{missing[0]!r}: ...}}"
        )
    return {name: _plain(name, value) for name, value in hyperparameters.items()}


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != "" and not any(c.isspace() or c in "=\0" for c in name)


def _unknown(program: ProgramRecord, name: str, known: tuple[str, ...]) -> str:
    text = f"{program.name} takes no hyperparameter {name!r}"
    close = get_close_matches(name, known, n=1)
    if close:
        text += f"; did you mean {close[0]!r}?"
    return text + (f" It takes: {', '.join(known)}" if known else "; it takes none")


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it: numbers of numpy become numbers, tuples lists."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the hyperparameter {name!r} must be a finite number, got {value!r}")
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(name, one) for one in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the hyperparameter {name!r} has a key that is no text: {key!r}")
        return {key: _plain(name, one) for key, one in value.items()}
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _plain(name, value.item())
    raise TypeError(
        f"the hyperparameter {name!r} must be a number, text, bool, None, or a list or dict of these, "
        f"got {type(value).__name__}: {value!r}"
    )
