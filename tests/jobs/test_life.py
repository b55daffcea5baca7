"""The life of a job: hand-made cases, and random lives that must keep the promises of the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.jobs import life
from headway.jobs.spec import JobSpec, ProgramRecord
from headway.records import decode, encode

PROGRAM = ProgramRecord(kind="function", name="train:fit", digest="d")


def spec(**settings: Any) -> JobSpec:
    return JobSpec(id="train-a-1", kind="train", name="a", version=1, program=PROGRAM, **settings)


def events(*given: tuple[str, dict[str, Any]], at: float = 100.0) -> life.JobState:
    return life.replay(life.LifeEvent(kind=kind, body=body, at=at) for kind, body in given)


STARTED = [("intended", {"attempt": 1}), ("started", {"attempt": 1, "handle": {"job": "j"}})]


def ended(rank: int = 0, code: int | None = 0, signal: str | None = None, attempt: int = 1, **more: Any) -> Any:
    return ("worker_ended", {"attempt": attempt, "rank": rank, "exit_code": code, "signal": signal, **more})


def test_a_quiet_life_is_start_settle_succeed_nothing() -> None:
    job = spec()
    state = life.JobState()
    assert life.decide(state, job, now=7.0) == [life.Start(attempt=1, not_before=7.0)]
    state = events(STARTED[0])
    assert life.decide(state, job, now=7.0) == [life.Start(attempt=1, not_before=7.0)], "no start is known yet"
    state = events(*STARTED)
    assert (state.status, state.live, state.attempts) == ("running", 1, 1)
    assert life.decide(state, job, now=8.0) == []
    state = events(*STARTED, ended())
    assert life.decide(state, job, now=8.0) == [life.Settle(attempt=1)]
    state = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": True}))
    assert life.decide(state, job, now=8.0) == [life.Succeed(attempt=1)]
    state = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": True}), ("chosen", {"attempt": 1}))
    assert life.decide(state, job, now=8.0) == []
    assert (state.status, state.ended, state.chosen) == ("succeeded", True, 1)


def test_one_dead_worker_stops_the_gang_and_all_errors_are_kept_first_cause_first() -> None:
    job = spec(workers=3, coupled=True, grace_s=5.0)
    state = events(*STARTED, ended(1, None, "SIGKILL", text="out of memory", log="algo-2/log.txt"))
    [stop] = life.decide(state, job, now=0.0)
    assert isinstance(stop, life.StopAll)
    assert (stop.attempt, stop.grace_s) == (1, 5.0)
    assert "algo-2 was killed by SIGKILL" in stop.reason
    state = events(
        *STARTED,
        ended(1, None, "SIGKILL", text="out of memory", log="algo-2/log.txt"),
        ended(2, None, "SIGTERM"),
        ended(0, 1, text="connection lost"),
        ("settled", {"attempt": 1, "ok": False}),
    )
    [fail] = life.decide(state, job, now=0.0)
    assert isinstance(fail, life.Fail)
    assert [error["worker"] for error in fail.errors] == ["algo-2", "algo-3", "algo-1"]
    assert fail.errors[0] == {
        "message": "out of memory", "log": "algo-2/log.txt", "worker": "algo-2", "attempt": 1, "exit_code": None,
        "signal": "SIGKILL",
    }  # fmt: skip
    assert "algo-2 was killed by SIGKILL: out of memory" in fail.reason


def test_errors_found_when_settling_replace_what_the_engine_saw() -> None:
    found = [{"worker": "algo-1", "message": "no outcome", "attempt": 1}]
    state = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": False, "errors": found}))
    [fail] = life.decide(state, spec(), now=0.0)
    assert isinstance(fail, life.Fail)
    assert list(fail.errors) == found
    assert "no outcome" in fail.reason


def test_back_off_doubles_from_one_second_to_a_minute() -> None:
    assert [life.back_off_s(n) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    job = spec(retries=2)
    once = [*STARTED, ended(0, 1), ("settled", {"attempt": 1, "ok": False})]
    assert life.decide(events(*once, at=100.0), job, now=100.2) == [life.Start(attempt=2, not_before=101.0)]
    assert life.decide(events(*once, at=100.0), job, now=500.0) == [life.Start(attempt=2, not_before=500.0)]
    ahead = life.decide(events(*once, at=9e9), job, now=100.0)
    assert ahead == [life.Start(attempt=2, not_before=101.0)], "another machine's clock may be ahead"
    twice = [*once, ("intended", {"attempt": 2}), ended(0, 1, attempt=2), ("settled", {"attempt": 2, "ok": False})]
    assert life.decide(events(*twice), job, now=100.0) == [life.Start(attempt=3, not_before=102.0)]


def test_an_abandoned_attempt_uses_up_no_retry_and_waits_for_nothing() -> None:
    state = events(*STARTED, ("abandoned", {"attempt": 1, "text": "its driver died"}))
    assert life.decide(state, spec(retries=0), now=5.0) == [life.Start(attempt=2, not_before=5.0)]


def test_workers_that_ended_before_the_driver_died_are_settled_and_not_run_again() -> None:
    assert life.decide(events(*STARTED, ended()), spec(), now=5.0) == [life.Settle(attempt=1)]


def test_a_stop_wins_over_a_retry_and_over_the_success_that_it_cut_short() -> None:
    job = spec(retries=5)
    stop = ("stop_requested", {"by": "Ctrl-C"})
    [order] = life.decide(events(*STARTED, stop), job, now=0.0)
    assert isinstance(order, life.StopAll)
    assert "Ctrl-C" in order.reason
    failed = events(*STARTED, stop, ended(0, 1), ("settled", {"attempt": 1, "ok": False}))
    assert life.decide(failed, job, now=0.0) == [life.Stopped(by="Ctrl-C")]
    graceful = events(*STARTED, stop, ended(0, 0), ("settled", {"attempt": 1, "ok": True}))
    assert life.decide(graceful, job, now=0.0) == [life.Stopped(by="Ctrl-C")], "it was told to end early"
    late = events(*STARTED, ended(0, 0), stop, ("settled", {"attempt": 1, "ok": True}))
    assert life.decide(late, job, now=0.0) == [life.Succeed(attempt=1)], "its work was done before"
    assert life.decide(events(stop), job, now=0.0) == [life.Stopped(by="Ctrl-C")]


def test_a_second_stop_may_shorten_the_grace_but_not_lengthen_it() -> None:
    stop, now = ("stop_requested", {"by": "Ctrl-C"}), ("stop_requested", {"by": "Ctrl-C", "grace_s": 0})
    later = ("stop_requested", {"by": "Ctrl-C", "grace_s": 99})
    graces = [
        life.decide(events(*STARTED, *asked), spec(grace_s=10.0), now=0.0)[0]
        for asked in ([stop], [stop, now], [now, later])
    ]
    assert [order.grace_s for order in graces if isinstance(order, life.StopAll)] == [10.0, 0.0, 0.0]


def test_the_time_limit_counts_from_when_it_left_the_queue_and_ends_an_attempt() -> None:
    job = spec(timeout_s=60.0, retries=1)
    assert life.deadline(life.JobState(), job) is None
    state = events(*STARTED, at=100.0)
    assert life.deadline(state, job) == 160.0
    state = life.apply(state, life.LifeEvent(kind="running", body={"attempt": 1}, at=130.0))
    assert life.deadline(state, job) == 190.0
    assert life.deadline(state, spec()) is None
    state = life.apply(state, life.LifeEvent(kind="timed_out", body={"attempt": 1}, at=191.0))
    assert life.deadline(state, job) is None
    [order] = life.decide(state, job, now=191.0)
    assert isinstance(order, life.StopAll)
    done = events(*STARTED, ("timed_out", {"attempt": 1}), ended(0, 0), ("settled", {"attempt": 1, "ok": True}))
    assert life.decide(done, spec(timeout_s=60.0, retries=1), now=100.0) == [life.Start(attempt=2, not_before=101.0)]
    [fail] = life.decide(done, spec(timeout_s=60.0), now=100.0)
    assert isinstance(fail, life.Fail)
    assert "time limit of 60 s" in fail.reason
    assert [error["message"] for error in fail.errors] == ["the time limit passed"], "also when it then ended well"


def test_items_go_on_when_a_worker_dies() -> None:
    state = events(*STARTED, ended(0, None, "SIGKILL"))
    assert life.decide(state, spec(mode="items", workers=2), now=0.0) == []
    done = events(*STARTED, ended(0, None, "SIGKILL"), ended(1), ("settled", {"attempt": 1, "ok": True}))
    assert life.decide(done, spec(mode="items", workers=2), now=0.0) == [life.Succeed(attempt=1)]


def test_damaged_outputs_take_success_back() -> None:
    state = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": True}), ("settled", {"attempt": 1, "ok": False}))
    [fail] = life.decide(state, spec(), now=0.0)
    assert isinstance(fail, life.Fail)
    again = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": False}), ("settled", {"attempt": 1, "ok": True}))
    assert isinstance(life.decide(again, spec(), now=0.0)[0], life.Fail), "but failure stays"


def test_a_reopened_job_has_all_its_retries_again_and_goes_on_counting() -> None:
    over = [*STARTED, ended(0, 1), ("settled", {"attempt": 1, "ok": False}), ("failed", {"reason": "x", "errors": []})]
    state = events(*over)
    assert (state.status, life.decide(state, spec(), now=1.0)) == ("failed", [])
    state = events(*over, ("reopened", {"by": "train"}))
    assert life.decide(state, spec(), now=1.0) == [life.Start(attempt=2, not_before=1.0)]
    done = events(
        *STARTED, ended(), ("settled", {"attempt": 1, "ok": True}), ("chosen", {"attempt": 1}), ("reopened", {})
    )
    assert done.status == "succeeded", "what has succeeded stays"


def test_unknown_and_late_events_change_nothing() -> None:
    state = events(*STARTED, ended(), ("settled", {"attempt": 1, "ok": True}), ("chosen", {"attempt": 1}))
    for late in (("stopped", {}), ("failed", {}), ended(0, 1), ("abandoned", {"attempt": 1}), ("metrics", {"x": 1})):
        assert life.apply(state, life.LifeEvent(kind=late[0], body=late[1], at=1.0)) == state


# ---------------------------------------------------------------------------------------------------------------------


class World:
    """A driver and the processes that it starts, with a ledger between them; it may die between any two steps."""

    def __init__(self, job: JobSpec) -> None:
        self.job, self.now = job, 1000.0
        self.log: list[life.LifeEvent] = []
        self.running: dict[int, set[int]] = {}
        self.state = life.JobState()
        self.most_alive = 0

    def append(self, kind: str, **body: Any) -> None:
        event = life.LifeEvent(kind=kind, body=body, at=self.now)
        self.log.append(event)
        self.state = life.apply(self.state, event)
        self.check()

    def check(self) -> None:
        assert life.replay(self.log) == self.state, "the same events give the same state"
        assert sum(one.live for one in self.state.history) <= 1
        self.most_alive = max(self.most_alive, sum(bool(ranks) for ranks in self.running.values()))
        assert self.most_alive <= 1, "never two attempts at once"
        kinds = [event.kind for event in self.log]
        starts, abandoned = kinds.count("intended"), sum(one.phase == "abandoned" for one in self.state.history)
        assert starts <= 1 + self.job.retries + abandoned
        if self.state.ended:
            assert life.decide(self.state, self.job, now=self.now) == []

    def drive(
        self, *, dies_before_start: bool = False, dies_after_start: bool = False, settles_ok: bool = True
    ) -> None:
        """Carry out what is decided."""
        for order in life.decide(self.state, self.job, now=self.now):
            match order:
                case life.Start(attempt=attempt, not_before=not_before):
                    self.now = max(self.now, not_before)
                    if attempt > self.state.attempts:
                        self.append("intended", attempt=attempt)
                    if dies_before_start:
                        return self.restart()
                    self.running.setdefault(attempt, set(range(self.job.workers)))
                    self.check()
                    if dies_after_start:
                        return self.restart()
                    self.append("started", attempt=attempt, handle={})
                case life.StopAll(attempt=attempt):
                    for rank in sorted(self.running.get(attempt, ())):
                        self.end(attempt, rank, None, "SIGTERM")
                case life.Settle(attempt=attempt):
                    assert not self.running.get(attempt), "settled while workers run"
                    ok = settles_ok and all(end.ok for end in self.state.history[-1].ends)
                    self.append("settled", attempt=attempt, ok=ok)
                case life.Succeed(attempt=attempt):
                    assert "stopped" not in {event.kind for event in self.log}
                    self.append("chosen", attempt=attempt)
                case life.Fail(reason=reason, errors=errors):
                    assert reason
                    assert errors
                    self.append("failed", reason=reason, errors=list(errors))
                case life.Stopped():
                    self.append("stopped")
        return None

    def end(self, attempt: int, rank: int, code: int | None, signal: str | None) -> None:
        if rank in self.running.get(attempt, set()):
            self.running[attempt].discard(rank)
            self.append("worker_ended", attempt=attempt, rank=rank, exit_code=code, signal=signal)

    def restart(self) -> None:
        """The driver dies: its workers die with it, and the next one takes over from the ledger."""
        self.running = {}
        self.state = life.replay(self.log)
        if self.state.live is not None and len(self.state.history[-1].ends) < self.job.workers:
            self.append("abandoned", attempt=self.state.live, text="its driver died")


ACTIONS = st.sampled_from(
    ["drive", "drive", "drive", "die", "die before start", "die after start", "end ok", "end badly", "kill", "stop",
     "time out", "damage", "wait"]
)  # fmt: skip


@given(
    retries=st.integers(0, 3), workers=st.integers(1, 3), mode=st.sampled_from(["run", "items"]),
    steps=st.lists(st.tuples(ACTIONS, st.integers(0, 2)), max_size=40),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_every_random_life_keeps_the_promises_and_ends(
    retries: int, workers: int, mode: Any, steps: list[tuple[str, int]]
) -> None:
    world = World(spec(retries=retries, workers=workers, coupled=workers > 1, mode=mode, timeout_s=10.0))
    stopped = False
    for action, rank in steps:
        live = world.state.live or 0
        rank %= workers
        do: dict[str, Callable[[], None]] = {
            "drive": world.drive,
            "die": world.restart,
            "die before start": lambda: world.drive(dies_before_start=True),
            "die after start": lambda: world.drive(dies_after_start=True),
            "end ok": lambda: world.end(live, rank, 0, None),
            "end badly": lambda: world.end(live, rank, 1, None),
            "kill": lambda: world.end(live, rank, None, "SIGKILL"),
            "stop": lambda: world.append("stop_requested", by="test"),
            "time out": lambda: world.append("timed_out", attempt=live),
            "damage": lambda: world.drive(settles_ok=False),
            "wait": lambda: None,
        }
        do[action]()
        world.now += 1.0
        stopped = stopped or action == "stop"
    for _ in range(20 * (retries + 2)):
        if world.state.ended:
            break
        world.drive()
        for attempt, ranks in list(world.running.items()):
            for rank in sorted(ranks):
                world.end(attempt, rank, 0, None)
    assert world.state.ended, world.log
    if stopped and world.state.status == "succeeded":
        chosen = next(one for one in world.state.history if one.number == world.state.chosen)
        assert not chosen.cut or chosen.cut_after == workers, "only work that was whole before the stop counts"


KINDS = [
    "intended", "started", "running", "worker_ended", "timed_out", "stop_requested", "settled", "abandoned", "chosen",
    "failed", "stopped", "reopened", "something else",
]  # fmt: skip
ANY_EVENT = st.builds(
    lambda kind, attempt, rank, code, ok, at: life.LifeEvent(
        kind=kind, body={"attempt": attempt, "rank": rank, "exit_code": code, "ok": ok, "handle": {}}, at=at
    ),
    st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, 2), st.sampled_from([0, 1, None]), st.booleans(),
    st.floats(0, 1e6),
)  # fmt: skip


@given(log=st.lists(ANY_EVENT, max_size=30), workers=st.integers(1, 3), retries=st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_events_gives_one_sound_state(log: list[life.LifeEvent], workers: int, retries: int) -> None:
    job = spec(workers=workers, retries=retries)
    state = life.JobState()
    was_stopped = False
    for event in log:
        before, state = state, life.apply(state, event)
        assert sum(one.live for one in state.history) <= 1
        assert [one.number for one in state.history] == sorted({one.number for one in state.history})
        if before.ended and event.kind != "reopened":
            assert state == before
        if event.kind == "stopped" and not before.ended:
            was_stopped = True
        if event.kind == "reopened":
            was_stopped = False
        assert not (was_stopped and state.status == "succeeded")
        orders = life.decide(state, job, now=5.0)
        assert len(orders) <= 1
        if state.live is not None:
            assert not [one for one in orders if isinstance(one, life.Start) and one.attempt != state.live]
    assert life.replay(log) == state
    assert decode(encode(state), life.JobState, where="test") == state


@pytest.mark.parametrize("kind", ["intended", "worker_ended"])
def test_an_event_without_its_fields_is_an_error_of_the_program(kind: str) -> None:
    with pytest.raises(KeyError):
        life.apply(events(*STARTED), life.LifeEvent(kind=kind, body={}, at=0.0))
