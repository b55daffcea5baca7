"""The median rule."""

import pytest

from headway.errors import NotFoundError
from headway.tuning.median import MedianRule
from headway.tuning.objective import Maximize, Minimize
from headway.tuning.scheduler import Decision, NoScheduler, Report, open_scheduler
from headway.tuning.space import Float, SearchSpace
from headway.tuning.trial import History, Trial


def history(curves, objective, statuses=None):
    statuses = statuses or {}
    trials = {number: Trial(number=number, parameters={}, status=statuses.get(number, "ended")) for number in curves}
    points = {number: list(enumerate(values, 1)) for number, values in curves.items()}
    return History(SearchSpace({"x": Float(0, 1)}), objective, 0, trials, points, set())


def judge(rule, past, number):
    step, value = past.curves[number][-1]
    return rule.decide(past.trials[number], Report(step=step, value=value), past)


CURVES = {1: [0.1, 0.5, 0.9], 2: [0.2, 0.6, 0.8], 3: [0.1, 0.4, 0.7], 9: [0.1, 0.1]}


def test_a_trial_behind_the_median_is_stopped_with_the_numbers():
    past = history(CURVES, Maximize("acc"), {9: "running"})
    decision, reason = judge(MedianRule(min_trials=3), past, 9)
    assert decision is Decision.STOP
    assert reason == "at step 2 its best acc is 0.1, the median of 3 trials is 0.3"


def test_the_direction_turns_it_round():
    past = history(CURVES, Minimize("loss"), {9: "running"})
    assert judge(MedianRule(min_trials=3), past, 9)[0] is Decision.CONTINUE
    high = history(CURVES | {9: [2.0, 2.0]}, Minimize("loss"), {9: "running"})
    assert judge(MedianRule(min_trials=3), high, 9)[0] is Decision.STOP


def test_the_best_value_so_far_counts_not_the_last():
    past = history(CURVES | {9: [0.5, 0.0]}, Maximize("acc"), {9: "running"})
    assert judge(MedianRule(min_trials=3), past, 9)[0] is Decision.CONTINUE


def test_it_waits_for_enough_trials_and_steps():
    past = history(CURVES, Maximize("acc"), {9: "running"})
    assert judge(MedianRule(min_trials=4), past, 9)[0] is Decision.CONTINUE
    assert judge(MedianRule(min_trials=3, min_step=3), past, 9)[0] is Decision.CONTINUE


def test_running_failed_and_early_stopped_trials_do_not_count():
    statuses = {9: "running", 1: "running", 2: "failed"}
    past = history(CURVES | {4: [0.5]}, Maximize("acc"), statuses | {4: "stopped"})
    assert judge(MedianRule(min_trials=2), past, 9)[0] is Decision.CONTINUE
    past = history(CURVES | {4: [0.5, 0.5]}, Maximize("acc"), statuses | {4: "stopped"})
    assert judge(MedianRule(min_trials=2), past, 9)[0] is Decision.STOP


def test_equal_values_go_on():
    past = history({1: [0.5], 2: [0.5], 9: [0.5]}, Maximize("acc"), {9: "running"})
    assert judge(MedianRule(min_trials=2), past, 9)[0] is Decision.CONTINUE


def test_schedulers_are_opened_by_name_and_record():
    assert isinstance(open_scheduler("none"), NoScheduler)
    rule = MedianRule(min_trials=7, min_step=2)
    assert open_scheduler(rule.to_json()).to_json() == rule.to_json()
    assert open_scheduler(rule) is rule
    with pytest.raises(NotFoundError, match="known: median, none"):
        open_scheduler("asha")
    with pytest.raises(ValueError, match="min_trials must be"):
        MedianRule(min_trials=0)
