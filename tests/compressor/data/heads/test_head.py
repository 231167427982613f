"""What holds for every head of the registry."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from compressor.data.batches import EncodedRows
from compressor.data.heads import HEADS, form_of, form_of_config
from compressor.data.heads.head import Head
from compressor.data.metrics import METRIC_NAMES, are_labels
from compressor.data.metrics.ratios import Structure
from compressor.data.rows import Rows, TaskData
from compressor.data.tasks import TASKS
from compressor.network.modeling_sliced import AUTO_CLASSES
from conftest import TASK_HEADS, tiny_model
from exporters.servable import ANSWERS, KINDS

NAMES = ["red", "green", "blue"]


OF_VALUES = ("regression", "rerank", "rerank_scores", "embedding")
"""Heads whose predictions are values."""


def some_labels(head: Head, count: int) -> Any:
    labels = np.random.default_rng(0).integers(2, size=(count, 3) if head.name == "multi_label" else count)
    if head.learns_reference:
        return np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    return labels.astype(np.float32) if head.name in OF_VALUES else labels


def some_rows(labels: np.ndarray) -> EncodedRows:
    return EncodedRows(
        columns={"input_ids": np.zeros(len(labels), dtype=np.int64)},
        offsets=np.arange(len(labels) + 1),
        labels=labels,
        num_choices=1,
        takes_choices=False,
        pad_values={"input_ids": 0},
        structure=Structure(groups=np.arange(len(labels)) // 3),
    )


def test_tests_know_every_head() -> None:
    assert set(TASK_HEADS) | {"multi_label", "rerank", "rerank_scores"} == HEADS.keys() == ANSWERS.keys()
    assert HEADS["rerank"].form == HEADS["rerank_scores"].form == HEADS["regression"].form  # what laws depend on
    assert all(head.name == name for name, head in HEADS.items())
    assert {head.form.suffix: head.form.auto_class for head in HEADS.values()} == AUTO_CLASSES


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_a_configured_model_fits_and_its_class_tells_its_form(head: Head) -> None:
    config = AutoConfig.for_model("bert", hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    head.configure(config, NAMES)
    model = head.form.auto_class.from_config(config)
    assert form_of(model) == head.form
    config.architectures = [type(model).__name__]
    assert form_of_config(config) == head.form
    assert head.fits(config, NAMES)
    assert form_of(tiny_model(task_head=head.name if head.name in TASK_HEADS else "regression")) == head.form
    assert head.describe(NAMES)
    assert head.form.describe(config)


def test_a_configuration_that_names_no_class_is_taken_for_sequence_classification() -> None:
    assert form_of_config(AutoConfig.for_model("bert")) == HEADS["classification"].form


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_metrics_fit_predictions(head: Head) -> None:
    assert head.metrics
    assert set(head.metrics) <= set(METRIC_NAMES)
    outputs = np.random.default_rng(0).normal(size=(6, 1 if head.name in OF_VALUES else 3)).astype(np.float32)
    predictions = head.predict(outputs)
    assert are_labels(predictions) == (head.name not in OF_VALUES)
    for metric in head.metrics:
        assert 0 < head.rounding_slack(outputs, metric, some_rows(some_labels(head, 6))) < 0.01


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_the_teacher_gets_no_gradient(head: Head) -> None:
    student = torch.zeros(2, 1 if head.name in OF_VALUES else 3, requires_grad=True)
    teacher = torch.ones_like(student, requires_grad=True)
    head.distillation_loss(student, teacher, torch.from_numpy(some_labels(head, 2)), 2.0).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_a_new_head_begins_with_the_best_outputs_that_know_no_text(head: Head) -> None:
    labels, names = some_labels(head, 40), tuple(NAMES)
    if head.name in ("classification", "token_classification"):
        labels[:9] = 2  # all occur
    if head.labels_words:
        labels = np.array([tuple(row) for row in labels.reshape(20, 2)] + [(1,)], dtype=object)[:-1]  # rows of words
    rows = Rows(texts=[("text",)] * len(labels), labels=labels)
    start = head.start(TaskData(task=TASKS["custom"], train=rows, validation=rows, test=rows, label_names=names))
    if head.name in ("multiple_choice", "embedding"):
        assert start is None
        return
    assert start is not None
    flat = torch.from_numpy(np.concatenate(labels.tolist()) if head.labels_words else labels)

    def loss(outputs: np.ndarray) -> float:
        return float(head.loss(torch.from_numpy(np.tile(outputs, (len(flat), 1))), flat))

    for step in np.eye(len(start)):
        assert loss(start) < min(loss(start + 0.3 * step), loss(start - 0.3 * step))
    assert loss(start) < loss(0 * start)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_served_model_knows_what_it_is_asked(task: Any) -> None:
    kind, _ = task.head.ask(task)
    assert kind in KINDS
