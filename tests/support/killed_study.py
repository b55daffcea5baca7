"""A driver of a study that kills itself at a given point; run as a program by `tests/tuning/test_kill.py`.

Arguments: event log, work log, trials, parallel, seed of the order in which trials end, and the point at which to die
(0: none).
The event log is a file with one line per append (all events of it, so that an append is there whole or not at all).
"""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(__file__))

from trial_runners import FastRunner

from headway.tuning.loop import run_study
from headway.tuning.median import MedianRule
from headway.tuning.objective import Maximize
from headway.tuning.random_search import RandomSearch
from headway.tuning.space import Choice, Float
from headway.tuning.spec import specify
from headway.tuning.study import begin


class Fuse:
    """Ends this process by SIGKILL when it has been passed often enough."""

    def __init__(self, points):
        self.left = points

    def pass_by(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def read(path):
    """All events of a log; a torn last line, left by a kill within a write, is cut off."""
    events, size = [], 0
    if not os.path.exists(path):
        return events
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            events += [(kind, body) for kind, body in json.loads(line)]
            size += len(line)
    os.truncate(path, size)
    return events


def write(path, value, fuse):
    """One durable line, written in two halves with points to die before, between and after."""
    data = json.dumps(value).encode() + b"\n"
    with open(path, "ab", buffering=0) as file:
        fuse.pass_by()
        file.write(data[: len(data) // 2])
        fuse.pass_by()
        file.write(data[len(data) // 2 :])
        os.fsync(file.fileno())
        fuse.pass_by()


class LoggedRunner(FastRunner):
    """Writes down every start and every end, so that the test can see what was really done."""

    def __init__(self, work, fuse, *, seed):
        super().__init__(lambda n, a, p: {"acc": p["x"]}, seed=seed, curve=lambda n, p: [p["x"] / 2, p["x"]])
        self.work, self.fuse = work, fuse

    def start(self, number, attempt, parameters):
        with open(self.work, "a") as file:
            file.write(f"start {number} {attempt} {len(self.live)}\n")
        super().start(number, attempt, parameters)
        self.fuse.pass_by()

    def reports(self, timeout_s):
        self.fuse.pass_by()
        return super().reports(timeout_s)


def main(events_path, work_path, trials, parallel, seed, points):
    """Begin or go on with the study."""
    fuse = Fuse(int(points))
    spec = specify(
        "sizes",
        space={"x": Float(0, 1), "size": Choice("small", "medium", "large")},
        objective=Maximize("acc"),
        trials=int(trials),
        parallel=int(parallel),
        seed=11,
        scheduler=MedianRule(min_trials=8),
    )
    state, added = begin(spec, read(events_path), at=0.0)
    if added:
        write(events_path, added, fuse)
    run_study(
        state,
        runner=LoggedRunner(work_path, fuse, seed=int(seed)),
        append=lambda events: write(events_path, events, fuse),
        searcher=RandomSearch(),
        scheduler=MedianRule(min_trials=8),
        clock=lambda: 1.0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
