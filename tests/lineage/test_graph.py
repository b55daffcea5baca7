"""What came from what, over a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.lineage import graph
from headway.stores.ledger import Edge, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    for kind, name in [
        ("manifest", "photos"),
        ("dataset", "arrays"),
        ("train", "a"),
        ("train", "b"),
        ("model", "best"),
    ]:
        ledger.reserve(kind, name, lookup="", body={})
    ledger.link([
        Edge(source="manifest-photos-1", target="dataset-arrays-1", role="manifest"),
        Edge(source="process-arrays-1", target="dataset-arrays-1", role="job"),
        Edge(source="manifest-photos-1", target="process-arrays-1", role="manifest"),
        Edge(source="dataset-arrays-1", target="train-a-1", role="dataset"),
        Edge(source="dataset-arrays-1", target="train-b-1", role="dataset"),
        Edge(source="train-a-1", target="model-best-1", role="job"),
        Edge(source="dataset-arrays-1", target="model-best-1", role="dataset"),
    ])  # fmt: skip
    yield ledger
    ledger.close()


def test_from_a_model_to_all_that_it_came_from(ledger: Ledger) -> None:
    rows = graph.upstream(ledger, "model-best-1")
    assert [(row["id"], row["role"], row["of"], row["depth"]) for row in rows] == [
        ("dataset-arrays-1", "dataset", "model-best-1", 1),
        ("train-a-1", "job", "model-best-1", 1),
        ("process-arrays-1", "job", "dataset-arrays-1", 2),
        ("manifest-photos-1", "manifest", "dataset-arrays-1", 2),
        ("dataset-arrays-1", "dataset", "train-a-1", 2),
        ("manifest-photos-1", "manifest", "process-arrays-1", 3),
    ]
    assert rows[0] | {"role": ""} == {
        "id": "dataset-arrays-1", "kind": "dataset", "name": "arrays", "version": 1, "role": "", "of": "model-best-1",
        "depth": 1,
    }  # fmt: skip
    assert graph.ids(rows) == ["dataset-arrays-1", "train-a-1", "process-arrays-1", "manifest-photos-1"]
    assert graph.ids(rows, kind="manifest") == ["manifest-photos-1"]
    unknown = next(row for row in rows if row["id"] == "process-arrays-1")
    assert (unknown["kind"], unknown["name"], unknown["version"]) == (None, None, None)


def test_from_a_manifest_to_the_models_that_saw_it(ledger: Ledger) -> None:
    rows = graph.downstream(ledger, "manifest-photos-1")
    assert graph.ids(rows, kind="model") == ["model-best-1"]
    assert set(graph.ids(rows)) == {"dataset-arrays-1", "process-arrays-1", "train-a-1", "train-b-1", "model-best-1"}
    assert {row["id"] for row in graph.downstream(ledger, "manifest-photos-1", depth=1)} == {
        "dataset-arrays-1",
        "process-arrays-1",
    }
    assert graph.downstream(ledger, "nothing-1") == []


def test_a_circle_ends(ledger: Ledger) -> None:
    ledger.link([Edge(source="model-best-1", target="manifest-photos-1", role="pseudo labels")])
    assert "model-best-1" in graph.ids(graph.upstream(ledger, "model-best-1"))
    assert "model-best-1" in graph.ids(graph.downstream(ledger, "model-best-1"))
