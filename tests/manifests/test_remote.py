"""The same over fsspec: a memory file system always, a real S3 server where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headway.manifests.build import build
from headway.manifests.check import check
from headway.manifests.manifest import Manifest
from headway.stores.files import Files
from headway.stores.ledger import Ledger


def fill(source: Files) -> None:
    for label in ("cat", "dög, x"):
        for number in range(20):
            source.write(f"{label}/{number:02d}.txt", f"{label} {number}".encode())
    source.write("cat/empty.txt", b"")
    source.write("README", b"no label")


def go(source: Files, files: Files, ledger: Ledger) -> Manifest:
    fill(source)
    manifest = build(files, ledger, "photos", source)
    assert manifest.counts["test"] == {"cat": 2, "dög, x": 2}
    assert manifest.statuses == {"ok": 40, "empty": 1, "unreadable": 0, "unmatched": 1, "conflict": 0}
    assert build(files, ledger, "photos", source) == manifest
    lines = json.loads(files.read(f"{manifest.folder}/test.manifest"))
    assert lines == [{"prefix": f"{source.url}/"}, *manifest.keys(files, "test")]
    source.write("cat/more.txt", b"more")
    second = build(files, ledger, "photos", source)
    assert (second.version, second.report(files)["difference"]["added"]["keys"]) == (2, ["cat/more.txt"])
    return second


def test_data_and_workspace_in_memory(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        name = tmp_path.name
        go(Files(f"memory://data-{name}"), Files(f"memory://ws-{name}"), ledger)


def test_the_same_content_gives_the_same_manifest_everywhere(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        files = Files(tmp_path / "ws")
        made: list[Any] = []
        for name, url in (("local", str(tmp_path / "data")), ("memory", f"memory://same-{tmp_path.name}")):
            fill(Files(url))
            made.append(build(files, ledger, name, Files(url)))
        assert made[0].digest == made[1].digest
        assert check(files, made[1]) != []  # it has an empty and an unmatched file
        assert {finding.severity for finding in check(files, made[1])} == {"warning"}


@pytest.mark.slow
def test_data_and_workspace_in_a_bucket(s3_server: Any, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        data = Files(f"s3://{bucket}/data", options=s3_server.options)
        go(data, Files(f"s3://{bucket}/ws", options=s3_server.options), ledger)
