"""A script as the transform: an ordinary program over a folder with the files of a part."""

import textwrap

import numpy as np
import pytest

from headway.errors import ProgramError, StoppedError
from headway.processing.entry import run
from headway.worker.ticket import workplace

HEAD = """
import argparse, json, os, sys
from pathlib import Path
import numpy as np
channel = json.loads(os.environ["SM_CHANNELS"])[0]
source, output = Path(os.environ[f"SM_CHANNEL_{channel.upper()}"]), Path(os.environ["SM_OUTPUT_DATA_DIR"])
files = sorted(path for path in source.rglob("*") if path.is_file())
keys = [path.relative_to(source).as_posix() for path in files]
"""
ARRAYS = """
parser = argparse.ArgumentParser(); parser.add_argument("--scale", type=float, default=1.0)
scale = parser.parse_args().scale
np.save(output / "x.npy", np.stack([np.frombuffer(p.read_bytes(), "<u4") * scale for p in files]).astype("float32"))
"""


@pytest.fixture
def scripted(desk):
    """Process the source with a script; the body comes after what reads the environment."""

    def go(body, *, hyperparameters=None, name="d", **settings):
        ticket = {"program": {"kind": "script", "entry_point": "prepare.py"}, "hyperparameters": hyperparameters}
        script = desk.folder / "ws/jobs/process-small-1/attempts/1/algo-1/scratch/work/prepare.py"
        assert str(script.parent) == workplace(desk.ticket())
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(HEAD + textwrap.dedent(body))
        return desk.process(None, desk.manifest(at_least=0), name=name, ticket=ticket, **settings)

    return go


def test_arrays_become_fields_named_by_the_sorted_keys(desk, scripted):
    desk.digits(40)
    opened = scripted(ARRAYS, hyperparameters={"scale": 2}, num_shards=2, part_rows=9)
    for channel in ("train", "test"):
        data = opened.channel(channel, allow_test=True)
        samples, y = data.arrays()
        assert samples[:, 0].tolist() == [2 * int(key.split("/")[1][:4]) for key in list(data.keys())]
        assert y.tolist() == [opened.dataset.labels[label] for label in data.labels()]


@pytest.mark.slow
def test_a_script_and_a_function_give_the_same_digest(desk, scripted):
    desk.digits(40)
    opened = scripted(ARRAYS, part_rows=9)
    same = desk.process(
        lambda item: np.frombuffer(item.path.read_bytes(), "<u4").astype("float32"), desk.manifest(at_least=0), name="e"
    )
    assert opened.dataset.digest == same.dataset.digest


@pytest.mark.slow
def test_rows_may_be_fewer_and_in_any_order_when_keys_json_names_them(desk, scripted):
    desk.digits(40)
    body = """
    files, keys = files[::-2], keys[::-2]
    np.save(output / "x.npy", np.array([int(p.stem) for p in files]))
    (output / "keys.json").write_text(json.dumps(keys))
    """
    data = scripted(body).channel("train")
    assert data.arrays()[0].tolist() == [int(key.split("/")[1][:4]) for key in list(data.keys())]
    assert data.arrays()[1].tolist() == [{"a": 0, "b": 1, "c": 2}[key[0]] for key in list(data.keys())]


@pytest.mark.slow
def test_other_files_are_kept_as_they_are(desk, scripted):
    desk.digits(40)
    body = """
    (output / "texts").mkdir()
    for path in files:
        (output / "texts" / (path.stem + ".txt")).write_text(path.stem)
    """
    one, other = scripted(body, part_rows=9), scripted(body, name="e", num_shards=3)
    files = one.channel("train").files()
    assert sorted(path.read_text() for path in files) == sorted(
        key.split("/")[1][:4] for key in desk.manifest(at_least=0).keys(desk.files, "train")
    )
    assert one.dataset.digest == other.dataset.digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("print('one'); print('two'); sys.exit(3)", r"(?s)code 3 .*one\ntwo"),
        ("raise ValueError('bad')", "ValueError: bad"),
        ("pass", "wrote nothing"),
        ("np.save(output / 'x.npy', np.zeros(3))", "without keys.json"),
        ("np.save(output / 'x.npy', np.zeros(3)); np.save(output / 'z.npy', np.zeros(4))", "one row per sample"),
        ("np.save(output / 'x.npy', np.array([{}], object), allow_pickle=True)", "no array of numbers"),
        ("np.save(output / 'x.npy', np.zeros(3)); (output / 'more.txt').write_text('')", "and other files"),
        (
            "np.save(output / 'x.npy', np.zeros(1)); (output / 'keys.json').write_text('[\"nope\"]')",
            "'nope' is no file of the part",
        ),
        ("np.save(output / 'a b.npy', np.zeros(len(files)))", "name of a field"),
    ],
)
def test_what_goes_wrong_is_told(desk, scripted, body, text):
    desk.digits(40)
    with pytest.raises(ProgramError, match=text):
        scripted(body)
    assert not [path for path in (desk.folder / "d").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_what_it_prints_is_in_the_log(desk, scripted, capsys):
    desk.digits(40)
    scripted(ARRAYS + "\nprint('seen', len(files))")
    counts = [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert sum(counts) == 40


def test_a_script_that_sleeps_is_ended_when_the_task_is_asked_to_stop(desk):
    desk.digits(40)
    ticket = {"program": {"kind": "script", "entry_point": "prepare.py"}}
    script = desk.folder / "ws/jobs/process-small-1/attempts/1/algo-1/scratch/work/prepare.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; time.sleep(600)")
    _, payloads = desk.payloads(desk.manifest(at_least=0))
    context = desk.context(**ticket)
    with pytest.raises(StoppedError):
        run(context, None)(payloads[0], desk.task(0, context, should_stop=lambda: True))
