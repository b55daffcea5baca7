"""The canonical form of source text: digests that comments, formatting and docstrings do not change.

In: the bytes of a file. Out: `Source`: the digest of the whole, one digest per function, and one for what runs when
the module is imported. Comes before `headway.jobs.code` (which digests a snapshot) and `headway.lineage`.

The form is our own and not `ast.dump`, whose text differs between Python versions. A node is written as
`(Class field=value ...)` with its fields in alphabetical order, fields that are None or empty left out, positions,
contexts and type comments left out; statements without effect (`pass`, a constant alone: docstrings) left out;
neighbouring constants in an f-string joined. Version 1 of the form; a change needs a new number, because stored digests
depend on it. Test vectors are in `tests/jobs/test_canonical.py`.
"""

from __future__ import annotations

import ast
import hashlib
import threading
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache

from headway.records import Record

FORM = b"headway-python-1\n"
MODULE = "<module>"
"""The name under which the part of a file that runs on import stands among the functions."""

_LEFT_OUT = frozenset({"ctx", "type_comment", "type_ignores", "kind"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# A file that reads docstrings at run time keeps them in its digest.
_READS_DOCSTRINGS = (b"__doc__", b"getdoc", b"docopt")
_warnings_are_global = threading.Lock()


class Source(Record):
    """What a file is, as digests.

    Args:
        digest: of the whole: canonical form for Python that parses, else the bytes.
        functions: qualified name -> digest of its body; `<module>` is all that runs on import, with the functions'
            signatures, decorators and default values. Empty when the file is not Python or does not parse.
        imports: every name in its import statements, without dots: a new file of such a name may take a module's place.
    """

    digest: str
    functions: dict[str, str] = {}
    imports: tuple[str, ...] = ()


def is_python(name: str) -> bool:
    """Whether a file of this name is Python source."""
    return name.endswith((".py", ".pyw", ".pyi"))


def parse(data: bytes) -> ast.Module | None:
    """The syntax tree of Python source; None when it does not parse."""
    try:
        with _warnings_are_global, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def digest_source(data: bytes, *, name: str) -> Source:
    """The digests of a file's content; those of equal bytes are remembered.

    Args:
        data: the file's bytes.
        name: decides by its ending whether it is Python.
    """
    if not is_python(name):
        return Source(digest=hashlib.sha256(data).hexdigest())
    return _digest_python(data)


@lru_cache(maxsize=2048)
def _digest_python(data: bytes) -> Source:
    tree = parse(data)
    if tree is None:
        return Source(digest=hashlib.sha256(data).hexdigest())
    return digest_tree(tree, docstrings=any(word in data for word in _READS_DOCSTRINGS))


def digest_tree(tree: ast.AST, *, docstrings: bool = False) -> Source:
    """The digests of a syntax tree.

    Args:
        tree: of a module.
        docstrings: whether constants that stand alone as statements count.
    """
    whole = hashlib.sha256(FORM)
    on_import = hashlib.sha256(FORM)
    bodies: dict[str, list[str]] = {}
    rest: list[str] = []
    inside = rest
    walk = _Walk(docstrings)
    for token in walk.tokens(tree):
        if isinstance(token, str):
            inside.append(token)
        elif token.name is None:
            inside = rest
        else:
            inside = bodies.setdefault(token.name, [])
            rest.append("<body>")
    functions = {}
    on_import.update(_encoded(rest))
    whole.update(on_import.digest())
    for name in sorted(bodies):
        functions[name] = hashlib.sha256(FORM + _encoded(bodies[name])).hexdigest()
        whole.update(f"{name}\n{functions[name]}\n".encode("utf-8", "surrogatepass"))
    return Source(
        digest=whole.hexdigest(),
        functions={MODULE: on_import.hexdigest(), **functions},
        imports=tuple(sorted(walk.imported)),
    )


def _encoded(tokens: list[str]) -> bytes:
    return "".join(tokens).encode("utf-8", "surrogatepass")


class _Edge:
    """Where a function's body begins (its name) or ends (None) in the stream of tokens."""

    __slots__ = ("name",)

    def __init__(self, name: str | None) -> None:
        self.name = name


class _Walk:
    """A walk over a tree that uses no recursion, so that deep expressions have digests too."""

    def __init__(self, docstrings: bool) -> None:
        self._docstrings = docstrings
        self.imported: set[str] = set()
        # What is still to be written, last first: text, an edge, or a node with the prefix of names inside it (None
        # inside a function, whose inner functions belong to it).
        self._todo: list[str | _Edge | tuple[ast.AST, str | None]] = []

    def tokens(self, tree: ast.AST) -> Iterator[str | _Edge]:
        """The canonical form, piece by piece."""
        self._todo = [(tree, "")]
        while self._todo:
            item = self._todo.pop()
            if isinstance(item, tuple):
                self._node(*item)
            else:
                yield item

    def _node(self, node: ast.AST, prefix: str | None) -> None:
        todo, kind = self._todo, type(node)
        if kind is ast.Name:
            # The commonest node by far, in one step.
            todo.append(f"(Name id={_constant(node.id)})")  # type: ignore[attr-defined]
            return
        if isinstance(node, ast.Constant):
            todo.append(_constant(node.value))
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imported.update(_names_of(node))
        todo.append(")")
        inner, body_apart = prefix, False
        if prefix is not None and isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            inner, body_apart = f"{prefix}{node.name}.", not isinstance(node, ast.ClassDef)
        for name, label in _labelled(node._fields):
            value = getattr(node, name, None)
            if value is None:
                continue
            if isinstance(value, list):
                value = [one for one in (_joined(value) if kind is ast.JoinedStr else value) if self._counts(one)]
                if name == "body" and body_apart:
                    todo += [_Edge(None), ";"]
                    self._value(value, None)
                    todo.append(_Edge(inner.removesuffix(".") if inner else None))
                elif value:
                    self._value(value, inner)
                    todo.append(label)
            else:
                self._value(value, inner)
                todo.append(label)
        todo.append(f"({kind.__name__}")

    def _value(self, value: object, prefix: str | None) -> None:
        todo = self._todo
        if isinstance(value, ast.AST):
            todo.append((value, prefix))
        elif isinstance(value, list):
            todo.append("]")
            for one in reversed(value):
                self._value(one, prefix)
            todo.append("[")
        elif value is None:
            todo.append("~")
        else:
            todo.append(_constant(value))

    def _counts(self, statement: object) -> bool:
        """Whether something in a list does anything when it runs."""
        if type(statement) is ast.Expr and type(statement.value) is ast.Constant:
            return self._docstrings and isinstance(statement.value.value, str)
        return type(statement) is not ast.Pass


@cache
def _labelled(fields: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """A node's fields that count, last first, with the text that stands in front of each."""
    return tuple((name, f" {name}=") for name in sorted(fields, reverse=True) if name not in _LEFT_OUT)


def _names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    dotted = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        dotted.append(node.module)
    return [part for name in dotted for part in name.split(".") if part != "*"]


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts joined: versions of Python divide them differently."""
    parts: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
            parts[-1] = ast.Constant(str(parts[-1].value) + str(value.value))
        else:
            parts.append(value)
    return [part for part in parts if not (isinstance(part, ast.Constant) and part.value == "")]


def _constant(value: object) -> str:
    """A literal: a letter for its type, then its exact value, texts with their length in front."""
    if isinstance(value, str):
        return f"s{len(value)}:{value};"
    if isinstance(value, bool) or value is None or value is Ellipsis:
        return f"={value};"
    if isinstance(value, int):
        return f"i{value:x};"
    if isinstance(value, float):
        return f"f{value.hex()};"
    if isinstance(value, complex):
        return f"c{value.real.hex()},{value.imag.hex()};"
    if isinstance(value, bytes):
        return f"b{value.hex()};"
    raise TypeError(f"a literal of a type that Python source cannot have: {value!r}")
