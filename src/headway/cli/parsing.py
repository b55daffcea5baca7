"""What people write on the command line, turned into values.

In: texts such as `epochs=3`, `lr=1e-4:1e-1:log`, `test:accuracy>=0.9`. Out: values for the facade. A text that cannot
be read is a `ValueError` with an example.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.evaluation.gates import Gate
    from headway.jobs.program import Program
    from headway.jobs.spec import Resources
    from headway.tuning.space import Domain

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def pairs(texts: Sequence[str] | None, *, option: str) -> dict[str, str]:
    """`name=value` texts as a dict; later ones win."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"{option} is name=value, got {text!r}")
        found[name] = value
    return found


def settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """Hyperparameters: the value is read as JSON (`3`, `0.1`, `true`, `[1, 2]`), else it is text."""
    found: dict[str, Any] = {}
    for name, value in pairs(texts, option="--set").items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def space(floats: Sequence[str] | None, ints: Sequence[str] | None, choices: Sequence[str] | None) -> dict[str, Domain]:
    """The search space of `--float lr=1e-4:1e-1:log`, `--int depth=1:9`, `--choice size=small,medium,large`."""
    from headway.tuning.space import Choice, Float, Int

    found: dict[str, Domain] = {}
    for option, texts in (("--float", floats), ("--int", ints), ("--choice", choices)):
        for name, value in pairs(texts, option=option).items():
            if name in found:
                raise ValueError(f"{name!r} is given twice; give each hyperparameter one range")
            if option == "--choice":
                found[name] = Choice(*[_scalar(each) for each in value.split(",")])
            elif option == "--float":
                low, high, log, step = _range(value, option, float)
                found[name] = Float(low, high, log=log, step=step)
            else:
                low, high, log, step = _range(value, option, int)
                found[name] = Int(low, high, log=log, step=step or 1)
    return found


def _range(text: str, option: str, number: type[Any]) -> tuple[Any, Any, bool, Any]:
    parts = text.split(":")
    try:
        if len(parts) not in (2, 3):
            raise ValueError(text)
        log = parts[2:] == ["log"]
        step = number(parts[2].removeprefix("step=")) if len(parts) == 3 and not log else None
        return number(parts[0]), number(parts[1]), log, step
    except ValueError:
        example = "lr=1e-4:1e-1:log, x=0:1, x=0:1:step=0.1" if option == "--float" else "n=1:9, n=1:1024:log"
        raise ValueError(
            f"{option} is name=low:high, then :log or :step=n; got {text!r}; examples: {example}"
        ) from None


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, str | int | float | bool) else text


def objective(maximize: str | None, minimize: str | None) -> Any:
    """What the study makes large or small; one of the two must be given."""
    from headway.tuning.objective import Maximize, Minimize

    if maximize is not None and minimize is None:
        return Maximize(maximize)
    if minimize is not None and maximize is None:
        return Minimize(minimize)
    raise ValueError("give either --maximize METRIC or --minimize METRIC")


def program(target: str, *, source_dir: str | None, metrics: Sequence[str] | None) -> Program:
    """`train.py` is a script, `train:fit` a function."""
    from headway.jobs.program import Function, Notebook, Script

    patterns = pairs(metrics, option="--metric")
    if target.endswith(".ipynb"):
        return Notebook(target, metrics=patterns)
    if not target.endswith(".py"):
        if source_dir is not None:
            raise ValueError(f"--source-dir is for scripts, and {target!r} is a function")
        return Function(target, metrics=patterns)
    if source_dir is not None:
        return Script(target, source_dir=source_dir, metrics=patterns)
    folder, _, name = target.rpartition("/")
    return Script(name, source_dir=folder or ("/" if target.startswith("/") else "."), metrics=patterns)


def resources(cpus: int, gpus: int, memory: str | None) -> Resources:
    """What each worker gets."""
    from headway.jobs.spec import Resources

    return Resources(cpus=cpus, gpus=gpus, memory_bytes=None if memory is None else num_bytes(memory))


def num_bytes(text: str) -> int:
    """`2G`, `512Mi`, `1000000` as bytes."""
    upper = text.strip().upper().removesuffix("B")
    unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if upper.endswith(unit)), "")
    try:
        return int(float(upper.removesuffix(unit)) * UNITS.get(unit, 1))
    except ValueError:
        raise ValueError(f"a size is a number with K, M, G, T or Ki, Mi, Gi, Ti behind it, got {text!r}") from None


def gates(at_least: Sequence[str] | None, at_most: Sequence[str] | None, better: Sequence[str] | None) -> list[Gate]:
    """`--at-least test:accuracy=0.9`, `--at-most test:log_loss=0.5`, `--better-in test:accuracy`."""
    from headway.evaluation.gates import AtLeast, AtMost, BetterThanChampion

    found: list[Gate] = [AtLeast(metric, bound) for metric, bound in _bounds(at_least, "--at-least")]
    found += [AtMost(metric, bound) for metric, bound in _bounds(at_most, "--at-most")]
    return found + [BetterThanChampion(metric) for metric in better or ()]


def _bounds(texts: Sequence[str] | None, option: str) -> list[tuple[str, float]]:
    found = []
    for metric, value in pairs(texts, option=option).items():
        try:
            found.append((metric, float(value)))
        except ValueError:
            raise ValueError(f"{option} is metric=number, got {metric}={value!r}; example: test:accuracy=0.9") from None
    return found
