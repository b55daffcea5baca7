"""The installer makes the environment whole, whenever it is killed and whoever lives on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "headway"
version = "0"
dependencies = ["six"]
[project.optional-dependencies]
demo = ["iniconfig"]
test = ["headway[demo]", "pluggy"]
docs = []
[tool.setuptools.packages.find]
where = ["src"]
"""
PACKAGES = ("setuptools", "six", "iniconfig", "pluggy")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of the small project, so that no test below needs an index."""
    folder = tmp_path_factory.mktemp("wheels")
    words = [f"{name}=={version(name)}" for name in PACKAGES]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    done = subprocess.run([*pip, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        message = f"no package index to take {', '.join(PACKAGES)} from: {done.stderr.strip()[-300:]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return folder


@pytest.fixture
def project(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project beside a copy of the real installer."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    root = tmp_path / "a project"
    (root / "src" / "headway").mkdir(parents=True)
    (root / "src" / "headway" / "__init__.py").touch()
    (root / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "install.py", root / "tools")
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "requirements-test.lock").write_text("".join(f"{name}=={version(name)}\n" for name in PACKAGES))
    return root


def start(root: Path, profile: str = "demo") -> subprocess.Popen[str]:
    command = [sys.executable, str(root / "tools" / "install.py"), profile]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    text = process.communicate(timeout=240)[0]
    assert process.returncode == 0, text
    return text


def installed(root: Path) -> set[str]:
    """The packages that the environment can really import."""
    code = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    command = [str(root / ".venv" / "bin" / "python"), "-I", "-c", code, "headway", "six", "iniconfig", "pluggy"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.slow
def test_profiles_build_on_each_other_and_a_second_run_does_nothing(project: Path) -> None:
    finish(start(project, "demo"))
    assert installed(project) == {"headway", "six", "iniconfig"}
    assert finish(start(project, "demo")) == ""
    finish(start(project, "test"))
    assert installed(project) == {"headway", "six", "iniconfig", "pluggy"}
    assert finish(start(project, "demo")) == ""


@pytest.mark.slow
def test_a_moved_or_damaged_environment_is_made_again(project: Path) -> None:
    finish(start(project))
    (project / ".venv" / "bin" / "python").unlink()
    assert "making the environment" in finish(start(project))
    moved = project.with_name("moved")
    project.rename(moved)
    assert "making the environment" in finish(start(moved))
    assert installed(moved) == {"headway", "six", "iniconfig"}


@pytest.mark.slow
def test_no_index_is_told_in_one_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    process = start(project)
    text = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    last = text.splitlines()[-1]
    assert last.startswith("install: installing packages: the package index could not be reached")
    assert "Traceback" not in text
    assert not (project / ".venv" / "headway-stamp.json").exists()


@pytest.mark.slow
@pytest.mark.kill
def test_killed_at_any_moment_it_ends_whole(
    project: Path, scale: Callable[[int], int], evidence: Callable[[str], None]
) -> None:
    """Kills the installer alone (pip lives on) or with its children; some starts meet the one before still at work."""
    chance = random.Random(20)
    started = time.monotonic()
    finish(start(project))
    whole_s = time.monotonic() - started
    kills, rebuilt = scale(60), 0
    for number in range(kills):
        if number % 3 == 0:
            (project / ".venv" / "headway-stamp.json").unlink(missing_ok=True)
        process = start(project)
        try:
            process.wait(chance.uniform(0, whole_s))
        except subprocess.TimeoutExpired:
            if chance.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
        stamp = project / ".venv" / "headway-stamp.json"
        if stamp.exists():
            assert json.loads(stamp.read_text())["profile"] == "demo"
            assert installed(project) == {"headway", "six", "iniconfig"}
            rebuilt += 1
    finish(start(project))
    assert installed(project) == {"headway", "six", "iniconfig"}
    evidence(f"{kills} kills while installing: {rebuilt} found it whole, 0 found a stamp on a broken environment")
