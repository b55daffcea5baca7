"""A digest of a live object's content: equal for equal content in every process, unlike the bytes of its pickle.

In: a function of `__main__`, a closure, an estimator. Out: a SHA-256. What is importable counts by its name (its file
has a digest of its own), everything else by what it holds: a function by its bytecode, constants, defaults, closure
and the globals it names; not by its place, file name, comments or docstring.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import sys
import types
from collections.abc import Iterable
from typing import Any, final


def object_digest(value: Any) -> str:
    """The digest of an object.

    Guarantees: does not depend on the hash seed, on the order of sets and dicts, on identity of equal constants.

    Raises:
        TypeError: something in it can be neither named nor taken apart, as for pickling.
        RecursionError: it is nested too deeply.
    """
    return _Digest().of(value).hex()


def is_importable(value: Any) -> bool:
    """Whether a function or class is found under its own name in its module, which is not `__main__`."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is value


@final
class _Digest:
    """One walk over an object; remembers what it has seen, by identity."""

    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, value: Any) -> bytes:
        """The digest of one value."""
        plain = _plain(value)
        if plain is not None:
            return hashlib.sha256(plain).digest()
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._open:
            return _tagged("cycle", [str(len(self._open) - self._open[key]).encode()])
        self._alive.append(value)
        self._open[key] = len(self._open)
        try:
            found = self._composite(value)
        finally:
            del self._open[key]
        self._done[key] = found
        return found

    def _all(self, values: Iterable[Any]) -> list[bytes]:
        return [self.of(value) for value in values]

    def _composite(self, value: Any) -> bytes:
        kind = type(value)
        if kind in (tuple, list):
            return _tagged(kind.__name__, self._all(value))
        if kind in (set, frozenset):
            return _tagged(kind.__name__, sorted(self._all(value)))
        if kind in (dict, types.MappingProxyType):
            return _tagged("dict", sorted(self.of(key) + self.of(one) for key, one in value.items()))
        if isinstance(value, types.ModuleType):
            return _tagged("module", [value.__name__.encode()])
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.MethodType):
            return _tagged("method", self._all([value.__func__, value.__self__]))
        if isinstance(value, (staticmethod, classmethod)):
            return _tagged(kind.__name__, self._all([value.__func__]))
        if isinstance(value, property):
            return _tagged("property", self._all([value.fget, value.fset, value.fdel]))
        if isinstance(value, types.CellType):
            return _tagged("cell", self._all([value.cell_contents] if _is_filled(value) else []))
        return self._reduced(value)

    def _function(self, value: types.FunctionType) -> bytes:
        if is_importable(value):
            return _tagged("function", [f"{value.__module__}:{value.__qualname__}".encode()])
        names = _global_names(value.__code__)
        used = {name: value.__globals__[name] for name in names if name in value.__globals__}
        parts = [value.__code__, value.__defaults__, value.__kwdefaults__, value.__closure__, used, value.__dict__]
        return _tagged("code", self._all(parts))

    def _code(self, code: types.CodeType) -> bytes:
        # The docstring is the first constant of a function that has one; its text does not count.
        has_docstring = bool(code.co_consts) and isinstance(code.co_consts[0], str) and bool(code.co_flags & 0x1)
        consts = (None, *code.co_consts[1:]) if has_docstring and _is_docstring(code) else code.co_consts
        parts = [
            code.co_code, consts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags,
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_exceptiontable,
        ]  # fmt: skip
        return _tagged("bytecode", self._all(parts))

    def _class(self, value: type) -> bytes:
        if is_importable(value):
            return _tagged("class", [f"{value.__module__}:{value.__qualname__}".encode()])
        own = {name: one for name, one in vars(value).items() if name not in _OF_THE_MACHINE}
        return _tagged("class body", [value.__qualname__.encode(), *self._all([value.__bases__, own])])

    def _reduced(self, value: Any) -> bytes:
        """An object as pickling would take it apart."""
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            # A tensor: its own pickle holds addresses.
            return _tagged("tensor", self._all([_kind_name(value), value.detach().cpu().numpy()]))
        how = copyreg.dispatch_table.get(type(value))
        reduced: Any = how(value) if how is not None else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return _tagged("global", [f"{getattr(value, '__module__', '')}:{reduced}".encode()])
        parts = [list(part) if hasattr(part, "__next__") else part for part in reduced]
        return _tagged("object", self._all(parts))


def _kind_name(value: Any) -> str:
    """The full name of a value's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


_OF_THE_MACHINE = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "_abc_impl", "__firstlineno__",
     "__static_attributes__", "__abstractmethods__"}
)  # fmt: skip


def _plain(value: Any) -> bytes | None:
    """The exact text of a value that holds no other; None for the rest."""
    if value is None or value is Ellipsis or value is NotImplemented or type(value) is bool:
        return repr(value).encode()
    if type(value) is int:
        return f"i{value:x}".encode()
    if type(value) is float:
        return f"f{value.hex()}".encode()
    if type(value) is complex:
        return f"c{value.real.hex()},{value.imag.hex()}".encode()
    if type(value) is str:
        return b"s" + value.encode("utf-8", "surrogatepass")
    if type(value) in (bytes, bytearray):
        return b"b" + bytes(value)
    return None


def _tagged(tag: str, parts: list[bytes]) -> bytes:
    found = hashlib.sha256(f"{tag} {len(parts)}\n".encode())
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.digest()


def _global_names(code: types.CodeType) -> list[str]:
    """The names that a function and its inner functions may read from the module."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname.endswith("_GLOBAL")}
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            names |= set(_global_names(one))
    return sorted(names)


def _is_docstring(code: types.CodeType) -> bool:
    """Whether the first constant is never loaded, which only a docstring is."""
    return not any(
        step.opname in ("LOAD_CONST", "RETURN_CONST") and step.arg == 0 for step in dis.get_instructions(code)
    )


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
