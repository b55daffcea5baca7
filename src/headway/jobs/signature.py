"""The names of the arguments that a target takes, from the object itself or from its source.

In: a callable or object, or a module's syntax tree and a qualified name. Out: `Arguments`. Source is read, never
imported: looking at a program must not run it in the driver.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway.jobs.imports import Import

CONTEXT = "context"
"""The parameter that the worker fills itself."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a target takes by keyword.

    Args:
        names: None when it takes any, or when that cannot be told.
        required: those without a default.
    """

    names: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()


def arguments_of(target: Any) -> Arguments:
    """The arguments of a callable, of a class's constructor, or the parameters of an object that can be set.

    An object with `get_params` and `set_params` (the convention of scikit-learn) takes those.
    """
    parameters = getattr(target, "get_params", None)
    if not isinstance(target, type) and callable(parameters) and hasattr(target, "set_params"):
        return Arguments(tuple(sorted(parameters())))
    if not callable(target):
        return Arguments()
    try:
        given = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return Arguments()
    if any(one.kind is one.VAR_KEYWORD for one in given):
        return Arguments()
    named = [one for one in given if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name != CONTEXT]
    return Arguments(
        tuple(one.name for one in named), tuple(one.name for one in named if one.default is inspect.Parameter.empty)
    )


def arguments_in(tree: ast.Module, qualname: str) -> Arguments:
    """The arguments of a function or class defined in a syntax tree; unknown when something decorates it."""
    node = _definition(tree, qualname)
    if isinstance(node, ast.ClassDef):
        init = next((one for one in node.body if _is_function(one) and getattr(one, "name", "") == "__init__"), None)
        return _arguments(init, skip=1) if init is not None else Arguments()
    if node is None:
        return Arguments()
    return _arguments(node, skip=1 if "." in qualname and not _is_static(node) else 0)


def names_in(tree: ast.Module) -> set[str] | None:
    """The names that a module has after its import; None when that cannot be told from its source."""
    names: set[str] = set()
    for node in _run_on_import(tree.body):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            case _:
                names |= _stored(node)
    for inner in ast.walk(tree):
        if isinstance(inner, ast.Global):
            names |= set(inner.names)
        elif isinstance(inner, ast.Name) and inner.id in ("globals", "exec", "vars", "setattr"):
            return None
    return None if names & {"*", "__getattr__"} else names


def _stored(statement: ast.stmt) -> set[str]:
    """The names that a statement's own expressions bind, without the statements inside it."""
    names: set[str] = set()
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        todo += [one for one in ast.iter_child_nodes(node) if not isinstance(one, (ast.stmt, ast.Lambda))]
    return names


def import_behind(tree: ast.Module, name: str, imports: list[Import]) -> tuple[Import, str] | None:
    """The import that binds a name at a module's top level, and the name that it had there."""
    for node in _run_on_import(tree.body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    found = next((one for one in imports if one.line == node.lineno and one.names), None)
                    return (found, alias.name) if found else None
    return None


def _run_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that run on import, also those under `if`, `try`, `with` and loops."""
    for node in body:
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for inner in getattr(node, part, None) or ():
                yield from _run_on_import([inner] if isinstance(inner, ast.stmt) else inner.body)


def _definition(tree: ast.Module, qualname: str) -> Any:
    body: list[ast.stmt] = tree.body
    node: Any
    for name in qualname.split("."):
        found = [one for one in _run_on_import(body) if getattr(one, "name", None) == name]
        if not found:
            return None
        node = found[-1]
        body = getattr(node, "body", [])
    return node


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _is_static(node: Any) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in node.decorator_list)


def _arguments(node: Any, *, skip: int) -> Arguments:
    plain = ("staticmethod", "classmethod", "abstractmethod", "override", "final")
    if any(not (isinstance(one, ast.Name) and one.id in plain) for one in node.decorator_list) or node.args.kwarg:
        return Arguments()
    args: ast.arguments = node.args
    positional = [one.arg for one in (*args.posonlyargs, *args.args)]
    with_default = set(positional[len(positional) - len(args.defaults) :] if args.defaults else ())
    with_default |= {
        one.arg for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is not None
    }
    named = [one.arg for one in args.args][max(0, skip - len(args.posonlyargs)) :] + [
        one.arg for one in args.kwonlyargs
    ]
    names = tuple(name for name in named if name != CONTEXT)
    return Arguments(names, tuple(name for name in names if name not in with_default))
