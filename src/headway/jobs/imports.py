"""The imports in a file, with the place where each stands: will it surely happen?

In: a file's bytes or syntax tree. Out: `Import` values, which `headway.jobs.gather` follows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from headway.jobs.canonical import parse

Place = Literal["top", "guarded", "tried", "inside"]


@dataclass(frozen=True, slots=True)
class Import:
    """One `import a.b` or `from .a import b, c`.

    Args:
        module: as written after the dots; empty for `from . import b`.
        names: what follows `from ... import`; None for a plain `import`.
        level: number of dots.
        place: `top` happens whenever the file runs; `guarded` stands under an `if` or in a loop; `tried` under a `try`
            that catches its failure; `inside` a function, or is a call of `import_module` with a literal.
    """

    module: str
    names: tuple[str, ...] | None
    level: int
    line: int
    place: Place

    def absolute(self, package: str) -> str | None:
        """The module's full name, seen from a file in `package`; None when the dots lead out of it."""
        if self.level == 0:
            return self.module
        parts = package.split(".") if package else []
        if self.level > len(parts):
            return None
        parts = parts[: len(parts) - self.level + 1]
        return ".".join([*parts, self.module] if self.module else parts)


@dataclass(frozen=True, slots=True)
class FileImports:
    """What a file says about imports.

    Args:
        imports: in their order.
        changes_search_path: whether it changes where modules are found.
    """

    imports: tuple[Import, ...]
    changes_search_path: bool


@lru_cache(maxsize=4096)
def imports_in(data: bytes, *, is_entry: bool = False) -> FileImports | None:
    """What the bytes of a file say about imports, remembered; None when they do not parse.

    Args:
        data: Python source.
        is_entry: as for `imports_of`.
    """
    tree = parse(data)
    return None if tree is None else FileImports(tuple(imports_of(tree, is_entry=is_entry)), changes_search_path(tree))


def imports_of(tree: ast.Module, *, is_entry: bool = False) -> list[Import]:
    """The imports of a file in their order.

    Args:
        tree: of the file.
        is_entry: whether it runs as `__main__`, so that the part under `if __name__ == "__main__"` counts.

    What stands under `if TYPE_CHECKING` never happens and is left out.
    """
    return list(_statements(tree.body, "top", is_entry))


def changes_search_path(tree: ast.Module) -> bool:
    """Whether the file changes where modules are found (`sys.path`), so that a missing one may yet be there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr, _name(node.value)) in (
            ("path", "sys"),
            ("addsitedir", "site"),
        ):
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("meta_path", "path_hooks"):
            return True
    return False


def _statements(body: list[ast.stmt], place: Place, is_entry: bool) -> Iterator[Import]:
    for statement in body:
        yield from _statement(statement, place, is_entry)


def _statement(node: ast.stmt, place: Place, is_entry: bool) -> Iterator[Import]:
    guarded: Place = "guarded" if place == "top" else place
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield Import(alias.name, None, 0, node.lineno, place)
        case ast.ImportFrom(module=module, names=names, level=level):
            yield Import(module or "", tuple(alias.name for alias in names), level, node.lineno, place)
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
            yield from _statements(body, "inside", is_entry)
        case ast.ClassDef(body=body):
            yield from _statements(body, place, is_entry)
        case ast.If(test=test, body=body, orelse=orelse):
            if not _is_type_checking(test) and (is_entry or not _is_main(test)):
                yield from _statements(body, guarded, is_entry)
            yield from _statements(orelse, guarded, is_entry)
        case ast.Try() | ast.TryStar():
            tried = any(_catches_import_errors(handler.type) for handler in node.handlers)
            yield from _statements(node.body, "tried" if tried and place != "inside" else place, is_entry)
            for handler in node.handlers:
                yield from _statements(handler.body, guarded, is_entry)
            yield from _statements(node.orelse, guarded, is_entry)
            yield from _statements(node.finalbody, place, is_entry)
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            suppressed = any(_called(item.context_expr) == "suppress" for item in items)
            yield from _statements(body, "tried" if suppressed and place != "inside" else place, is_entry)
        case ast.For() | ast.AsyncFor() | ast.While():
            yield from _statements([*node.body, *node.orelse], guarded, is_entry)
        case ast.Match(cases=cases):
            for case in cases:
                yield from _statements(case.body, guarded, is_entry)
        case _:
            pass
    yield from _calls(node)


def _calls(statement: ast.stmt) -> Iterator[Import]:
    """Imports by call with a literal name, in the expressions that belong to a statement itself."""
    inner = (ast.stmt, ast.excepthandler, ast.match_case)
    todo: list[ast.AST] = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, inner)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                yield Import(first.value, None, 0, node.lineno, "inside")
        todo += [child for child in ast.iter_child_nodes(node) if not isinstance(child, inner)]


def _is_type_checking(test: ast.expr) -> bool:
    return _name(test) == "TYPE_CHECKING" or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")


def _catches_import_errors(caught: ast.expr | None) -> bool:
    """Whether an `except` clause catches the failure of an import."""
    if caught is None:
        return True
    names = [*caught.elts] if isinstance(caught, ast.Tuple) else [caught]
    return any(_name(one) in ("ImportError", "ModuleNotFoundError", "Exception", "BaseException") for one in names)


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and _name(test.left) == "__name__"


def _called(node: ast.expr) -> str:
    """The last name of what is called: `suppress` for `contextlib.suppress(...)`."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else _name(node.func)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""
