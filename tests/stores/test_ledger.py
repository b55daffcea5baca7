"""The ledger's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading

import pytest

from headway.errors import FencedError, NotFoundError, WorkspaceError
from headway.stores.ledger import Driver, Edge, Ledger, check_name, is_alive, this_driver

ELSEWHERE = Driver(host="elsewhere", boot_id="another", pid=1, started_at=1.0)


def claim(ledger: Ledger, owner: str = "job-1", **options):
    lease = ledger.claim(owner, **options)
    assert lease is not None
    return lease


def dead_driver() -> Driver:
    """A driver of this machine whose process has ended."""
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        from headway.stores.driver import _started_at

        started = _started_at(process.pid)
        process.communicate(b"\n")
    mine = this_driver()
    return Driver(host=mine.host, boot_id=mine.boot_id, pid=process.pid, started_at=started or 0.0)


def test_events_come_back_in_order_with_their_bodies(ledger: Ledger) -> None:
    lease = claim(ledger)
    body = {"text": "ä\0\n'\"", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    assert ledger.append(lease, [("intended", body), ("started", {})]) == 2
    assert ledger.append(lease, []) == 2
    assert ledger.append(lease, [("ended", {"n": 1})]) == 3
    events = ledger.events("job-1")
    assert [(e.sequence, e.kind, e.epoch) for e in events] == [(1, "intended", 1), (2, "started", 1), (3, "ended", 1)]
    assert events[0].body == body
    assert events[0].at <= events[2].at
    assert [e.sequence for e in ledger.events("job-1", after=1)] == [2, 3]
    assert [e.kind for e in ledger.events("job-1", kinds=["ended", "intended", "other"])] == ["intended", "ended"]
    assert ledger.events("job-1", kinds=[]) == []
    assert ledger.events("nobody") == []


def test_a_living_driver_keeps_its_work_and_a_dead_one_loses_it(ledger: Ledger) -> None:
    first = claim(ledger)
    assert ledger.claim("job-1") is None
    holder = ledger.holder("job-1")
    assert holder is not None
    assert (holder.epoch, holder.driver, holder.alive) == (1, this_driver(), True)
    ledger.release(first)
    assert ledger.holder("job-1") is None
    dead = claim(ledger, driver=dead_driver())
    assert dead.epoch == 2
    holder = ledger.holder("job-1")
    assert holder is not None
    assert not holder.alive
    assert claim(ledger).epoch == 3


def test_a_driver_elsewhere_is_followed_until_its_heartbeat_is_old(ledger: Ledger, monkeypatch) -> None:
    lease = claim(ledger, driver=ELSEWHERE)
    assert is_alive(ELSEWHERE) is None
    assert ledger.claim("job-1") is None
    ledger.heartbeat(lease)
    monkeypatch.setattr("headway.stores.ledger.HEARTBEAT_TIMEOUT_S", 0.0)
    taken = claim(ledger)
    assert taken.epoch == 2
    with pytest.raises(FencedError, match="job-1"):
        ledger.heartbeat(lease)


def test_who_was_taken_over_publishes_nothing(ledger: Ledger) -> None:
    old = claim(ledger)
    ledger.append(old, [("a", {})])
    entry, _ = ledger.reserve("train", "x", lookup="1", body={})
    new = claim(ledger, force=True)
    with pytest.raises(FencedError, match=r"epoch 2, this lease has 1"):
        ledger.append(old, [("b", {})])
    with pytest.raises(FencedError):
        ledger.update_entry(entry.id, {"status": "done"}, lease=old)
    ledger.release(old)  # does nothing to the new one
    assert ledger.append(new, [("c", {})]) == 2
    with pytest.raises(FencedError):
        ledger.append(old, [("b", {})])
    assert [(e.kind, e.epoch) for e in ledger.events("job-1")] == [("a", 1), ("c", 2)]
    assert ledger.by_id(entry.id).body == {}  # type: ignore[union-attr]


def test_an_append_is_all_or_nothing(ledger: Ledger) -> None:
    lease = claim(ledger)
    with pytest.raises(TypeError):
        ledger.append(lease, [("a", {}), ("b", {"x": object()})])
    with pytest.raises((WorkspaceError, TypeError)):
        ledger.append(lease, [("a", {}), (None, {})])  # type: ignore[list-item]
    assert ledger.events("job-1") == []
    assert ledger.append(lease, [("a", {})]) == 1


def test_threads_under_one_lease_leave_no_gap(ledger: Ledger) -> None:
    lease = claim(ledger)
    got: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            got.append(ledger.append(lease, [("t", {"thread": number, "turn": turn})]))
            ledger.events("job-1", after=10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(1, 121))
    events = ledger.events("job-1")
    assert [e.sequence for e in events] == list(range(1, 121))
    for number in range(6):
        assert [e.body["turn"] for e in events if e.body["thread"] == number] == list(range(20))


def test_owners_are_listed_by_prefix_in_code_point_order(ledger: Ledger) -> None:
    for owner in ("train-b-1", "train-a-1", "tune-a-1", "Train", "train_", "träin"):
        claim(ledger, owner)
    assert ledger.owners() == ["Train", "train-a-1", "train-b-1", "train_", "träin", "tune-a-1"]
    assert ledger.owners("train-") == ["train-a-1", "train-b-1"]
    assert ledger.owners("100%") == []
    with pytest.raises(ValueError, match="owner"):
        ledger.claim("")


def test_reserve_returns_the_same_or_makes_the_next(ledger: Ledger) -> None:
    one, made = ledger.reserve("train", "a", lookup="x", body={"status": "new"})
    assert (one.id, one.version, made) == ("train-a-1", 1, True)
    assert ledger.reserve("train", "a", lookup="x", body={"other": 1}) == (one, False)
    two, made = ledger.reserve("train", "a", lookup="y", body={})
    assert (two.version, made) == (2, True)
    three, made = ledger.reserve("train", "a", lookup="y", body={}, expect=2)
    assert (three.id, made) == ("train-a-3", True)
    assert ledger.reserve("train", "a", lookup="y", body={}, expect=2) == (three, False)
    assert ledger.reserve("train", "a", lookup="new", body={}, expect=0) == (three, False)
    first, made = ledger.reserve("train", "b", lookup="y", body={}, expect=0)
    assert (first.version, made) == (1, True)
    with pytest.raises(NotFoundError, match="version 4"):
        ledger.reserve("train", "c", lookup="y", body={}, expect=4)


def test_entries_are_found_and_updated(ledger: Ledger) -> None:
    ledger.reserve("train", "a", lookup="x", body={"status": "new", "metrics": {"f1": 0.5}})
    ledger.reserve("train", "a", lookup="y", body={})
    ledger.reserve("model", "a", lookup="x", body={})
    assert [e.id for e in ledger.entries()] == ["model-a-1", "train-a-1", "train-a-2"]
    assert [e.id for e in ledger.entries("train")] == ["train-a-1", "train-a-2"]
    assert [e.id for e in ledger.entries(name="a")] == ["model-a-1", "train-a-1", "train-a-2"]
    assert [e.id for e in ledger.entries("model", "a")] == ["model-a-1"]
    assert ledger.entries("model", "b") == []
    assert ledger.entry("train", "a").version == 2  # type: ignore[union-attr]
    assert ledger.entry("train", "a", 1).lookup == "x"  # type: ignore[union-attr]
    assert ledger.entry("train", "a", 9) is None
    assert ledger.by_id("train-a-9") is None
    ledger.update_entry("train-a-1", {"status": None, "more": 1})
    assert ledger.by_id("train-a-1").body == {"metrics": {"f1": 0.5}, "more": 1}  # type: ignore[union-attr]
    with pytest.raises(NotFoundError, match="train-a-9"):
        ledger.update_entry("train-a-9", {})


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a" * 81, "ä", "a\n"])
def test_names_that_are_none_are_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ValueError, match="name must be"):
        ledger.reserve("train", name, lookup="", body={})
    with pytest.raises(ValueError, match="kind must be"):
        ledger.reserve(name, "a", lookup="", body={})


def test_names_of_all_allowed_forms_are_taken() -> None:
    for name in ("a", "A9._-", "9", "a" * 80):
        assert check_name(name) == name


def test_parallel_reservations_make_each_version_once(ledger: Ledger) -> None:
    made: list[tuple[int, bool]] = []

    def work(number: int) -> None:
        for turn in range(5):
            entry, new = ledger.reserve("model", "m", lookup=f"{number}-{turn}", body={})
            made.append((entry.version, new))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [(version, True) for version in range(1, 26)]


def test_edges_are_recorded_once(ledger: Ledger) -> None:
    edges = [Edge(source="a", target="b", role="data"), Edge(source="a", target="c", role="data")]
    ledger.link([*edges, edges[0]])
    ledger.link([*edges, Edge(source="c", target="b", role="parent")])
    ledger.link([])
    assert ledger.edges("a") == edges
    assert [edge.source for edge in ledger.edges(target="b")] == ["a", "c"]
    assert ledger.edges("a", "c") == edges[1:]
    assert len(ledger.edges()) == 3


def test_opened_again_it_is_the_same(ledger: Ledger, ledger_url: str) -> None:
    lease = claim(ledger)
    ledger.append(lease, [("a", {"x": 1})])
    ledger.release(lease)
    with Ledger.open(ledger_url, create=False) as again:
        assert again.events("job-1") == ledger.events("job-1")
        taken = again.claim("job-1")
        assert taken is not None
        assert again.append(taken, [("b", {})]) == 2
    with Ledger.open(ledger_url, read_only=True) as reading:
        assert len(reading.events("job-1")) == 2
        with pytest.raises(WorkspaceError, match="reading only"):
            reading.claim("job-1")


def test_closed_it_says_so(ledger_url: str) -> None:
    ledger = Ledger.open(ledger_url)
    ledger.close()
    ledger.close()
    with pytest.raises(WorkspaceError, match="was closed"):
        ledger.events("x")


def test_where_there_is_none_it_says_so(ledger_url: str) -> None:
    with pytest.raises(WorkspaceError, match="there is no ledger"):
        Ledger.open(ledger_url, create=False)
    with pytest.raises(WorkspaceError, match="there is no ledger"):
        Ledger.open(ledger_url, read_only=True)


def test_the_check_finds_a_gap(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        lease = claim(ledger)
        ledger.append(lease, [("a", {})] * 3)
        ledger._database.write(lambda cursor: cursor.execute("DELETE FROM headway_events WHERE sequence = 2") and None)
        assert ledger.check() == ["the events of 'job-1' have gaps: 2 events numbered 1 to 3"]
