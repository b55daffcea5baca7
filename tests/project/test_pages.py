"""The pages build without a warning and without a network, and nothing in them is fetched when they are read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_pages_build_whole_and_fetch_nothing(tmp_path: Path) -> None:
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / "site" / f"{page.stem}.html").exists()
    fetched = re.compile(r"""<(?:script|img|link)\b[^>]*(?:src|href)=["']https?://""")
    for page in (tmp_path / "site").rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("fragment", sorted((ROOT / "changelog.d").glob("*.md")), ids=lambda path: path.name)
def test_changes_are_named_so_that_towncrier_finds_them(fragment: Path) -> None:
    assert fragment.name == "README.md" or re.fullmatch(
        r"(\d+|\+[\w-]+)\.(added|changed|fixed|removed)(\.\d+)?\.md", fragment.name
    )


def test_the_lock_has_plain_versions_and_nothing_heavy() -> None:
    lines = (ROOT / "requirements-test.lock").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line)]
    assert not wrong
    assert not [line for line in lines if re.match(r"(torch|tensorflow|jax|nvidia|triton)", line)]
    assert len({line.split("==")[0].lower() for line in lines}) == len(lines)
