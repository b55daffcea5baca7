"""The user's program: found in the snapshot and run as Python itself would run it.

In: the program of a ticket. Out: the target (a function or an object), its runner, or a script run as `__main__`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from headway.worker.context import Context
from headway.worker.environment import arguments
from headway.worker.metrics import number
from headway.worker.ticket import Ticket, workplace
from headway.worker.trees import copy_tree

_AT_START = frozenset({
    "abc", "builtins", "codecs", "encodings", "genericpath", "headway", "io", "marshal", "os", "posix", "posixpath",
    "site", "stat", "sys", "time", "zipimport",
})  # fmt: skip
"""Modules that every interpreter has loaded before the program begins."""


class ProgramFault(Exception):
    """The program cannot be run as the ticket says; its text is meant for the user."""


def attribute(path: str) -> Any:
    """What "module:attribute" names.

    Raises:
        ProgramFault: there is no such attribute.
    """
    module_name, _, name = path.partition(":")
    found: Any = import_module(module_name)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ProgramFault(
                f"the module {module_name!r} has no {name!r}: is it defined at its top level?"
            ) from error
    return found


def target(ticket: Ticket) -> Any:
    """The function or object of the program."""
    program = ticket["program"]
    if program.get("pickle"):
        import pickle

        with open(os.path.join(program["code"], program["pickle"]), "rb") as stream:
            return pickle.load(stream)
    return attribute(f"{program['module']}:{program['qualname']}")


def takes_context(function: Any) -> bool:
    """Whether a function has a parameter named `context`."""
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return "context" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    import inspect

    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def call(function: Callable[..., Any], settings: Mapping[str, Any], context: Context) -> Any:
    """The function's result for these keywords, and for the context if it takes one: then it is asked to stop first."""
    if not takes_context(function):
        return function(**settings)
    _ = context.should_stop
    return function(**settings, context=context)


def run(ticket: Ticket, context: Context) -> dict[str, float]:
    """Run the program of a ticket of mode "run"; the metrics that it returned come out.

    Raises:
        ProgramFault: a plain function returned what only a runner could keep.
        BaseException: whatever the program raises.
    """
    program = ticket["program"]
    if program["kind"] == "script":
        run_script()
        return {}
    function = target(ticket)
    if program.get("runner"):
        returned = attribute(program["runner"])(context, function)
        values = returned if isinstance(returned, Mapping) else {}
        return {str(name): value for name, value in _numbers(values).items() if value is not None}
    returned = call(function, ticket["hyperparameters"], context)
    if returned is None:
        return {}
    values = _numbers(returned) if isinstance(returned, Mapping) else {"": None}
    if any(value is None for value in values.values()):
        raise ProgramFault(
            f"{program['name']} returned {_short(returned)}, which is no dict of numbers: only a runner can keep it; "
            "return metrics, or write files below context.output_dir"
        )
    return {str(name): value for name, value in values.items() if value is not None}


def _numbers(values: Mapping[Any, Any]) -> dict[Any, float | None]:
    return {name: number(value) for name, value in values.items()}


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 80 else text[:77] + '...'}"


def prepare(ticket: Ticket) -> str:
    """Make the working folder, set `sys.path` and `sys.argv` as for the program, and name the folder.

    A script works in a copy of its snapshot, so that it finds the files beside it and may write there without
    changing what was recorded; a function in an empty folder, with the snapshot on `sys.path`.
    """
    program, folder = ticket["program"], workplace(ticket)
    if program["kind"] == "script":
        if not os.path.isdir(folder):
            copy_tree(program["code"], folder)
        path = os.path.join(folder, program["entry_point"])
        sys.argv = [path, *arguments(ticket["hyperparameters"])]
        paths = [os.path.dirname(path), folder]
    else:
        os.makedirs(folder, exist_ok=True)
        sys.argv = [program["name"]]
        paths = [program["code"]]
    sys.path[:0] = list(dict.fromkeys(paths))
    return folder


def give_way(ticket: Ticket) -> None:
    """Forget loaded modules that have the names of the program's own: a fresh interpreter would find those first."""
    code = ticket["program"]["code"]
    names = {name.partition(".")[0] for name in os.listdir(code) if not name.startswith((".", "__"))}
    for loaded in [name for name in sys.modules if name.partition(".")[0] in names - _AT_START]:
        del sys.modules[loaded]


def run_script() -> None:
    """Run the script that `prepare` put into `sys.argv` as `__main__`, as `python script.py` would."""
    path = sys.argv[0]
    with open(path, "rb") as stream:
        source = stream.read()
    module = ModuleType("__main__")
    from importlib.machinery import SourceFileLoader

    names = {"__file__": path, "__cached__": None, "__loader__": SourceFileLoader("__main__", path)}
    module.__dict__.update(names, __builtins__=sys.modules["builtins"], __annotations__={})
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
