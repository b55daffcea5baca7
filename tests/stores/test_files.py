"""What `Files` promises, on a local folder, in memory and on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import WorkspaceError
from headway.stores._remote import RemoteBackend
from headway.stores.files import Entry, Files


def test_a_file_written_is_read(files: Files) -> None:
    files.write("a/b/c.bin", b"\0\xff one")
    assert files.read("a/b/c.bin") == b"\0\xff one"
    files.write("a/b/c.bin", b"")
    assert files.read("a/b/c.bin") == b""
    assert files.exists("a/b/c.bin")
    assert files.exists("a/b")
    assert files.exists("a")
    assert not files.exists("a/b/c")
    files.write("./a//b/./d", b"12")
    assert files.size("a/b/d") == 2
    assert files.info("a/b/d").mtime > 1.7e9
    assert files.info("a/b").is_folder


def test_create_makes_a_file_once(files: Files) -> None:
    assert files.create("a/once", b"first")
    assert not files.create("a/once", b"second")
    assert files.read("a/once") == b"first"
    assert [entry.path for entry in files.leftovers()] == []


def test_of_many_creators_one_wins(files: Files) -> None:
    won: list[int] = []
    barrier = threading.Barrier(6)

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(3):
            if files.create(f"race-{turn}", str(number).encode()):
                won.append(turn)
                assert files.read(f"race-{turn}") == str(number).encode()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [0, 1, 2]


def test_a_stream_appears_when_closed(files: Files) -> None:
    with files.open("a/s", "wb") as stream:
        stream.write(b"1234")
        assert not files.exists("a/s")
        stream.write(b"5" * 300_000)
    assert files.size("a/s") == 300_004
    with files.open("a/s") as stream:
        assert stream.read(6) == b"123455"
        stream.seek(2)
        assert stream.read(2) == b"34"
    with files.open("a/s", "wb") as stream:
        stream.write(b"new")
        assert files.size("a/s") == 300_004
    assert files.read("a/s") == b"new"
    closed = files.open("a/t", "wb")
    closed.write(b"x")
    closed.close()
    closed.close()
    assert files.read("a/t") == b"x"


def test_a_stream_that_fails_publishes_nothing(files: Files) -> None:
    for size in (1, 3_000_000):
        with pytest.raises(ZeroDivisionError), files.open("a/s", "wb") as stream:
            stream.write(b"x" * size)
            1 / 0
        assert not files.exists("a/s")
    forgotten = files.open("a/s", "wb")
    forgotten.write(b"x")
    del forgotten
    assert not files.exists("a/s")
    files.write("a/s", b"old")
    with pytest.raises(KeyboardInterrupt), files.open("a/s", "wb") as stream:
        stream.write(b"x")
        raise KeyboardInterrupt
    assert files.read("a/s") == b"old"
    assert list(files.leftovers()) == []


def test_listings_are_sorted_and_never_cached(files: Files) -> None:
    for path in ("b/2", "b/1", "a.txt", "a/x", "a/y/z", "a-b"):
        files.write(path, b"12")
    assert [(e.path, e.is_folder) for e in files.list()] == [
        ("a-b", False), ("a.txt", False), ("a", True), ("b", True)
    ]  # fmt: skip
    assert [e.path for e in files.list("a")] == ["a/x", "a/y"]
    assert [e.path for e in files.walk()] == ["a-b", "a.txt", "a/x", "a/y/z", "b/1", "b/2"]
    assert all(isinstance(e, Entry) and e.size_bytes == 2 and e.mtime > 0 for e in files.walk())
    files.write("a/y/new", b"")
    other = Files(files.url, options=_options(files))
    other.write("a/y/other", b"")
    assert [e.path for e in files.walk("a/y")] == ["a/y/new", "a/y/other", "a/y/z"]
    other.remove("a/y/new")
    assert [e.path for e in files.list("a/y")] == ["a/y/other", "a/y/z"]
    assert not files.exists("a/y/new")


def test_what_is_not_there_raises_as_a_local_file_would(files: Files) -> None:
    files.write("there", b"x")
    for call in (files.read, files.open, files.size, files.list, files.info, files.remove):
        with pytest.raises(FileNotFoundError):
            call("not/there")
    with pytest.raises(FileNotFoundError):
        list(files.walk("not/there"))
    with pytest.raises(NotADirectoryError):
        list(files.walk("there"))
    files.remove("not/there", missing_ok=True)


def test_remove_takes_files_and_folders(files: Files) -> None:
    for path in ("a/x", "a/y/z", "b", "ab/x"):
        files.write(path, b"")
    files.remove("b")
    files.remove("a")
    assert [e.path for e in files.walk()] == ["ab/x"]
    for path in ("p[1]/x", "p1/x", "q*/x", "qq/x"):
        files.write(path, b"")
    files.remove("p[1]")
    files.remove("q*")
    assert [e.path for e in files.walk()] == ["ab/x", "p1/x", "qq/x"]


def test_under_is_the_same_store_further_down(files: Files) -> None:
    files.write("a/b/c", b"x")
    below = files.under("a").under("b")
    assert below.url == files.url_of("a/b")
    assert below.read("c") == b"x"
    assert [e.path for e in below.walk()] == ["c"]
    assert below.create("d/e", b"")
    assert not files.create("a/b/d/e", b"")
    assert [e.path for e in below.list("d")] == ["d/e"]
    below.remove("d")
    with below.open("f", "wb") as stream:
        stream.write(b"1")
    assert files.read("a/b/f") == b"1"
    assert files.under("").url == files.url


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b", "/"])
def test_paths_stay_inside(files: Files, path: str) -> None:
    for call in (files.read, files.exists, files.under, files.url_of, files.remove, files.open):
        with pytest.raises(ValueError, match="inside"):
            call(path)
    with pytest.raises(ValueError, match="inside"):
        files.write(path, b"")


def test_wrong_arguments_are_refused(files: Files) -> None:
    with pytest.raises(ValueError, match="mode"):
        files.open("a", "r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must name a file"):
        files.write("", b"")
    with pytest.raises(TypeError, match="must be a str"):
        files.read(Path("a"))  # type: ignore[arg-type]


NAMES = [
    "with space",
    "quote'\"",
    "comma,x",
    "new\nline",
    "ünï漢字🙂",
    "#hash?q=1&b",
    "100%25",
    "[a]*?",
    "a" * 200,
    "-n",
]


def test_names_of_all_kinds(files: Files) -> None:
    for name in NAMES:
        files.write(f"names/{name}", name.encode())
    assert sorted(e.path for e in files.walk("names")) == sorted(f"names/{name}" for name in NAMES)
    for name in NAMES:
        assert files.read(f"names/{name}") == name.encode()
        assert files.size(f"names/{name}") == len(name.encode())
    files.remove("names")
    assert not any(files.exists(f"names/{name}") for name in NAMES)


def test_a_fork_leaves_both_sides_working(files: Files) -> None:
    files.write("before", b"x")
    if not files.is_local and files.url.startswith("memory"):
        pytest.skip("memory is not shared between processes")
    pid = os.fork()
    if pid == 0:
        try:
            files.write("child", files.read("before"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert files.read("child") == b"x"


def test_only_a_local_folder_has_paths(files: Files) -> None:
    if files.is_local:
        assert files.local("a") == Path(files.url) / "a"
        assert files.url_of("a/b") == f"{files.url}/a/b"
    else:
        with pytest.raises(WorkspaceError, match="local folder"):
            files.local("a")
        with pytest.raises(OSError, match="append"):
            files.open("a", "ab")
    assert "secret" not in repr(files)


def test_urls_of_local_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("ws", tmp_path / "ws", f"{tmp_path}/ws/", f"file://{tmp_path}/ws", "./x/../ws"):
        assert Files(url).url == str(tmp_path / "ws")
    spaced = Files(f"file://{tmp_path}/with%20space")
    assert spaced.url == str(tmp_path / "with space")
    with pytest.raises(ValueError, match="url"):
        Files("")


def test_an_unknown_or_missing_file_system_says_what_to_do() -> None:
    with pytest.raises(WorkspaceError, match="nonsense"):
        Files("nonsense://x")
    with pytest.raises(WorkspaceError, match="gcsfs"):
        Files("gs://bucket/ws")
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from headway.stores.files import Files\n"
        "try: Files('s3://x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "MissingExtraError" in told
    assert "headway[s3]" in told


def test_a_store_with_real_folders_writes_under_temporary_names(tmp_path: Path) -> None:
    import fsspec

    fsspec.register_implementation("stored", fsspec.get_filesystem_class("file"), clobber=True)
    files = Files("memory://unused")
    files._backend = RemoteBackend(f"file://{tmp_path}/far", options={})
    files.write("a/b", b"1")
    files.write("a/b", b"2")
    assert files.read("a/b") == b"2"
    assert not files.create("a/b", b"3")
    assert files.create("c/d", b"4")
    with pytest.raises(ZeroDivisionError), files.open("a/b", "wb") as stream:
        stream.write(b"torn")
        1 / 0
    files.write("c/e/f", b"")
    assert [e.path for e in files.walk()] == ["a/b", "c/d", "c/e/f"]
    assert list(files.leftovers()) == []
    files.remove("c")
    assert [e.path for e in files.list()] == ["a"]


@pytest.mark.service
@pytest.mark.xdist_group("s3")
def test_a_wrong_secret_is_refused(s3_server: Any, s3_place: str) -> None:
    files = Files(s3_place, options={**s3_server.options, "secret": "wrong"})
    for call in (lambda: files.write("a", b""), lambda: files.create("a", b""), lambda: files.list("")):
        with pytest.raises(PermissionError) as caught:
            call()
        assert s3_place in str(caught.value)
        assert "credentials" in str(caught.value)
    assert not Files(s3_place, options=s3_server.options).exists("a")


@pytest.mark.service
@pytest.mark.xdist_group("s3")
def test_a_server_that_is_not_there_is_named() -> None:
    options = {
        "key": "a",
        "secret": "b",
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    with pytest.raises(OSError, match="127.0.0.1:9") as caught:
        Files("s3://bucket/ws", options=options).read("a")
    assert caught.value.filename == "s3://bucket/ws/a"


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.xdist_group("s3")
def test_a_large_stream_goes_up_in_parts(s3_server: Any, s3_place: str) -> None:
    files = Files(s3_place, options=s3_server.options)
    block = os.urandom(1 << 20)
    with files.open("large", "wb") as stream:
        for _ in range(120):
            stream.write(block)
    assert files.size("large") == 120 << 20
    with files.open("large") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == block[-10:]


PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..") and not part.startswith(".tmp-") and len(part.encode()) < 200
)


@settings(max_examples=40)
@given(st.dictionaries(st.lists(PART, min_size=1, max_size=3).map("/".join), st.binary(max_size=20), max_size=8))
def test_any_set_of_files_is_listed_alike_everywhere(tmp_path_factory: Any, wanted: dict[str, bytes]) -> None:
    folders = {"/".join(path.split("/")[:depth]) for path in wanted for depth in range(1, path.count("/") + 1)}
    wanted = {path: data for path, data in wanted.items() if path not in folders}
    local = Files(tmp_path_factory.mktemp("any"))
    memory = Files(f"memory://{os.urandom(8).hex()}")
    for store in (local, memory):
        for path, data in wanted.items():
            store.write(path, data)
        if wanted:
            assert [e.path for e in store.walk()] == sorted(wanted)
            assert {e.path: e.size_bytes for e in store.walk()} == {p: len(d) for p, d in wanted.items()}
            for path in wanted:
                assert store.read(path) == wanted[path]
                store.remove(path)


def _options(files: Files) -> dict[str, Any]:
    backend = files._backend
    return dict(backend._options) if isinstance(backend, RemoteBackend) else {}
