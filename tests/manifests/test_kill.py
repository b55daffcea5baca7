"""P3 for manifests: a version appears whole, once, or not at all, whoever is killed and however many build at once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import NotFoundError
from headway.manifests.build import build
from headway.manifests.manifest import Manifest
from headway.stores.commit import verify
from headway.stores.files import Files
from headway.stores.ledger import Ledger

pytestmark = pytest.mark.slow


Fill = Callable[[dict[str, Any]], Path]
Build = Callable[..., Manifest]


class Builders:
    """`builders.py` as a process."""

    def __init__(self, files: Files) -> None:
        script = Path(__file__).with_name("builders.py")
        command = [sys.executable, str(script), str(files.local())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order, default=str) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> Builders:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        self.process.stdout.close()


@pytest.mark.parametrize("num_kills", [15, pytest.param(150, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_end_is_the_same(
    fill: Fill, files: Files, ledger: Ledger, num_kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Build, grow, build again, killed until it ends; beside it the same undisturbed."""
    data = fill({"cat": 40, "dog": 40})
    random_ = random.Random(num_kills)
    kills = whole = 0
    with Builders(files) as builders:
        builders.order(name="warm", data=data, seed=0)
        reach_s = builders.answer()["seconds"]
        while kills < num_kills or whole % 2:
            name, version = f"p{whole // 2}", whole % 2 + 1
            if version == 2:
                fill({"cat": range(40 + whole, 44 + whole)})
            wanted = build(files, ledger, f"undisturbed-{name}", data)
            ended = False
            while not ended:
                # moments over the whole of a build, however busy the machine is: half of them come too late
                builders.order(name=name, data=data, seed=0, kill_after_s=random_.uniform(0, reach_s))
                answer = builders.answer()
                ended, killed = answer["ended"], answer["killed"]
                assert ended or killed
                kills += killed
                reach_s *= 1.2 if killed else 0.5
                try:
                    found = Manifest.load(files, ledger, name)
                except NotFoundError:
                    assert not ended
                    assert version == 1
                else:  # whole; the version before or this one
                    verify(files, found.folder, attempt=found.attempt, deep=True)
                    assert found.version == version or (not ended and found.version == version - 1)
            assert (found.version, found.digest) == (version, wanted.digest)
            assert [entry.version for entry in ledger.entries(kind="manifest", name=name)] == list(
                range(1, version + 1)
            )
            for channel in ("train", "validation", "test"):
                assert files.read(f"{found.folder}/{channel}.manifest") == files.read(
                    wanted.path(f"{channel}.manifest")
                )
            whole += 1
    assert ledger.check() == []
    with capsys.disabled():
        print(f"\n{kills} SIGKILLs: {whole} manifests whole in the end, none torn, none twice")


def test_four_builders_at_once(fill: Fill, files: Files, ledger: Ledger) -> None:
    """With the same settings they make one version; with others they follow each other, and nothing moves."""
    data = fill({"cat": 100, "dog": 100})
    crowd = [Builders(files) for _ in range(4)]
    for name, seeds in (("one", (0, 0, 0, 0)), ("again", (0, 0, 0, 0)), ("p", (0, 1, 2, 3))):
        for builders, seed in zip(crowd, seeds, strict=True):
            builders.order(name=name, data=data, seed=seed)
        assert all(builders.answer()["ended"] for builders in crowd)
    for builders in crowd:
        builders.__exit__()
    for name in ("one", "again"):
        assert [entry.version for entry in ledger.entries(kind="manifest", name=name)] == [1]
    made = [Manifest.load(files, ledger, f"p@{version}") for version in range(1, 5)]
    assert {manifest.split.seed for manifest in made} == {0, 1, 2, 3}
    assert [manifest.parent for manifest in made] == [None, "manifest-p-1", "manifest-p-2", "manifest-p-3"]
    assert len({manifest.digest for manifest in made}) == 1
    assert ledger.check() == []


def test_a_builder_that_was_taken_over_publishes_nothing_and_follows(fill: Fill, files: Files, ledger: Ledger) -> None:
    data = fill({"cat": 10, "dog": 10})
    times = iter(range(100, 200))
    taken = []

    def clock() -> float:
        """Takes the version over when its record is about to be written."""
        now = next(times)
        if now == 102:
            lease = ledger.claim("manifest-p-1", force=True)
            assert lease is not None
            taken.append(lease.epoch)
            ledger.release(lease)
        return float(now)

    manifest = build(files, ledger, "p", data, clock=clock)
    assert taken == [2]
    assert (manifest.version, manifest.attempt) == (1, 3)
    assert [event.kind for event in ledger.events("manifest-p-1")] == ["chosen"]


def test_what_was_chosen_but_not_written_down_is_written_down(
    fill: Fill, make: Build, files: Files, ledger: Ledger
) -> None:
    fill({"cat": 10, "dog": 10})
    first = make()
    ledger.update_entry(first.id, {"status": "building"})
    for name in ("result.json", "train.manifest", "table.parquet"):
        files.remove(f"{first.folder}/{name}")
    assert make() == first
    assert files.exists(f"{first.folder}/result.json")
    assert files.exists(f"{first.folder}/train.manifest")


def test_a_version_that_a_dead_builder_left_is_finished_or_passed_over(
    fill: Fill, make: Build, files: Files, ledger: Ledger
) -> None:
    fill({"cat": 10, "dog": 10})
    lookup = make(name="other").lookup
    ledger.reserve("manifest", "photos", lookup=lookup, body={}, expect=0)
    with pytest.raises(NotFoundError):
        Manifest.load(files, ledger, "photos")
    assert make().version == 1
    ledger.reserve("manifest", "photos", lookup="of other data", body={}, expect=1)
    fill({"cat": range(10, 20)})
    third = make()
    assert (third.version, third.parent) == (3, "manifest-photos-1")
    assert Manifest.load(files, ledger, "photos") == third
