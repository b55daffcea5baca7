"""What the recorder sees of the files that this very process opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headway.worker import watch


@contextmanager
def _watched(code: Path, **options: object) -> Iterator[watch.Recorder]:
    code.mkdir(exist_ok=True)
    recorder = watch.Recorder(code=str(code), **options)  # type: ignore[arg-type]
    before = watch.start(recorder)
    try:
        yield recorder
    finally:
        watch.start(before)


def test_files_that_are_read_are_recorded_once_and_written_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "read.csv").write_text("1")
    with _watched(tmp_path / "code") as recorder:
        for _ in range(2):
            (tmp_path / "read.csv").read_text()
        os.close(os.open(tmp_path / "read.csv", os.O_RDONLY))
        (tmp_path / "made").write_text("2")
        (tmp_path / "made").read_text()
        os.rename(tmp_path / "made", tmp_path / "moved")
        (tmp_path / "moved").read_text()
    assert recorder.files == {str(tmp_path / "read.csv")}
    assert recorder.trouble is None


def test_the_snapshot_is_named_relative_and_the_copy_only_for_what_was_packed(tmp_path: Path) -> None:
    code, copy = tmp_path / "code", tmp_path / "work"
    (code / "sub").mkdir(parents=True)
    (code / "sub" / "table.csv").write_text("1")
    copy.mkdir()
    with _watched(code, copy=str(copy)) as recorder:
        (code / "sub" / "table.csv").read_text()
        (copy / "own").touch()
        (copy / "own").read_text()
    assert recorder.files == {"sub/table.csv"} | {str(copy / "own")}


@pytest.mark.parametrize("how", ["open", "os.open", "bytes", "relative", "link", "listdir", "scandir", "inside"])
def test_a_forbidden_path_is_a_leak_however_it_is_opened(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "data" / "test"
    secret.mkdir(parents=True)
    (secret / "1.png").write_text("x")
    (tmp_path / "data" / "test2").write_text("not forbidden")
    (tmp_path / "link").symlink_to(secret / "1.png")
    monkeypatch.chdir(tmp_path)
    with _watched(tmp_path / "code", forbidden=[f"{secret}/"]) as recorder:
        (tmp_path / "data" / "test2").read_text()
        os.listdir(tmp_path / "data")
        assert not recorder.leaks
        match how:
            case "open":
                open(secret / "1.png").close()
            case "os.open":
                os.close(os.open(secret / "1.png", os.O_RDONLY))
            case "bytes":
                open(os.fsencode(secret / "1.png"), "rb").close()
            case "relative":
                open("data/test/1.png").close()
            case "link":
                open("link").close()
            case "listdir":
                os.listdir(secret)
            case "scandir":
                os.scandir(str(secret)).close()
            case "inside":
                (secret / "new").write_text("x")
    assert len(recorder.leaks) == 1


def test_a_forbidden_file_is_exactly_that_file(tmp_path: Path) -> None:
    for name in ("1.png", "1.png.txt"):
        (tmp_path / name).write_text("x")
    with _watched(tmp_path / "code", forbidden=[str(tmp_path / "1.png")]) as recorder:
        (tmp_path / "1.png.txt").read_text()
        assert not recorder.leaks
        (tmp_path / "1.png").read_text()
    assert list(recorder.leaks) == [str(tmp_path / "1.png")]


def test_libraries_excluded_folders_and_other_roots_are_left_out(tmp_path: Path) -> None:
    for name in ("channel", "root", "else"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    with _watched(tmp_path / "code", excluded=[str(tmp_path / "channel")], roots=[str(tmp_path / "root")]) as recorder:
        for name in ("channel", "root", "else"):
            (tmp_path / name / "x").read_text()
        Path(os.__file__).read_text()
        Path("/proc/self/stat").exists()
    assert recorder.files == {str(tmp_path / "root" / "x")}


def test_nothing_is_recorded_when_nobody_watches(tmp_path: Path) -> None:
    with _watched(tmp_path / "code") as recorder:
        pass
    (tmp_path / "x").write_text("1")
    (tmp_path / "x").read_text()
    assert not recorder.files
