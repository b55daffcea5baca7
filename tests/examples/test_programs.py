"""The examples' programs: pictures that are exact, whole, and written once."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.slow


ROOT = Path(__file__).resolve().parents[2] / "examples"


def program(example, name):
    """A module of an example, as it is there: its neighbours are found, and nothing of it stays imported."""
    text = (ROOT / example / f"{name}.py").read_text()
    found = SimpleNamespace()
    space = {"__name__": name, "__file__": str(ROOT / example / f"{name}.py")}
    exec(compile(text, space["__file__"], "exec"), space)
    for key, value in space.items():
        setattr(found, key, value)
    return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return program("digits", "make_images").write_images(tmp_path_factory.mktemp("demo") / "digits")


def test_the_pictures_hold_the_original_values(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    to_array = program("digits", "prepare").to_array
    found = {int(path.stem): (path.parent.name, path) for path in digits.glob("*/*.png")}
    assert len(found) == len(original.target) == 1797
    for number in range(0, 1797, 13):
        label, path = found[number]
        assert label == str(original.target[number])
        row = to_array(SimpleNamespace(path=path))
        assert row.dtype == np.float32
        assert np.array_equal(np.round(row * 16), original.data[number])
    assert sorted(path.name for path in digits.parent.iterdir()) == [".digits.lock", "digits"]


def test_finished_pictures_are_not_written_again(digits):
    before = {path: path.stat().st_mtime_ns for path in digits.rglob("*.png")}
    assert program("digits", "make_images").write_images(digits) == digits
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("*.png")} == before


def test_a_writer_that_was_killed_is_gone_on_with(tmp_path, digits):
    """Killed at the hundredth picture by its own hand: nothing has the final name, the next call ends the work."""
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'digits')!r})\n"
        "import make_images\n"
        "count, real = 0, os.replace\n"
        "def replace(*arguments):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == 100: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*arguments)\n"
        "os.replace = replace\n"
        f"make_images.write_images({str(tmp_path / 'digits')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "digits").exists()
    left = sorted((tmp_path / ".digits.partial").rglob("*.png"))
    assert len(left) == 99
    times = {path.name: path.stat().st_mtime_ns for path in left}
    program("digits", "make_images").write_images(tmp_path / "digits")
    names = {path.relative_to(tmp_path / "digits"): path.read_bytes() for path in (tmp_path / "digits").rglob("*.png")}
    assert names == {path.relative_to(digits): path.read_bytes() for path in digits.rglob("*.png")}
    kept = [path for path in (tmp_path / "digits").rglob("*.png") if path.stat().st_mtime_ns == times.get(path.name)]
    assert len(kept) == 99


class FakeContext:
    """What a training function sees of its job."""

    def __init__(self, rows, labels):
        data = SimpleNamespace(arrays=lambda: (rows, labels))
        self.channels = {"train": data, "validation": data}
        self.seed, self.should_stop, self.reported = 3, False, []

    def report(self, values, *, step):
        self.reported.append((step, dict(values)))


@pytest.mark.parametrize("example", ["digits", "fashion_mnist"])
@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_every_structure_trains_and_reports_each_epoch(example, size):
    draw = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = (draw.random((300, 16)) + labels[:, None]).astype(np.float32)
    train, context = program(example, "train"), FakeContext(rows, labels)
    model = train.fit(context, size=size, learning_rate=0.01)
    assert [step for step, _ in context.reported] == list(range(1, train.EPOCHS + 1))
    assert context.reported[-1][1]["validation:accuracy"] == pytest.approx(model.score(rows, labels))
    again = FakeContext(rows, labels)
    train.fit(again, size=size, learning_rate=0.01)
    assert again.reported == context.reported


def test_training_ends_early_when_asked():
    context = FakeContext(np.eye(6, dtype=np.float32), np.arange(6) % 2)
    context.should_stop = True
    program("digits", "train").fit(context, size="small", learning_rate=0.01)
    assert len(context.reported) == 1


def write_idx(path, array):
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def small_fashion(tmp_path):
    """The four files with a handful of pictures, and the program that expects so many."""
    unpack = program("fashion_mnist", "unpack")
    draw = np.random.default_rng(0)
    unpack.PARTS.update({"train": 20, "t10k": 10})
    for part, count in unpack.PARTS.items():
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", draw.integers(0, 256, (count, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return tmp_path, unpack


def test_fashion_pictures_hold_the_original_values(small_fashion):
    source, unpack = small_fashion
    folder = unpack.write_images(source, source / "pictures")
    assert len(list(folder.glob("*/*.png"))) == 30
    pictures, labels = unpack.read_part(source, "t10k", 10)
    to_array = program("fashion_mnist", "prepare").to_array
    for number in range(10):
        path = folder / unpack.LABELS[labels[number]] / f"t10k-{number:05}.png"
        row = to_array(SimpleNamespace(path=path))
        assert np.array_equal(np.round(row * 255).astype(np.uint8).reshape(28, 28), pictures[number])


def test_a_missing_or_wrong_file_says_which_and_where_to_get_it(small_fashion):
    source, unpack = small_fashion
    write_idx(source / "train-images-idx3-ubyte.gz", np.zeros((20, 28)))
    with pytest.raises(SystemExit, match="train-images-idx3-ubyte.gz is no IDX file"):
        unpack.write_images(source, source / "pictures")
    with pytest.raises(SystemExit, match="apt-get install dataset-fashion-mnist"):
        unpack.write_images(source / "elsewhere", source / "pictures")
    assert not (source / "pictures").exists()
