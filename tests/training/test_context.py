"""The context of a training: samples by rank, reports, and its do-nothing twin outside a job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headway.errors import ChannelLeakError, ProgramError
from headway.training.context import CurrentContext, TrainingContext, context
from headway.worker import context as worker_context


def test_arrays_and_batches_of_the_channels(worker, trained_on):
    training = TrainingContext(worker())
    samples, y = training.channels["train"].arrays()
    assert samples.shape == (len(training.channels["train"]), 4)
    assert sorted(training.channels) == ["train", "validation"]
    seen = [row for x, _ in training.channels["train"].batches(16) for row in x[:, 3].tolist()]
    assert sorted(seen) == sorted(samples[:, 3].tolist())
    other = [row for x, _ in training.channels["train"].batches(16, epoch=1) for row in x[:, 3].tolist()]
    assert seen != other


def test_ranks_with_shards_of_their_own_get_them(worker):
    parts = [TrainingContext(worker(rank=r, world_size=3, shards=[r])).channels["train"] for r in range(3)]
    whole = TrainingContext(worker()).channels["train"].arrays()[0]
    assert np.concatenate([part.arrays()[0] for part in parts]).tolist() == whole.tolist()
    assert {len(part) for part in parts} == {len(whole)}


def test_more_ranks_than_shards_share_by_slices(worker):
    parts = [
        TrainingContext(worker(rank=r, world_size=5, shards=[r] if r < 3 else [])).channels["train"] for r in range(5)
    ]
    lengths = [len(part.arrays()[0]) for part in parts]
    whole = TrainingContext(worker()).channels["train"].arrays()[0]
    assert sum(lengths) == len(whole)
    assert max(lengths) - min(lengths) <= 1
    assert np.concatenate([part.arrays()[0] for part in parts]).tolist() == whole.tolist()


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_batches_over_all_ranks_are_those_of_one(worker, world_size):
    alone = [x[:, 3].tolist() for x, _ in TrainingContext(worker()).channels["train"].batches(10, epoch=2)]
    ranks = [
        [x[:, 3].tolist() for x, _ in
         TrainingContext(worker(rank=r, world_size=world_size, shards=[r])).channels["train"].batches(10, epoch=2)]
        for r in range(world_size)
    ]  # fmt: skip
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == alone


def test_independent_workers_get_everything(worker):
    training = TrainingContext(worker(rank=1, world_size=4, coupled=False))
    assert len(training.channels["train"].arrays()[0]) == len(training.channels["train"])


def test_the_test_channel_is_refused(worker):
    with pytest.raises(ChannelLeakError, match=r"train-t-1 asked for the test channel.*allow_test=True"):
        TrainingContext(worker()).channels["test"]
    with pytest.raises(ChannelLeakError):
        TrainingContext(worker(channels=("test",))).channels["test"].arrays()
    assert len(TrainingContext(worker(channels=("test",), allow_test=True)).channels["test"].arrays()[0]) > 0


def test_an_unknown_channel_lists_the_known(worker):
    with pytest.raises(KeyError, match="it has train, validation"):
        TrainingContext(worker()).channels["trian"]


def test_raw_files_have_no_arrays(worker):
    made = worker()
    made.channels["train"].ticket.update(kind="files", index=None)
    with pytest.raises(ProgramError, match="process the manifest first"):
        TrainingContext(made).channels["train"].arrays()


def test_reports_go_to_the_worker_and_the_last_are_kept(worker):
    reports = []
    training = TrainingContext(worker(reports=reports))
    training.report(loss=0.5, step=1)
    training.report({"validation:accuracy": np.float32(0.25)}, loss=0.25)
    assert reports == [({"loss": 0.5}, 1), ({"validation:accuracy": 0.25, "loss": 0.25}, None)]
    assert training.reported == {"loss": 0.25, "validation:accuracy": 0.25}


def test_checkpoints_go_on_over_attempts(worker):
    TrainingContext(worker(attempt=1)).checkpoint.save({"epoch": 3}, step=3)
    second = TrainingContext(worker(attempt=2))
    assert second.checkpoint.load() == {"epoch": 3}
    assert TrainingContext(worker(attempt=2, rank=1, world_size=2)).checkpoint.save("not mine", step=4) is None


def test_a_trial_has_its_own_model_checkpoints_and_settings(worker):
    first = worker(hyperparameters={"lr": 0.1, "size": "small"})
    task = first.for_task(5, attempt=1, report=lambda values, step: None, should_stop=lambda: True)
    trial = TrainingContext(task, hyperparameters={"lr": 0.5}, seed=99)
    assert trial.hyperparameters == {"lr": 0.5, "size": "small"}
    assert (trial.number, trial.seed, trial.should_stop) == (5, 99, True)
    assert trial.model_dir.endswith("attempts/1/items/5/model")
    trial.checkpoint.save("t5", step=1)
    again = worker(attempt=2).for_task(5, attempt=2, report=lambda values, step: None, should_stop=bool)
    assert TrainingContext(again).checkpoint.load() == "t5"
    other = worker(attempt=2).for_task(6, attempt=1, report=lambda values, step: None, should_stop=bool)
    assert TrainingContext(other).checkpoint.load() is None


def test_from_headway_import_context_finds_the_one_that_runs(worker):
    from headway import context as public

    assert public is context
    assert public.rank == 0
    made = worker(rank=1, world_size=2)
    worker_context.activate(made)
    try:
        assert public.rank == 1
        assert public.channels["train"] is public.channels["train"]
        trial = TrainingContext(made, hyperparameters={"lr": 3})
        with trial.active():
            assert public.hyperparameters == {"lr": 3}
        assert public.hyperparameters == {}
        assert "train-t-1" in repr(public)
    finally:
        worker_context.activate(None)
    assert public.job == ""


def test_outside_a_job_everything_does_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWAY_TICKET", raising=False)
    outside = CurrentContext()
    outside.report(loss=0.5, step=3)
    outside.report({"a:b": 1})
    with pytest.raises(TypeError, match="must be a number"):
        outside.report(loss="high")
    assert outside.checkpoint.load() is None
    assert outside.checkpoint.save({"x": 1}, step=1) is None
    with outside.checkpoint.folder(2) as folder:
        (folder / "file").write_text("")
    assert (outside.rank, outside.world_size, outside.is_first, outside.should_stop) == (0, 1, True, False)
    assert dict(outside.channels) == {}
    with pytest.raises(KeyError, match="does not run as a job"):
        outside.channels["train"]
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert outside.model_dir == "model"
    assert (tmp_path / "model").is_dir()


def test_every_public_name_has_a_twin_outside(worker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # asking for its folders makes them
    inside = TrainingContext(worker())
    outside = CurrentContext()
    names = [name for name in dir(inside) if not name.startswith("_") and name not in ("inner", "active")]
    assert [name for name in names if not hasattr(outside, name)] == []


def test_a_process_started_by_a_script_finds_the_context_by_the_ticket(worker, tmp_path):
    made = worker()
    os.makedirs(made.ticket["folders"]["worker"])
    ticket = tmp_path / "ticket-1.json"
    ticket.write_text(json.dumps(made.ticket))
    code = (
        "from headway import context\n"
        "context.report(loss=0.5, step=2)\n"
        "print(context.job, len(context.channels['train']), context.should_stop)"
    )
    environment = os.environ | {"HEADWAY_TICKET": str(ticket)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["train-t-1", "72", "False"]
    written = Path(made.ticket["folders"]["worker"], "metrics-file.jsonl").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["name"], line["value"], line["step"]) for line in lines] == [("loss", 0.5, 2)]


def test_the_import_is_cheap():
    code = (
        "import sys; from headway import context\n"
        "print([m for m in ('numpy', 'pyarrow', 'pandas', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
