"""Targets that cannot be imported, as bytes: functions of `__main__`, lambdas, closures and objects.

In: such an object. Out: `Pickled`: its bytes, its digest, and the modules that the bytes name, which must be importable
where they are read.
"""

from __future__ import annotations

import dis
import io
import sys
import types
from dataclasses import dataclass
from typing import Any

from headway.errors import ProgramError
from headway.jobs.imports import Import
from headway.jobs.objects import is_importable, object_digest

LARGEST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Pickled:
    """An object as bytes.

    Args:
        data: for `pickle.loads`; cloudpickle must be installed where it is read.
        digest: of the object's content.
        modules: those that are named in it, without `__main__`.
        imports: import statements in the functions that it carries.
    """

    data: bytes
    digest: str
    modules: tuple[str, ...]
    imports: tuple[Import, ...]


def pickle_target(target: Any, *, name: str) -> Pickled:
    """The bytes of an object, by cloudpickle.

    Args:
        target: what to pickle.
        name: for errors.

    Raises:
        ProgramError: it cannot be pickled (the text names the part), or is too large to travel with the code.
    """
    import cloudpickle

    modules: set[str] = set()
    imports: dict[Import, None] = {}

    class Noting(cloudpickle.Pickler):  # type: ignore[misc]
        """Notes what is pickled by name, and what functions pickled by value import when they run."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, types.CodeType):
                imports.update(dict.fromkeys(_imports_in(obj)))
            elif isinstance(obj, types.ModuleType):
                modules.add(obj.__name__)
            elif isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)) and is_importable(obj):
                modules.add(obj.__module__)
            return super().reducer_override(obj)

    stream = io.BytesIO()
    try:
        Noting(stream).dump(target)
    except Exception as error:
        culprit = _culprit(target)
        raise ProgramError(
            f"{name} cannot be sent to a worker: {type(error).__name__}: {error}{culprit}; make it inside the "
            "function, or put the function into a module of its own"
        ) from error
    data = stream.getvalue()
    if len(data) > LARGEST_BYTES:
        raise ProgramError(
            f"{name} carries {len(data) / 1e6:.0f} MB of data with it, more than {LARGEST_BYTES / 1e6:.0f} MB; "
            "give the data as a channel, or read them inside the function"
        )
    # A module that was made at run time is carried by value.
    named = tuple(sorted(name for name in modules - {"__main__", "builtins"} if name in sys.modules))
    return Pickled(data, _digest(target, data), named, tuple(imports))


def main_package() -> str:
    """What relative imports in functions of `__main__` start from."""
    return str(getattr(sys.modules.get("__main__"), "__package__", None) or "")


def _digest(target: Any, data: bytes) -> str:
    try:
        return object_digest(target)
    except Exception:  # noqa: BLE001 what pickles may still refuse to be taken apart; then its bytes must do
        return object_digest(data)


def _imports_in(code: types.CodeType) -> list[Import]:
    """The import statements in a function's bytecode."""
    found = []
    steps = list(dis.get_instructions(code))
    for number, step in enumerate(steps):
        if step.opname == "IMPORT_NAME" and number >= 2:
            level, names = steps[number - 2].argval, steps[number - 1].argval
            listed = tuple(names) if isinstance(names, tuple) else None
            found.append(Import(str(step.argval), listed, int(level or 0), code.co_firstlineno, "inside"))
    return found


def _culprit(target: Any) -> str:
    """Which variable of a function it is that cannot be pickled, when one can be found."""
    import cloudpickle

    if not isinstance(target, types.FunctionType):
        return ""
    cells = zip(target.__code__.co_freevars, target.__closure__ or (), strict=False)
    held = {name: cell.cell_contents for name, cell in cells}
    held |= {name: target.__globals__[name] for name in target.__code__.co_names if name in target.__globals__}
    for name, value in held.items():
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 as above: this looks for the one that fails
            return f" (its variable {name!r} is a {type(value).__name__})"
    return ""
