"""The README tells the truth: its tree is the real one, its commands exist, its example runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADWAY = str(Path(sys.executable).with_name("headway"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def tree() -> set[str]:
    """The paths in the README's tree."""
    found, parent = set(), ""
    for line in README.split("## What is where")[1].split("```")[1].strip("\n").splitlines():
        words = re.split(r"\s{2,}", line.strip())
        if line.startswith("    "):
            found.add(parent + words[0].rstrip("/"))
        elif words[0].endswith("/") or words[0] == ".ci/run":
            parent = words[0]
            found.add(words[0].rstrip("/"))
        else:
            found.update(words)
    return found


def test_the_tree_is_the_real_one() -> None:
    told = tree()
    missing = {path for path in told if not (ROOT / path).exists()}
    assert not missing, f"the README's tree names what is not there: {sorted(missing)}"
    made_here = {line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - made_here
    package = ROOT / "src" / "headway"
    inside = {f"src/headway/{path.name}" for path in package.iterdir()}
    inside = {path for path in inside if not path.endswith(("__", "__.py", "py.typed"))}
    untold = (there - {path.split("/")[0] for path in told}) | (inside - told)
    assert not untold, f"the README's tree leaves out {sorted(untold)}"


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?= *#|`)", README)) <= targets


def test_the_example_is_short() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 25
    assert len([line for line in lines if "ws" in line.split("=")[0] or "ws." in line]) >= 6


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("headway ")]


@pytest.mark.slow
def test_every_command_and_option_of_the_readme_exists() -> None:
    assert commands()
    for words in commands():
        names: list[str] = []
        for word in words:
            shown = subprocess.run([HEADWAY, *names, word, "--help"], capture_output=True, text=True)
            if shown.returncode != 0 or len(names) == 2 or not re.fullmatch(r"[a-z-]+", word):
                break
            names.append(word)
            if "Commands" not in shown.stdout:
                break
        assert names, f"there is no command {words[0]!r}"
        shown = subprocess.run([HEADWAY, *names, "--help"], check=True, capture_output=True, text=True)
        missing = [word for word in words if word.startswith("--") and word not in shown.stdout]
        assert not missing, f"headway {' '.join(names)} has no {missing}"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with 300 real handwritten digits in class folders, and the README's own picture among them."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for number, (picture, label) in enumerate(zip(data.images[:300], data.target[:300], strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 15).astype("uint8")).save(folder / f"{number:04}.png")
    first = min((tmp_path / "digits" / "7").iterdir())
    first.rename(first.with_name("0042.png"))
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")} | {"COLUMNS": "200"}


@pytest.mark.slow
def test_the_example_runs_and_the_second_time_everything_is_there(digits: Path) -> None:
    (digits / "example.py").write_text(blocks("python")[0])
    command = [sys.executable, "example.py"]
    first, second = (
        subprocess.run(command, cwd=digits, env=environment(), capture_output=True, text=True, timeout=240)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "'7'" in first.stdout
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    jobs = sorted(path.name for path in (digits / ".headway" / "jobs").iterdir())
    assert not [name for name in jobs if name.endswith("-2")], f"the second run made new jobs: {jobs}"


@pytest.mark.slow
def test_the_commands_do_the_same(digits: Path) -> None:
    before = blocks("python")[0].split("\nws = ")[0]
    (digits / "recipe.py").write_text(before)
    for words in commands():
        done = subprocess.run(
            [HEADWAY, *words], cwd=digits, env=environment(), capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"headway {shlex.join(words)}: {done.stderr}"
    assert "7" in done.stdout
