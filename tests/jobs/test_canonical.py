"""The canonical form: what changes a digest, what does not, and vectors that must stay as they are for ever."""

from __future__ import annotations

import ast
import hashlib
import random
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.jobs.canonical import MODULE, digest_source, digest_tree

SOURCE = '''
"""What the module is for."""
from __future__ import annotations
import os, sys as system
from .near import one as two, three
from ..far import *

LIMIT: int = 0x10
RATE = 1e-3
NAMES = {"a": [1, 2.5, None], **other, b"\\x00": (True, ..., 3j)}


@decorate(level=1)
async def fetch(url, /, *rest: str, retries=3, **more) -> "bytes":
    """Gets it."""
    async with session() as s, lock:
        return await s.get(f"{url!r:>{width}} and {x=}" "tail", *rest, **more)


class Model(Base, metaclass=Meta):
    """A model."""

    size = 3

    def fit(self, X, y=None):
        # one step
        def inner():
            return lambda q: q + self.size
        for i, row in enumerate(X):
            if not row: continue
            elif row[0] < i <= 10 and y is not None or ~i: break
            else: del row[-1:], X[i]
        else:
            raise ValueError from None
        try: assert X, "none"
        except (KeyError, TypeError) as error: pass
        finally: return inner

    @property
    def size_of(self): return [n for n in self if n % 2] or {k: v for k, v in self} or {*self}

match command:
    case {"go": [x, *_], **rest} if x: go(x)
    case Point(x=0) | None: pass
    case _: pass

global_value: "Late"
while (n := read()) > 0: yield_ = n
'''


def digest(text: str, name: str = "a.py") -> str:
    return digest_source(textwrap.dedent(text).encode(), name=name).digest


def test_vectors() -> None:
    """Written down on Python 3.11 with version 1 of the form. If one differs, every stored digest is another."""
    assert digest("") == "d558778d9445228485f6718faca7fcf1d851dffd445cc9e1628041a47814e6c0"
    assert digest("x = 1\n") == "457c71dbe6f1292bef670754e71464badb08cb1cfa1cccf82ba803c2fa6b60d8"
    source = digest_source(SOURCE.encode(), name="a.py")
    assert source.digest == "e289bf38d8e9747ea3de0d24c16356b741ec80ee40586ced093dd636d3f43eb6"
    assert source.functions == {
        "<module>": "7b89bb83bb0be8c023098322065c18fcbf25a8435f96001dcec0874d1867da21",
        "Model.fit": "2eb80159a5ef1d3951a6fcd23d3e641dbb3b965d93433c2eb9646648bf8a8ae9",
        "Model.size_of": "0c490fc263240bb65ab4119efc20dc12d17ab764b0ef7ddf66eb7a7b5011f84d",
        "fetch": "abaca35acc7f32128a29918f8a8c1e57efbcfed4bc752b235b4ce1da270591e8",
    }
    assert source.imports == ("__future__", "annotations", "far", "near", "one", "os", "sys", "three")


def test_comments_formatting_and_docstrings_do_not_count() -> None:
    tidy = ast.unparse(ast.parse(SOURCE))
    assert digest(tidy) == digest(SOURCE)
    assert digest(SOURCE.replace('"""Gets it."""', "")) == digest(SOURCE)
    assert digest(SOURCE.replace('"""A model."""', '"""Another."""')) == digest(SOURCE)
    assert digest(SOURCE.replace("# one step", "# two steps")) == digest(SOURCE)
    assert digest("\n\n\n" + SOURCE) == digest(SOURCE)
    assert digest("# -*- coding: utf-8 -*-\n" + SOURCE) == digest(SOURCE)
    assert digest_source(SOURCE.replace("\n", "\r\n").encode(), name="a.py").digest == digest(SOURCE)
    assert digest("def f():\n  'doc'\n") == digest("def f(): pass") == digest("def f(): ...")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 1", "y = 1"),
        ("x = 'a'", "x = b'a'"),
        ("x = 0.0", "x = -0.0"),
        ("x = 'ab', 'c'", "x = 'a', 'bc'"),
        ("f(a, b)", "f(b, a)"),
        ("f(a=1)", "f(1)"),
        ("x = [1]", "x = (1,)"),
        ("x = {1}", "x = [1]"),
        ("x = {**a}", "x = {'a': a}"),
        ("x = {None: a}", "x = {**a}"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("def f(a, /, b): pass", "def f(a, b): pass"),
        ("def f(*, a, b=1): return a", "def f(*, a=1, b): return a"),
        ("import a.b", "import a"),
        ("from . import a", "from .. import a"),
        ("from .a import b", "from a import b"),
        ("import a as b", "import a"),
        ("if a: b()\nc()", "if a:\n  b()\n  c()"),
        ("for i in a: b()\nelse: c()", "for i in a: b()\nc()"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a:3}'", "x = f'{a}3'"),
        ("x = f'{a}'", "x = '{a}'"),
        ("async def f(): pass", "def f(): pass"),
        ("x: int = 1", "x = 1"),
        ("(x): int = 1", "x: int = 1"),
        ("[a async for a in b]", "[a for a in b]"),
        ("@d\ndef f(): pass", "def f(): pass"),
        ("x = a if b else c", "x = b if a else c"),
        ("class A(B): x = 1", "class A: x = 1"),
        ("global x", "x"),
        ("x += 1", "x -= 1"),
        ("a < b < c", "a < b and b < c"),
        ("def f():\n  yield 1", "def f():\n  return 1"),
        ("x = lambda a: a", "x = lambda a=1: a"),
        ("x[1:2]", "x[1:2:3]"),
        ("try: a()\nexcept B: c()", "try: a()\nexcept* B: c()"),
        ("assert a", "assert a, b"),
        ("x = 'caf\\xe9'", "x = 'cafe'"),
    ],
)
def test_what_a_program_does_counts(one: str, other: str) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 'ab'", 'x = "a" "b"'),
        ("x = 16", "x = 0x10"),
        ("x = 1000", "x = 1_000"),
        ("x = u'a'", "x = 'a'"),
        ("x = f'a' 'b'", "x = f'ab'"),
        ("x = f'{a}' 'b' f'c'", "x = f'{a}bc'"),
        ("x = (1)", "x = 1"),
        ("x = a;y = b", "x = a\ny = b"),
        ("x = 1 # type: int", "x = 1"),
        ("if a: pass\nelse: b()", "if a:\n  '''why'''\nelse:\n  b()"),
        ("x = f''", "x = f'' f''"),
        ("x = '\\x41'", "x = 'A'"),
        ("x = (\n1,\n2)", "x = 1, 2"),
        ("def f(a,): pass", "def f(a): pass"),
    ],
)
def test_ways_to_write_the_same_do_not(one: str, other: str) -> None:
    assert digest(one) == digest(other)


def test_a_file_that_reads_docstrings_keeps_them() -> None:
    usage = '"""Usage: {0}"""\nimport docopt\nprint(docopt.docopt(__doc__))'
    assert digest(usage.format("a")) != digest(usage.format("b"))


def functions(text: str) -> dict[str, str]:
    return digest_source(textwrap.dedent(text).encode(), name="a.py").functions


BASE = """
    import os

    def one(x, y=1):
        def inner(): return x
        return inner() + y

    class A:
        z = 3
        def two(self):
            return self.z

    if os.name == "posix":
        def three(): return 3
    """


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ("return inner() + y", "return inner() - y", {"one"}),
        ("return x\n", "return x + 0\n", {"one"}),
        ("return self.z", "return self.z + 1", {"A.two"}),
        ("return 3", "return 4", {"three"}),
        ("y=1", "y=2", {MODULE}),
        ("z = 3", "z = 4", {MODULE}),
        ("import os", "import os, sys", {MODULE}),
        ("def two(self)", "def two(self, a=0)", {MODULE}),
        ("def two", "@staticmethod\n        def two", {MODULE}),
        ("def three", "def four", {MODULE, "three", "four"}),
        ("return self.z", "return self.z\n        def more(self): return 1", {MODULE, "A.more"}),
    ],
)
def test_functions_are_told_apart(old: str, new: str, differ: set[str]) -> None:
    assert old in BASE
    before, after = functions(BASE), functions(BASE.replace(old, new))
    assert set(before) == {MODULE, "one", "A.two", "three"}
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == differ


def test_two_functions_of_one_name_share_a_digest_that_covers_both() -> None:
    text = "class A:\n  @property\n  def x(self): return {0}\n  @x.setter\n  def x(self, v): self.v = {1}"
    assert set(functions(text)) == {MODULE, "A.x"}
    assert len({functions(text.format(*pair))["A.x"] for pair in [(1, 2), (2, 1), (1, 1), (2, 2)]}) == 4


@pytest.mark.parametrize("text", [b"def f(:", b"x = '\xff'", b"\0", b"if 1:\nx", b"x = 1" * 3 + b"("])
def test_what_does_not_parse_counts_by_its_bytes(text: bytes) -> None:
    source = digest_source(text, name="a.py")
    assert source.digest == hashlib.sha256(text).hexdigest()
    assert source.functions == {}


def test_other_files_count_by_their_bytes() -> None:
    assert digest("x = 1 # a", "a.txt") == hashlib.sha256(b"x = 1 # a").hexdigest()
    assert digest("x=1", "a.py") == digest("x = 1", "b.pyw")


def test_deep_and_long_expressions_have_digests() -> None:
    deep = "x = " + "+".join(["a"] * 1500)
    assert digest(deep) != hashlib.sha256(deep.encode()).hexdigest() or ast.parse(deep) is None
    assert digest(deep) != digest(deep.replace("a+a", "a-a", 1))
    assert len(digest("x = " + "9" * 10000)) == 64, "more digits than int() reads back"


def test_no_warning_of_the_source_reaches_the_reader() -> None:
    assert digest(r"x = '\d'") == digest(r"x = '\\d'"), "pytest turns warnings into errors"


def test_the_form_does_not_depend_on_fields_that_only_some_versions_have() -> None:
    """3.12 added `type_params`, 3.8 `kind`, `type_comment` and `type_ignores`; when empty they must not show."""
    tree = ast.parse(SOURCE)
    whole = digest_tree(tree).digest
    for node in ast.walk(tree):
        for name in ("type_params", "type_comment", "type_ignores", "kind", "ctx"):
            if name in node._fields:
                delattr(node, name) if hasattr(node, name) else None
                node._fields = tuple(field for field in node._fields if field != name)  # type: ignore[misc]
    assert digest_tree(tree).digest == whole
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            node._fields = (*node._fields, "type_params")  # type: ignore[misc]
            node.type_params = []  # type: ignore[attr-defined]
    assert digest_tree(tree).digest == whole


LITERALS = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5), st.booleans(), st.none()
)


@given(one=st.lists(LITERALS, max_size=4), other=st.lists(LITERALS, max_size=4))
@settings(max_examples=100)
def test_literals_are_told_apart_exactly_as_python_does(one: list[object], other: list[object]) -> None:
    same = repr(one) == repr(other)
    assert (digest(f"x = {one!r}") == digest(f"x = {other!r}")) == same


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_random_reformatting_changes_nothing(seed: int) -> None:
    random_ = random.Random(seed)
    lines = []
    for line in SOURCE.splitlines():
        if random_.random() < 0.2:
            lines.append(" " * random_.randrange(9) + "# a comment")
        lines.append(line + (" " * random_.randrange(3)) if line.strip() and not line.rstrip().endswith("\\") else line)
        if random_.random() < 0.2:
            lines.append("")
    assert digest("\n".join(lines)) == digest(SOURCE)
