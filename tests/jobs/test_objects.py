"""Digests of live objects: equal for equal content, in every process."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from headway.jobs.objects import object_digest


def make(k: Any, *, twice: bool = False) -> Callable[[Any], Any]:
    """Two lambdas of one body with another closure."""
    return (lambda x: x + k) if not twice else (lambda x: x + k + k)


def define(text: str, name: str = "f", **more: Any) -> Any:
    space: dict[str, Any] = {"__name__": "__main__", **more}
    exec(compile(textwrap.dedent(text), "<test>", "exec", dont_inherit=True), space)
    return space[name]


SAME = [
    (lambda: {"a": 1, "b": {3, 1, 2}}, lambda: {"b": {1, 2, 3}, "a": 1}),
    (lambda: frozenset("abc"), lambda: frozenset("cba")),
    (lambda: ("x" * 3, "xxx"), lambda: ("xxx", "xxx")),
    (lambda: np.arange(4), lambda: np.array([0, 1, 2, 3])),
    (lambda: make(2), lambda: make(2)),
    (lambda: make({"b": 1, "a": 2}), lambda: make({"a": 2, "b": 1})),
    (lambda: functools.partial(make, 3), lambda: functools.partial(make, 3)),
    (lambda: define("def f(x):\n  return x"), lambda: define("\n\n# c\ndef f(x):   return x")),
    (lambda: define("def f(x):\n  'one'\n  return x"), lambda: define("def f(x):\n  'two'\n  return x")),
    (lambda: define("g = 1\ndef f(x): return x"), lambda: define("g = 2\ndef f(x): return x")),
    (lambda: PurePosixPath("a/b"), lambda: PurePosixPath("a") / "b"),
    (lambda: math, lambda: math),
]
DIFFERENT = [
    (1, True), (1, 1.0), ("a", b"a"), ((1,), [1]), ({1}, frozenset({1})), (None, "None"), (0.0, -0.0),
    ({}, OrderedDict()),
    (make(1), make(2)), (make(1), make(1, twice=True)), (np.arange(3), np.arange(3.0)), (len, max), (int, float),
    (define("def f(x): return x + 1"), define("def f(x): return x + 2")),
    (define("def f(x, y=1): return x"), define("def f(x, y=2): return x")),
    (define("def f(x): return x.a"), define("def f(x): return x.b")),
    (define("g = 1\ndef f(x): return g"), define("g = 2\ndef f(x): return g")),
    (define("def g(): return 1\ndef f(x): return g()"), define("def g(): return 2\ndef f(x): return g()")),
    (define("def f(x): return [y + 1 for y in x]"), define("def f(x): return [y + 2 for y in x]")),
    (define("def f(): return 'a'"), define("def f(): return 'b'")),
    (define("def f(): return __doc__", __doc__="a"), define("def f(): return __doc__", __doc__="b")),
    (define("class A:\n  x = 1", "A"), define("class A:\n  x = 2", "A")),
    (define("class A:\n  def f(self): return 1", "A"), define("class A:\n  def f(self): return 2", "A")),
    (define("class A:\n  f = property(lambda self: 1)", "A"), define("class A:\n  f = property(lambda self: 2)", "A")),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_content_has_equal_digests(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    assert object_digest(one()) == object_digest(other())


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    assert object_digest(one) != object_digest(other)


def test_objects_that_hold_themselves_have_digests() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    other: list[Any] = [2]
    other.append(other)
    assert object_digest(ring) != object_digest(other)
    again: list[Any] = [1]
    again.append(again)
    assert object_digest(ring) == object_digest(again)
    recursive = define("def f(n): return n and f(n - 1)")
    assert object_digest(recursive) == object_digest(define("def f(n): return n and f(n - 1)"))


def test_estimators_count_by_their_settings() -> None:
    from sklearn.ensemble import RandomForestClassifier

    one, other = RandomForestClassifier(n_estimators=3), RandomForestClassifier(n_estimators=4)
    assert object_digest(one) == object_digest(RandomForestClassifier(n_estimators=3)) != object_digest(other)


def test_what_is_made_by_the_standard_librarys_own_makers_has_digests() -> None:
    text = """
        import abc, collections, dataclasses, enum, functools, logging, re
        @dataclasses.dataclass
        class D:
            a: int = 1
            b: list = dataclasses.field(default_factory=list)
        class Color(enum.Enum):
            RED = "r"
        NT = collections.namedtuple("NT", "a b")
        cached = functools.lru_cache(lambda x: x)
        log, pattern = logging.getLogger("x"), re.compile("a+")
        def f(x): return D(), Color.RED, NT(1, 2), cached, log, pattern
        """
    assert object_digest(define(text)) == object_digest(define(text))
    assert object_digest(define(text)) != object_digest(define(text.replace('"r"', '"s"')))
    assert object_digest(define(text)) != object_digest(define(text.replace("= 1", "= 2")))


@pytest.mark.slow
def test_tensors_count_by_their_numbers() -> None:
    torch = pytest.importorskip("torch")
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert object_digest(one) != object_digest(other)
    other.load_state_dict(one.state_dict())
    assert object_digest(one) == object_digest(other)


def test_what_cannot_be_taken_apart_is_refused() -> None:
    import threading

    with pytest.raises(TypeError):
        object_digest(threading.Lock())


def test_the_digest_is_the_same_in_every_process() -> None:
    program = textwrap.dedent("""
        from headway.jobs.objects import object_digest
        names = {"alpha", "beta", "gamma", "delta"}
        def g(x): return {"a", "b", "c"} | names | {x}
        def f(x, y={"k": {1, 2}}): return g(x) if x in {"p", "q", "r"} else y
        print(object_digest(f))
        """)
    found = {
        subprocess.run(
            [sys.executable, "-c", "\n" * number + program], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": str(number)},
        ).stdout
        for number in range(1, 4)
    }  # fmt: skip
    assert len(found) == 1
