"""Rows of a file with labels by name or number, and answers of every kind as predictions."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from asking import answering, label, write_rows
from compressor.data.heads import HEADS
from compressor.data.metrics import compute_error
from compressor.errors import TaskDataError
from exported import FACTS, Exported
from exporters.options import ColumnOptions
from exporters.servable import KINDS as SERVED
from exporters.servable import make_model
from exporters.served.models import ServedModel, describe_served
from exporters.served.rows import PREDICTIONS, REQUESTS, predict_rows, read_labelled, targets_of

KINDS = {
    "single": "classification",
    "pair": "classification",
    "choices": "multiple_choice",
    "labels": "multi_label",
    "documents": "regression",
}


def test_every_head_is_judged() -> None:
    assert PREDICTIONS.keys() == HEADS.keys()
    assert REQUESTS.keys() == SERVED.keys()


def numbers(model: ServedModel, file: Path, **columns: Any) -> tuple[list[Any], list[Any]]:
    """The labels of a file, and what a model predicts for its rows."""
    rows, task = read_labelled(file, model, ColumnOptions(**columns))
    return rows.labels.tolist(), predict_rows(model, rows, task, model.labels).tolist()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["good", "bad", "bad"], [2, 0, 0]),
        ([2, 0, 0], [2, 0, 0]),
        (["2", "0", "0.0"], [2, 0, 0]),
        ([1.0, 1.0, 2.0], [1, 1, 2]),
    ],
)
def test_labels_are_names_or_numbers(written: list[Any], read: list[int], tmp_path: Path) -> None:
    file = write_rows(tmp_path / "new.jsonl", *({"text": "w1", "label": value} for value in written))
    model = answering("single", "classification", label("so so"), label("bad"), label("bad"))
    assert numbers(model, file) == (read, [1, 0, 0])


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    """A model of one to three stars: 1 is its first label, not its second."""
    file = write_rows(tmp_path / "new.jsonl", *({"text": "w1", "label": stars} for stars in (1, 3)))
    model = answering("single", "classification", label("3"), label("1"), labels=["1", "2", "3"])
    assert numbers(model, file) == ([0, 2], [2, 0])


def test_unknown_labels_are_told(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "new.jsonl", {"text": "w1", "label": "fine"}, {"text": "w1", "label": "bad"})
    with pytest.raises(TaskDataError, match="labels of the data rows must be among bad, so so, good, but got fine too"):
        read_labelled(file, answering("single", "classification"), ColumnOptions())


def test_columns_are_those_of_training_or_named(tmp_path: Path) -> None:
    columns = {"text": ["one", "two"], "label": "verdict", "group": None}
    model = answering("pair", "classification", label("bad"), num_texts=2, columns=columns)
    asked: list[Any] = []
    model = ServedModel(**{**vars(model), "predict": lambda requests: asked.extend(requests) or [label("bad")]})
    file = write_rows(tmp_path / "new.jsonl", {"one": "w1", "two": "w2", "verdict": "good", "a": "w3", "b": "w4"})
    assert numbers(model, file) == ([2], [0])
    assert numbers(model, file, text_columns=("a", "b")) == ([2], [0])
    assert asked == [{"text": "w1", "text_pair": "w2"}, {"text": "w3", "text_pair": "w4"}]
    with pytest.raises(TaskDataError, match="--text-column must name as many columns as the model takes, 2, but got 1"):
        read_labelled(file, model, ColumnOptions(text_columns=("a",)))
    with pytest.raises(TaskDataError, match="column 'one' and 'two' and 'verdict' must exist in the data rows"):
        read_labelled(write_rows(tmp_path / "other.jsonl", {"text": "w1"}), model, ColumnOptions())
    with pytest.raises(TaskDataError, match="--metric f1 must be of a model with two labels, but a model has 3"):
        read_labelled(file, model, ColumnOptions(metric="f1"))


def test_values(tmp_path: Path) -> None:
    model = answering("single", "regression", *(SimpleNamespace(score=score) for score in (0.5, -1)), labels=[])
    file = write_rows(tmp_path / "new.jsonl", {"text": "w1", "label": 2}, {"text": "w2", "label": "2.5"})
    assert numbers(model, file) == ([2, 2.5], [0.5, -1])
    assert model.task.metric == "spearman"


def test_several_labels_in_a_list_or_in_columns(tmp_path: Path) -> None:
    told = [SimpleNamespace(labels=["good"]), SimpleNamespace(labels=["bad", "so so"])]
    rows = [{"text": "w1", "labels": ["so so"]}, {"text": "w2", "labels": []}]
    file = write_rows(tmp_path / "new.jsonl", *rows)
    model = answering("labels", "multi_label", *told, task="multi-label")
    assert numbers(model, file) == ([[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [1, 1, 0]])
    flags = [{"text": "w1", "good": 1, "bad": 0, "so so": 0}, {"text": "w2", "good": 0, "bad": 1, "so so": 1}]
    model = answering("labels", "multi_label", *told, task="multi-label")
    file = write_rows(tmp_path / "flags.jsonl", *flags)
    assert numbers(model, file, label_column="good,bad,so so") == ([[0, 0, 1], [1, 1, 0]], [[0, 0, 1], [1, 1, 0]])


def test_choices_by_number(tmp_path: Path) -> None:
    row = {"sent1": "w1", "sent2": "w2", **{f"ending{place}": f"w{place}" for place in range(4)}}
    asked: list[Any] = []
    model = answering("choices", "multiple_choice", task="swag", labels=[], num_texts=2)
    chosen = SimpleNamespace(label="ending3", scores={f"ending{place}": 0.25 for place in range(4)})
    model = ServedModel(**{**vars(model), "predict": lambda requests: asked.extend(requests) or [chosen]})
    assert numbers(model, write_rows(tmp_path / "new.jsonl", {**row, "label": 2})) == ([2], [3])
    assert asked == [{"text": "w1", "start": "w2", "choices": ["w0", "w1", "w2", "w3"]}]


def test_documents_are_scored_row_by_row(tmp_path: Path) -> None:
    """Rows of two queries in turns; a ranking comes back best first."""
    rows = [("a", "w1", 0), ("b", "w2", 1), ("a", "w3", 1), ("b", "w4", 0), ("a", "w1", 0)]
    file = write_rows(tmp_path / "new.jsonl", *({"query": q, "document": d, "label": n} for q, d, n in rows))

    def ranking(*scores: tuple[int, float]) -> Any:
        return SimpleNamespace(documents=[SimpleNamespace(index=index, score=score) for index, score in scores])

    answers = ranking((1, 0.9), (0, 0.5), (2, 0.4)), ranking((0, 0.8), (1, 0.1))
    model = answering("documents", "rerank", *answers, task="rerank", num_texts=2)
    labels, predictions = numbers(model, file)
    assert (labels, predictions) == ([0, 1, 1, 0, 0], pytest.approx([0.5, 0.8, 0.9, 0.1, 0.4]))
    rows_read, task = read_labelled(file, model, ColumnOptions(query_column="document", document_column="query"))
    assert (task.text_columns, task.group_column) == (("document", "query"), "document")
    assert rows_read.texts[0] == ("w1", "a")


def span(start: int, end: int, kind: str) -> Any:
    return SimpleNamespace(start=start, end=end, label=kind)


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["O", "B-PER", "I-PER"], [1, 2, 0, 1]),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], [1, 3, 0, 4]),
        (["O", "I-PER"], [1, 1, 0, 1]),
        (["O", "PER"], [1, 1, 0, 1]),
    ],
)
def test_words_are_judged_by_the_spans_they_lie_in(names: list[str], read: list[int], tmp_path: Path) -> None:
    words = {"tokens": ["Ann", "Lee", "met", "Bo"], "ner_tags": [names[place] for place in read]}
    file = write_rows(tmp_path / "new.jsonl", words, {"tokens": ["Ann"], "ner_tags": ["O"]})
    found = SimpleNamespace(spans=[span(0, 7, "PER"), span(12, 14, "PER")])
    model = answering("tokens", "token_classification", found, SimpleNamespace(spans=[]), task="ner", labels=names)
    rows, task = read_labelled(file, model, ColumnOptions())
    targets = targets_of(rows, task, model.labels)
    assert targets.values.tolist() == [*read, 0]
    predictions = predict_rows(model, rows, task, model.labels)
    assert predictions.tolist() == [*read, 0]
    assert targets.structure is not None
    assert targets.structure.groups.tolist() == [0, 0, 0, 0, 1]
    assert compute_error(task.metric, predictions, targets.values, targets.structure) == 0


def test_vectors_are_judged_by_their_cosine_on_scored_pairs(tmp_path: Path) -> None:
    rows = [{"sentence1": "w1", "sentence2": "w2", "score": 4}, {"sentence1": "w3", "sentence2": "w4", "score": 1}]
    vectors = [[1.0, 0.0], [3.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    model = answering("embed", "embedding", *vectors, task="embed", labels=[])
    assert numbers(model, write_rows(tmp_path / "new.jsonl", *rows)) == ([4, 1], [1, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_real_answers_are_understood(
    kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported
) -> None:
    """The model's own code answers, and predictions are those of its graph's outputs."""
    _, graph = exported("bert", KINDS[kind])
    tokenizer.save_pretrained(tmp_path)
    served = make_model({"kind": kind})
    artifacts = {"graph": str(graph), "tokenizer": str(tmp_path / "tokenizer.json")}
    served.load_context(SimpleNamespace(artifacts=artifacts))
    tasks = {"choices": "swag", "labels": "multi-label", "documents": "rerank"}
    head = "rerank_scores" if kind == "documents" else KINDS[kind]
    facts = {"task": tasks.get(kind, "custom"), "head": head, "labels": json.dumps(FACTS["labels"])}
    facts["num_texts"] = "2" if kind in ("pair", "choices", "documents") else "1"
    model = describe_served("a model", kind, facts, served.predict)  # type: ignore[attr-defined]
    texts = {"text": "w1 w2", "text_pair": "w3", "query": "w1", "document": "w4 w5", "sent1": "w1", "sent2": "w2"}
    texts |= {f"ending{place}": f"w{place}" for place in range(4)}
    labels = {"labels": ["good"]} if kind == "labels" else {"label": 1}
    other = {name: f"{text} w9" for name, text in texts.items() if name != "query"}
    file = write_rows(tmp_path / "new.jsonl", texts | labels, texts | labels | other)
    rows, task = read_labelled(file, model, ColumnOptions())
    predictions = predict_rows(model, rows, task, model.labels)
    assert task.head is HEADS[head]
    assert len(predictions) == 2
    assert np.issubdtype(predictions.dtype, np.integer) == (kind != "documents")
