"""What may import what, beyond the layers that import-linter checks: the worker runtime, and the package's root."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "headway"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LAZY = ["numpy", "pandas", "pyarrow", "sqlalchemy", "alembic", "optuna", "sklearn", "scipy", "torch", "typer", "rich"]


def contract(name: str) -> dict[str, list[str]]:
    return next(each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["id"] == name)


def imported(path: Path, *, needed: bool = False) -> set[str]:
    """All modules that a file imports, also inside functions; relative imports as `.name`.

    With `needed`, without those whose absence it catches.
    """
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    tried = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("ImportError" in ast.unparse(each.type or each) for each in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if needed and node in tried:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("worker/**/*.py")), ids=lambda path: path.name)
def test_the_worker_runtime_needs_the_standard_library_only(path: Path) -> None:
    """It can be shipped alone, beside a program whose environment has none of our packages."""
    for module in imported(path, needed=True):
        first = module.split(".")[0]
        assert module.startswith((".", "headway.worker")) or first in sys.stdlib_module_names, f"imports {module}"


def test_the_contract_names_every_module_of_the_package() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    layers = {each.strip(" ()") for line in contract("layers")["layers"] for each in line.replace(":", "|").split("|")}
    ignored = set(contract("layers")["exhaustive_ignores"])
    assert there - {"__init__"} <= layers | ignored
    forbidden = {name.removeprefix("headway.") for name in contract("worker")["forbidden_modules"]}
    assert there - {"__init__", "__main__", "worker"} == forbidden


def test_importing_headway_loads_nothing_heavy() -> None:
    code = f"import sys, headway; print(*[name for name in {LAZY!r} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.split() == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_exact_modules_and_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    free = path.parent in (PACKAGE, PACKAGE / "cli") or path == PACKAGE / "worker" / "__main__.py"
    assert free or "headway" not in imported(path), "imports the package's root; import the exact module"
    assert len(text.splitlines()) <= 400, "a file has at most 400 lines: split it"
    assert ast.get_docstring(ast.parse(text)), "every module says what comes in and what goes out"
    assert path.stem not in {"utils", "helpers", "common", "base", "core", "manager", "handler"}


def test_tests_mirror_the_package() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"testing"}
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert not packages - tested, f"no tests for {sorted(packages - tested)}"
