"""After SIGKILL, a segmentation fault or a power cut of one process, the driver knows which item was in hand."""

import os
import random
import signal
import time

import pytest

from headway.processing.entry import run
from headway.processing.progress import IDLE, Marker, poisoned_item
from headway.processing.store import finished


def fork_and_do(desk, transform, payload, *, number=0, batch=None, kill_after_s=None):
    """Do a task in a process of its own; its exit status."""
    context = desk.context(options={} if batch is None else {"batch": batch})
    child = os.fork()
    if child == 0:
        try:
            run(context, transform)(payload, desk.task(number, context))
        finally:
            os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)  # the moment of the kill, not a wait for something
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def worker_folder(desk):
    return desk.folder / "ws/jobs/process-small-1/attempts/1/algo-1"


def deadly(item):
    if item.path.stem == "0003":
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@pytest.fixture
def payload(desk):
    desk.digits(30)
    (payload,) = desk.payloads(desk.manifest(at_least=0, validation=0, test=0))[1]
    return payload


def test_the_item_is_named(desk, payload):
    assert fork_and_do(desk, deadly, payload, number=7) == signal.SIGKILL
    found = poisoned_item(worker_folder(desk), number=7)
    assert found == poisoned_item(worker_folder(desk))
    assert (found["key"], found["number"], found["channel"], found["shard"]) == ("a/0003.bin", 7, "train", 0)
    assert found["path"] == str(desk.source / "a/0003.bin")
    assert poisoned_item(worker_folder(desk), number=8) is None


def test_the_item_of_the_second_try_is_named(desk, payload):
    def transform(item, tries=[]):
        if item.path.stem == "0005":
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("first")
            os.kill(os.getpid(), signal.SIGKILL)
        return 1

    fork_and_do(desk, transform, payload)
    assert poisoned_item(worker_folder(desk))["key"] == "c/0005.bin"


def test_an_item_is_named_though_others_are_left_out(desk, payload):
    fork_and_do(desk, deadly, payload | {"exclude": ["a/0000.bin", "a/0006.bin"]})
    assert poisoned_item(worker_folder(desk))["key"] == "a/0003.bin"


def test_a_batch_is_found_out_by_going_alone(desk, payload):
    def transform(items):
        return [deadly(item) for item in items]

    assert fork_and_do(desk, transform, payload, batch=True) == signal.SIGKILL
    assert poisoned_item(worker_folder(desk))["key"] is None
    assert fork_and_do(desk, transform, payload | {"alone": True}, batch=True) == signal.SIGKILL
    assert poisoned_item(worker_folder(desk))["key"] == "a/0003.bin"
    assert fork_and_do(desk, transform, payload | {"exclude": ["a/0003.bin"]}, batch=True) == 0


def test_between_items_nobody_is_to_blame(desk, payload):
    marker = Marker(worker_folder(desk), number=1, payload=payload)
    assert poisoned_item(worker_folder(desk)) is None
    marker.mark(4)
    assert poisoned_item(worker_folder(desk))["row"] == 4
    marker.mark(IDLE)
    assert poisoned_item(worker_folder(desk)) is None
    marker.close()
    assert not list((worker_folder(desk) / "progress").iterdir())


def test_no_folder_is_no_item(tmp_path):
    assert poisoned_item(tmp_path) is None


@pytest.mark.slow
def test_killed_at_random_moments_the_part_is_whole_or_absent(desk, payload, scale, evidence):
    """After each kill the next try makes exactly the part that an undisturbed worker makes."""
    import numpy as np

    def transform(item):
        time.sleep(0.0005)  # makes the part last long enough to be hit
        return np.full(50_000, int(item.path.stem), "float32")

    seed = 20261121
    moments = random.Random(seed)
    expected = None
    whole = named = 0
    kills = scale(500)
    for number in range(kills):
        attempt = payload | {"attempt": number + 1}
        fork_and_do(desk, transform, attempt, number=number, kill_after_s=moments.uniform(0, 0.06))
        poisoned = poisoned_item(worker_folder(desk), number=number)
        named += poisoned is not None
        assert poisoned is None or poisoned["key"].endswith(".bin")
        folder = desk.folder / f"d/attempts/{number + 1}/train/shard-00000"
        stem = folder / "part-00000"
        done = finished(stem, rows_digest=payload["rows_digest"], exclude=())
        for path in folder.glob("*.npy"):
            assert len(np.load(path, mmap_mode="r")) == 30  # no torn file under a name that counts
        if done is None:
            status = fork_and_do(desk, transform, attempt, number=number)
            assert status == 0
            done = finished(stem, rows_digest=payload["rows_digest"], exclude=())
        else:
            whole += 1
        expected = expected or done.info.sum
        assert done.info.sum == expected
        assert {p.name for p in folder.iterdir() if not p.name.endswith(".tmp")} == {
            "part-00000.x.npy", "part-00000.y.npy", "part-00000.keys.json", "part-00000.part.json",
        }  # fmt: skip
        for path in folder.iterdir():
            path.unlink()
    evidence(
        f"seed {seed}: {kills} kills of a processing worker: {whole} parts were whole, {named} items named, 0 torn"
    )


def test_a_mark_costs_little(desk, payload):
    """A mark is one write into the page cache; generous, since other work may hold the machine."""
    marker = Marker(worker_folder(desk), number=1, payload=payload)
    begun = time.process_time()
    for row in range(2000):
        marker.mark(row)
    assert (time.process_time() - begun) / 2000 < 100e-6
    marker.close()
