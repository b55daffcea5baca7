"""The state machine of a study under random orders of events."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import NotFoundError, StudyChangedError, WorkspaceError
from headway.tuning.grid import GridSearch
from headway.tuning.objective import Maximize, Minimize
from headway.tuning.random_search import RandomSearch
from headway.tuning.searcher import Searcher
from headway.tuning.space import Choice, Float, Int
from headway.tuning.spec import differences, specify
from headway.tuning.study import Finish, Start, StudyState, Suggest, begin, changes, decide, fingerprint

SPACE = {"lr": Float(1e-4, 1e-1, log=True), "size": Choice("small", "large")}


def make(**changes_):
    arguments = {"space": SPACE, "objective": Maximize("acc"), "trials": 6, "parallel": 2} | changes_
    return specify(arguments.pop("name", "sizes"), **arguments)


def everything(state):
    """All that a state consists of, as one JSON text."""
    return json.dumps(
        {
            "trials": [repr(trial) for trial in state.trials.values()],
            "curves": state.curves,
            "configurations": sorted(key.decode() for key in state.configurations),
            "rest": [state.total, state.parallel, state.finished, sorted(state.running), sorted(state.metrics_seen)],
            "queues": [state._waiting, state._paused, sorted(state._reports.items())],
            "counts": {status: count for status, count in sorted(state.counts.items()) if count},
        }
    )


def walk(state, events, choose):
    """One random step of a driver and its trials; True while there is something left to do."""
    searcher = RandomSearch()

    def record(kind, **body):
        events.append((kind, json.loads(json.dumps(body))))
        state.apply(*events[-1])

    instructions = decide(state)
    for instruction in instructions[: choose(0, len(instructions))]:
        if isinstance(instruction, Suggest):
            record("asked", number=instruction.number, parameters=searcher.suggest(state.history, instruction.number))
        elif isinstance(instruction, Start):
            record("started", number=instruction.number, attempt=instruction.attempt)
        elif isinstance(instruction, Finish):
            record("finished", reason=instruction.reason)
    assert len(state.running) <= max(state.parallel, 5)
    running = sorted(state.running)
    if running:
        number = running[choose(0, len(running) - 1)]
        attempt = state.trials[number].attempt
        what = choose(0, 9)
        if what <= 2:
            record("reported", number=number, attempt=attempt, values={"acc": choose(0, 100) / 100}, step=None)
        elif what <= 4:
            record("told", number=number, attempt=attempt, metrics={"acc": choose(0, 100) / 100, "loss": 1.0})
        elif what == 5:
            record("told", number=number, attempt=attempt, metrics={"acc": None})
        elif what == 6:
            record("failed", number=number, attempt=attempt, error="out of memory")
        elif what == 7:
            record("stopped", number=number, reason="behind the median")
        elif what == 8:
            record("requeued", number=number, reason="its driver ended")
        elif what == 9:
            record("requeued", number=number, reason="paused", paused=True)
    return state.finished is None


@given(data=st.data(), trials=st.integers(1, 12), parallel=st.integers(1, 5), retries=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_any_order_of_events_ends_every_trial_once_and_replays_to_the_same_state(data, trials, parallel, retries):
    spec = make(trials=trials, parallel=parallel, retries=retries)
    state, events = begin(spec, [], at=0.0)

    def choose(low, high):
        return data.draw(st.integers(low, high))

    steps = 0
    while walk(state, events, choose) and steps < 60:
        steps += 1
        assert len(state.running) <= parallel
        if steps % 7 == 0:
            again = StudyState.replay(events)
            assert everything(again) == everything(state)
            state = again

    def onwards(low, high):  # the rest without further accidents
        onwards.count += 1
        return high if (low, high) != (0, 9) else 3

    onwards.count = 0
    while walk(state, events, onwards):
        assert onwards.count < 10_000
    assert state.num_ended == trials
    assert sorted(state.trials) == list(range(1, trials + 1))
    ends = [body["number"] for kind, body in events if kind in ("told", "stopped")]
    assert len(ends) == len(set(ends))
    starts = [(body["number"], body["attempt"]) for kind, body in events if kind == "started"]
    assert len(starts) == len(set(starts))
    assert decide(state) == []
    assert everything(StudyState.replay(events)) == everything(state)


def run_to(state, events, *steps):
    for kind, body in steps:
        state.apply(kind, body)
        events.append((kind, body))


def test_a_trial_fails_only_after_all_its_attempts_and_then_counts():
    state, events = begin(make(trials=1, retries=1), [], at=0.0)
    run_to(
        state,
        events,
        ("asked", {"number": 1, "parameters": {"lr": 0.1, "size": "small"}}),
        ("started", {"number": 1, "attempt": 1}),
        ("requeued", {"number": 1, "reason": "its driver ended"}),
        ("started", {"number": 1, "attempt": 2}),
        ("failed", {"number": 1, "attempt": 2, "error": "first"}),
    )
    assert state.num_ended == 0
    assert decide(state) == [Start(number=1, attempt=3, parameters={"lr": 0.1, "size": "small"})]
    run_to(
        state,
        events,
        ("started", {"number": 1, "attempt": 3}),
        ("failed", {"number": 1, "attempt": 3, "error": "second"}),
    )
    assert state.trials[1].status == "failed"
    assert (state.trials[1].failures, state.trials[1].note) == (2, "second")
    assert isinstance(decide(state)[0], Finish)
    assert not state.has_value


def test_paused_trials_go_on_when_no_new_one_is_left():
    state, events = begin(make(trials=2, parallel=1), [], at=0.0)
    one = {"lr": 0.1, "size": "small"}
    run_to(
        state,
        events,
        ("asked", {"number": 1, "parameters": one}),
        ("started", {"number": 1, "attempt": 1}),
        ("reported", {"number": 1, "attempt": 1, "values": {"acc": 0.5}, "step": 3}),
        ("requeued", {"number": 1, "reason": "let others in", "paused": True}),
    )
    assert decide(state) == [Suggest(number=2)]
    run_to(
        state,
        events,
        ("asked", {"number": 2, "parameters": {"lr": 0.01, "size": "small"}}),
        ("started", {"number": 2, "attempt": 1}),
    )
    assert decide(state) == []
    run_to(state, events, ("told", {"number": 2, "attempt": 1, "metrics": {"acc": 0.4}}))
    assert decide(state) == [Start(number=1, attempt=2, parameters=one)]
    run_to(
        state,
        events,
        ("started", {"number": 1, "attempt": 2}),
        ("reported", {"number": 1, "attempt": 2, "values": {"acc": 0.6}, "step": 3}),
        ("reported", {"number": 1, "attempt": 2, "values": {"acc": 0.7}, "step": 4}),
        ("told", {"number": 1, "attempt": 2, "metrics": {}}),
    )
    assert state.curves[1] == [(3, 0.6), (4, 0.7)]
    assert state.trials[1].value == 0.7  # the last reported value, when the end brings none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "good", [1, 2]])
def test_a_value_that_is_no_number_ends_the_trial_without_one(value):
    state, events = begin(make(trials=1), [], at=0.0)
    run_to(
        state,
        events,
        ("asked", {"number": 1, "parameters": {"lr": 0.1, "size": "small"}}),
        ("started", {"number": 1, "attempt": 1, "at": 5.0}),
        ("told", {"number": 1, "attempt": 1, "metrics": {"acc": value}, "at": 2.0}),
    )
    trial = state.trials[1]
    assert (trial.status, trial.value) == ("ended", None)
    assert "not a finite number" in trial.note
    assert trial.wall_s == 0.0  # a clock that went back


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (("asked", {"number": 7, "parameters": {}}), "trial 2 comes next, got 7"),
        (("started", {"number": 1, "attempt": 3}), "attempt 2 of trial 1 comes next"),
        (("told", {"number": 1, "attempt": 1, "metrics": {}}), "needs trial 1 running"),
        (("told", {"number": 9, "attempt": 1, "metrics": {}}), "needs trial 9 running, got None"),
        (("asked", {"number": 2}), "lacks 'parameters'"),
        (("dreamt", {}), "unknown event 'dreamt'"),
    ],
)
def test_an_event_that_cannot_follow_is_refused(event, text):
    state, events = begin(make(), [], at=0.0)
    run_to(
        state,
        events,
        ("asked", {"number": 1, "parameters": {"lr": 0.1, "size": "small"}}),
        ("started", {"number": 1, "attempt": 1}),
        ("requeued", {"number": 1, "reason": "lost"}),
    )
    with pytest.raises(WorkspaceError, match=text):
        StudyState.replay([*events, event])


def test_events_must_begin_with_the_settings():
    with pytest.raises(WorkspaceError, match="begin with 'created', got 'asked'"):
        StudyState.replay([("asked", {})])
    with pytest.raises(WorkspaceError, match="recorded settings"):
        StudyState.replay([("created", {"spec": {"name": 3}})])


def test_the_same_settings_go_on_and_more_trials_extend():
    _, events = begin(make(trials=6), [], at=0.0)
    state, added = begin(make(trials=6), events, at=1.0)
    assert added == []
    state, added = begin(make(trials=9, parallel=4), events, at=1.0)
    assert [kind for kind, _ in added] == ["extended", "parallel_changed"]
    assert (state.total, state.parallel) == (9, 4)
    assert StudyState.replay([*events, *added]).total == 9
    state, added = begin(make(trials=3, parallel=4), [*events, *added], at=2.0)
    assert (state.total, added) == (9, [])  # fewer leave it as it is


def test_a_finished_study_goes_on_when_it_is_extended():
    state, events = begin(make(trials=1), [], at=0.0)
    run_to(
        state,
        events,
        ("asked", {"number": 1, "parameters": {"lr": 0.1, "size": "small"}}),
        ("started", {"number": 1, "attempt": 1}),
        ("told", {"number": 1, "attempt": 1, "metrics": {"acc": 1}}),
        ("finished", {"reason": "1 trials ended"}),
    )
    assert decide(state) == []
    changes(state, trials=3, parallel=None, at=1.0)
    assert decide(state) == [Suggest(number=2), Suggest(number=3)]


def test_changed_settings_are_listed():
    _, events = begin(make(settings={"program": "a" * 64, "hyperparameters": {"epochs": 3}}), [], at=0.0)
    space = {"lr": Float(1e-4, 1.0, log=True), "batch": Int(8, 64)}
    new = make(
        space=space,
        objective=Minimize("loss"),
        searcher=GridSearch(points=4),
        scheduler="median",
        seed=7,
        settings={"program": "b" * 64, "hyperparameters": {"epochs": 4}},
    )
    with pytest.raises(StudyChangedError) as caught:
        begin(new, events, at=0.0)
    text = str(caught.value)
    for line in (
        "space.lr.high: 0.1 -> 1.0",
        "space.batch: new, {'type': 'int'",
        "space.size: was {'type': 'choice'",
        "objective.direction: 'maximize' -> 'minimize'",
        "objective.metric: 'acc' -> 'loss'",
        "program: aaaaaaaaaaaa... -> bbbbbbbbbbbb...",
        "hyperparameters.epochs: 3 -> 4",
        "searcher.name: 'random' -> 'grid'",
        "scheduler.name: 'none' -> 'median'",
        "seed: 0 -> 7",
        "new=True",
    ):
        assert line in text, text
    assert differences(new, new) == []


def test_a_domain_of_another_type_is_shown_whole():
    found = differences(make(), make(space=SPACE | {"lr": Int(1, 3)}))
    assert len(found) == 1
    assert found[0].startswith("space.lr: {'type': 'float'")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"trials": 0}, ValueError, "trials must be a whole number of at least 1, got 0"),
        ({"trials": True}, ValueError, "got True"),
        ({"parallel": 0}, ValueError, "parallel must be"),
        ({"retries": -1}, ValueError, "retries must be"),
        ({"seed": "one"}, ValueError, "seed must be"),
        ({"space": {}}, ValueError, "at least one"),
        ({"objective": "acc"}, TypeError, r"Maximize\(metric\)"),
        ({"searcher": "magic"}, NotFoundError, "no searcher named 'magic'"),
        ({"scheduler": "magic"}, NotFoundError, "no scheduler named 'magic'; known: median, none"),
        ({"space": {"a": Choice(1, 2)}, "trials": 3}, ValueError, "only 2 different configurations"),
        ({"searcher": "grid", "trials": 11}, ValueError, "'grid' has only 10 different"),
        ({"settings": {"hyperparameters": {"lr": 1}}}, ValueError, "'lr' is in the space and in hyperparameters"),
    ],
)
def test_wrong_settings_are_refused_in_the_caller(arguments, error, text):
    with pytest.raises(error, match=text):
        make(**arguments)


class Forgetful(Searcher):
    """A searcher whose record makes another one."""

    def suggest(self, history, number):
        return {}

    def to_json(self):
        return {"name": "random", "repeats": False}


def test_a_searcher_that_cannot_be_made_again_is_refused():
    with pytest.raises(TypeError, match="cannot be made again from its to_json"):
        make(searcher=Forgetful())


def test_a_study_that_never_began_says_so():
    with pytest.raises(WorkspaceError, match="has no events yet"):
        StudyState.replay([])


def test_an_objective_needs_a_name():
    for wrong in ("", "  ", None, 3):
        with pytest.raises(ValueError, match="name of a reported metric"):
            Maximize(wrong)


def test_studies_that_suggested_the_same_have_the_same_fingerprint():
    one, events = begin(make(), [], at=0.0)
    run_to(one, events, ("asked", {"number": 1, "parameters": {"lr": 0.1, "size": "small"}}))
    two = StudyState.replay(json.loads(json.dumps(events)))
    assert fingerprint(one) == fingerprint(two)
