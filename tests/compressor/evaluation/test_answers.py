"""A fine-tuned model's answers in place of labels: whatever its head, they are what it says, and it has no error."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import encode
from compressor.data.heads import HEADS
from compressor.data.heads.answers import AGAINST_FULL_MODEL
from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.errors import ModelError, TaskDataError
from compressor.evaluation.answers import answer_texts
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import max_positions
from compressor.network.loading import load_fine_tuned_model
from compressor.training.settings import TrainingSettings
from compressor.training.train import train_super_network
from conftest import sentence_rows, tiny_model


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(str(row["text"]) for row in sentence_rows(60)) + "\n\n")
    return path


def save_model(path: Path, tokenizer: PreTrainedTokenizerFast, head: str) -> Path:
    model = tiny_model(task_head=head)
    if head == "classification":
        model.config.id2label = {0: "1", 1: "2", 2: "3"}  # names that look like other labels' numbers
        model.config.label2id = {"1": 0, "2": 1, "3": 2}
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def errors_of(model_dir: Path, data: TaskData) -> list[float]:
    model, tokenizer = load_fine_tuned_model(str(model_dir))
    rows = [encode(part, data.task, tokenizer, max_positions(model)) for part in data.parts.values()]
    return [Evaluator(model, data.task, part).evaluate().error for part in rows]


def answers_of(model_dir: Path, data: TaskData) -> np.ndarray:
    model, tokenizer = load_fine_tuned_model(str(model_dir))
    rows = encode(data.validation, data.task, tokenizer, max_positions(model))
    return Evaluator(model, data.task, rows).compute_logits()


@pytest.mark.parametrize("head", ["classification", "regression"])
def test_the_full_model_has_no_error_on_its_own_answers(
    head: str, texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model_dir = save_model(tmp_path / head, tokenizer, head)
    data = answer_texts(model_dir, texts, directory=tmp_path / "out")
    assert data.task.head is HEADS[head]
    assert data.label_names == (("1", "2", "3") if head == "classification" else ())
    assert [len(rows) for rows in data.parts.values()] == [34, 14, 12]
    assert errors_of(model_dir, data) == pytest.approx([0, 0, 0], abs=1e-6)
    assert data.all_notes[-1] == AGAINST_FULL_MODEL
    again = load_task_data(data.source)
    assert (again.digest, again.label_names, again.task) == (data.digest, data.label_names, data.task)


def test_f1_of_three_labels_is_refused_before_the_model_is_asked(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_dir = save_model(tmp_path / "model", tokenizer, "classification")
    with pytest.raises(TaskDataError) as raised:
        answer_texts(model_dir, texts, metric="f1")
    assert str(raised.value) == (
        "the metric f1 must have two labels, but the full model has 3: 1, 2, 3. "
        "Use --metric f1_macro or --metric accuracy."
    )
    assert "Asking" not in capsys.readouterr().out
    answered = answer_texts(model_dir, texts, directory=tmp_path / "out").source
    with pytest.raises(TaskDataError, match="the full model has 3"):
        load_task_data(replace(answered, metric="f1"))


def test_answers_that_are_there_are_taken_unless_the_question_is_another(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "classification")

    def asks(**fields: int) -> bool:
        answer_texts(model_dir, texts, directory=tmp_path / "out", **fields)
        return "Asking" in capsys.readouterr().out

    assert [asks(), asks(), asks(max_seq_length=5), asks(max_seq_length=5), asks()] == [True, False, True, False, True]
    assert [asks(max_train_samples=20), asks(dataset_seed=1)] == [True, True]


def test_other_texts_than_were_answered_are_refused(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "classification")
    source = answer_texts(model_dir, texts, directory=tmp_path / "out").source
    texts.write_text(texts.read_text().replace("w7", "w8"))
    with pytest.raises(TaskDataError, match="the rows must be those that the full model answered"):
        load_task_data(source)
    with pytest.raises(TaskDataError, match="texts without labels must be answered by a fine-tuned model first"):
        load_task_data(DataSource(task_name="custom", unlabeled_file=str(texts)))


def test_a_bare_encoder_and_a_head_of_another_task_are_refused(
    base_model_dir: Path, texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as raised:
        answer_texts(base_model_dir, texts)
    assert str(raised.value) == (
        f"the model that answers texts without labels must be fine-tuned, but {base_model_dir} lacks a task head. "
        "Name a fine-tuned one with --model-name-or-path, or give rows with labels: --train-file."
    )
    model_dir = save_model(tmp_path / "mine", tokenizer, "multiple_choice")
    with pytest.raises(
        ModelError, match=r"must have a head for the task custom \(classification\), but .* has multiple choice"
    ):
        answer_texts(model_dir, texts)


def test_a_model_that_says_the_same_to_all_is_refused(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.bias[1] += 100
    model.save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    with pytest.raises(TaskDataError, match="the full model must tell the texts apart, but gives all 34 training rows"):
        answer_texts(tmp_path / "mine", texts)


def test_multiple_choice_is_answered_too(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "multiple_choice")
    rows = [str(row["text"]).replace("\n", " ") for row in sentence_rows(50)]
    lines = [",".join((rows[n], rows[n - 1], *rows[n - 5 : n - 1])) for n in range(5, 50)]
    file = tmp_path / "choices.csv"
    file.write_text("sent1,sent2,ending0,ending1,ending2,ending3\n" + "\n".join(lines))
    data = answer_texts(model_dir, file, task_name="swag")
    assert data.task.head is HEADS["multiple_choice"]
    assert errors_of(model_dir, data) == [0, 0, 0]


def test_probabilities_are_nearest_to_themselves(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "classification")
    data = answer_texts(model_dir, texts, metric="jensen_shannon", directory=tmp_path / "out")
    assert errors_of(model_dir, data) == pytest.approx([0, 0, 0], abs=1e-6)
    other = tiny_model("bert")
    with torch.no_grad():
        other.classifier.weight.neg_()
    other.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    assert data.validation.reference is not None
    outputs, wanted = answers_of(tmp_path / "other", data), data.validation.reference
    expected = [jensenshannon(*softmax(pair, axis=1), base=2) for pair in zip(outputs, wanted, strict=True)]
    assert errors_of(tmp_path / "other", data)[1] == pytest.approx(np.mean(expected), rel=1e-5)
    trivial = data.task.head.find_trivial(data)
    assert 0 < trivial.error < 1
    settings = TrainingSettings(num_train_epochs=1, learning_rate=1e-9)
    net = train_super_network(model_dir, data, settings)
    assert net.record is not None
    assert net.record.epochs[0].error == pytest.approx(0, abs=1e-6)
    with pytest.raises(TaskDataError, match="the metric of the task must be one of accuracy, f1"):
        DataSource(task_name="custom", metric="jensen_shannon").task  # noqa: B018


def test_every_label_of_a_row_is_an_answer(texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "multi_label")
    data = answer_texts(model_dir, texts, directory=tmp_path / "out")  # whose head names the task
    assert data.task.head is HEADS["multi_label"]
    assert data.train.labels.shape == (34, len(data.label_names))
    assert errors_of(model_dir, data) == [0, 0, 0]
    assert load_task_data(data.source).digest == data.digest


def test_every_word_is_answered(texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "token_classification")
    data = answer_texts(model_dir, texts, directory=tmp_path / "out", max_seq_length=6)
    assert data.task.head is HEADS["token_classification"]
    assert errors_of(model_dir, data) == [0, 0, 0]
    lengths = [(len(words), len(labels)) for words, labels in zip(data.train.texts, data.train.labels, strict=True)]
    assert all(words == labels for words, labels in lengths)
    assert max(words for words, _ in lengths) > 4  # more than the length leaves room for
    again = load_task_data(data.source)
    assert (again.digest, again.label_names, again.task) == (data.digest, data.label_names, data.task)
    lists = tmp_path / "texts.jsonl"
    lists.write_text("\n".join(json.dumps({"tokens": list(words)}) for words in data.train.texts))
    assert answer_texts(model_dir, lists).label_names == data.label_names


def test_rankings_by_the_full_model_are_to_be_met(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "regression")
    rows = [str(row["text"]) for row in sentence_rows(80)]
    file = tmp_path / "candidates.jsonl"
    pairs = [{"query": f"q {n // 4}", "document": text} for n, text in enumerate(rows)]
    file.write_text("\n".join(map(json.dumps, pairs)))
    data = answer_texts(model_dir, file, task_name="rerank", directory=tmp_path / "out")
    assert data.task.head is HEADS["rerank_scores"]
    assert errors_of(model_dir, data) == pytest.approx([0, 0, 0], abs=1e-6)
    assert load_task_data(data.source).digest == data.digest


def test_embeddings_need_no_answers(texts: Path, base_model_dir: Path) -> None:
    data = answer_texts(base_model_dir, texts, task_name="embed")
    assert (data.source.unlabeled_file, data.source.train_file) == (None, str(texts))
    assert (data.task.reference, data.answers) == (str(base_model_dir), None)


def test_training_starts_at_the_ordering_and_stays_near_the_full_model(
    texts: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model_dir = save_model(tmp_path / "mine", tokenizer, "classification")
    data = answer_texts(model_dir, texts)
    settings = TrainingSettings(num_train_epochs=1, learning_rate=1e-9)  # nothing moves: what is left is the ordering
    net = train_super_network(model_dir, data, settings)
    assert net.record is not None
    assert net.record.epochs[0].error == 0
    before, _ = load_fine_tuned_model(str(model_dir))
    weight = "bert.encoder.layer.0.intermediate.dense.weight"
    old, new = before.state_dict()[weight].numpy(), net.model.state_dict()[weight].numpy()
    assert not np.allclose(old, new, atol=1e-4)
    assert np.allclose(np.sort(old.sum(1)), np.sort(new.sum(1)), atol=1e-4)  # the same units, in another order
    assert net.model.config.layer_order is not None
    other = save_model(tmp_path / "other", tokenizer, "regression")
    with pytest.raises(ModelError, match="must be the one that has answered the texts"):
        train_super_network(other, data, settings)
