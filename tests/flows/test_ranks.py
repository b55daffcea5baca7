"""What each worker of a job gets and leaves: its own shards, its own log."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headway as hw
from headway.errors import JobFailedError


def test_each_rank_reads_its_own_shard_and_together_they_read_all(ws: hw.Workspace, project: Path) -> None:
    (project / "ranks.py").write_text(
        "import json, os\n"
        "def fit(context):\n"
        "    rows = context.channels['train'].arrays()[0].tolist()\n"
        "    path = os.path.join(context.output_dir, f'rank-{context.rank}.json')\n"
        "    open(path, 'w').write(json.dumps(rows))\n"
    )
    manifest = ws.manifest("numbers", "data", split=hw.Split(validation=0.2, test=0.2))
    data = ws.process("arrays", manifest, "prepare:to_array", workers=2, shards=2)
    opened = data.open(ws.session.files)
    shards = [opened.channel("train", shards=[number]).arrays()[0].tolist() for number in (0, 1)]
    job = ws.train("ranks", "ranks:fit", data, workers=2)
    seen = [json.loads((job.output / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert seen == shards, "rank i reads shard i"
    assert 0 < len(seen[0]) < 48
    read = [[float(word) for word in (project / "data" / key).read_text().split()] for key in _keys(ws, manifest)]
    assert np.allclose(sorted(seen[0] + seen[1]), sorted(read), atol=1e-6)


def _keys(ws: hw.Workspace, manifest: hw.Manifest) -> list[str]:
    return manifest.keys(ws.session.files, "train")


def test_the_log_of_each_worker_is_there_while_it_runs_and_after_it_was_killed(ws: hw.Workspace, project: Path) -> None:
    (project / "talk.py").write_text(
        "import os, time\n"
        "def fit(context):\n"
        "    print('I am', context.worker, os.getpid(), flush=True)\n"
        "    while not context.should_stop:\n"
        "        time.sleep(0.01)\n"
    )
    job = ws.train("talk", "talk:fit", workers=2, wait=False)
    try:
        looked = ws.job("talk")
        logs = [project / f".headway/jobs/{job.id}/attempts/1/algo-{number}/log.txt" for number in (1, 2)]
        _until(lambda: all(log.exists() and log.read_text().endswith("\n") for log in logs))
        said = {number: next(looked.logs(f"algo-{number}")).split() for number in (1, 2)}
        assert [said[number][2] for number in (1, 2)] == ["algo-1", "algo-2"]
        os.kill(int(said[2][3]), signal.SIGKILL)
        with pytest.raises(JobFailedError, match=r"(?s)algo-2.*SIGKILL"):
            job.wait()
    finally:
        job.stop(grace_s=0)
    for number in (1, 2):
        assert next(looked.logs(f"algo-{number}")).split() == said[number]


def _until(condition: Callable[[], bool], *, limit_s: float = 20.0) -> None:
    """Wait for a condition; fail when it does not come."""
    end, pause = time.monotonic() + limit_s, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never happened"
        pause.wait(0.02)
