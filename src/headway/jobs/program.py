"""What a user asks to run, before it is packed: a function or object, a script, a notebook.

In: what the user wrote. Out: `Program` values, which `headway.jobs.code` packs into a job's `code/` folder. Nothing is
read, imported or looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, final

from headway.errors import ProgramError


@final
@dataclass(frozen=True, slots=True)
class Function:
    """A callable, an object that has `fit`, or the import string of either.

    Args:
        target: a function, class or object, or `"module:qualname"`, which is looked up in the current folder and then
            in `sys.path`, without importing it here.
        metrics: name -> regular expression with one group, matched against each line of the log.

    Raises:
        ValueError: a string that is not `module:qualname`.

    Example:
        >>> Function("prepare:to_array").target
        'prepare:to_array'
    """

    target: Any
    metrics: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.target, str):
            split_target(self.target)
        elif self.target is None or isinstance(self.target, (bytes, int, float, PurePath)):
            raise TypeError(
                f"a function, class, object or 'module:qualname' is needed, got {self.target!r}; "
                "a script file is given as Script('train.py')"
            )


@final
@dataclass(frozen=True, slots=True)
class Script:
    """A Python file that runs as `__main__`, with everything in its source folder beside it.

    Args:
        entry_point: the file, relative to `source_dir`.
        source_dir: the folder that travels; `.` is the folder that the driver runs in.
        metrics: name -> regular expression with one group, matched against each line of the log.
    """

    entry_point: str
    source_dir: str = field(default=".", kw_only=True)
    metrics: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("entry_point", "source_dir"):
            value = getattr(self, name)
            if not isinstance(value, (str, PurePath)) or not str(value):
                raise TypeError(f"{name} must be a path, got {value!r}")


@final
@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook that runs from top to bottom. Named here, and not built yet: using one raises `ProgramError`."""

    path: str
    metrics: Mapping[str, str] = field(default_factory=dict, kw_only=True)


Program = Function | Script | Notebook


def as_program(value: Any) -> Program:
    """The program that a value stands for: `"train.py"` a script, `"a.ipynb"` a notebook, all else a function.

    Example:
        >>> as_program("src/train.py")
        Script(entry_point='train.py', source_dir='src', metrics={})
    """
    if isinstance(value, Function | Script | Notebook):
        return value
    if isinstance(value, PurePath) or (isinstance(value, str) and value.endswith((".py", ".ipynb"))):
        path = PurePath(value)
        if path.suffix == ".ipynb":
            return Notebook(str(path))
        return Script(path.name, source_dir=str(path.parent))
    return Function(value)


def split_target(target: str) -> tuple[str, str]:
    """The module and the qualified name of `"module:qualname"`.

    Raises:
        ValueError: the text has another form.
    """
    module, colon, qualname = target.partition(":")
    parts = [*module.split("."), *qualname.split(".")]
    if not colon or module.endswith(".py") or not all(part.isidentifier() for part in parts):
        raise ValueError(
            f"a function is named as 'module:qualname', for example 'prepare:to_array', got {target!r}; "
            "a script file is given as Script('train.py')"
        )
    return module, qualname


def not_yet(notebook: Notebook) -> ProgramError:
    """The error for a notebook."""
    return ProgramError(
        f"notebooks cannot run yet (got {notebook.path!r}); save it as a script with "
        f"jupyter nbconvert --to script {notebook.path!r} and use Script(...)"
    )
