"""The environment lock: right, quick, without importing, and comparable."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headway.jobs import environment
from headway.records import decode, encode


def test_the_lock_says_what_importlib_metadata_says() -> None:
    lock = environment.lock()
    expected = {
        re.sub(r"[-_.]+", "-", found.name).lower(): found.version for found in importlib.metadata.distributions()
    }
    assert lock["packages"] == expected
    assert list(lock["packages"]) == sorted(lock["packages"])
    assert "headway" in lock["editable"]
    assert lock["python"].startswith("3.")
    assert decode(encode(lock), dict, where="test") == lock
    assert str(Path.cwd()) not in encode(lock).decode(), "no path of this machine"


def test_making_it_imports_no_package() -> None:
    program = (
        "import sys; from headway.jobs import environment; before = set(sys.modules); environment.lock();"
        "print([m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_read_once_and_again_when_something_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    first = environment.lock()
    began = time.perf_counter()
    for _ in range(100):
        assert environment.lock() == first
    assert time.perf_counter() - began < 1.0
    for name, files in {
        "Some_Thing-1.2.3.dist-info": {"METADATA": ""},
        "worked_on-0.1.dist-info": {"direct_url.json": '{"dir_info": {"editable": true}, "url": "file:///home/me/x"}'},
        "older-2.0-py3.11.egg-info": {"PKG-INFO": "Name: older\nVersion: 2.0\n"},
        "developed.egg-info": {"PKG-INFO": "Metadata-Version: 2.1\nName: developed\nVersion: 0.5\n"},
        "broken.egg-info": {},
        "numpy-0.0.1.dist-info": {},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    second = environment.lock()
    packages = second["packages"]
    found = {name: packages[name] for name in ("some-thing", "worked-on", "older", "developed", "numpy")}
    assert found == {"some-thing": "1.2.3", "worked-on": "0.1", "older": "2.0", "developed": "0.5", "numpy": "0.0.1"}
    assert "broken" not in packages
    assert "worked-on" in second["editable"]
    assert "/home/me" not in encode(second).decode()
    assert environment.digest(first) != environment.digest(second)


def test_a_lock_may_be_changed_by_its_reader() -> None:
    lock = environment.lock()
    lock["packages"]["numpy"] = "0"
    assert environment.lock()["packages"]["numpy"] != "0"


def test_differences_are_sentences() -> None:
    old = {"python": "3.11.7", "packages": {"numpy": "2.4", "gone": "1", "same": "1"}, "editable": ["mine"]}
    new = {"python": "3.12.1", "packages": {"numpy": "2.5", "new": "3", "same": "1"}, "editable": ["other"]}
    assert environment.differences(old, new) == [
        "python 3.11.7 -> 3.12.1",
        "package gone 1 is not installed any more",
        "package new 3 was not installed",
        "package numpy 2.4 -> 2.5",
        "package other is now installed as a working folder",
        "package mine is no longer installed as a working folder",
    ]
    assert environment.differences(old, old) == []
