"""Why work ran again, in sentences."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from headway.jobs.spec import ChannelRef, InputRef, JobSpec, ProgramRecord
from headway.lineage.reuse import explain, say
from headway.lineage.trace import Change

PROGRAM = ProgramRecord(kind="function", name="train:fit", digest="d", module="train", qualname="fit")
OLD = JobSpec(
    id="train-a-1", kind="train", name="a", version=1, program=PROGRAM, hyperparameters={"lr": 0.1, "depth": 3},
    inputs=(InputRef(id="dataset-arrays-1", digest="x", role="dataset"),), seed=1,
    environment={"python": "3.11.7", "packages": {"numpy": "2.4"}}, options={"labels": 3},
)  # fmt: skip


def differ(**changes: Any) -> list[str]:
    return explain(OLD, replace(OLD, **changes), [])


def test_nothing_to_explain() -> None:
    assert explain(OLD, replace(OLD, id="", version=0, retries=9, timeout_s=1.0), []) == []


def test_each_difference_is_one_sentence() -> None:
    assert differ(hyperparameters={"lr": 0.2, "width": [1, 2]}) == [
        "argument depth: 3 -> not given",
        "argument lr: 0.1 -> 0.2",
        "argument width: not given -> [1, 2]",
    ]
    assert differ(inputs=(InputRef(id="dataset-arrays-2", digest="y", role="dataset"),)) == [
        "input dataset-arrays-1 -> dataset-arrays-2"
    ]
    assert differ(inputs=(InputRef(id="dataset-arrays-9", digest="x", role="dataset"),)) == [], "the content decides"
    assert differ(inputs=(InputRef(id="dataset-arrays-1", digest="y", role="dataset"),)) == [
        "input dataset-arrays-1 (dataset) has other content"
    ]
    assert differ(inputs=()) == ["input dataset-arrays-1 (dataset) was given before"]
    assert differ(inputs=(*OLD.inputs, InputRef(id="model-a-1", digest="z", role="model"))) == [
        "input model-a-1 (model) was not given before"
    ]
    assert differ(environment={"python": "3.11.7", "packages": {"numpy": "2.5"}}) == ["package numpy 2.4 -> 2.5"]
    assert differ(seed=2) == ["seed: 1 -> 2"]
    assert differ(program=replace(PROGRAM, name="train:other")) == ["program: train:fit -> train:other"]
    assert differ(workers=3) == [], "independent workers change no result"
    assert differ(workers=3, coupled=True) == ["workers: 1 -> 3"]
    assert differ(metrics={"loss": "(.)"}) == ["metric pattern loss: not given -> (.)"]
    assert differ(allow_test=True) == ["allow_test: False -> True"]
    assert differ(options={"labels": 4}) == ["option labels: 3 -> 4"]
    old = replace(OLD, options={"lookup": {"shards": 1, "sharding": "by_key"}})
    new = replace(OLD, options={"lookup": {"shards": 4, "sharding": "by_key"}})
    assert explain(old, new, []) == ["option lookup.shards: 1 -> 4"]


def test_channels_are_told_when_the_inputs_do_not_say_it() -> None:
    channel = ChannelRef(source="dataset-arrays-1", kind="dataset", digest="a")
    old = replace(OLD, channels={"train": channel})
    assert explain(old, replace(OLD, channels={"train": replace(channel, digest="b")}), []) == [
        "channel train has other content"
    ]
    assert explain(old, OLD, []) == ["channel train was given before"]


def test_changes_in_files_name_the_function() -> None:
    assert [
        say(change)
        for change in (
            Change(path="prepare.py", function="to_array"),
            Change(path="lib/sub/__init__.py", function="A.fit"),
            Change(path="prepare.py", function="<module>"),
            Change(path="conf/a.txt"),
            Change(path="extra.py", what="added"),
            Change(path="old.py", what="removed"),
            Change(path="/data/words.txt", what="unknown"),
            Change(path=".", what="unknown"),
        )
    ] == [
        "function prepare.to_array in prepare.py changed",
        "function lib.sub.A.fit in lib/sub/__init__.py changed",
        "prepare.py changed outside its functions",
        "conf/a.txt changed",
        "extra.py is new",
        "old.py is not there any more",
        "/data/words.txt was read, and what it held then is not known",
        "the code that was packed then cannot be read any more",
    ]


def test_long_values_and_many_packages_are_shortened() -> None:
    [line] = differ(hyperparameters={**OLD.hyperparameters, "lr": list(range(1000))})
    assert len(line) < 120
    lines = differ(environment={"python": "3.11.7", "packages": {f"p{n}": "1" for n in range(50)}})
    assert len(lines) == 11
    assert lines[-1] == "and 41 more differences in the environment"
