"""Digests of files."""

from __future__ import annotations

import doctest
import hashlib
from pathlib import Path

import pytest

from headway.lineage import digests
from headway.lineage.digests import differing_functions, function_digests, normalised_digest


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(digests).failed == 0


def test_files_and_their_content_have_the_same_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1  # one\n")
    (tmp_path / "a.bin").write_bytes(b"x" * 3_000_000)
    assert normalised_digest(tmp_path / "a.py") == normalised_digest(b"x=1", name="other.py")
    assert normalised_digest(tmp_path / "a.bin") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert normalised_digest(tmp_path / "a.py", name="a.txt") == hashlib.sha256(b"x = 1  # one\n").hexdigest()
    with pytest.raises(ValueError, match="name="):
        normalised_digest(b"x")
    with pytest.raises(FileNotFoundError):
        normalised_digest(tmp_path / "b.py")


def test_functions_that_differ_are_named_the_module_first() -> None:
    one = function_digests(b"x = 1\ndef a(): return 1\ndef b(): return 2\ndef c(): return 3\n")
    other = function_digests(b"x = 2\ndef a(): return 1\ndef b(): return 3\ndef d(): return 3\n")
    assert differing_functions(one, other) == ["<module>", "b", "c", "d"]
    assert differing_functions(one, one) == []
