from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import ManifestError, NotFoundError, WorkspaceError
from headway.manifests.check import Finding, check
from headway.manifests.compare import compare
from headway.manifests.manifest import Manifest
from headway.manifests.relocate import relocate
from headway.manifests.split import Split
from headway.manifests.trend import Seen, find, find_file, trend
from headway.stores.files import Files
from headway.stores.ledger import Ledger

Build = Callable[..., Manifest]
Fill = Callable[[dict[str, Any]], Path]


def kinds(findings: list[Finding]) -> list[tuple[str, str, int]]:
    return [(finding.severity, finding.kind, finding.num) for finding in findings]


def test_a_clean_manifest_has_no_findings(make: Build, fill: Fill, files: Files) -> None:
    fill({"cat": 20, "dog": 20})
    first = make()
    fill({"owl": 20})
    assert check(files, make(), parent=first) == []


def test_changed_missing_and_new_data(make: Build, fill: Fill, files: Files, data: Path) -> None:
    fill({"cat": 20, "dog": 20})
    manifest = make()
    os.utime(data / "dog/001.txt", (1, 1))
    (data / "cat/000.txt").unlink()
    fill({"cat/001.txt": "cat X", "cat/002.txt": "other size", "cat/new.txt": "new"})
    found = check(files, manifest)
    assert kinds(found) == [("error", "missing", 1), ("error", "changed", 2), ("note", "new", 1)]
    assert found[0].keys == ("cat/000.txt",)
    assert found[1].keys == ("cat/001.txt", "cat/002.txt")
    assert "'cat/new.txt'" in found[2].text
    shutil.rmtree(data)
    (gone,) = check(files, manifest)
    assert "headway relocate manifest-photos-1" in gone.text
    assert check(files, manifest, data=False) == []


def test_statuses_and_shares_are_warnings(make: Build, fill: Fill, files: Files) -> None:
    split = Split(group="{group}_*", at_least=0)
    fill({f"cat/g1_{i}.txt": f"c{i}" for i in range(10)} | {f"dog/g{i}_0.txt": f"d{i}" for i in range(2, 12)})
    fill({"README": "x", "cat/g2_empty.txt": ""})
    found = check(files, make(split=split))
    assert {finding.kind for finding in found} == {"share", "unmatched", "empty"}
    assert all(finding.severity == "warning" for finding in found)
    assert any("percent" in finding.text or "points" in finding.text for finding in found)


def tampered(files: Files, manifest: Manifest, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """The manifest's table with other rows, sealed as if it had been made so."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = manifest.table(files)
    rows = table.to_pylist()
    change(rows)
    path = files.local(manifest.path("table.parquet"))
    os.unlink(path)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    outcome_path = manifest.path("outcome.json")
    outcome = json.loads(files.read(outcome_path))
    for output in outcome["outputs"]:
        if output["name"] == "table.parquet":
            content = path.read_bytes()
            output.update(size_bytes=len(content), digest=hashlib.sha256(content).hexdigest())
    files.write(outcome_path, json.dumps(outcome).encode())


def test_leaks_by_key_content_and_group(make: Build, fill: Fill, files: Files) -> None:
    fill(
        {
            f"{label}/p{p:02d}_{i}.txt": f"{label} {p} {i}"
            for label in ("cat", "dog")
            for p in range(20)
            for i in range(2)
        }
    )
    manifest = make(split=Split(group="{group}_*"))
    assert check(files, manifest) == []

    def leak(rows: list[dict[str, Any]]) -> None:
        train = [row for row in rows if row["channel"] == "train"]
        test = [row for row in rows if row["channel"] == "test"]
        test[0]["digest"] = train[0]["digest"]
        test[1] |= {"key": train[1]["key"], "digest": train[1]["digest"] + "x"}

    tampered(files, manifest, leak)
    found = check(files, manifest, data=False)
    assert [(finding.severity, finding.kind) for finding in found] == [("error", "leak")] * 3
    assert [finding.text.split(" lies")[0] for finding in found] == ["one key", "one content", "one group"]
    assert "in train and" in found[0].text
    assert "in test" in found[0].text


def test_moves_against_the_version_before(make: Build, fill: Fill, files: Files) -> None:
    fill({"cat": 20, "dog": 20})
    first = make()
    second = make(split=Split(seed=1))

    def move(rows: list[dict[str, Any]]) -> None:
        next(row for row in rows if row["channel"] == "test")["channel"] = "train"

    tampered(files, second, move)
    found = check(files, second, parent=first, data=False)
    assert kinds(found) == [("error", "moved", 1), ("error", "moved", 1)]
    assert compare(files, first, second)["moved"]["num"] == 1
    assert "(test -> train)" in compare(files, first, second)["moved"]["keys"][0]


def test_damaged_files_of_its_own(make: Build, fill: Fill, files: Files) -> None:
    fill({"cat": 20, "dog": 20})
    manifest = make()
    path = files.local(manifest.path("train.manifest"))
    path.write_bytes(path.read_bytes().replace(b"cat", b"dog"))
    (found,) = check(files, manifest)
    assert (found.kind, "train.manifest" in found.text) == ("damaged", True)


def test_compare_and_trend(make: Build, fill: Fill, files: Files, ledger: Ledger, data: Path) -> None:
    fill({"cat": 20, "dog": 20})
    first = make()
    fill({"owl": 10, "cat/001.txt": "another", "README": "x"})
    (data / "dog/000.txt").unlink()
    (data / "dog/001.txt").rename(data / "cat/from-dog.txt")
    second = make()
    found = compare(files, first, second)
    assert found["added"]["num"] == 11
    assert found["removed"]["keys"] == ["dog/000.txt", "dog/001.txt"]
    assert found["changed"]["keys"] == ["cat/001.txt"]
    assert found["labels"] == {"added": ["owl"], "gone": []}
    assert found["moved"] == {"num": 0, "keys": []}
    assert found["counts"]["test"]["owl"] == [0, 1]
    rows = trend(files, ledger, "photos")
    assert [(row["version"], row["num_files"], row["added"], row["removed"], row["unmatched"]) for row in rows] == [
        (1, 40, 0, 0, 0),
        (2, 49, 11, 2, 1),
    ]
    with pytest.raises(NotFoundError, match="photos"):
        trend(files, ledger, "phots")


def test_from_any_file_to_the_manifests_that_have_it(
    make: Build, fill: Fill, files: Files, ledger: Ledger, data: Path, tmp_path: Path
) -> None:
    fill({"cat": 20, "dog": 20})
    make()
    fill({"owl": 10})
    second = make()
    make(name="other")
    seen = find(files, ledger, key="cat/003.txt")
    assert [row.manifest for row in seen] == ["manifest-other-1", "manifest-photos-1", "manifest-photos-2"]
    assert len({row.channel for row in seen[1:]}) == 1
    copy = tmp_path / "renamed elsewhere.bin"
    shutil.copy(data / "owl/003.txt", copy)
    (row, _) = find_file(files, ledger, copy)[::-1]
    assert (row.manifest, row.key, row.label) == (second.id, "owl/003.txt", "owl")
    assert find(files, ledger, digest=row.digest, name="photos") == [row]
    assert find(files, ledger, key="nowhere") == []
    assert isinstance(row, Seen)
    with pytest.raises(ValueError, match="a key or a digest"):
        find(files, ledger)


def test_relocate_points_to_the_data_again(
    make: Build, fill: Fill, files: Files, ledger: Ledger, data: Path, tmp_path: Path
) -> None:
    fill({"cat": 20, "dog": 20})
    manifest = make()
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(ManifestError, match="'cat/000.txt' is missing"):
        relocate(ledger, manifest, tmp_path / "ws", files=files)
    after = relocate(ledger, manifest, moved, files=files)
    assert (after.source_url, after.digest) == (str(moved), manifest.digest)
    assert Manifest.load(files, ledger, "photos") == after
    assert check(files, after) == []
    lease = ledger.claim(manifest.id)
    assert lease is not None
    with pytest.raises(WorkspaceError, match="works on it"):
        relocate(ledger, manifest, moved)


def test_a_copied_workspace_opens_elsewhere(
    make: Build, fill: Fill, files: Files, ledger: Ledger, tmp_path: Path
) -> None:
    fill({"cat": 20, "dog": 20})
    manifest = make()
    ledger.checkpoint()
    shutil.copytree(files.local(), tmp_path / "copy")
    there = Files(tmp_path / "copy")
    with Ledger.open(there.local("ledger.sqlite")) as copied:
        assert Manifest.load(there, copied, "photos") == manifest
        assert check(there, manifest) == []
