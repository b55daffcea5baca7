"""A local folder under harsh conditions: many processes, a full disk, a read-only folder, links, sudden death."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import as_nobody

from headway.errors import WorkspaceError
from headway.stores.commit import publish, result, seal
from headway.stores.files import TEMPORARY, Files
from headway.stores.ledger import Ledger


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


CREATOR = """
import sys
from headway.stores.files import Files
files, me = Files(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
print(*[n for n in range(200) if files.create(f"race/{n}", me.encode() * 1000)])
"""


def test_over_processes_one_creator_wins_and_its_file_is_whole(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(tmp_path), str(me)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for me in range(4)
    ]  # fmt: skip
    for child in children:
        child.stdin.write("go\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
    won = {me: [int(n) for n in child.communicate()[0].split()] for me, child in enumerate(children)}
    assert sorted(n for numbers in won.values() for n in numbers) == list(range(200))
    for me, numbers in won.items():
        for n in numbers:
            assert (tmp_path / f"race/{n}").read_bytes() == str(me).encode() * 1000
    assert list(Files(tmp_path).leftovers()) == []


def test_a_full_disk_leaves_nothing_torn(small_disk: Path) -> None:
    files = Files(small_disk)
    files.write("a/old", b"old" * 1000)
    for write in (
        lambda: files.write("a/old", b"x" * 2_000_000),
        lambda: files.create("a/new", b"x" * 2_000_000),
        lambda: _stream(files, "a/stream", 2_000_000),
        lambda: _stream(files, "a/old", 2_000_000),
    ):
        with pytest.raises(OSError, match=r"cannot write .*/a/.*free space") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(str(small_disk / "a"))
    assert [entry.path for entry in files.walk()] == ["a/old"]
    assert files.read("a/old") == b"old" * 1000
    assert list(files.leftovers()) == []


def test_a_ledger_on_a_full_disk_keeps_what_it_had(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 600_000)
    with Ledger.open(small_disk / "ledger.sqlite") as ledger:
        lease = ledger.claim("job-1")
        assert lease is not None
        done = 0
        with pytest.raises(WorkspaceError, match=r"(?s)ledger\.sqlite failed.*disk is full: free space"):
            while True:
                ledger.append(lease, [("event", {"n": done, "fill": "x" * 20_000})])
                done += 1
        assert done > 5
        assert [e.body["n"] for e in ledger.events("job-1")] == list(range(done))
        os.unlink(small_disk / "filler")
        ledger.append(lease, [("event", {"n": done})])
        assert ledger.events("job-1")[-1].sequence == done + 1
        assert ledger.check() == []


def test_a_publication_on_a_full_disk_is_made_later(small_disk: Path) -> None:
    files = Files(small_disk / "ws")
    with Ledger.open(small_disk / "ledger.sqlite") as ledger:
        lease = ledger.claim("job-1")
        assert lease is not None
        files.write("job/attempts/1/out", b"x" * 100)
        outcome = seal(files, "job", attempt=1)
        filler = open(small_disk / "filler", "wb", buffering=0)  # noqa: SIM115
        with pytest.raises(OSError, match="No space"):
            while True:
                filler.write(b"x" * 4096)
        with pytest.raises((OSError, WorkspaceError), match="(?s)free space"):
            publish(files, ledger, lease, "job", outcome)
        assert result(files, "job") is None
        filler.close()
        os.unlink(small_disk / "filler")
        assert publish(files, ledger, lease, "job", outcome) == result(files, "job")
        assert len(ledger.events("job-1", kinds=["chosen"])) == 1


def test_a_file_over_the_limit_of_its_user_is_not_kept(tmp_path: Path) -> None:
    def work() -> None:
        files = Files(tmp_path / "limited")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(OSError, match="cannot write") as caught:
            files.write("large", b"x" * 50_000)
        assert caught.value.errno == errno.EFBIG
        assert list(files.walk()) == list(files.leftovers()) == []
        files.write("small", b"x")

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_read_only_folder_is_read_and_says_so_when_written(shared: Path) -> None:
    files = Files(shared / "ws")
    files.write("a/b", b"x")
    for path in (shared / "ws/a", shared / "ws"):
        path.chmod(0o555)

    def work() -> None:
        assert files.read("a/b") == b"x"
        assert [e.path for e in files.walk()] == ["a/b"]
        for write in (
            lambda: files.write("a/b", b"y"),
            lambda: files.create("a/c", b"y"),
            lambda: files.write("new/c", b"y"),
            lambda: files.open("a/d", "wb"),
        ):
            with pytest.raises(PermissionError, match=rf"cannot write {shared}/ws/.*another folder"):
                write()
        with pytest.raises(PermissionError):
            files.remove("a/b")
        assert not files.create("a/b", b"z")

    as_nobody(work)


def test_links_are_read_and_loops_end(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write("real/x", b"12")
    (tmp_path / "link").symlink_to("real/x")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/up").symlink_to("..")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert [(e.path, e.size_bytes) for e in files.walk()] == [
        ("broken", 7), ("link", 2), ("loop", 4), ("real/x", 2)
    ]  # fmt: skip
    assert files.read("link") == b"12"
    assert not files.exists("broken")
    assert {e.path for e in files.list() if e.is_folder} == {"real", "folder"}
    with pytest.raises(FileNotFoundError):
        files.read("broken")
    with pytest.raises(OSError, match="symbolic links"):
        files.read("loop")
    files.remove("folder")
    files.remove("broken")
    assert files.read("real/x") == b"12"


def test_temporary_files_are_never_listed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write("a/x", b"")
    (tmp_path / f"a/{TEMPORARY}dead").write_bytes(b"torn")
    assert [e.path for e in files.walk()] == ["a/x"]
    assert [e.path for e in files.list("a")] == ["a/x"]
    assert [e.path for e in files.leftovers()] == [f"a/{TEMPORARY}dead"]
    assert [e.path for e in files.under("a").leftovers()] == [f"{TEMPORARY}dead"]


def test_files_get_the_permissions_that_the_user_set(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files = Files(tmp_path)
        files.write("a", b"")
        files.create("b", b"")
        with files.open("c", "wb") as stream:
            stream.write(b"")
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "abc"} == {0o640}


def test_appending_is_at_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for line in (b"one\n", b"two\n"):
        with files.open("logs/log.txt", "ab") as stream:
            stream.write(line)
    assert files.read("logs/log.txt") == b"one\ntwo\n"


def _stream(files: Files, path: str, size: int) -> None:
    with files.open(path, "wb") as stream:
        stream.write(b"x" * size)
