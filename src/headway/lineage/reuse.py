"""Why a piece of work runs again: plain sentences about what differs from the time before.

In: the specification of then, that of now, and the changes in files that ran. Out: sentences for `headway why`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headway.jobs.canonical import MODULE
from headway.jobs.environment import differences
from headway.jobs.spec import InputRef, JobSpec
from headway.lineage.trace import EVERYTHING, Change

PICKLE = "target.pickle"
MOST_PACKAGES = 10
LONGEST_VALUE = 80


def explain(old: JobSpec, new: JobSpec, changes: Iterable[Change]) -> list[str]:
    """What differs, one sentence each: program, arguments, inputs, code, settings, environment; [] when nothing does.

    Args:
        old: the job of then.
        new: what is asked for now.
        changes: from `headway.lineage.trace.changed`.
    """
    return [
        *_program(old, new),
        *_values("argument", old.hyperparameters, new.hyperparameters),
        *_inputs(old, new),
        *(say(change) for change in changes),
        *_settings(old, new),
        *_environment(old, new),
    ]


def say(change: Change) -> str:
    """One change as a sentence: `function prepare.to_array in prepare.py changed`."""
    if change.path == EVERYTHING:
        return "the code that was packed then cannot be read any more"
    if change.path == PICKLE:
        return "the function or object that was given, or a value that it uses, changed"
    match change.what:
        case "added":
            return f"{change.path} is new"
        case "removed":
            return f"{change.path} is not there any more"
        case "unknown":
            return f"{change.path} was read, and what it held then is not known"
    if change.function is None:
        return f"{change.path} changed"
    if change.function == MODULE:
        return f"{change.path} changed outside its functions"
    return f"function {_module(change.path)}.{change.function} in {change.path} changed"


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _program(old: JobSpec, new: JobSpec) -> list[str]:
    lines = _value("program", old.program.name, new.program.name)
    lines += _value("kind of program", old.program.kind, new.program.kind)
    lines += _value("runner", old.program.runner, new.program.runner)
    return lines + _value("mode", old.mode, new.mode)


def _inputs(old: JobSpec, new: JobSpec) -> list[str]:
    before, after = _by_role(old.inputs), _by_role(new.inputs)
    lines = []
    for role in sorted(before.keys() | after.keys()):
        was, now = before.get(role), after.get(role)
        if was is None or now is None:
            one = was or now
            assert one is not None
            lines.append(f"input {one.id} ({role}) was {'not given' if was is None else 'given'} before")
        elif was.id != now.id and was.digest != now.digest:
            lines.append(f"input {was.id} -> {now.id}")
        elif was.digest != now.digest:
            lines.append(f"input {now.id} ({role}) has other content")
    if lines:
        return lines
    for name in sorted(old.channels.keys() | new.channels.keys()):
        then, this = old.channels.get(name), new.channels.get(name)
        if then is None or this is None:
            lines.append(f"channel {name} was {'not given' if then is None else 'given'} before")
        elif then.digest != this.digest:
            lines.append(f"channel {name} has other content")
    return lines


def _by_role(inputs: Iterable[InputRef]) -> dict[str, InputRef]:
    """Inputs by role; several of one role are told apart by their place."""
    found: dict[str, InputRef] = {}
    for one in inputs:
        place, role = 1, one.role
        while role in found:
            place += 1
            role = f"{one.role} {place}"
        found[role] = one
    return found


def _settings(old: JobSpec, new: JobSpec) -> list[str]:
    lines = []
    if old.coupled or new.coupled:
        lines += _value("workers", old.workers, new.workers)
    lines += _value("seed", old.seed, new.seed)
    lines += _values("metric pattern", old.metrics, new.metrics)
    lines += _value("allow_test", old.allow_test, new.allow_test)
    return lines + _values("option", old.options, new.options)


def _environment(old: JobSpec, new: JobSpec) -> list[str]:
    lines = differences(old.environment, new.environment)
    if len(lines) > MOST_PACKAGES + 1:
        lines = [*lines[:MOST_PACKAGES], f"and {len(lines) - MOST_PACKAGES} more differences in the environment"]
    return lines


def _values(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if isinstance(old.get(name), Mapping) and isinstance(new.get(name), Mapping):
            inner = _values(what, old[name], new[name])
            lines += [line.replace(f"{what} ", f"{what} {name}.", 1) for line in inner]
            continue
        was = _short(old[name]) if name in old else "not given"
        now = _short(new[name]) if name in new else "not given"
        if (name in old) != (name in new) or old[name] != new[name]:
            lines.append(f"{what} {name}: {was} -> {now}")
    return lines


def _value(what: str, old: object, new: object) -> list[str]:
    return [] if old == new else [f"{what}: {_short(old)} -> {_short(new)}"]


def _short(value: object) -> str:
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
