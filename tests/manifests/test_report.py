"""What every version of a manifest keeps about its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headway.manifests.manifest import Manifest
from headway.manifests.trend import trend
from headway.stores.files import Files
from headway.stores.ledger import Ledger

Build = Callable[..., Manifest]
Fill = Callable[[dict[str, Any]], Path]


def test_counts_bytes_shares_and_what_could_not_be_used_are_kept_with_each_version(
    make: Build, fill: Fill, files: Files, ledger: Ledger, data: Path
) -> None:
    fill({"cat": 20, "dog": 30, "cat/empty.txt": "", "README": "no label"})
    first = make()
    fill({"cat/more.txt": "x" * 1000})
    second = make()
    for manifest in (first, second):
        report = manifest.report(files)
        rows = [row for row in manifest.table(files).to_pylist() if row["channel"]]
        for channel in ("train", "validation", "test"):
            for label in ("cat", "dog"):
                mine = [row["size_bytes"] for row in rows if (row["channel"], row["label"]) == (channel, label)]
                assert report["counts"][channel][label] == len(mine)
                assert report["sizes"][channel][label] == sum(mine)
        assert abs(sum(report["shares"]["train"].values()) - 1) < 1e-5
        assert report["empty"]["files"][0]["key"] == "cat/empty.txt"
        assert [file["key"] for file in report["unmatched"]["files"]] == ["README"]
    assert first.report(files)["difference"] is None
    assert second.report(files)["difference"]["added"] == {"num": 1, "keys": ["cat/more.txt"]}
    rows = trend(files, ledger, "photos")
    assert [(row["num_files"], row["added"], row["empty"], row["unmatched"]) for row in rows] == [
        (50, 0, 1, 1),
        (51, 1, 1, 1),
    ]
    assert rows[1]["size_bytes"] - rows[0]["size_bytes"] == 1000
