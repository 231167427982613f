"""Training as a whole: the best epoch is kept, in memory or in a directory, where an interrupted one resumes."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import encode_parts, temporary_cache
from compressor.data.loading import load_data
from compressor.data.rows import TaskData, pick_rows
from compressor.errors import ModelError, OptionError, TaskDataError
from compressor.evaluation.answers import answer_texts
from compressor.evaluation.evaluator import Evaluator
from compressor.network.loading import load_fine_tuned_model
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.state import EpochReport
from compressor.training.super_network import load_super_network
from compressor.training.train import PreparedTraining, train_super_network
from compressor.training.unseen_rows import require_unseen_rows
from conftest import HIDDEN, WORDS, random_weights, sentence_rows, tiny_batch, tiny_config, tiny_model

SETTINGS = TrainingSettings(num_train_epochs=3, learning_rate=5e-3, sampling_strategy="standard")


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    return load_data(file, text="text", label="label")


def test_in_memory_and_in_a_directory_the_same(base_model_dir: Path, data: TaskData, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    net = train_super_network(base_model_dir, data, SETTINGS)
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"cache"}  # of tokens
    assert net.record is not None
    assert [report.epoch for report in net.record.epochs] == [1, 2, 3]
    best = min(net.record.epochs, key=lambda report: (report.error, -report.epoch))
    assert net.record.best_epoch == best.epoch
    train_super_network(base_model_dir, data, SETTINGS, directory=tmp_path / "net")
    loaded = load_super_network(tmp_path / "net")
    assert loaded.record is not None
    assert (loaded.record.epochs, loaded.record.best_epoch) == (net.record.epochs, net.record.best_epoch)
    weights = loaded.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.model.state_dict().items())
    assert {path.name for path in (tmp_path / "net").glob("checkpoint-*")} == {f"checkpoint-epoch-{best.epoch}"}


def test_an_interrupted_training_resumes(base_model_dir: Path, data: TaskData, tmp_path: Path) -> None:
    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    expected = train_super_network(base_model_dir, data, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train_super_network(base_model_dir, data, SETTINGS, directory=tmp_path / "net", on_epoch=interrupt)
    started: list[PreparedTraining] = []
    seen: list[int] = []
    net = train_super_network(
        base_model_dir,
        data,
        SETTINGS,
        directory=tmp_path / "net",
        on_start=started.append,
        on_epoch=lambda report: seen.append(report.epoch),
    )
    assert started[0].net.record is not None
    assert [report.epoch for report in started[0].net.record.epochs] == [1]
    assert seen == [2, 3]
    assert net.record is not None
    assert expected.record is not None
    assert net.record.epochs == expected.record.epochs


def _rows_of(task: str, count: int, seed: int) -> list[dict[str, object]]:
    """Rows of a task, each of three words and more; those of different seeds have different texts."""
    rows = []
    for number, row in enumerate(sentence_rows(count, seed)):
        words, positive = f"{row['text']} {WORDS[40 + seed]}".split(), row["label"]
        texts = {"text": " ".join(words)}
        if task == "swag":
            texts = {
                "sent1": texts["text"],
                "sent2": "w9",
                **{f"ending{place}": words[place % 3] for place in range(4)},
            }
        elif task == "rerank":
            texts = {"query": f"w{number // 4} {WORDS[40 + seed]}", "document": texts["text"]}
        labels = {"ner": ["B-X" if word == "w1" else "O" for word in words], "multi-label": ["a", "b"][: positive + 1]}
        label = labels.get(task, positive if task != "regression" else float(len(words)))
        if task == "ner":
            rows.append({"tokens": words, "ner_tags": label})
        else:
            rows.append({**texts, "labels" if task == "multi-label" else "label": label})
    return rows


def _load_with_unlabeled(task: str, folder: Path) -> TaskData:
    """Rows with labels, and more texts without, of which the first is one of these rows."""
    with_labels, without = _rows_of(task, 80, 0), _rows_of(task, 30, 1)
    without[0] = with_labels[0]
    labels = {"label", "labels", "ner_tags"}
    files = {"rows.jsonl": with_labels, "texts.jsonl": [{k: row[k] for k in row.keys() - labels} for row in without]}
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"regression": True} if task == "regression" else {"task_name": task}
    return load_data(folder / "rows.jsonl", unlabeled_file=folder / "texts.jsonl", **named)


TASK_NAMES = ("custom", "regression", "multi-label", "swag", "rerank", "ner")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_texts_without_labels_are_answered_by_a_model_fine_tuned_first(
    task: str, base_model_dir: Path, tmp_path: Path
) -> None:
    data = _load_with_unlabeled(task, tmp_path)
    assert data.unlabeled is not None
    assert len(data.unlabeled) == 29
    judged = ", or their queries are judged" if task == "rerank" else ""
    assert data.notes[-1] == f"1 of 30 texts without labels are among the rows with labels{judged}: left out."
    settings = TrainingSettings(num_train_epochs=1, learning_rate=5e-3)
    started: list[PreparedTraining] = []
    net = train_super_network(base_model_dir, data, settings, directory=tmp_path / "net", on_start=started.append)
    (begun,) = started
    alone = train_super_network(
        base_model_dir,
        replace(data, unlabeled=None),
        replace(settings, sampling_strategy="standard", num_train_epochs=None),
    )
    rows = encode_parts(data, net.tokenizer, 40).train
    assert len(begun.train) == len(rows) + 29
    num_units = int(rows.unit_bounds[-1])
    assert begun.train.labels[:num_units].tolist() == rows.labels.tolist()
    assert begun.teacher is not None
    answers = Evaluator(alone.model, data.task, begun.train).compute_logits()
    assert begun.teacher.outputs.tolist() == answers.tolist()
    made = begun.train.labels[num_units:]
    expected = data.task.head.predict(answers)[num_units:]
    if task == "rerank":  # a relevance, not the output that a sigmoid makes one of
        expected = 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    assert made.dtype == rows.labels.dtype
    # Nothing of the teacher stays beside the result.
    assert not (tmp_path / "net" / ".compressor" / "teacher").exists()
    assert net.record is not None
    assert net.record.data_digest == replace(data, unlabeled=None).digest


def test_an_interrupted_training_with_texts_without_labels_fine_tunes_once(
    base_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    data, settings = _load_with_unlabeled("custom", tmp_path), TrainingSettings(num_train_epochs=2, learning_rate=5e-3)
    expected = train_super_network(base_model_dir, data, settings)
    assert "Fine-tuning on the 45 rows with labels first" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        train_super_network(base_model_dir, data, settings, directory=tmp_path / "net", on_epoch=interrupt)
    assert "Fine-tuning" in capsys.readouterr().out
    seen: list[int] = []
    net = train_super_network(
        base_model_dir, data, settings, directory=tmp_path / "net", on_epoch=lambda report: seen.append(report.epoch)
    )
    assert "Fine-tuning" not in capsys.readouterr().out
    assert seen == [2]
    weights = net.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in expected.model.state_dict().items())


def test_other_texts_without_labels_are_another_training(base_model_dir: Path, tmp_path: Path) -> None:
    def interrupt(_: EpochReport) -> None:
        raise KeyboardInterrupt

    data, settings = _load_with_unlabeled("custom", tmp_path), TrainingSettings(num_train_epochs=2, learning_rate=5e-3)
    assert data.unlabeled is not None
    fewer = replace(data, unlabeled=pick_rows(data.unlabeled, np.arange(20)))
    epochs: list[int] = []
    for each, on_epoch in ((data, interrupt), (fewer, lambda report: epochs.append(report.epoch))):
        with suppress(KeyboardInterrupt):
            train_super_network(base_model_dir, each, settings, directory=tmp_path / "net", on_epoch=on_epoch)
    assert epochs == [1, 2]


def test_a_model_that_was_fine_tuned_on_other_lengths_is_another_one(
    base_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: EpochReport) -> None:
        raise KeyboardInterrupt

    _load_with_unlabeled("custom", tmp_path)
    files = {"train_file": tmp_path / "rows.jsonl", "unlabeled_file": tmp_path / "texts.jsonl"}
    settings = TrainingSettings(num_train_epochs=1, learning_rate=5e-3)
    for length in (4, 32):
        with suppress(KeyboardInterrupt):
            data = load_data(**files, task_name="custom", max_seq_length=length)
            train_super_network(base_model_dir, data, settings, directory=tmp_path / "net", on_epoch=interrupt)
        assert "Fine-tuning on the 45 rows" in capsys.readouterr().out, length


def test_texts_without_labels_are_seen_rows_from_then_on(base_model_dir: Path, tmp_path: Path) -> None:
    """Whoever labels them later may not judge by them; and their labels are no changed ones."""
    data = _load_with_unlabeled("custom", tmp_path)
    assert data.unlabeled is not None
    net = train_super_network(base_model_dir, data, TrainingSettings(num_train_epochs=1))
    assert net.record is not None
    assert net.record.unlabeled_digest == data.unlabeled.digest
    others = _rows_of("custom", 60, 2)
    pool = [{"text": text, "label": 1} for (text,) in data.unlabeled.texts]
    for name, rows in (("pool", pool), ("others", others), ("more", [*others, *pool])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TaskDataError, match="but was trained on 29 of the 29 validation rows"):
        require_unseen_rows(net.record, load_data(tmp_path / "others.jsonl", validation_file=tmp_path / "pool.jsonl"))
    shown = replace(load_data(tmp_path / "others.jsonl"), train=load_data(tmp_path / "more.jsonl").train)
    assert require_unseen_rows(net.record, shown) == list(shown.notes)


def _save_teacher(folder: Path, tokenizer: PreTrainedTokenizerFast, labels: dict[int, str], head: str) -> Path:
    model = tiny_model(task_head=head)
    model.config.num_labels, model.config.id2label = len(labels), labels
    if head == "classification":
        model.classifier = torch.nn.Linear(HIDDEN, len(labels))
        torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("unlabeled", [False, True])
def test_another_model_s_answers_are_learnt(
    unlabeled: bool,
    base_model_dir: Path,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its labels are matched by name, its answers are the labels of texts without, and nothing is fine-tuned before."""
    data = _load_with_unlabeled("custom", tmp_path)
    data = data if unlabeled else replace(data, unlabeled=None)
    teacher = _save_teacher(tmp_path / "teacher", tokenizer, {0: "1", 1: "0"}, "classification")
    options = ModelOptions(model_name_or_path=str(base_model_dir), teacher_model=str(teacher))
    settings = TrainingSettings(num_train_epochs=3, learning_rate=5e-3)
    started: list[PreparedTraining] = []
    seen: list[EpochReport] = []
    with temporary_cache():
        net = train_super_network(options, data, settings, on_start=started.append, on_epoch=seen.append)
        printed = capsys.readouterr().out
        for count, asked in ((len(data.train), True), (29, unlabeled)):
            assert (f"Asking {teacher} for its answers to {count} texts." in printed) == asked
        assert "Fine-tuning" not in printed
        # Once: another seed, or a training that resumes, finds what it has answered.
        again = train_super_network(options, data, settings)
        assert "Asking" not in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(net.model.parameters(), again.model.parameters(), strict=True))
    (begun,) = started
    model, _ = load_fine_tuned_model(str(teacher))
    logits = Evaluator(model, data.task, begun.train).compute_logits()[:, ::-1]
    assert begun.teacher is not None
    assert not begun.teacher.is_itself
    np.testing.assert_allclose(begun.teacher.outputs, logits, atol=1e-4)
    given = len(data.train)
    assert begun.train.labels[given:].tolist() == logits[given:].argmax(axis=1).tolist()
    # The first epoch is the super-network's own: it does not know the task yet.
    assert [report.sub_network_loss is None for report in seen] == [True, False, False]
    assert net.record is not None
    assert net.record.teacher_model == str(teacher)
    plain = train_super_network(base_model_dir, replace(data, unlabeled=None), settings)
    assert not all(torch.equal(a, b) for a, b in zip(net.model.parameters(), plain.model.parameters(), strict=True))


def test_texts_alone_are_answered_by_a_teacher(base_model_dir: Path, data: TaskData, tmp_path: Path) -> None:
    """The student may be a bare encoder: the teacher's answers are all that it learns, and what it is judged by."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(str(row["text"]) for row in sentence_rows(60)))
    teacher = tmp_path / "teacher"
    train_super_network(base_model_dir, data, SETTINGS).save(teacher)
    data = answer_texts(teacher, texts)
    settings = TrainingSettings(num_train_epochs=3, learning_rate=5e-3)
    seen: list[EpochReport] = []
    options = ModelOptions(model_name_or_path=str(base_model_dir), teacher_model=str(teacher))
    net = train_super_network(options, data, settings, on_epoch=seen.append)
    assert net.label_names == ("0", "1")
    assert [report.sub_network_loss is None for report in seen] == [True, False, False]
    with pytest.raises(ModelError, match="but .* is another. Train that one, or name it as teacher."):
        train_super_network(base_model_dir, data, settings)


def _save_short_reader(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A model that labels words, and reads the first three of a text alone."""
    config = tiny_config("bert")
    config.max_position_embeddings, config.id2label = 5, {0: "B-X", 1: "O"}
    model = random_weights(config, "token_classification", "sdpa", num_labels=2)
    with torch.inference_mode():  # of both labels as often
        model.classifier.bias -= model(**tiny_batch(model, length=4)).logits.mean(dim=(0, 1))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("labelled", [True, False])
def test_a_teacher_that_reads_other_words_is_refused(
    labelled: bool, base_model_dir: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Its answers would be learnt for words that they are not about."""
    teacher = _save_short_reader(tmp_path / "teacher", tokenizer)
    data = replace(_load_with_unlabeled("ner", tmp_path), unlabeled=None)
    if not labelled:
        data = answer_texts(teacher, tmp_path / "texts.jsonl", task_name="ner")
    longer = sum(len(words) > 3 for words in data.train.texts)
    options = ModelOptions(model_name_or_path=str(base_model_dir), teacher_model=str(teacher))
    with pytest.raises(ModelError) as raised:
        train_super_network(options, data, TrainingSettings(num_train_epochs=1))
    assert str(raised.value) == (
        f"the teacher must read the words that its student reads, but {teacher} cuts {longer} of {len(data.train)} "
        "texts elsewhere. Give a larger --max-seq-length or shorter texts, or a teacher with its student's tokenizer."
    )


def test_who_cannot_teach(base_model_dir: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = replace(_load_with_unlabeled("custom", tmp_path), unlabeled=None)
    three = _save_teacher(tmp_path / "three", tokenizer, {0: "a", 1: "b", 2: "c"}, "classification")
    choice = _save_teacher(tmp_path / "choice", tokenizer, {0: "0", 1: "1"}, "multiple_choice")
    for teacher, error, message in (
        (three, TaskDataError, "the labels of the data must be the model's"),
        (
            choice,
            ModelError,
            "the teacher must have a head for 2 outputs, as the task custom needs, but .* has multiple",
        ),
        (
            base_model_dir,
            ModelError,
            "the teacher must be fine-tuned, but .* lacks a task head. Name a .* with --teacher-model, or leave it out",
        ),
    ):
        options = ModelOptions(model_name_or_path=str(base_model_dir), teacher_model=str(teacher))
        with pytest.raises(error, match=message):
            train_super_network(options, data, TrainingSettings(num_train_epochs=1))
    embed = load_data(tmp_path / "rows.jsonl", text="text", task_name="embed", reference_model=str(base_model_dir))
    with pytest.raises(OptionError, match="--teacher-model must be left out for --task-name embed"):
        train_super_network(options, embed, TrainingSettings(num_train_epochs=1))
