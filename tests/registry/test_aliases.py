from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registering import Adds, open_workspace
from scored import save_in_job

from headway.errors import NotFoundError
from headway.registry.aliases import promote, remove_alias, rollback, state_of, tag
from headway.registry.history import ModelState, apply, replay
from headway.registry.lookup import history, load, resolve, rows, search
from headway.registry.register import register


@dataclass
class Event:
    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    at: float = 1.0


@pytest.fixture
def workspace(tmp_path):
    """Three versions of one model and one of another."""
    files, ledger = open_workspace(tmp_path)
    for number in (1, 2, 3):
        folder = save_in_job(files, Adds(number), job=f"train-a-{number}")
        register(files, ledger, "adds", model_folder=folder, metrics={"test:accuracy": (0.8, 0.9, 1.0)[number - 1]})
    folder = save_in_job(files, Adds(9), job="train-b-1")
    register(files, ledger, "others", model_folder=folder, metrics={"test:loss": 0.5}, tags={"team": "north"})
    yield files, ledger
    assert ledger.check() == []
    ledger.close()


def test_references_name_versions(workspace):
    files, ledger = workspace
    promote(files, ledger, "adds", version=2, alias="champion")
    wanted = {"adds": 3, "adds@latest": 3, "adds@1": 1, "adds@champion": 2, "model-adds-1": 1}
    assert {ref: resolve(files, ledger, ref).version for ref in wanted} == wanted
    assert resolve(files, ledger, "adds@2").aliases == ("champion",)
    assert load(files, ledger, "adds@champion").predict([1]) == [3]


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("add", r"no registered model named 'add'; did you mean 'adds'\?"),
        ("zzz", r"no registered model named 'zzz'; known: adds, others"),
        ("adds@7", "no version or alias named 'adds@7'; did you mean"),
        ("adds@chompion", "no version or alias named 'adds@chompion'"),
        ("adds@0", "no version or alias named 'adds@0'"),
    ],
)
def test_unknown_references_list_the_known(ref, text, workspace):
    files, ledger = workspace
    promote(files, ledger, "adds", version=2)
    with pytest.raises(NotFoundError, match=text):
        resolve(files, ledger, ref)


def test_promotions_say_who_when_from_where_and_why(workspace):
    files, ledger = workspace
    promote(files, ledger, "adds", version=1, by="ada", why="the first")
    assert promote(files, ledger, "adds", version=1, by="ada") is None
    promote(files, ledger, "adds", version=3, by="bob", why="more accurate")
    one, two = history(ledger, "adds")
    assert (one.kind, one.by, one.why, one.version, one.previous) == ("promoted", "ada", "the first", 1, None)
    assert (two.by, two.why, two.version, two.previous, two.alias) == ("bob", "more accurate", 3, 1, "champion")
    assert two.at >= one.at > 1.6e9


def test_roll_back_returns_to_the_version_before_and_again_further(workspace):
    files, ledger = workspace
    for version in (1, 3, 2):
        promote(files, ledger, "adds", version=version)
    assert rollback(ledger, "adds", why="it drifts").version == 3
    assert resolve(files, ledger, "adds@champion").version == 3
    assert rollback(ledger, "adds").version == 1
    with pytest.raises(ValueError, match="cannot roll back adds@champion: it has pointed at version 1 only"):
        rollback(ledger, "adds")
    promote(files, ledger, "adds", version=2)
    assert rollback(ledger, "adds").version == 1
    assert [line.kind for line in history(ledger, "adds")].count("rolled_back") == 3


def test_aliases_are_apart_and_can_be_removed(workspace):
    files, ledger = workspace
    promote(files, ledger, "adds", version=1, alias="champion")
    promote(files, ledger, "adds", version=1, alias="shadow")
    assert resolve(files, ledger, "adds@1").aliases == ("champion", "shadow")
    remove_alias(ledger, "adds", alias="champion")
    assert resolve(files, ledger, "adds@1").aliases == ("shadow",)
    with pytest.raises(
        NotFoundError, match="no alias named 'adds@champion'; did you mean 'adds@shadow'|known: adds@shadow"
    ):
        rollback(ledger, "adds", alias="champion")
    assert state_of(ledger, "others").aliases == {}


@pytest.mark.parametrize("alias", ["3", "latest", "", "a@b", "with space"])
def test_aliases_that_could_be_mistaken_are_refused(alias, workspace):
    files, ledger = workspace
    with pytest.raises(ValueError, match="alias must"):
        promote(files, ledger, "adds", version=1, alias=alias)


def test_only_whole_versions_can_be_promoted(workspace):
    files, ledger = workspace
    with pytest.raises(NotFoundError, match="no version named 'adds@9'"):
        promote(files, ledger, "adds", version=9)
    with pytest.raises(NotFoundError, match="no model named 'nothing'"):
        rollback(ledger, "nothing")


def test_tags_are_set_changed_and_removed(workspace):
    files, ledger = workspace
    tag(files, ledger, "adds", version=1, tags={"team": "vision", "stage": "trial"})
    tag(files, ledger, "adds", version=1, tags={"stage": "live"}, remove=("team", "unheard of"))
    assert resolve(files, ledger, "adds@1").tags == {"stage": "live"}
    assert resolve(files, ledger, "adds@2").tags == {}
    assert [line.kind for line in history(ledger, "adds")] == ["tagged", "tagged", "untagged"]
    tag(files, ledger, "adds", version=1, tags={"stage": "live"})
    assert len(history(ledger, "adds")) == 3


def test_search_finds_by_text_tags_and_metrics(workspace):
    files, ledger = workspace
    promote(files, ledger, "adds", version=2, alias="Canary")

    def found(**given):
        return [row["ref"] for row in search(files, ledger, **given)]

    assert found() == ["others@1", "adds@3", "adds@2", "adds@1"]
    assert found(text="ADD") == ["adds@3", "adds@2", "adds@1"]
    assert found(text="canary") == ["adds@2"]
    assert found(text="north") == found(tags={"team": "north"}) == ["others@1"]
    assert found(metrics=["test:accuracy>=0.9"]) == ["adds@3", "adds@2"]
    assert found(metrics=["test:accuracy > 0.85", "test:accuracy<1"]) == ["adds@2"]
    assert found(metrics=["test:loss=0.5"]) == ["others@1"]
    assert found(text="adds", tags={"team": "north"}) == []
    with pytest.raises(ValueError, match=r"must look like 'test:accuracy>=0\.9', got 'accuracy'"):
        found(metrics=["accuracy"])


def test_rows_are_plain_and_newest_first(workspace):
    files, ledger = workspace
    (row,) = rows(files, ledger, name="others")
    assert row["id"] == "model-others-1"
    assert row["metrics"] == {"test:loss": 0.5}
    assert row["tags"] == {"team": "north"}
    assert row["aliases"] == []
    assert row["format"] == "pickle"


def test_history_of_nothing_is_an_error(workspace):
    with pytest.raises(NotFoundError, match="no registered model named 'nope'"):
        history(workspace[1], "nope")


def _promote_many(root: str, versions: list[int], start) -> None:
    files, ledger = open_workspace(root)
    start.wait()
    for version in versions:
        promote(files, ledger, "adds", version=version, by=str(version))
    ledger.close()


@pytest.mark.slow
def test_processes_that_promote_at_once_leave_one_chain(workspace, tmp_path):
    """Each promotion's `previous` is what the one before left: no decision was made on an old state."""
    files, ledger = workspace
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Event()
    children = [
        spawn.Process(target=_promote_many, args=(str(tmp_path), order * 5, start)) for order in ([1, 2, 3], [3, 1, 2])
    ]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    lines = history(ledger, "adds")
    assert lines[0].previous is None
    for before, after in zip(lines, lines[1:], strict=False):
        assert after.previous == before.version
        assert after.version != before.version
    assert state_of(ledger, "adds").aliases == {"champion": lines[-1].version}


promotions = st.lists(
    st.one_of(
        st.builds(lambda a, v: Event("promoted", {"alias": a, "version": v}), st.sampled_from("xy"), st.integers(1, 4)),
        st.builds(lambda a: Event("rolled_back", {"alias": a}), st.sampled_from("xy")),
        st.builds(lambda a: Event("alias_removed", {"alias": a}), st.sampled_from("xy")),
        st.builds(lambda v: Event("tagged", {"version": v, "tags": {"k": "v"}}), st.integers(1, 4)),
        st.builds(lambda v: Event("untagged", {"version": v, "tags": {"k": "v"}}), st.integers(1, 4)),
        st.just(Event("invented_later", {"alias": "x", "version": 1})),
    ),
    max_size=30,
)


@given(promotions)
def test_replay_is_the_fold_of_apply_and_keeps_every_known_event(events):
    state = ModelState()
    for event in events:
        before, state = state, apply(state, event)
        assert before == replay(events[: len(before.history)]) or "invented_later" in {e.kind for e in events}
    assert state == replay(events)
    assert len(state.history) == sum(event.kind != "invented_later" for event in events)
    assert all(stack[-1] in stack for stack in state.stacks.values() if stack)


@given(promotions, st.integers(5, 9))
def test_a_promotion_and_its_roll_back_leave_the_alias_as_it_was(events, version):
    before = replay(events)
    after = apply(
        apply(before, Event("promoted", {"alias": "x", "version": version})), Event("rolled_back", {"alias": "x"})
    )
    assert after.aliases == before.aliases


def test_looking_models_up_loads_no_large_library():
    program = (
        "import sys, headway.registry.lookup, headway.registry.predictor, headway.evaluation.gates; "
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'sklearn', 'sqlalchemy', 'cloudpickle') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
