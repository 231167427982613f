"""A label a word: how they are written, which pieces are judged, the trivial predictor, the whole way to tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import UNITS, collate, encode, evaluation_batches, training_batches, units_of
from compressor.data.heads.token_classification import TOKEN_CLASSIFICATION as HEAD
from compressor.data.loading import load_data
from compressor.data.metrics import compute_error
from compressor.data.rows import Rows, TaskData, in_order_of
from compressor.data.tasks import TASKS, Task, get_task
from compressor.errors import TaskDataError
from compressor.evaluation.evaluator import Evaluator
from conftest import tiny_model

TASK = TASKS["ner"]
NAMES = ("O", "B-PER", "I-PER")


def table(words: list[Any], labels: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"tokens": words, "ner_tags": labels})


def test_names_and_numbers() -> None:
    words = [["w1", "w2"], ["w3"]]
    rows = table(words, [["I-PER", "O"], ["B-PER"]])
    assert HEAD.find_label_names(rows, TASK) == ("O", "B-PER", "I-PER")
    assert HEAD.read_labels(rows, TASK, NAMES, "train").tolist() == [(2, 0), (1,)]
    assert HEAD.read_texts(rows, TASK, "train") == (("w1", "w2"), ("w3",))
    numbered = table([np.array(each) for each in words], [np.array([2, 0]), np.array([1])])
    with pytest.raises(TaskDataError, match="labels of words must be named, but column 'ner_tags' holds numbers: 0, 1"):
        HEAD.find_label_names(numbered, TASK)
    named = Task(name="ner", head=HEAD, text_columns=("tokens",), label_column="ner_tags", metric="entity_f1")
    named = Task(**{**vars(named), "label_names": NAMES})
    assert HEAD.find_label_names(numbered, named) == NAMES
    assert HEAD.read_labels(numbered, named, NAMES, "train").tolist() == [(2, 0), (1,)]


@pytest.mark.parametrize(
    ("words", "labels", "message"),
    [
        (["w1"], ["O"], "a row must have a label for each word, but row 1 of the train rows has 1 words and 2 labels"),
        (["w1"], None, "must hold a list of labels in every row, but row 1 of the train rows holds None"),
        ([], [], "must hold a list of words in every row, but row 1 of the train rows holds"),
        ("w1", ["O"], "must hold a list of words in every row, but row 1 of the train rows holds 'w1'"),
        (["w1", 2], ["O", "O"], "must hold a list of words in every row"),
    ],
)
def test_what_is_no_row(words: Any, labels: Any, message: str) -> None:
    labels = ["O", "O"] if labels == ["O"] and words == ["w1"] else labels
    rows = table([words, ["w2"]], [labels, ["O"]])
    with pytest.raises(TaskDataError, match=message):
        HEAD.read_texts(rows, TASK, "train")
        HEAD.read_labels(rows, TASK, NAMES, "train")


def some_rows() -> Rows:
    """Of 3, 1 and 5 words; `w1-w2` are three pieces."""
    texts = (("w1", "w1-w2", "w3"), ("w4",), ("w5", "w6", "w7", "w8", "w9"))
    labels = np.empty(3, dtype=object)
    labels[:] = [(0, 1, 2), (1,), (0, 0, 1, 2, 0)]
    return Rows(texts=texts, labels=labels)


def with_names(**fields: Any) -> Task:
    return Task(**{**vars(get_task("ner")), "label_names": NAMES, **fields})


def test_first_pieces_are_judged(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(some_rows(), with_names(), tokenizer, 512)
    assert len(encoded) == 3
    assert encoded.lengths.tolist() == [7, 3, 7]  # [CLS] w1 w1 - w2 w3 [SEP]
    assert encoded.labels.tolist() == [0, 1, 2, 1, 0, 0, 1, 2, 0]
    assert encoded.structure is not None
    assert encoded.structure.groups.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2]
    batch, places = collate(encoded, np.array([1, 0])), units_of(encoded, np.array([1, 0]))
    assert places.tolist() == [3, 0, 1, 2]
    assert batch[UNITS].tolist() == [1, 7 + 1, 7 + 2, 7 + 5]  # of 2 × 7 tokens
    assert batch["input_ids"].flatten()[batch[UNITS]].tolist() == tokenizer.convert_tokens_to_ids(
        ["w4", "w1", "w1", "w3"]
    )


def test_words_beyond_the_length_are_not_judged(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(some_rows(), with_names(max_length=4), tokenizer, 512)
    assert encoded.labels.tolist() == [0, 1, 1, 0, 0]


def test_batches_bring_units_in_the_order_of_the_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(some_rows(), with_names(), tokenizer, 512)
    for batches in (evaluation_batches(encoded, 2), list(training_batches(encoded, 2, np.random.default_rng(0)))):
        assert sorted(np.concatenate([places for places, _ in batches]).tolist()) == list(range(9))
        assert all(len(places) == len(batch[UNITS]) for places, batch in batches)
    model, task = tiny_model(task_head="token_classification"), with_names()
    found = Evaluator(model, task, encoded, batch_size=2).evaluate()
    assert found.logits.shape == (9, 3)
    for row, (start, end) in enumerate(((0, 3), (3, 4), (4, 9))):
        words = tokenizer(list(some_rows().texts[row]), is_split_into_words=True, return_tensors="pt")
        firsts = [
            place for place, word in enumerate(words.word_ids()) if word not in (None, words.word_ids()[place - 1])
        ]
        with torch.inference_mode():
            np.testing.assert_allclose(found.logits[start:end], model(**words).logits[0, firsts], atol=1e-5)
    told = HEAD.predict(found.logits)
    assert found.error == compute_error("entity_f1", told, encoded.labels, encoded.structure)


def make_data(metric: str = "entity_f1") -> TaskData:
    return TaskData(
        task=with_names(metric=metric), train=some_rows(), validation=some_rows(), test=some_rows(), label_names=NAMES
    )


def test_the_trivial_predictor_is_outside() -> None:
    assert str(HEAD.find_trivial(make_data())) == "always 'O' (error 1.0000)"
    assert HEAD.find_trivial(make_data("accuracy")).error == pytest.approx(5 / 9)


def test_labels_in_the_order_of_a_model() -> None:
    data = in_order_of(make_data(), ("I-PER", "O", "B-PER"))
    assert data.train.labels.tolist() == [(1, 2, 0), (2,), (1, 1, 2, 0, 1)]
    assert data.task.label_names == data.label_names == ("I-PER", "O", "B-PER")


def test_near_ties_give_slack() -> None:
    logits = np.array([[2.0, 0.0]] * 8 + [[0.0, 2.0]] * 2 + [[1.0, 1.0]])
    assert HEAD.rounding_slack(logits[:10], "entity_f1", None) == 1e-6
    assert HEAD.rounding_slack(logits, "entity_f1", None) == pytest.approx(1e-6 + 4 / 2)


def test_files(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    rows = [{"tokens": [f"w{i}", "w1"], "ner_tags": ["B-PER" if i % 3 else "O", "O"]} for i in range(40)]
    data = load_data(write_rows(rows, "train.jsonl"), task_name="ner")
    assert data.label_names == data.task.label_names == ("O", "B-PER")
    conll = tmp_path / "train.conll"
    sentences = ["-DOCSTART- -X- O\n", "# a comment of another length\nw2 NN O\n"]
    sentences += [f"w{i} NN B-PER\nw1 NN O\n" for i in range(3, 40)]
    conll.write_text("\n".join(sentences))
    data = load_data(conll, task_name="ner")
    assert data.label_names == ("O", "B-PER")
    assert len(data.train) + len(data.validation) + len(data.test) == 38
    names = tmp_path / "names.txt"
    names.write_text("O\nB-PER\nI-PER\n")
    numbered = [{**row, "ner_tags": [int(tag != "O") for tag in row["ner_tags"]]} for row in rows]
    data = load_data(write_rows(numbered, "numbers.jsonl"), task_name="ner", label_names_file=str(names))
    assert data.label_names == ("O", "B-PER", "I-PER")
    assert all(set(labels) <= {0, 1} for labels in data.train.labels)
    with pytest.raises(TaskDataError, match="must show at least two labels"):
        load_data(
            write_rows([{"tokens": [f"w{i}"], "ner_tags": ["O"]} for i in range(20)], "outside.jsonl"), task_name="ner"
        )
