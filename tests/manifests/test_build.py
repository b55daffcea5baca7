from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import DataChangedError, ManifestError, NotFoundError, ShortfallError
from headway.manifests.build import build
from headway.manifests.changed import check_file
from headway.manifests.manifest import Manifest, parse_ref
from headway.manifests.split import CHANNELS, Split
from headway.manifests.table import rebuild
from headway.stores.files import Files
from headway.stores.ledger import Ledger

Build = Callable[..., Manifest]
Fill = Callable[[dict[str, Any]], Path]
ChannelOf = Callable[[Manifest], dict[str, str]]


class Sink:
    """Collects files by name."""

    def __init__(self) -> None:
        self.files: dict[str, io.BytesIO] = {}

    def __call__(self, name: str) -> BinaryIO:
        stream = io.BytesIO()
        stream.close = lambda: None  # type: ignore[method-assign]
        self.files[name] = stream
        return stream


def test_three_manifests_in_the_s3_schema(make: Build, fill: Fill, files: Files, data: Path) -> None:
    fill({"cat": 20, "dog": 30})
    manifest = make()
    seen: list[str] = []
    for channel in CHANNELS:
        lines = json.loads(files.read(f"manifests/photos/1/{channel}.manifest"))
        assert lines[0] == {"prefix": f"{data}/"}
        assert all((data / key).is_file() for key in lines[1:])
        assert lines[1:] == manifest.keys(files, channel)
        seen += lines[1:]
    assert sorted(seen) == sorted(str(path.relative_to(data)) for path in data.rglob("*.txt"))
    assert manifest.counts["test"] == {"cat": 2, "dog": 3}
    assert manifest.id == "manifest-photos-1"
    assert manifest.num_files == 50
    assert json.loads(files.read("manifests/photos/1/labels.json")) == {"cat": 0, "dog": 1}


def test_the_same_again_is_the_same_version(make: Build, fill: Fill, ledger: Ledger, data: Path) -> None:
    fill({"cat": 10, "dog": 10})
    first = make()
    assert make() == first
    os.utime(data / "cat/000.txt", (1, 1))  # another time, the same content
    assert make() == first
    assert len(ledger.entries(kind="manifest")) == 1


@pytest.mark.parametrize("change", [{"split": Split(seed=1)}, {"label": "{label}/**"}])
def test_other_settings_are_another_version_and_nothing_moves(
    make: Build, fill: Fill, channel_of: ChannelOf, change: dict[str, Any]
) -> None:
    fill({"cat": 20, "dog": 20})
    first, second = make(), make(**change)
    assert (second.version, second.parent) == (2, first.id)
    assert channel_of(second) == channel_of(first)


def test_growth_keeps_channels_and_codes(
    make: Build, fill: Fill, channel_of: ChannelOf, files: Files, ledger: Ledger
) -> None:
    fill({"cat": 20, "dog": 20})
    first = make()
    fill({"ape": 10, "cat": range(20, 40)})
    second = make()
    before, after = channel_of(first), channel_of(second)
    assert {key: after[key] for key in before} == before
    assert second.labels == {"cat": 0, "dog": 1, "ape": 2}
    assert second.counts["train"] == {"ape": 8, "cat": 32, "dog": 16}
    report = second.report(files)
    assert report["difference"]["added"]["num"] == 30
    assert report["difference"]["labels"] == {"added": ["ape"], "gone": []}
    assert [(e.source, e.role) for e in ledger.edges(target=second.id)] == [(first.id, "parent")]


def test_a_label_whose_files_are_gone_keeps_its_code(make: Build, fill: Fill, data: Path) -> None:
    fill({"ape": 10, "cat": 10, "dog": 10})
    make()
    for path in (data / "cat").iterdir():
        path.unlink()
    second = make()
    assert second.labels == {"ape": 0, "cat": 1, "dog": 2}
    fill({"bee": 10})
    assert make().labels == {"ape": 0, "cat": 1, "dog": 2, "bee": 3}


def test_removed_files_are_listed_and_return_to_their_channel(
    make: Build, fill: Fill, data: Path, channel_of: ChannelOf, files: Files
) -> None:
    fill({"cat": 20, "dog": 20})
    before = channel_of(make())
    tested = [key for key, channel in before.items() if channel == "test"]
    kept = {key: (data / key).read_bytes() for key in tested}
    for key in tested:
        (data / key).unlink()
    with pytest.raises(ShortfallError, match=r"(?s)cat.*18 files.*keep the channel that manifest-photos-1 gave them"):
        make()
    second = make(split=Split(at_least=0))
    assert second.report(files)["difference"]["removed"] == {"num": 4, "keys": sorted(tested)}
    assert sorted(second.earlier(files)["key"].to_pylist()) == sorted(tested)
    fill({"cat": range(20, 30), "dog": range(20, 30)})
    assert make().counts["test"] == {"cat": 3, "dog": 3}
    renamed = {f"{key[:3]}/again-{key[4:]}": content for key, content in kept.items()}
    fill(renamed)  # under another name: the content decides
    after = channel_of(make())
    assert {after[key] for key in renamed} == {"test"}
    assert all(after[key] == channel for key, channel in before.items() if key not in tested)


def test_a_renamed_file_keeps_its_channel(make: Build, fill: Fill, data: Path, channel_of: ChannelOf) -> None:
    fill({"cat": 20, "dog": 20})
    before = channel_of(make())
    for key in before:
        (data / key).rename(data / key.replace("0", "new"))
    assert channel_of(make()) == {key.replace("0", "new"): channel for key, channel in before.items()}


def test_a_changed_file_keeps_its_channel_and_its_old_content_too(
    make: Build, fill: Fill, data: Path, channel_of: ChannelOf
) -> None:
    fill({"cat": 20, "dog": 20})
    before = channel_of(make())
    tested = next(key for key, channel in before.items() if channel == "test")
    old = (data / tested).read_bytes()
    fill({tested: "another content"})
    assert channel_of(make())[tested] == "test"
    fill({"cat/old-content.txt": old})
    assert channel_of(make())["cat/old-content.txt"] == "test"


def test_a_test_file_overwritten_by_a_training_file_fits_nowhere(
    make: Build, fill: Fill, data: Path, channel_of: ChannelOf, files: Files
) -> None:
    fill({"cat": 20, "dog": 20})
    before = channel_of(make())
    tested = next(key for key, channel in before.items() if channel == "test" and key.startswith("cat"))
    trained = next(key for key, channel in before.items() if channel == "train" and key.startswith("cat"))
    fill({tested: (data / trained).read_bytes()})
    second = make()
    after = channel_of(second)
    assert tested not in after
    assert after[trained] == "train"
    assert second.report(files)["conflict"]["files"][0]["key"] == tested
    assert "without a leak" in second.warnings[0]


def test_copies_share_a_channel(make: Build, fill: Fill, channel_of: ChannelOf, files: Files) -> None:
    fill({"cat": 40, "dog": 40})
    fill({f"cat/copy-{i}.txt": f"cat {i}" for i in range(30)})
    manifest = make()
    channels = channel_of(manifest)
    assert all(channels[f"cat/copy-{i}.txt"] == channels[f"cat/{i:03d}.txt"] for i in range(30))
    report = manifest.report(files)
    assert report["copies"]["num_contents"] == 30
    assert report["copies"]["groups"][0] == ["cat/000.txt", "cat/copy-0.txt"]
    assert manifest.counts["test"] == {"cat": 7, "dog": 4}


@pytest.mark.parametrize("by", ["content", "key"])
def test_copies_share_a_channel_whatever_is_hashed(make: Build, fill: Fill, channel_of: ChannelOf, by: Any) -> None:
    fill({"cat": 30, "dog": 30, **{f"dog/copy-{i}.txt": f"dog {i}" for i in range(30)}})
    channels = channel_of(make(split=Split(by=by)))
    assert all(channels[f"dog/copy-{i}.txt"] == channels[f"dog/{i:03d}.txt"] for i in range(30))


def test_groups_stay_together_over_labels_copies_and_versions(make: Build, fill: Fill, channel_of: ChannelOf) -> None:
    split = Split(group="{group}_*", validation=0.2, test=0.2)
    fill(
        {
            f"{label}/p{p:02d}_{i}.txt": f"{label} {p} {i}"
            for label in ("ill", "well")
            for p in range(20)
            for i in range(3)
        }
    )
    fill({"ill/p01_copy.txt": "well 2 0"})  # joins patients 1 and 2
    with pytest.raises(ManifestError, match="two labels"):
        make(split=split)
    fill({"ill/p01_copy.txt": "ill 2 0"})
    first = channel_of(make(split=split))
    assert_together(first)
    assert first["ill/p01_0.txt"] == first["ill/p02_0.txt"]
    fill({f"ill/p{p:02d}_later.txt": f"later {p}" for p in range(30)})
    second = channel_of(make(split=split))
    assert_together(second)
    assert {key: second[key] for key in first} == first


def assert_together(channels: dict[str, str]) -> None:
    by_group: dict[str, set[str]] = {}
    for key, channel in channels.items():
        by_group.setdefault(key.split("/")[1].split("_")[0], set()).add(channel)
    assert all(len(found) == 1 for found in by_group.values()), by_group
    assert len(set(channels.values())) == 3


def test_a_group_rule_that_comes_too_late_is_an_error(make: Build, fill: Fill) -> None:
    fill({f"{label}/p{p}_{i}.txt": f"{label} {p} {i}" for label in ("ill", "well") for p in range(5) for i in range(8)})
    make()
    with pytest.raises(ManifestError, match="lies in two channels of the version before.*under another name"):
        make(split=Split(group="{group}_*"))


def test_a_key_without_a_group_is_reported(make: Build, fill: Fill, files: Files) -> None:
    fill({f"{label}/p{p}_{i}.txt": f"{label} {p} {i}" for label in ("ill", "well") for p in range(5) for i in range(8)})
    fill({"ill/alone.txt": "x"})
    manifest = make(split=Split(group="{group}_*"))
    found = manifest.report(files)["unmatched"]["files"]
    assert found == [{"key": "ill/alone.txt", "why": "its key has no group by the rule '{group}_*'"}]


def test_the_table_opens_in_pandas_and_rebuilds_the_manifests(
    make: Build, fill: Fill, files: Files, data: Path
) -> None:
    fill({"ape": 10, 'cat, "big"\n': 10, "dög": 10, "README": "no label", "dög/empty": ""})
    make()
    for path in (data / "ape").iterdir():
        path.unlink()
    manifest = make()
    written = {name: files.read(manifest.path(name)) for name in ("labels.json", *(f"{c}.manifest" for c in CHANNELS))}
    sink = Sink()
    rebuild(manifest.table(files), create=sink)
    assert {name: stream.getvalue() for name, stream in sink.files.items()} == written
    import pandas as pd

    frame = pd.read_parquet(files.local(manifest.path("table.parquet")))
    assert {"key", "label", "code", "channel"} <= set(frame.columns)
    sink = Sink()
    shuffled = pa.Table.from_pandas(frame.sample(frac=1, random_state=1), preserve_index=False)
    shuffled = shuffled.replace_schema_metadata({})
    with pytest.raises(ValueError, match="prefix="):
        rebuild(shuffled, create=sink)
    rebuild(shuffled, create=sink, prefix=manifest.prefix)
    for channel in CHANNELS:
        assert sink.files[f"{channel}.manifest"].getvalue() == written[f"{channel}.manifest"]


def test_digests_are_taken_over_unless_the_file_changed_just_now(
    make: Build, fill: Fill, files: Files, data: Path
) -> None:
    fill({"cat": 10, "dog": 10})
    past = time.time() - 100
    for path in data.rglob("*.txt"):
        os.utime(path, (past, past))
    make()
    fill({"dog/new.txt": "new", "cat/000.txt": "cat X"})
    os.utime(data / "cat/000.txt", (past, past))  # same size and time, but not the same file: see the inode
    (data / "cat/000.txt").unlink()
    fill({"cat/fresh": "fresh", "cat/000.txt": "cat Y"})
    os.utime(data / "cat/000.txt", (past, past))
    second = make()
    report = second.report(files)
    assert report["reused_digests"] == 19
    assert report["difference"]["changed"]["keys"] == ["cat/000.txt"]
    third = make(split=Split(seed=5))
    assert third.report(files)["reused_digests"] == 20  # all but the two that are too young


def test_a_file_that_changed_since_is_an_error(make: Build, fill: Fill, files: Files, data: Path) -> None:
    fill({"cat": 10, "dog": 10})
    manifest = make()
    rows = {row["key"]: row for row in manifest.table(files).to_pylist()}
    source = Files(manifest.source_url)
    for row in rows.values():
        check_file(source, row)
    os.utime(data / "cat/001.txt", (5, 5))
    check_file(source, rows["cat/001.txt"])
    fill({"cat/002.txt": "cat X", "cat/003.txt": "longer than it was"})
    (data / "cat/004.txt").unlink()
    for number, text in ((2, "other content"), (3, "18 bytes"), (4, "not there")):
        key = f"cat/{number:03d}.txt"
        with pytest.raises(DataChangedError, match=f"{key}.*{text}.*build the manifest again"):
            check_file(source, rows[key])


def test_shortfalls_name_the_classes_and_have_the_table(make: Build, fill: Fill, ledger: Ledger) -> None:
    fill({"cat": 100, "dog": 30})
    with pytest.raises(
        ShortfallError, match=r"(?s)'dog' \(30 files\).*train  validation  test.*at least 60 usable"
    ) as caught:
        make(split=Split(at_least=20))
    assert caught.value.table == [
        {"label": "cat", "train": 60, "validation": 20, "test": 20},
        {"label": "dog", "train": 20, "validation": 10, "test": 0},
    ]
    assert ledger.entries(kind="manifest") == []
    assert make(split=Split(at_least=10)).counts["test"] == {"cat": 10, "dog": 10}


def test_fewer_files_than_channels(make: Build, fill: Fill) -> None:
    fill({"cat": 2, "dog": 9})
    with pytest.raises(ShortfallError, match="'cat' "):
        make()
    manifest = make(split=Split(at_least=0))
    assert {channel: sum(labels.values()) for channel, labels in manifest.counts.items()}["train"] >= 2
    assert make(name="two", split=Split(test=0, validation=0.2)).counts["test"] == {"cat": 0, "dog": 0}


def test_load_by_name_version_and_id(make: Build, fill: Fill, files: Files, ledger: Ledger) -> None:
    fill({"cat": 10, "dog": 10})
    first = make()
    fill({"cat": range(10, 20)})
    second = make()
    assert Manifest.load(files, ledger, "photos") == second
    assert Manifest.load(files, ledger, "photos@1") == Manifest.load(files, ledger, "manifest-photos-1") == first
    with pytest.raises(NotFoundError, match="did you mean 'photos'"):
        Manifest.load(files, ledger, "photo")
    with pytest.raises(NotFoundError, match="photos@2"):
        Manifest.load(files, ledger, "photos@7")
    assert parse_ref("manifest-a-b-3") == ("a-b", 3)
    with pytest.raises(NotFoundError, match="test, train, validation"):
        first.channel_digest("all")
    assert first.channel_digest("train") != second.channel_digest("train")


def test_digests_tell_of_content_not_of_place_or_order(make: Build, fill: Fill, data: Path, tmp_path: Path) -> None:
    fill({"cat": 10, "dog": 10})
    first = make()
    moved = data.rename(tmp_path / "elsewhere")
    again = make(moved)
    assert (again.id, again.source_url) == (first.id, str(moved))
    other = make(moved, name="other")
    assert other.digest == first.digest
    assert other.channels == first.channels


STATE = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=80)


@pytest.mark.parametrize("num_examples", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_never_a_leak_whatever_comes_and_goes(files: Files, ledger: Ledger, tmp_path: Path, num_examples: int) -> None:
    """Random states of a folder, one after the other, with copies and overwritten files."""

    @settings(max_examples=num_examples)
    @given(st.lists(STATE, min_size=2, max_size=3), st.sampled_from(["content", "key", "group"]))
    def never(states: list[Any], by: Any) -> None:
        _no_leak(files, ledger, tmp_path, states, by)

    never()


def _no_leak(files: Files, ledger: Ledger, tmp_path: Path, states: list[Any], by: Any) -> None:
    split = Split(at_least=0, conflicts="keep", **({"group": "{group}_*"} if by == "group" else {"by": by}))
    name = f"p{len({entry.name for entry in ledger.entries(kind='manifest')})}"
    keys_in: dict[str, str] = {}
    contents_in: dict[str, str] = {}
    groups_in: dict[str, str] = {}
    for state in states:
        there = {f"{label}/g{key % 25}_{key}": f"{content:032x}" for label, key, content in state}
        there |= {"x/gx_0": "x", "y/gy_0": "y"}
        keys = sorted(there)
        table = pa.table({"key": keys, "size": [1] * len(keys), "etag": [there[key] for key in keys]})
        pq.write_table(table, tmp_path / "inventory.parquet")
        manifest = build(files, ledger, name, tmp_path / "inventory.parquet", split=split)
        rows = [row for row in manifest.table(files).to_pylist() if row["channel"]]
        assert len(rows) + manifest.statuses["conflict"] == len(keys)
        for row in rows:
            assert keys_in.setdefault(row["key"], row["channel"]) == row["channel"]
            assert contents_in.setdefault(row["digest"], row["channel"]) == row["channel"]
            if by == "group":
                assert groups_in.setdefault(row["key"].split("/")[1].split("_")[0], row["channel"]) == row["channel"]


def test_only_the_files_that_tie_two_channels_are_set_aside(
    make: Build, fill: Fill, channel_of: ChannelOf, files: Files
) -> None:
    split = Split(group="{group}_*", validation=0.2, test=0.2)
    fill(
        {
            f"{label}/p{p:02d}_{i}.txt": f"{label} {p} {i}"
            for label in ("ill", "well")
            for p in range(20)
            for i in range(3)
        }
    )
    first = channel_of(make(split=split))
    one = next(key for key, channel in first.items() if channel == "train")[:-6]
    other = next(key for key, channel in first.items() if channel == "test" and key[:3] == one[:3])[:-6]
    fill({f"{one}_new.txt": "new", f"{one}_tie.txt": "tie", f"{other}_tie.txt": "tie", f"{other}_new.txt": "newer"})
    second = make(split=split)
    after = channel_of(second)
    assert {key: after[key] for key in first} == first
    assert (after[f"{one}_new.txt"], after[f"{other}_new.txt"]) == ("train", "test")
    found = {file["key"] for file in second.report(files)["conflict"]["files"]}
    assert found == {f"{one}_tie.txt", f"{other}_tie.txt"}
