"""What `make prove` runs: the kill tests at full size (the tests of every day run a tenth), one at a time.

Keeps what they counted in docs/evidence.md: each test says it by the fixture `evidence`. Arguments are handed to
pytest. Standard library only.
"""

import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence.md"
HEAD = """# Evidence

What `make prove` counted: tests that kill real processes with `kill -9` at seeded random moments, at full size.

| Test | Counted | Result | Seconds | When | Where |
|---|---|---|---|---|---|
"""


def kept() -> dict[str, str]:
    """The page's lines by test."""
    if not PAGE.exists():
        return {}
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| `")}


def lines_of(report: Path) -> dict[str, str]:
    """The page's lines for the tests of one run."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    where = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        counted = [each.get("value", "") for each in case.iter("property") if each.get("name") == "evidence"]
        bad = case.find("failure") is not None or case.find("error") is not None
        if case.find("skipped") is not None:
            continue
        name = f"`{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').replace('|', '/')}`"
        seconds = float(case.get("time", 0))
        told = "; ".join(counted).replace("|", "/")
        found[name] = f"| {name} | {told} | {'failed' if bad else 'held'} | {seconds:.0f} | {when} | {where} |"
    return found


def main() -> int:
    """Run the kill tests at full size and write the page; gives back pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "kill", "--timeout", "7200"]
        command += ["-o", "junit_family=xunit1"]  # the family that keeps properties of single tests
        environment = {**os.environ, "HEADWAY_PROVE": "1"}
        done = subprocess.run([*command, f"--junit-xml={report}", *sys.argv[1:]], cwd=ROOT, env=environment)
        if report.exists():
            lines = {**kept(), **lines_of(report)}
            PAGE.write_text(HEAD + "\n".join(lines[name] for name in sorted(lines)) + "\n", encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
