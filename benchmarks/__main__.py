"""Runs benchmarks and keeps their tables in docs/benchmarks.md.

    python -m benchmarks              all of them
    python -m benchmarks start jobs   some of them; the tables of the others stay as they are

Each `benchmarks/<name>.py` has `run() -> Table | list[Table]`; its module docstring says what is compared with what.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from benchmarks.table import Table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
NOT_BENCHMARKS = {"__init__", "__main__", "table"}
HEAD = """# Benchmarks

Ratios and limits, measured by `make bench` (`python -m benchmarks NAME` for one). Both sides of a ratio are taken in
the same run on the same machine; the numbers of another machine will differ, the ratios little.
"""


def names() -> list[str]:
    """The benchmarks that there are."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in NOT_BENCHMARKS and not name.startswith("_"))


def machine() -> str:
    """The machine and the versions, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kept = ("numpy", "pyarrow", "sqlalchemy", "scikit-learn")
    versions = ", ".join(f"{name} {version(name)}" for name in kept)
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, headway {version('headway')}, {versions}"
    )


def section(name: str, tables: list[Table], seconds: float) -> str:
    """One benchmark's part of the page."""
    module = import_module(f"benchmarks.{name}")
    about = " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"## {name}", "", about, ""]
    for table in tables:
        lines += [f"### {table.title}", "", table.markdown()]
    lines += [f"`python -m benchmarks {name}`, {when}, {seconds:.0f} s; {machine()}.", ""]
    return "\n".join(lines)


def kept_sections() -> dict[str, str]:
    """The sections that the page has, by name."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0][3:].strip(): part for part in parts}


def main() -> int:
    """Run the benchmarks named on the command line; gives back an exit code."""
    known = names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="measure and write docs/benchmarks.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; all without a name")
    asked = parser.parse_args().names or known
    for name in asked:
        if name not in known:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    missed = []
    for name in asked:
        started = time.monotonic()
        result = import_module(f"benchmarks.{name}").run()
        tables = [result] if isinstance(result, Table) else list(result)
        sections = kept_sections()
        sections[name] = section(name, tables, time.monotonic() - started)
        ordered = [sections[each].rstrip() + "\n" for each in sorted(sections) if each in known]
        PAGE.write_text(HEAD + "\n" + "\n".join(ordered), encoding="utf-8")
        print(sections[name], flush=True)
        missed += [f"{name}: {goal}" for table in tables for goal in table.missed]
    for goal in missed:
        print(f"goal missed: {goal}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
