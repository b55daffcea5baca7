"""What a transform may return, and what becomes of items that fail."""

import os
import sys

import numpy as np
import pytest

from headway.errors import DataChangedError, ProgramError, StoppedError
from headway.processing.entry import run
from headway.processing.store import read_result


def values(item):
    return np.frombuffer(item.path.read_bytes(), dtype="<u4").astype("float32")


def problems(opened, channel="train"):
    return {p.key: p for p in opened.dataset.channels[channel].problems}


def test_arrays_of_one_shape_become_rows_with_codes_and_keys(desk):
    desk.digits(60)
    manifest = desk.manifest()
    opened = desk.process(values, manifest, num_shards=3, part_rows=4)
    for channel in ("train", "validation", "test"):
        data = opened.channel(channel, allow_test=True)
        samples, y = data.arrays()
        assert samples.dtype == np.float32
        assert sorted(data.keys()) == sorted(manifest.keys(desk.files, channel))
        assert [int(x) for x in samples[:, 0]] == [int(key.split("/")[1][:4]) for key in list(data.keys())]
        assert y.tolist() == [manifest.labels[key[0]] for key in list(data.keys())] == data.codes().tolist()
        assert data.labels() == [key[0] for key in list(data.keys())]


def test_dicts_become_fields_and_a_y_of_the_transform_wins(desk):
    desk.digits(30)

    def transform(item):
        number = int(item.path.stem)
        return {"image": np.full((2, 3), number, "uint8"), "weight": number / 2, "y": float(number)}

    opened = desk.process(transform, desk.manifest(at_least=0), part_rows=7)
    data = opened.channel("train")
    samples, y = data.arrays()
    assert sorted(samples) == ["image", "weight"]
    assert samples["image"].shape == (len(data), 2, 3)
    assert y.dtype == np.float64
    assert y.tolist() == [2 * w for w in samples["weight"]]
    assert data.codes().tolist() == [opened.dataset.labels[label] for label in data.labels()]


def test_unequal_shapes_become_ragged_without_objects(desk):
    desk.digits(40)

    def transform(item):
        number = int(item.path.stem)
        return np.arange(number * 2, dtype="int16").reshape(2, number)

    opened = desk.process(transform, desk.manifest(at_least=0), part_rows=6)
    data = opened.channel("train")
    samples, _ = data.arrays()
    assert len(samples) == len(data)
    for key, sample in zip(data.keys(), samples, strict=True):
        number = int(key.split("/")[1][:4])
        assert sample.shape == (2, number)
        assert sample.dtype == np.int16
        assert sample.ravel().tolist() == list(range(number * 2))
    assert samples[-1].tolist() == samples[len(samples) - 1].tolist()
    assert opened.dataset.fields["x"].shape == (2, -1)
    picked, _ = next(data.batches(5, seed=1))
    assert len(picked) == 5


def test_bytes_are_kept_as_they_are(desk):
    desk.digits(30)
    opened = desk.process(lambda item: item.key.encode() * 3, desk.manifest(at_least=0), part_rows=7)
    data = opened.channel("train")
    samples, _ = data.arrays()
    assert list(samples) == [key.encode() * 3 for key in list(data.keys())]


def test_none_is_skipped_and_reported(desk):
    desk.digits(30)
    opened = desk.process(lambda i: None if i.label == "b" else values(i), desk.manifest(at_least=0), part_rows=5)
    data = opened.channel("train")
    assert set(data.labels()) == {"a", "c"}
    assert {p.reason for p in problems(opened).values()} == {"skipped"}
    assert all(key.startswith("b/") for key in problems(opened))


def test_an_item_that_raises_is_tried_again_alone_and_then_reported_with_its_log(desk, capsys):
    desk.digits(60)
    calls = []

    def transform(item):
        calls.append(item.key)
        if item.key == "a/0003.bin":
            print("about to fail")
            raise ValueError("bad header")
        return values(item)

    manifest = desk.manifest()
    opened = desk.process(transform, manifest, part_rows=10)
    found = problems(opened)["a/0003.bin"]
    assert calls.count("a/0003.bin") == 2
    assert len(calls) == 61
    assert len(opened.channel("train")) == len(manifest.keys(desk.files, "train")) - 1
    assert (found.reason, found.message) == ("failed", "ValueError: bad header")
    assert 'raise ValueError("bad header")' in found.traceback
    assert "headway/processing" not in found.traceback
    log = (desk.folder / "ws/jobs/process-small-1/attempts/1" / found.log).read_text()
    assert "bad header" in log
    assert "about to fail" in log
    assert capsys.readouterr().out.count("about to fail") == 2


def test_a_failure_that_passes_leaves_no_trace(desk):
    desk.digits(30)
    seen = set()

    def transform(item):
        if item.key not in seen:
            seen.add(item.key)
            raise OSError("try again")
        return values(item)

    opened = desk.process(transform, desk.manifest(at_least=0), part_rows=5)
    assert not opened.dataset.problems
    assert not (desk.folder / "ws/jobs/process-small-1/attempts/1/items").exists()


def test_rows_stay_in_order_when_the_failed_come_late(desk):
    desk.digits(30)
    seen = set()

    def transform(item):
        if int(item.path.stem) % 4 == 0 and item.key not in seen:
            seen.add(item.key)
            raise OSError("later")
        return values(item)

    manifest = desk.manifest(at_least=0)
    assert desk.process(transform, manifest).dataset.digest == desk.process(values, manifest, name="e").dataset.digest


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([{}]), "object"),
        ("text", "str"),
        ([[1], [1, 2]], "inhomogeneous"),
        ({}, "empty dict"),
        ({"a/b": 1}, "field's name"),
        ({1: 1}, "field's name"),
    ],
)
def test_what_cannot_be_stored_is_the_items_failure(desk, value, text):
    desk.digits(30)
    opened = desk.process(
        lambda i: value if i.path.stem == "0003" else 1, desk.manifest(at_least=0, validation=0, test=0)
    )
    assert list(problems(opened)) == ["a/0003.bin"]
    assert text in problems(opened)["a/0003.bin"].message


def test_other_fields_for_another_item_name_both(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    with pytest.raises(ProgramError, match=r"'a/0000.bin' it returned \['x'\], for 'a/0003.bin' \['z'\]"):
        desk.process(lambda i: {"z" if i.path.stem == "0003" else "x": 1}, manifest)


def test_another_type_for_another_item_names_both(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    with pytest.raises(ProgramError, match=r"'a/0000.bin' it returned <i8.*'a/0003.bin' <f8.*np.asarray"):
        desk.process(lambda i: 1.5 if i.path.stem == "0003" else 1, manifest)


def test_other_fields_in_another_part_name_both(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    with pytest.raises(ProgramError, match=r"'a/0000.bin' it returned x .*, for 'a/0015.bin' "):
        desk.process(lambda i: {"x" if int(i.path.stem) < 15 or i.label != "a" else "z": 1}, manifest, part_rows=5)


def test_a_batch_transform_gets_lists(desk):
    desk.digits(60)
    sizes = []

    def transform(items):
        sizes.append(len(items))
        return {"x": np.stack([values(item) for item in items])}

    manifest = desk.manifest()
    opened = desk.process(transform, manifest, part_rows=9)
    assert max(sizes) > 1
    assert opened.dataset.digest == desk.process(values, manifest, name="e").dataset.digest


def test_a_batch_that_raises_is_tried_item_by_item(desk):
    desk.digits(30)

    def transform(items):
        if any(item.path.stem == "0003" for item in items):
            raise ValueError("one of them")
        return [None if item.path.stem == "0004" else values(item) for item in items]

    opened = desk.process(transform, desk.manifest(at_least=0, validation=0, test=0), part_rows=6)
    assert {key: p.reason for key, p in problems(opened).items()} == {"a/0003.bin": "failed", "b/0004.bin": "skipped"}
    assert len(opened.channel("train")) == 28


def test_a_batch_of_another_length_is_refused(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    with pytest.raises(ProgramError, match="got 30 items .* returned 29"):
        desk.process(lambda items: np.zeros((len(items) - 1, 2)), manifest, ticket={"options": {"batch": True}})


def test_hyperparameters_and_context_reach_the_transform(desk):
    desk.digits(30)

    def transform(item, *, size, context):
        return np.full(size, context.rank, "int8")

    opened = desk.process(transform, desk.manifest(at_least=0), ticket={"hyperparameters": {"size": 3}})
    assert opened.channel("train").arrays()[0].shape[1:] == (3,)


def test_a_file_that_changed_since_the_manifest_is_an_error(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    (desk.source / "a/0003.bin").write_bytes(b"XXXX")
    with pytest.raises(DataChangedError, match="'a/0003.bin' has other content"):
        desk.process(values, manifest)
    (desk.source / "a/0003.bin").write_bytes(b"longer")
    with pytest.raises(DataChangedError, match="6 bytes instead of 4"):
        desk.process(values, manifest, name="e")
    (desk.source / "a/0003.bin").unlink()
    with pytest.raises(DataChangedError, match="no file"):
        desk.process(values, manifest, name="f")


def test_a_file_rewritten_with_the_same_content_is_fine(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0)
    os.utime(desk.source / "a/0003.bin", ns=(1, 1))
    assert not desk.process(values, manifest).dataset.problems


def test_a_change_of_content_under_the_same_time_is_found_where_the_file_was_young(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    path = desk.source / "a/0003.bin"
    before = path.stat()
    path.write_bytes(b"XXXX")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataChangedError, match="other content"):
        desk.process(values, manifest)


def test_a_file_written_while_it_is_processed_is_an_error(desk):
    desk.digits(30)

    def transform(item):
        if item.path.stem == "0003":
            item.path.write_bytes(b"12345")
        return 1

    with pytest.raises(DataChangedError, match="while it was processed"):
        desk.process(transform, desk.manifest(at_least=0, validation=0, test=0))


def test_excluded_items_are_left_out_and_reported(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    planned, payloads = desk.payloads(manifest, part_rows=10)
    given = [payload | {"exclude": {"a/0003.bin": "the worker died of SIGSEGV"}} for payload in payloads]
    opened = desk.publish(desk.do(values, given), planned, manifest)
    assert problems(opened)["a/0003.bin"].message == "the worker died of SIGSEGV"
    assert list(problems(opened)) == ["a/0003.bin"]
    assert len(opened.channel("train")) == 29


def test_a_complete_part_is_not_made_again_but_one_with_other_rows_is(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    _, payloads = desk.payloads(manifest, part_rows=10)
    calls = []

    def transform(item):
        calls.append(item.key)
        return 1

    first = desk.do(transform, payloads)
    assert desk.do(transform, payloads) == first
    assert len(calls) == 30
    desk.do(transform, [payload | {"exclude": ["a/0003.bin"]} for payload in payloads])
    assert len(calls) == 30 + 9


def test_a_part_whose_items_all_fail_has_no_rows(desk):
    desk.digits(30)

    def transform(item):
        sys.exit(3)

    opened = desk.process(transform, desk.manifest(at_least=0, validation=0, test=0), part_rows=10)
    assert opened.dataset.rows["train"] == 0
    assert {p.message for p in problems(opened).values()} == {"SystemExit: 3"}
    assert opened.dataset.channels["train"].shards[0].parts == ()


def test_a_task_that_is_asked_to_stop_stops_and_leaves_nothing(desk):
    desk.digits(30)
    manifest = desk.manifest(at_least=0, validation=0, test=0)
    _, payloads = desk.payloads(manifest)
    context = desk.context()
    with pytest.raises(StoppedError):
        run(context, values)(payloads[0], desk.task(0, context, should_stop=lambda: True))
    assert read_result(desk.folder / "d/attempts/1/train/shard-00000/part-00000") is None
    assert not [path for path in (desk.folder / "d").rglob("*") if path.is_file()]


def test_no_temporary_file_is_left(desk):
    desk.digits(30)
    desk.process(values, desk.manifest(at_least=0), part_rows=5)
    assert not list(desk.folder.rglob("*.tmp"))
    assert not list((desk.folder / "ws/jobs/process-small-1/attempts/1/algo-1/progress").iterdir())


def test_buffers_used_again_do_not_mix_parts(desk):
    """Parts of falling size and other shapes in one worker."""
    desk.digits(60, size=8)
    manifest = desk.manifest(at_least=0)

    def transform(item):
        number = int(item.path.stem)
        return np.full((3, 3) if number < 58 else (2, 2), number, "float64")

    opened = desk.process(transform, manifest, num_shards=2, part_rows=5)
    for channel in ("train", "validation", "test"):
        data = opened.channel(channel, allow_test=True)
        for key, sample in zip(data.keys(), data.field("x"), strict=True):
            assert (np.asarray(sample) == int(key.split("/")[1][:4])).all()
