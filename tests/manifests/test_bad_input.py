"""Bad input: each case is a clear error that names the thing and the next step, or a row of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import ManifestError, NotFoundError, ShortfallError
from headway.manifests.manifest import Manifest
from headway.manifests.split import CHANNELS, Split
from headway.stores.files import Files
from headway.stores.ledger import Ledger

Build = Callable[..., Manifest]
Fill = Callable[[dict[str, Any]], Path]

AWKWARD = [
    "with space.png",
    'quote".png',
    "apostrophe's.png",
    "comma, semicolon;.png",
    "new\nline.png",
    "tab\tand\rreturn.png",
    "back\\slash.png",
    "bell\x07.png",
    "delete\x7f.png",
    "käse 日本 😀.png",
    "cafe\u0301.png",
    "line\u2028separator.png",
    "%20.png",
    "#hash?query=1.png",
    "*star[0]{x}.png",
    "~tilde.png",
    "-dash.png",
    "x" * 250 + ".png",
]


def test_awkward_names_go_through_everything(make: Build, fill: Fill, files: Files, data: Path) -> None:
    labels = ["big cat", 'dog "x"', "ö,\n"]
    fill({f"{label}/{name}": f"{label} {name}" for label in labels for name in AWKWARD})
    manifest = make()
    assert set(manifest.labels) == set(labels)
    seen: list[str] = []
    for channel in CHANNELS:
        lines = json.loads(files.read(f"manifests/photos/1/{channel}.manifest"))[1:]
        assert lines == manifest.keys(files, channel)
        seen += lines
    assert sorted(seen) == sorted(f"{label}/{name}" for label in labels for name in AWKWARD)
    assert all((data / key).exists() for key in seen)
    assert make() == manifest


def test_names_that_are_no_utf8_are_reported(make: Build, fill: Fill, files: Files, data: Path) -> None:
    fill({"cat": 10, "dog": 10})
    (Path(os.fsdecode(os.fsencode(data) + b"/cat/caf\xe9.png"))).write_text("x")
    manifest = make()
    assert manifest.num_files == 20
    (found,) = manifest.report(files)["unreadable"]["files"]
    assert found["key"] == "cat/caf\\udce9.png"
    assert "rename" in found["why"]
    (Path(os.fsdecode(os.fsencode(data) + b"/b\xe4r"))).mkdir()
    (Path(os.fsdecode(os.fsencode(data) + b"/b\xe4r/1.png"))).write_text("y")
    with pytest.raises(ShortfallError, match=r"'b.*udce4r' \(0 files, 1 unreadable\)"):
        make()


def test_an_empty_folder(make: Build, data: Path, ledger: Ledger) -> None:
    with pytest.raises(ManifestError, match=rf"{data} has no files"):
        make()
    (data / "cat").mkdir()
    with pytest.raises(ManifestError, match="has no files"):
        make()
    with pytest.raises(ManifestError, match="does not exist"):
        make(data / "nowhere")
    (data / "file").write_text("x")
    with pytest.raises(ManifestError, match="is a file"):
        make(data / "file")
    assert ledger.entries() == []


@pytest.mark.parametrize(
    ("keys", "rule", "advice"),
    [
        (["1.png", "2.png"], "{label}/*", r"'1.png'.*a pattern on their names.*'\{label\}_\*'"),
        (["cat/1.png", "dog/1.png"], "images/{label}/*", r"'cat/1.png'.*label='\{label\}/\*'"),
        (["a/cat/1.png", "a/dog/1.png"], "{label}/*", r"label='\*/\{label\}/\*'.*label='\{label\}/\*\*'"),
    ],
)
def test_a_rule_that_matches_nothing_shows_keys_and_a_rule_that_does(
    make: Build, fill: Fill, keys: list[str], rule: str, advice: str
) -> None:
    fill({key: key for key in keys})
    with pytest.raises(ManifestError, match="none of the 2 files.*" + advice):
        make(label=rule)


def test_one_class_only(make: Build, fill: Fill) -> None:
    fill({"photos/cat": 5, "photos/dog": 5})
    with pytest.raises(ManifestError, match=r"one label, 'photos'.*at least two classes.*label='photos/\{label\}/\*'"):
        make(label="{label}/**")


def test_nothing_that_can_be_used(make: Build, fill: Fill) -> None:
    fill({"cat/1": "", "dog/1": ""})
    with pytest.raises(ManifestError, match=r"none of the 2 files.*\(2 empty\).*'cat/1'"):
        make()


def test_a_class_of_empty_files_is_a_shortfall_not_a_silence(make: Build, fill: Fill) -> None:
    fill({"cat": 10, "dog": 10, "owl/1": "", "owl/2": ""})
    with pytest.raises(ShortfallError, match=r"'owl' \(0 files, 2 empty\)"):
        make()


def test_one_content_under_two_labels(make: Build, fill: Fill, files: Files, ledger: Ledger) -> None:
    fill({"cat": 10, "dog": 10, "dog/wrong.txt": "cat 3"})
    with pytest.raises(
        ManifestError,
        match=r"'cat/003.txt' is 'cat', 'dog/wrong.txt' is 'dog'. Remove .*conflicts='exclude'.*conflicts='keep'",
    ):
        make()
    assert ledger.entries() == []
    left_out = make(name="exclude", split=Split(conflicts="exclude"))
    assert left_out.num_files == 19
    assert [file["key"] for file in left_out.report(files)["conflict"]["files"]] == ["cat/003.txt", "dog/wrong.txt"]
    kept = make(name="keep", split=Split(conflicts="keep"))
    assert kept.num_files == 21
    rows = {row["key"]: row["channel"] for row in kept.table(files).to_pylist()}
    assert rows["cat/003.txt"] == rows["dog/wrong.txt"]


def test_links_loops_and_things_that_are_no_files(
    make: Build, fill: Fill, files: Files, data: Path, tmp_path: Path
) -> None:
    fill({"cat": 10, "dog": 10})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "linked.txt").write_text("content of a link")
    (data / "cat" / "link.txt").symlink_to(tmp_path / "outside" / "linked.txt")
    (data / "owl").symlink_to(tmp_path / "outside")
    (data / "dog" / "loop").symlink_to("..")
    (data / "dog" / "itself").symlink_to("itself")
    (data / "dog" / "broken").symlink_to("nowhere")
    os.mkfifo(data / "dog" / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(data / "dog")
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        manifest = make(split=Split(at_least=0, conflicts="keep"))
    report = manifest.report(files)
    assert {file["key"]: file["why"] for file in report["unreadable"]["files"]} == {
        "dog/broken": "a link that leads nowhere",
        "dog/itself": "a link that leads nowhere",
        "dog/fifo": "neither a file nor a folder",
        "dog/socket": "neither a file nor a folder",
    }
    assert report["folders"]["loops"] == {"num": 1, "paths": ["dog/loop"]}
    keys = {key for channel in CHANNELS for key in manifest.keys(files, channel)}
    assert {"cat/link.txt", "owl/linked.txt"} <= keys
    assert len(keys) == 22


def test_hidden_files_and_files_beside_the_classes_are_reported(make: Build, fill: Fill, files: Files) -> None:
    fill({"cat": 10, "dog": 10, "cat/.DS_Store": "x", "README.md": "x", ".git/config": "x", "cat/deep/1.png": "x"})
    manifest = make()
    assert manifest.statuses == {"ok": 20, "empty": 0, "unreadable": 0, "unmatched": 4, "conflict": 0}
    found = manifest.report(files)["unmatched"]
    assert [file["key"] for file in found["files"]] == [".git/config", "README.md", "cat/.DS_Store", "cat/deep/1.png"]
    assert "4 files match no label rule" in manifest.warnings[0]


def test_the_workspace_inside_the_data_is_left_out(make: Build, fill: Fill, tmp_path: Path, files: Files) -> None:
    fill({"cat": 10, "dog": 10})
    manifest = make(tmp_path, label="data/{label}/*")
    assert manifest.num_files == 20
    assert manifest.report(files)["folders"]["left_out"]["paths"] == ["ws"]


@pytest.mark.parametrize("name", ["", "a b", ".x", "a/b", "x" * 81, "ü"])
def test_names_of_manifests(make: Build, fill: Fill, name: str) -> None:
    fill({"cat": 10, "dog": 10})
    with pytest.raises(ValueError, match="the name of a manifest"):
        make(name=name)


UNREADABLE = """
import os, sys
from headway.manifests.build import build
from headway.stores.files import Files
from headway.stores.ledger import Ledger
def make(workspace):
    files = Files(workspace)
    return files, build(files, Ledger.open(files.local("ledger.sqlite")), "photos", sys.argv[2])
make(sys.argv[3])  # loads all that is loaded late: another user may not be allowed to read it
os.chmod(sys.argv[2] + "/cat/3", 0)
os.chmod(sys.argv[2] + "/owl", 0)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
files, manifest = make(sys.argv[1])
print([(f["key"], f["why"]) for f in manifest.report(files)["unreadable"]["files"]])
print(manifest.report(files)["folders"]["unreadable"]["paths"], manifest.num_files)
"""


def test_unreadable_files_and_folders_are_reported() -> None:
    """In a process that is not root, in folders of its own (the test's own are root's)."""
    with tempfile.TemporaryDirectory(prefix="headway-unreadable-") as name:
        place = Path(name)
        place.chmod(0o755)
        for label in ("cat", "dog", "owl"):
            (place / "data" / label).mkdir(parents=True)
            for number in range(10):
                (place / "data" / label / f"{number}").write_text(f"{label} {number}")
        for workspace in ("first", "second"):
            (place / workspace).mkdir()
            (place / workspace).chmod(0o777)
        command = [sys.executable, "-c", UNREADABLE, *(str(place / part) for part in ("second", "data", "first"))]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
        (place / "data" / "owl").chmod(0o755)
    wanted = ["[('cat/3', 'Permission denied')]", "['owl/ (Permission denied)'] 19"]
    assert done.stdout.splitlines() == wanted, done.stderr


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"key": ["a/1", "a/1"], "size": [1, 1]}, "the key 'a/1' twice"),
        ({"name": ["a/1"]}, "columns key, size"),
        ({"key": [], "size": []}, "lists no files"),
        ({"key": ["a/1", None], "size": [1, 1]}, "1 rows without a key"),
    ],
)
def test_wrong_inventories(make: Build, tmp_path: Path, columns: dict[str, list[Any]], text: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / "inventory.parquet")
    with pytest.raises(ManifestError, match=text):
        make(tmp_path / "inventory.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ManifestError, match=r"torn.parquet cannot be read"):
        make(tmp_path / "torn.parquet")


def test_an_inventory_as_csv_in_any_order_equals_one_as_parquet(make: Build, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [f"{label}/{i:02d}.png" for label in ("ü, x", "cat") for i in range(20)]
    sizes, etags = list(range(1, 41)), [f"{i:032x}" for i in range(40)]
    pq.write_table(pa.table({"key": keys, "size": sizes, "etag": etags}), tmp_path / "a.parquet")
    lines = [f'"{key}",{size},{etag}' for key, size, etag in zip(keys, sizes, etags, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["key,size,etag", *reversed(lines)]))
    one, other = make(tmp_path / "a.parquet", name="one"), make(tmp_path / "a.csv", name="other")
    assert one.digest == other.digest
    assert one.counts["test"] == {"cat": 2, "ü, x": 2}
    assert (one.kind, one.source_url) == ("inventory", str(tmp_path))


def test_keys_of_a_label_table_that_are_not_there(make: Build, fill: Fill, files: Files) -> None:
    fill({"a": 10, "b": 10, "c/1": "x"})
    table = {f"{folder}/{i:03d}.txt": label for folder, label in (("a", "cat"), ("b", "dog")) for i in range(12)}
    manifest = make(label=table)
    assert manifest.counts["train"] == {"cat": 8, "dog": 8}
    assert manifest.statuses["unmatched"] == 1
    assert manifest.report(files)["folders"]["not_there"]["paths"] == [
        "a/010.txt",
        "a/011.txt",
        "b/010.txt",
        "b/011.txt",
    ]
    assert any("4 keys of the label table are not there" in warning for warning in manifest.warnings)


FULL = """
import resource, sys
from headway.manifests.build import build
from headway.stores.files import Files
from headway.stores.ledger import Ledger
files = Files(sys.argv[1])
ledger = Ledger.open(files.local("ledger.sqlite"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    build(files, ledger, "photos", sys.argv[2])
except OSError as error:
    print("OSError", error.errno)
"""


def test_a_disk_that_is_full_publishes_nothing_and_the_next_build_is_whole(
    make: Build, tmp_path: Path, files: Files, ledger: Ledger
) -> None:
    """A limit on the size of files stands in for the disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [f"{label}/{'x' * 60}{i:06d}" for label in ("cat", "dog") for i in range(15_000)]
    pq.write_table(pa.table({"key": keys, "size": [1] * len(keys)}), tmp_path / "inventory.parquet")
    command = [sys.executable, "-c", FULL, str(files.local()), str(tmp_path / "inventory.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OSError"), done.stderr
    with pytest.raises(NotFoundError, match="cut short"):
        Manifest.load(files, ledger, "photos")
    manifest = make(tmp_path / "inventory.parquet")
    assert (manifest.version, manifest.num_files) == (1, 30_000)
    assert ledger.check() == []
