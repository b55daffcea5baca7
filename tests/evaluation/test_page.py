from __future__ import annotations

import base64
from html.parser import HTMLParser

import numpy as np
import pytest
from scored import png

from headway.evaluation.compare import Comparison
from headway.evaluation.evaluation import Confusion, Evaluation, Sample
from headway.evaluation.page import MAX_PICTURE_BYTES, page, write_page

NASTY = '<script>alert("1")</script>\'\n&amp; ünïcode'
VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Tags, attributes and text of a page, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def evaluation(labels=("cat", "dog"), **given) -> Evaluation:
    one, two = labels
    samples = (
        Sample(channel="test", key=f"{one}/1.png", true=one, predicted=one, probability=0.9),
        Sample(channel="test", key=f"{two}/2.png", true=two, predicted=one, probability=0.7),
        Sample(channel="test", key=f"{two}/3.png", true=two, predicted=two),
    )
    values = {
        "id": "evaluate-a-1",
        "model": "train-a-1",
        "model_digest": "m" * 64,
        "dataset": "dataset-a-1",
        "dataset_digest": "d" * 64,
        "task": "classification",
        "metrics": {"test:accuracy": 2 / 3, "validation:accuracy": 0.5},
        "rows": {"validation": 2, "test": 3},
        "labels": {one: 0, two: 1},
        "samples": samples,
        "confusion": {"test": Confusion(labels=(one, two), counts=((1, 0), (1, 1)))},
    }
    return Evaluation(**{**values, **given})


def test_the_page_needs_no_other_file_and_no_script():
    found = Reader(page(evaluation(), raw=lambda key: png(np.zeros((8, 8)))))
    assert found.all("script") == []
    assert found.all("link") == []
    sources = [attrs["src"] for attrs in found.all("img")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert base64.b64decode(sources[0].partition(",")[2]) == png(np.zeros((8, 8)))
    assert "prefers-color-scheme: dark" in found.style


def test_wrong_predictions_come_first_and_are_marked_in_words():
    found = Reader(page(evaluation(), raw=None))
    kinds = [attrs["class"] for attrs in found.all("figure")]
    assert kinds == ["is-wrong", "is-right", "is-right"]
    text = " ".join(found.texts)
    assert text.index("wrong") < text.index("right")
    assert "instead of" in text


def test_names_are_text_whatever_they_contain():
    text = page(
        evaluation(labels=(NASTY, "dog"), model=NASTY, notes=(NASTY,)), raw=lambda key: NASTY.encode(), title=NASTY
    )
    found = Reader(text)
    assert found.all("script") == []
    assert "<script" not in text
    shown = "".join(found.texts)
    assert shown.count('<script>alert("1")</script>') >= 5
    for _, attrs in found.tags:
        assert not any(name.startswith("on") for name in attrs)


def test_the_matrix_has_every_count_and_heat():
    found = Reader(page(evaluation()))
    cells = [attrs for attrs in found.all("td") if attrs["class"] in ("right", "wrong", "none")]
    assert [attrs["class"] for attrs in cells] == ["right", "none", "wrong", "right"]
    assert all("--heat:" in attrs["style"] for attrs in cells if attrs["class"] != "none")
    assert cells[2]["title"] == "dog predicted as cat: 1"
    assert "50 % of 2" in " ".join(found.texts)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"hello,world\n1,2", "hello,world"),
        (b"\x00\x01\x02\xff" * 100, "400 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_PICTURE_BYTES), "too large to embed"),
        (None, "raw file not found"),
        ("ü".encode() * 5000, "üüü"),
    ],
)
def test_files_that_are_no_pictures_are_shown_as_what_they_are(data, shown):
    text = page(evaluation(), raw=lambda key: data)
    assert shown in " ".join(Reader(text).texts)
    assert len(text) < 100_000


def test_a_raw_file_that_is_gone_does_not_stop_the_page():
    def raw(key: str) -> bytes:
        raise FileNotFoundError(key)

    assert "raw file not found" in page(evaluation(), raw=raw)


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"RIFF1234WEBPVP8 ", "webp"), (b"BM\x00\x00", "bmp")],
)
def test_usual_pictures_are_recognised_by_their_bytes(start, kind):
    assert f"data:image/{kind};base64," in page(evaluation(), raw=lambda key: start + b"rest")


def test_metrics_notes_and_a_comparison_are_shown():
    comparison = Comparison(
        candidate="evaluate-a-1", champion="evaluate-k-1", candidate_model="train-a-1", champion_model="model-shoes-3",
        metric="test:accuracy", candidate_value=0.7, champion_value=0.6, difference=0.1, rows=3, verdict="unclear",
        text="No clear difference.",
    )  # fmt: skip
    found = Reader(page(evaluation(notes=("the channel validation is empty",)), comparison=comparison))
    text = " ".join(found.texts)
    for word in ("0.6667", "validation 0.5000", "Against model-shoes-3", "No clear difference.", "validation is empty"):
        assert word in text


def test_numbers_are_shown_with_their_true_value():
    samples = (Sample(channel="test", key="1.txt", true="3", predicted="2.5"),)
    found = page(evaluation(task="regression", samples=samples, confusion={}, metrics={"test:rmse": 0.5}))
    assert "true value <b>3</b>" in found
    assert "wrong" not in " ".join(Reader(found).texts)
    assert "Confusion" not in found


def test_the_file_is_written_whole(tmp_path):
    target = write_page(tmp_path / "a folder" / "page.html", evaluation())
    assert target.read_text(encoding="utf-8") == page(evaluation())
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]
