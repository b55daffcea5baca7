from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored import DIGIT_LABELS, digit_channels, digits, run_evaluation, worker_context, write_dataset
from sklearn import metrics as reference
from sklearn.linear_model import LinearRegression, LogisticRegression

from headway.errors import DataChangedError, ManifestError, NotFoundError, ProgramError
from headway.evaluation import scoring
from headway.evaluation.entry import evaluate
from headway.evaluation.golden import differences, read_golden
from headway.evaluation.predictions import canonical, digest_predictions
from headway.models.model import load, save


@pytest.fixture(scope="module")
def images():
    return digits()


@pytest.fixture(scope="module")
def fitted(images):
    rows, target = images
    return LogisticRegression(max_iter=300).fit(rows[:300].reshape(300, -1), target[:300])


@pytest.fixture
def scored(images, fitted, tmp_path):
    """The digits' dataset and a model of them: (folder of the dataset, folder of the model, channels)."""
    channels = digit_channels(*images)
    write_dataset(tmp_path / "dataset", channels, labels=DIGIT_LABELS, parts=3)
    save(fitted, tmp_path / "model", labels=DIGIT_LABELS)
    return tmp_path / "dataset", tmp_path / "model", channels


def few(tmp_path, model, *, test=("a", "b", "a", "b"), validation=("a", "b"), labels=None, **given):
    """An evaluation of a model on a handful of rows; a row's only value is its number."""
    known = labels or {"a": 0, "b": 1}
    rows = {
        name: (
            [f"{label}/{name}{n}" for n, label in enumerate(of)],
            [known[label] for label in of],
            np.arange(len(of)) * 1.0,
        )
        for name, of in (("train", tuple(known)[:2]), ("validation", validation), ("test", test))
    }
    write_dataset(tmp_path / "d", rows, labels=known)
    save(model, tmp_path / "m", labels=given.pop("own", None))
    return run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o", **given)


class Answer:
    """Answers every row with the same thing, or with what a function of the rows says."""

    def __init__(self, say, sure=None, classes=None):
        self.say, self.sure = say, sure
        if classes is not None:
            self.classes_ = np.asarray(classes)
        if sure is not None:
            self.predict_proba = self._predict_proba

    def predict(self, rows):
        return self.say(rows) if callable(self.say) else [self.say] * len(rows)

    def _predict_proba(self, rows):
        return np.tile(np.asarray(self.sure, dtype=float), (len(rows), 1))


def test_metrics_are_those_of_scikit_learn(scored, fitted, tmp_path):
    dataset, model, channels = scored
    found = run_evaluation(dataset, model, tmp_path / "o", job="evaluate-digits-1", model_ref="train-digits-1")
    for name in ("validation", "test"):
        _, true, values = channels[name]
        rows = np.stack(values).reshape(len(values), -1)
        predicted, sure = fitted.predict(rows), fitted.predict_proba(rows)
        assert found.metrics[f"{name}:accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
        assert found.metrics[f"{name}:f1_macro"] == pytest.approx(reference.f1_score(true, predicted, average="macro"))
        assert found.metrics[f"{name}:log_loss"] == pytest.approx(reference.log_loss(true, sure))
        assert found.metrics[f"{name}:roc_auc_ovr"] == pytest.approx(
            reference.roc_auc_score(true, sure, multi_class="ovr")
        )
        table = reference.confusion_matrix(true, predicted)
        assert [list(row) for row in found.confusion[name].counts] == table.tolist()
    assert found.rows == {"validation": 80, "test": 80}
    assert (found.id, found.model, found.dataset, found.task) == (
        "evaluate-digits-1", "train-digits-1", "dataset-arrays-1", "classification",
    )  # fmt: skip
    assert found.notes == ()


def test_the_table_has_every_row_once_in_canonical_order(scored, fitted, tmp_path):
    dataset, model, channels = scored
    found = run_evaluation(dataset, model, tmp_path / "o")
    table = pq.read_table(tmp_path / "o" / "predictions.parquet")
    places = list(zip(table.column("channel").to_pylist(), table.column("key").to_pylist(), strict=True))
    assert places == sorted(places)
    assert {key for channel, key in places if channel == "test"} == set(channels["test"][0])
    truth = dict(zip(channels["test"][0], channels["test"][1], strict=True))
    for row in table.to_pylist():
        if row["channel"] == "test":
            assert row["true"] == truth[row["key"]]
            assert 0 <= row["probability_true"] <= row["probability"] <= 1 or row["predicted"] != row["true"]
    assert digest_predictions(table) == found.predictions_digest


def test_the_digest_does_not_depend_on_shards_parts_or_batches(images, fitted, tmp_path, monkeypatch):
    channels = digit_channels(*images)
    save(fitted, tmp_path / "m", labels=DIGIT_LABELS)
    digests = set()
    for parts in (1, 4):
        turned = {name: tuple(np.asarray(c, dtype=object)[::-1] for c in rows[:2]) for name, rows in channels.items()}
        rows = {
            name: (list(turned[name][0]), list(turned[name][1]), channels[name][2][::-1])
            if parts == 4
            else channels[name]
            for name in channels
        }
        write_dataset(tmp_path / f"d{parts}", rows, labels=DIGIT_LABELS, parts=parts)
        monkeypatch.setattr(scoring, "BATCH_BYTES", 256 * 7 if parts == 4 else 64_000_000)
        found = run_evaluation(tmp_path / f"d{parts}", tmp_path / "m", tmp_path / f"o{parts}")
        digests.add((found.predictions_digest, found.dataset_digest, found.digest))
    assert len(digests) == 1


def test_samples_show_wrong_ones_first_and_are_the_same_each_time(scored, tmp_path):
    dataset, model, _ = scored
    first = run_evaluation(dataset, model, tmp_path / "o", samples=10)
    again = run_evaluation(dataset, model, tmp_path / "p", samples=10)
    assert first.samples == again.samples
    assert len(first.samples) == 10
    wrong = [sample.is_right for sample in first.samples]
    assert wrong == sorted(wrong)
    assert 0 < wrong.count(False) <= 10
    assert {sample.channel for sample in first.samples} == {"test"}
    sure = [sample.probability for sample in first.samples if not sample.is_right]
    assert sure == sorted(sure, reverse=True)


def test_golden_predictions_are_made_again_by_the_same_model_only(scored, fitted, tmp_path):
    dataset, model, _ = scored
    run_evaluation(dataset, model, tmp_path / "o")
    golden, rows = read_golden(tmp_path / "o" / "golden")
    assert len(golden.rows) == len(rows) == 8
    assert differences(load(model), golden, rows) == []
    other = LogisticRegression(max_iter=300, C=1e-4).fit(np.stack(rows).reshape(8, -1), np.arange(8))
    save(other, tmp_path / "other", labels=DIGIT_LABELS)
    assert differences(load(tmp_path / "other"), golden, rows)


def test_only_the_metrics_that_are_asked_for_are_computed(scored, tmp_path):
    dataset, model, _ = scored
    found = run_evaluation(dataset, model, tmp_path / "o", metrics=["cohen_kappa", "top_3_accuracy"])
    assert sorted(found.metrics) == [
        f"{c}:{m}" for c in ("test", "validation") for m in ("cohen_kappa", "top_3_accuracy")
    ]
    with pytest.raises(NotFoundError, match="no metric named 'acuracy'; did you mean 'accuracy'"):
        run_evaluation(dataset, model, tmp_path / "p", metrics=["acuracy"])
    with pytest.raises(ValueError, match="'r2' is a metric of regression, the model does classification"):
        run_evaluation(dataset, model, tmp_path / "p", metrics=["r2"])


def test_an_empty_channel_is_a_note_and_empty_ones_alone_an_error(tmp_path):
    found = few(tmp_path, Answer(0), validation=())
    assert found.rows == {"test": 4}
    assert "the channel validation is empty: not scored" in found.notes
    with pytest.raises(ManifestError, match="nothing to score: the channels validation and test of dataset-arrays-1"):
        few(tmp_path / "none", Answer(0), validation=(), test=())


def test_one_class_alone_in_the_test_channel_is_said_and_roc_auc_left_out(tmp_path):
    found = few(tmp_path, Answer(0, sure=[0.9, 0.1], classes=[0, 1]), test=("a", "a", "a"))
    assert found.metrics["test:accuracy"] == 1.0
    assert "test:roc_auc_ovr" not in found.metrics
    assert "test: roc_auc_ovr is left out: no row of the channel is 'b'" in found.notes
    assert "test: all rows are 'a': these scores say little" in found.notes
    assert found.metrics["validation:roc_auc_ovr"] == 0.5
    with pytest.raises(NotFoundError, match="roc_auc_ovr is left out"):
        found.metric("test:roc_auc_ovr")


def test_without_probabilities_their_metrics_are_left_out(tmp_path):
    found = few(tmp_path, Answer(0))
    assert "test: log_loss is left out: the model gives no probabilities" in found.notes
    assert found.samples[0].probability is None


def test_labels_that_the_model_never_saw_count_as_wrong(tmp_path):
    labels = {"a": 0, "b": 1, "boot": 2}
    found = few(tmp_path, Answer(0), labels=labels, test=("a", "boot", "boot"), own={"a": 0, "b": 1})
    assert found.metrics["test:accuracy"] == pytest.approx(1 / 3)
    assert "test: the model was trained without 'boot': the 2 rows of it count as wrong" in found.notes


def test_labels_that_only_the_model_knows_get_codes_of_their_own(tmp_path):
    found = few(tmp_path, Answer(7), own={"a": 0, "b": 1, "sandal": 7})
    assert found.metrics["test:accuracy"] == 0.0
    assert found.labels == {"a": 0, "b": 1, "sandal": 2}
    assert {sample.predicted for sample in found.samples} == {"sandal"}


def test_codes_mean_what_the_model_was_trained_with(tmp_path):
    """Trained where `b` was 0 and `a` was 1, scored on data that number them the other way round."""
    found = few(tmp_path, Answer(lambda rows: [1, 0, 1, 0][: len(rows)]), own={"b": 0, "a": 1})
    assert found.metrics["test:accuracy"] == 1.0


def test_a_model_may_answer_with_labels_or_columns(tmp_path):
    words = few(tmp_path / "words", Answer(lambda rows: ["a", "b", "a", "b"][: len(rows)]))
    assert words.metrics["test:accuracy"] == 1.0
    table = np.array([[0.8, 0.2], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7]])
    columns = few(tmp_path / "columns", lambda rows: table[: len(rows)])
    assert columns.metrics["test:accuracy"] == 1.0
    assert columns.metrics["test:log_loss"] == pytest.approx(-np.log([0.8, 0.9, 0.6, 0.7]).mean())


def test_scores_that_are_no_probabilities_still_give_classes(tmp_path):
    table = np.array([[3.0, -1.0], [-2.0, 5.0], [1.0, 0.0], [0.0, 9.0]])
    found = few(tmp_path, lambda rows: table[: len(rows)])
    assert found.metrics["test:accuracy"] == 1.0
    assert "test:log_loss" not in found.metrics


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Answer(lambda rows: [0] * (len(rows) - 1)), "was asked to predict 2 rows and gave 1 answers"),
        (lambda rows: 3.0, "was asked to predict 2 rows and gave one value"),
        (Answer(float("nan")), "predicted nan for 2 of 2 rows"),
        (Answer(0.5), r"must predict classes \(codes or labels\), got the number"),
        (Answer(1j), "must predict codes or labels, got values of type complex128"),
    ],
)
def test_answers_that_cannot_be_scored_are_named(model, text, tmp_path):
    with pytest.raises(ProgramError, match=text):
        few(tmp_path, model)


def test_probabilities_with_nan_are_left_out(tmp_path):
    found = few(tmp_path, Answer(0, sure=[np.nan, 1.0], classes=[0, 1]))
    assert "test: probabilities were left out: 4 rows have NaN or infinite ones" in found.notes
    assert found.metrics["test:accuracy"] == 0.5


def test_numbers_are_scored_as_regression(tmp_path):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(60, 3))
    values = rows @ [1.0, -2.0, 0.5] + 4
    channels = {
        name: ([f"{name}{n}" for n in part], [-1] * len(part), [{"x": rows[n], "y": values[n]} for n in part])
        for name, part in zip(("train", "validation", "test"), np.split(np.arange(60), [30, 45]), strict=True)
    }
    write_dataset(tmp_path / "d", channels, labels={})
    save(LinearRegression().fit(rows[:30], values[:30] + rng.normal(scale=0.1, size=30)), tmp_path / "m")
    found = run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o")
    assert found.task == "regression"
    assert found.metrics["test:r2"] > 0.9
    assert sorted(found.metrics) == [f"{c}:{m}" for c in ("test", "validation") for m in ("mae", "mse", "r2", "rmse")]
    assert found.confusion == {}
    golden, golden_rows = read_golden(tmp_path / "o" / "golden")
    assert golden.rows[0].value is not None
    assert differences(load(tmp_path / "m"), golden, golden_rows) == []
    save(Answer(lambda r: [np.inf] * len(r)), tmp_path / "m")
    with pytest.raises(ProgramError, match="predicted inf for 15 of 15 rows"):
        run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o")


def test_classes_that_the_transform_gave_are_named_by_their_numbers(tmp_path):
    channels = {
        name: ([f"a/{name}{n}" for n in range(4)], [0] * 4, [{"x": np.float32(n), "y": n % 2} for n in range(4)])
        for name in ("train", "validation", "test")
    }
    write_dataset(tmp_path / "d", channels, labels={"a": 0})
    save(Answer(lambda rows: (np.asarray(rows) % 2).astype(int)), tmp_path / "m")
    found = run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o")
    assert found.labels == {"0": 0, "1": 1}
    assert found.metrics["test:accuracy"] == 1.0


def test_several_fields_reach_the_model_as_a_dict(tmp_path):
    channels = {
        name: (
            [f"a/{name}{n}" for n in range(3)],
            [0, 1, 0],
            [{"p": np.float32(n), "q": np.ones(2) * n} for n in range(3)],
        )
        for name in ("train", "validation", "test")
    }
    write_dataset(tmp_path / "d", channels, labels={"a": 0, "b": 1})
    save(Answer(lambda rows: (rows["p"] % 2).astype(int)), tmp_path / "m")
    found = run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o")
    assert found.metrics["test:accuracy"] == 1.0
    golden, rows = read_golden(tmp_path / "o" / "golden")
    assert golden.fields == ("p", "q")
    assert differences(load(tmp_path / "m"), golden, rows) == []


def test_bytes_and_rows_of_different_shapes_reach_the_model(tmp_path):
    texts = [b"short", b"a longer one", b"x"]
    channels = {
        name: ([f"a/{name}{n}" for n in range(3)], [0, 1, 0], texts) for name in ("train", "validation", "test")
    }
    write_dataset(tmp_path / "d", channels, labels={"a": 0, "b": 1})
    save(Answer(lambda rows: [int(len(row) > 6) for row in rows]), tmp_path / "m")
    found = run_evaluation(tmp_path / "d", tmp_path / "m", tmp_path / "o")
    assert found.metrics["test:accuracy"] == 1.0
    golden, rows = read_golden(tmp_path / "o" / "golden")
    assert sorted(rows) == sorted(texts)
    assert differences(load(tmp_path / "m"), golden, rows) == []


def test_rows_without_a_label_are_not_scored(tmp_path):
    found = few(tmp_path, Answer(0), labels={"a": 0, "b": 1, "none": -1}, test=("a", "none", "b"))
    assert found.rows["test"] == 2
    assert "test: 1 rows have no label and are not scored" in found.notes


def test_a_job_without_a_dataset_is_told_what_it_needs(tmp_path):
    save(Answer(0), tmp_path / "m")
    options = {"model": str(tmp_path / "m")}
    context = worker_context("evaluate-a-1", channels={"test": {}}, options=options, output=tmp_path)
    with pytest.raises(
        DataChangedError, match="must be given the channels validation and test of one processed dataset"
    ):
        evaluate(context)


def test_many_classes_keep_the_matrix_small(tmp_path):
    labels = {f"class {n:03d}": n for n in range(130)}
    found = few(tmp_path, Answer(3), labels=labels, test=tuple(labels), validation=())
    assert len(found.confusion["test"].labels) == 100
    assert any("confusion matrix shows the 100 labels" in note for note in found.notes)


def test_the_record_is_plain_json_without_a_path_of_this_machine(scored, tmp_path):
    dataset, model, _ = scored
    run_evaluation(dataset, model, tmp_path / "o")
    text = (tmp_path / "o" / "evaluation.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["schema"] == 1


def test_canonical_order_is_by_bytes_of_the_key(tmp_path):
    found = few(tmp_path, Answer(0), labels={"ä": 0, "B": 1, "a,b\n": 2}, test=("ä", "B", "a,b\n"), validation=())
    table = canonical(pq.read_table(tmp_path / "o" / "predictions.parquet"))
    assert table.column("key").to_pylist() == ["B/test1", "a,b\n/test2", "ä/test0"]
    assert found.predictions_digest == digest_predictions(table)
