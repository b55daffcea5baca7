"""Folders that a worker makes: copies of snapshots, channels, outcomes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headway.worker import outcome
from headway.worker.channels import materialise, sources
from headway.worker.trees import MAX_COPIED, copy_tree, remove_tree


def test_a_copied_tree_can_be_written_without_changing_the_original(tmp_path: Path) -> None:
    source, target = tmp_path / "code", tmp_path / "work"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (source / "sub" / "run.sh").chmod(0o755)
    (source / "large.bin").write_bytes(b"x" * (MAX_COPIED + 1))
    (source / "link").symlink_to("sub/run.sh")
    copy_tree(str(source), str(target))
    assert os.access(target / "sub" / "run.sh", os.X_OK)
    assert (target / "large.bin").is_symlink()
    assert os.readlink(target / "link") == "sub/run.sh"
    (target / "sub" / "run.sh").write_text("changed")
    assert (source / "sub" / "run.sh").read_text() == "#!/bin/sh\n"
    remove_tree(str(target))
    assert not target.exists()
    assert (source / "large.bin").exists()
    remove_tree(str(target))


def test_a_channel_is_filled_once_and_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("1")
    listing = tmp_path / "listing.json"
    channel = {"mode": "link", "listing": str(listing)}
    listing.write_text(json.dumps({"root": str(tmp_path), "files": [["a.png", "x/y.png"]]}))
    folder = str(tmp_path / "train")
    assert materialise(channel, folder) == folder
    assert (tmp_path / "train/x/y.png").read_text() == "1"
    listing.unlink()
    assert materialise(channel, folder) == folder
    listing.write_text(json.dumps({"root": str(tmp_path), "files": [["a.png", "../out.png"]]}))
    with pytest.raises(ValueError, match="outside"):
        materialise(channel, str(tmp_path / "other"))


def test_roots_are_read_without_the_million_names_behind_them(tmp_path: Path) -> None:
    first, last = tmp_path / "first.json", tmp_path / "last.json"
    root = '/data/a "b", ü'
    first.write_text(json.dumps({"root": root, "files": [["x" * 50, "y"]] * 1000}, indent=1))
    last.write_text(json.dumps({"files": [["x", "y"]], "root": "/data/c"}))
    assert sources({"a": {"listing": str(first)}, "b": {"listing": str(last)}}) == [root, "/data/c"]


@pytest.mark.parametrize(
    ("exit_code", "signal", "found", "stopped", "expected"),
    [
        (0, None, {"ok": True}, "", (True, "")),
        (0, None, {"ok": True}, "stopped on request", (True, "")),
        (0, None, None, "", (False, "exited with code 0 but wrote no outcome")),
        (1, None, {"ok": False, "message": "ValueError: x"}, "", (False, "ValueError: x")),
        (2, None, None, "", (False, "exited with code 2; its last line: bye")),
        (None, "SIGKILL", None, "", (False, "killed by SIGKILL (out of memory?)")),
        (None, "SIGKILL", {"ok": True}, "", (False, "killed by SIGKILL (out of memory?)")),
        (None, "SIGSEGV", None, "", (False, "killed by SIGSEGV")),
        (None, "SIGTERM", None, "stopped on request", (False, "stopped on request")),
    ],
)
def test_the_verdict_on_an_ended_process(
    exit_code: int | None, signal: str | None, found: dict[str, object] | None, stopped: str, expected: tuple[bool, str]
) -> None:
    ok, text = outcome.judge(exit_code=exit_code, signal=signal, outcome=found, stopped=stopped, last="bye")
    assert ok is expected[0]
    assert text.startswith(expected[1])


def test_a_torn_outcome_is_none(tmp_path: Path) -> None:
    assert outcome.read_outcome(str(tmp_path)) is None
    (tmp_path / "outcome.json").write_text('{"ok": tr')
    assert outcome.read_outcome(str(tmp_path)) is None
    outcome.write_json(str(tmp_path / "outcome.json"), {"ok": True})
    assert outcome.read_outcome(str(tmp_path)) == {"ok": True}
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]
