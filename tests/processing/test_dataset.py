"""Datasets as values and as samples: digests that depend on nothing but the samples, batches, guards."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process_desk import Desk

from headway.errors import ChannelLeakError, DataChangedError, NewerSchemaError, NotFoundError
from headway.processing.dataset import Dataset, open_dataset, write_index
from headway.processing.index import FieldInfo, PartInfo, PartResult
from headway.records import decode, pretty


def values(item):
    return np.frombuffer(item.path.read_bytes(), dtype="<u4").astype("float32")


@pytest.fixture
def opened(desk):
    desk.digits(60)
    return desk.process(values, desk.manifest(), num_shards=3, part_rows=4)


def test_the_digest_depends_on_the_samples_alone(desk):
    desk.digits(60)
    manifest = desk.manifest()
    digests = {
        desk.process(
            values, manifest, name=f"d{i}", num_shards=shards, part_rows=rows, algorithm=algorithm
        ).dataset.digest
        for i, (shards, rows, algorithm) in enumerate(
            [(1, 500, "by_key"), (2, 3, "by_key"), (5, 1, "even"), (7, 10, "balanced")]
        )
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "transform",
    [
        lambda item: values(item) + (item.path.stem == "0003"),
        lambda item: values(item).reshape(1, 1),
        lambda item: values(item).astype("float64"),
        lambda item: {"z": values(item)},
        lambda item: None if item.path.stem == "0003" else values(item),
        lambda item: values(item).tobytes(),
    ],
)
def test_any_other_sample_shape_type_or_name_gives_another_digest(desk, transform):
    desk.digits(60)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    one = desk.process(values, manifest).dataset
    assert desk.process(transform, manifest, name="e").dataset.digest != one.digest


def test_ragged_parts_that_happen_to_be_equal_give_the_same_digest(desk):
    desk.digits(60)

    def transform(item):
        return np.arange(1 + int(item.path.stem) // 30)

    manifest = desk.manifest(at_least=0)
    one = desk.process(transform, manifest, part_rows=500)
    other = desk.process(transform, manifest, name="e", part_rows=1)
    assert one.dataset.digest == other.dataset.digest
    both = [
        sorted(zip(o.channel("train").keys(), map(len, o.channel("train").field("x")), strict=True))
        for o in (one, other)
    ]
    assert both[0] == both[1]


def test_the_test_channel_needs_to_be_allowed(opened):
    with pytest.raises(ChannelLeakError, match="ws.evaluate"):
        opened.channel("test")
    assert len(opened.channel("test", allow_test=True)) == 6


def test_an_unknown_channel_lists_the_known_ones(opened):
    with pytest.raises(NotFoundError, match="'train'"):
        opened.channel("trian")


def test_shards_together_are_the_channel(opened):
    whole = opened.channel("train")
    shards = [opened.channel("train", shards=[number]) for number in range(3)]
    assert [key for shard in shards for key in list(shard.keys())] == whole.keys()
    assert np.concatenate([shard.arrays()[0] for shard in shards]).tolist() == whole.arrays()[0].tolist()
    with pytest.raises(ValueError, match="no shard 3"):
        opened.channel("train", shards=[3])


def test_one_part_is_memory_mapped(desk):
    desk.digits(60)
    samples, y = desk.process(values, desk.manifest(at_least=0)).channel("train").arrays()
    assert isinstance(samples.base, np.memmap)
    assert not samples.flags.writeable
    assert y.dtype == np.int64


@settings(max_examples=25)
@given(size=st.integers(1, 70), world_size=st.integers(1, 4), epoch=st.integers(0, 3), shuffle=st.booleans())
def test_batches_of_all_ranks_are_the_channel(shared, size, world_size, epoch, shuffle):
    data = shared.channel("train")
    samples, y = data.arrays()
    whole = sorted(zip(samples[:, 0].tolist(), y.tolist(), strict=True))
    seen, by_step = [], []
    for rank in range(world_size):
        steps = list(data.batches(size, seed=5, epoch=epoch, rank=rank, world_size=world_size, shuffle=shuffle))
        seen += [pair for x, codes in steps for pair in zip(x[:, 0].tolist(), codes.tolist(), strict=True)]
        by_step.append([x[:, 0].tolist() for x, _ in steps])
    assert sorted(seen) == whole
    together = [sum(parts, []) for parts in zip(*by_step, strict=True)]
    alone = [x[:, 0].tolist() for x, _ in data.batches(size, seed=5, epoch=epoch, shuffle=shuffle)]
    assert together == alone


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("shared"))
    desk.digits(60)
    return desk.process(values, desk.manifest(), num_shards=3, part_rows=4)


def test_take_gives_the_rows_in_the_order_asked_for(opened):
    data = opened.channel("train")
    samples, _ = data.arrays()
    rows = np.array([47, 0, 13, 13, 5])
    assert data.take(rows)[0].tolist() == samples[rows].tolist()


def test_an_empty_channel_has_arrays_of_the_right_shape(desk):
    desk.digits(30)
    opened = desk.process(values, desk.manifest(at_least=0, validation=0, test=0))
    samples, y = opened.channel("validation").arrays()
    assert (samples.shape, samples.dtype, y.shape) == ((0, 1), np.float32, (0,))
    assert list(opened.channel("validation").batches(4)) == []
    assert opened.channel("validation").keys() == []


def test_the_files_are_all_there(opened):
    files = opened.channel("train").files()
    assert files
    assert all(path.is_file() for path in files)
    assert {path.suffix for path in files} == {".npy", ".json"}


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_a_damaged_part_is_named(opened, damage):
    path = next(p for p in opened.channel("train").files() if p.name.endswith(".x.npy"))
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        os.truncate(path, path.stat().st_size - 1)
    else:
        np.save(path, np.zeros((99, 1), np.float32))
    with pytest.raises(DataChangedError, match=path.name):
        opened.channel("train").arrays()
    with pytest.raises(DataChangedError, match=path.name):
        list(opened.channel("train").batches(100))


def test_a_missing_index_and_a_newer_one_say_so(opened, tmp_path):
    with pytest.raises(DataChangedError, match="no dataset"):
        open_dataset(tmp_path / "nowhere" / "index.json")
    path = opened.root / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 99'))
    with pytest.raises(NewerSchemaError):
        open_dataset(path)


def test_the_record_reads_back_as_it_was_written(opened):
    assert decode(pretty(opened.dataset), Dataset, where="here") == opened.dataset
    assert opened.dataset.rows == {"train": 48, "validation": 6, "test": 6}
    assert opened.dataset.num_shards == 3


def test_a_copied_folder_opens(opened, tmp_path):
    import shutil

    copy = shutil.copytree(opened.root, tmp_path / "copy")
    assert open_dataset(copy).channel("train").arrays()[0].tolist() == opened.channel("train").arrays()[0].tolist()


def part(channel="train", shard=0, number=0, rows=1):
    info = PartInfo(path=f"{channel}/{number}", rows=rows, fields={"x": FieldInfo(dtype="<f4", shape=(), digest="")})
    return PartResult(channel=channel, shard=shard, part=number, info=info, first_key="k")


def index(results, **channels):
    return write_index(results, name="d", version=1, channels=channels, labels={})


def test_results_that_do_not_fit_the_plan_are_refused():
    with pytest.raises(ValueError, match="two results"):
        index([part(), part()], train=1)
    with pytest.raises(ValueError, match="no shard"):
        index([part(shard=1)], train=1)
    with pytest.raises(ValueError, match="no shard"):
        index([part(channel="other")], train=1)


def test_empty_shards_are_recorded_and_parts_come_in_order():
    made = index([part(number=2), part(number=0), part(number=1)], train=4, test=4)
    assert [len(shard.parts) for shard in made.channels["train"].shards] == [3, 0, 0, 0]
    assert [p.path for p in made.channels["train"].shards[0].parts] == ["train/0", "train/1", "train/2"]
    assert made.channels["test"].rows == 0
    assert len(made.channels["test"].shards) == 4


@pytest.mark.parametrize(("wide", "small"), [(0, 0), (10**9, 0), (10**9, 10**9)])
def test_every_way_of_copying_rows_gives_the_same(opened, monkeypatch, wide, small):
    from headway.processing import columns

    monkeypatch.setattr(columns, "_WIDE", wide)
    monkeypatch.setattr(columns, "_FEW", 0)
    monkeypatch.setattr(columns, "_SMALL", small)
    data = opened.channel("train")
    samples, y = data.arrays()
    for rows in ([], [0], [47, 0, 13, 13, 5], list(range(48))):
        picked, codes = data.take(np.array(rows, np.int64))
        assert picked.tolist() == samples[rows].tolist()
        assert codes.tolist() == y[rows].tolist()
