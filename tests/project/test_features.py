"""docs/features.md has every feature once, and what it names as proof exists."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "features.md"
NUMBERS = [*(f"M{number:02}" for number in range(1, 153)), *(f"B{number:02}" for number in range(1, 8))]
ENGINES = {"inline", "local", "none"}


class Row(NamedTuple):
    id: str
    gives: str
    engines: str
    proof: str


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(("| M", "| B"))]
    cells = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]
    return [Row(*(cell + [""] * (4 - len(cell)))) for cell in ([c.strip(" |") for c in row] for row in cells)]


@cache
def defined_in(path: Path) -> frozenset[str]:
    """The tests that a file defines, `test_x` or `TestClass::test_x`, without those that are always skipped."""

    def runs(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
        return not any(ast.unparse(each).startswith("pytest.mark.skip(") or ast.unparse(each) == "pytest.mark.skip"
                       for each in node.decorator_list)  # fmt: skip

    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and runs(node):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and runs(node):
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef) and runs(each))
            found.update(f"{node.name}::{each.name}" for each in inner)
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def problem(test: str) -> str | None:
    """Why a named test proves nothing; None when it exists and runs."""
    path, _, name = test.partition("::")
    if not path.startswith("tests/") or not (ROOT / path).is_file():
        return f"there is no file {path!r}"
    if name.partition("[")[0] not in defined_in(ROOT / path):
        return f"{path} has no test {name!r} that runs"
    return None


def test_every_number_is_there_once_and_in_order() -> None:
    assert [row.id for row in rows()] == NUMBERS


def test_every_built_feature_names_a_command_engines_and_a_test_that_exists() -> None:
    wrong = []
    for row in rows():
        if row.gives == "not built":
            if row.engines or row.proof:
                wrong.append(f"{row.id}: not built, yet it names {row.engines} {row.proof}")
            continue
        if not row.gives:
            wrong.append(f"{row.id}: no command or function")
        if not row.engines or not {each.strip() for each in row.engines.split(",")} <= ENGINES:
            wrong.append(f"{row.id}: engines are {row.engines!r}, not some of {sorted(ENGINES)}")
        tests = [each.strip().strip("`") for each in row.proof.replace("<br>", ",").split(",") if each.strip()]
        if not tests:
            wrong.append(f"{row.id}: no test")
        wrong += [f"{row.id}: {why}" for test in tests if (why := problem(test))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("tests/project/test_features.py::test_every_number_is_there_once_and_in_order", None),
        ("tests/project/test_features.py::test_nothing", "has no test"),
        ("tests/project/test_nowhere.py::test_nothing", "there is no file"),
        ("src/headway/errors.py::HeadwayError", "there is no file"),
    ],
)
def test_a_wrong_proof_is_seen(test: str, why: str | None) -> None:
    seen = problem(test)
    assert seen is None if why is None else why in str(seen)
