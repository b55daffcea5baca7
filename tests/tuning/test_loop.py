"""The loop of a study over a runner that ends trials in random orders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_runners import FastRunner, Log

from headway.errors import FencedError, JobFailedError, ProgramError, StoppedError
from headway.tuning.loop import run_study
from headway.tuning.median import MedianRule
from headway.tuning.objective import Maximize
from headway.tuning.random_search import RandomSearch
from headway.tuning.scheduler import Decision, NoScheduler, Scheduler
from headway.tuning.space import Float
from headway.tuning.spec import specify
from headway.tuning.study import StudyState, begin, fingerprint


def make(**changes):
    arguments = {"space": {"x": Float(0, 1)}, "objective": Maximize("acc"), "trials": 8, "parallel": 3} | changes
    return specify("sizes", **arguments)


def good(number, attempt, parameters):
    return {"acc": parameters["x"], "loss": 1 - parameters["x"]}


def carry_out(spec, runner, log, *, scheduler=None, **more):
    state, added = begin(spec, log.events, at=0.0)
    log(added)
    return run_study(
        state,
        runner=runner,
        append=log,
        searcher=RandomSearch(),
        scheduler=scheduler or NoScheduler(),
        clock=lambda: 100.0,
        **more,
    )


def num_ends(events):
    return sorted(body["number"] for kind, body in events if kind in ("told", "stopped"))


@given(seed=st.integers(0, 2**30), parallel=st.integers(1, 6), trials=st.integers(1, 20), retries=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_every_order_of_ends_gives_the_same_configurations_and_never_too_many_at_once(seed, parallel, trials, retries):
    def outcome(number, attempt, parameters):
        return "it failed" if (number + attempt) % 5 == 0 else good(number, attempt, parameters)

    log, runner = Log(), FastRunner(outcome, seed=seed)
    spec = make(trials=trials, parallel=parallel, retries=retries, seed=3)
    try:
        state = carry_out(spec, runner, log)
    except JobFailedError:
        return
    assert runner.most <= parallel
    assert state.num_ended == trials
    assert len(runner.started) == len(set(runner.started))
    calm = carry_out(make(trials=trials, parallel=1, seed=3), FastRunner(good), Log())
    assert fingerprint(state) == fingerprint(calm)
    assert fingerprint(StudyState.replay(log.events)) == fingerprint(state)


class Fence:
    """An append that fails from some batch on, as when another driver has taken over."""

    def __init__(self, log, *, after):
        self.log, self.left = log, after

    def __call__(self, events):
        if self.left == 0:
            raise FencedError("taken over")
        self.left -= 1
        self.log(events)


@given(seed=st.integers(0, 2**30), cuts=st.lists(st.integers(1, 9), max_size=12))
@settings(max_examples=40, deadline=None)
def test_drivers_that_are_cut_off_anywhere_lose_nothing_and_double_nothing(seed, cuts):
    spec, log, told = make(trials=12, seed=5), Log(), set()
    for number, cut in enumerate([*cuts, None]):
        runner = FastRunner(good, seed=seed + number)
        state, added = begin(spec, log.events, at=0.0)
        log(added)
        append = log if cut is None else Fence(log, after=cut)
        arguments = {"searcher": RandomSearch(), "scheduler": NoScheduler(), "clock": lambda: 1.0}
        try:
            run_study(state, runner=runner, append=append, **arguments)
        except FencedError:
            assert cut is not None
        assert not told & {number for number, _ in runner.started}, "a finished trial was started again"
        told = set(num_ends(log.events))
    assert num_ends(log.events) == list(range(1, 13))
    calm = carry_out(make(trials=12, parallel=1, seed=5), FastRunner(good), Log())
    assert fingerprint(StudyState.replay(log.events)) == fingerprint(calm)


def test_nothing_starts_before_it_is_durable():
    log = Log()

    class Watching(FastRunner):
        def start(self, number, attempt, parameters):
            assert ("started", number, attempt) in {
                (kind, body.get("number"), body.get("attempt")) for kind, body in log.events
            }
            super().start(number, attempt, parameters)

    carry_out(make(), Watching(good), log)


def test_one_round_of_starts_is_one_append():
    log = Log()
    carry_out(make(trials=5, parallel=5), FastRunner(good), log)
    assert log.batches <= 1 + 1 + 5 + 1
    assert [kind for kind, _ in log.events[1:11]] == ["asked"] * 5 + ["started"] * 5


def test_artifacts_times_and_metrics_are_kept():
    state = carry_out(make(trials=2), FastRunner(good), Log())
    trial = state.trials[2]
    assert trial.artifact == "trials/2/model"
    assert trial.wall_s == 1.0
    assert trial.metrics == {"acc": trial.parameters["x"], "loss": 1 - trial.parameters["x"]}
    assert (trial.started_at, trial.ended_at) == (100.0, 100.0)


def test_a_metric_that_never_appears_stops_the_search_with_what_was_seen():
    log = Log()
    runner = FastRunner(lambda *_: {"accuracy": 0.5, "loss": 1.0})
    with pytest.raises(ProgramError, match="without the metric 'acc'; metrics seen: accuracy, loss"):
        carry_out(make(trials=64, parallel=4), runner, log)
    assert len({number for number, _ in runner.started}) <= 7
    assert not runner.live  # nothing is left running
    again = FastRunner(good)
    with pytest.raises(ProgramError, match="metrics seen"):
        carry_out(make(trials=64, parallel=4), again, log)
    assert again.started == []  # the same program would only do the same again


def test_no_metric_at_all_is_said():
    with pytest.raises(ProgramError, match="no metric was seen"):
        carry_out(make(parallel=1), FastRunner(lambda *_: {}), Log())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_do_not_stop_the_search(value):
    def outcome(number, attempt, parameters):
        return {"acc": value if number != 4 else 0.5}

    state = carry_out(make(), FastRunner(outcome), Log())
    assert state.num_ended == 8
    assert [trial.value for trial in state.trials.values()].count(None) == 7


def test_a_constant_objective_ends():
    state = carry_out(make(), FastRunner(lambda *_: {"acc": 1}), Log(), scheduler=MedianRule())
    assert {trial.value for trial in state.trials.values()} == {1.0}


def test_a_trial_that_always_fails_does_not_stop_the_search():
    runner = FastRunner(lambda n, a, p: "killed by SIGKILL (out of memory?)" if n == 3 else good(n, a, p))
    state = carry_out(make(retries=2), runner, Log())
    assert state.num_ended == 8
    assert state.trials[3].status == "failed"
    assert [attempt for number, attempt in runner.started if number == 3] == [1, 2, 3]


def test_a_search_whose_first_trials_all_fail_is_stopped_with_their_errors():
    runner = FastRunner(lambda *_: "ModuleNotFoundError: no module named 'torch'")
    log = Log()
    with pytest.raises(JobFailedError, match="first 5 trials all failed") as caught:
        carry_out(make(trials=64, parallel=1), runner, log)
    assert "no module named 'torch'" in str(caught.value)
    assert len(caught.value.errors) == 5
    assert caught.value.job_id == "study-sizes"
    assert carry_out(make(trials=64, parallel=1), FastRunner(good), log).num_ended == 64


def test_a_small_study_whose_trials_all_fail_ends_as_failed():
    log = Log()
    for _ in range(2):
        with pytest.raises(JobFailedError, match="all 2 trials failed; trial 1: boom"):
            carry_out(make(trials=2), FastRunner(lambda *_: "boom"), log)


class People:
    """What people change while the study runs, by the number of the round."""

    def __init__(self, *, stop_at=None, parallel=None):
        self.round, self.stop_at, self.plan = 0, stop_at, parallel or {}

    def stop_reason(self):
        self.round += 1
        return "Ctrl-C" if self.round == self.stop_at else None

    def parallel(self):
        return self.plan.get(self.round)


def test_a_study_that_is_stopped_puts_back_what_ran_and_goes_on_later():
    log, runner = Log(), FastRunner(good)
    with pytest.raises(StoppedError, match=r"'sizes' was stopped \(Ctrl-C\) with \d of 8 trials ended; run it again"):
        carry_out(make(), runner, log, control=People(stop_at=2))
    assert not runner.live
    assert runner.stopped
    assert not StudyState.replay(log.events).running
    state = carry_out(make(), FastRunner(good), log)
    assert num_ends(log.events) == list(range(1, 9))
    assert max(trial.failures for trial in state.trials.values()) == 0


def test_the_number_at_once_can_be_changed_while_it_runs():
    log, runner = Log(), FastRunner(good)
    carry_out(make(trials=30, parallel=2), runner, log, control=People(parallel={3: 6}))
    assert runner.most == 6
    assert [body["parallel"] for kind, body in log.events if kind == "parallel_changed"] == [6]
    assert StudyState.replay(log.events).parallel == 6


def test_progress_is_told_after_every_change():
    seen = []
    carry_out(make(trials=3), FastRunner(good), Log(), progress=lambda state: seen.append(state.num_ended))
    assert seen[0] == 0
    assert seen[-1] == 3
    assert seen == sorted(seen)


class PauseAfter(Scheduler):
    """Pauses every trial once, after its first report."""

    def decide(self, trial, report, history):
        first = trial.attempt == 1 and report.step == 1
        return (Decision.PAUSE, "let others in") if first else (Decision.CONTINUE, "")

    def to_json(self):
        return {"name": "pause"}


def test_paused_trials_end_after_the_new_ones_were_tried():
    runner = FastRunner(good, curve=lambda number, parameters: [0.1, 0.2])
    log = Log()
    state = carry_out(make(trials=4, parallel=2), runner, log, scheduler=PauseAfter())
    assert state.num_ended == 4
    assert runner.most <= 2
    assert [number for number, _ in runner.started[:4]] == [1, 2, 3, 4]
    assert sorted(runner.started[4:]) == [(1, 2), (2, 2), (3, 2), (4, 2)]


def test_stopped_trials_hold_their_place_until_they_are_gone():
    def curve(number, parameters):
        return [1.0] * 3 if number <= 5 else [0.0] * 3

    runner = FastRunner(lambda n, a, p: {"acc": 1.0}, curve=curve, seed=4)
    log = Log()
    state = carry_out(make(trials=20, parallel=3), runner, log, scheduler=MedianRule(min_trials=3))
    stopped = [trial for trial in state.trials.values() if trial.status == "stopped"]
    assert len(stopped) > 5
    assert all(trial.value == 0.0 and "median" in trial.note for trial in stopped)
    assert runner.most <= 3
    assert state.num_ended == 20
    assert not runner.live
