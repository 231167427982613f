"""Several labels a row: how they are written, losses and trivial predictor by hand, the best threshold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from compressor.data.heads.multi_label import MULTI_LABEL
from compressor.data.loading import load_data
from compressor.data.metrics import compute_error
from compressor.data.rows import Rows, TaskData, in_order_of
from compressor.data.tasks import TASKS, Columns, get_task
from compressor.errors import TaskDataError

TASK = TASKS["multi-label"]
RULES = "a b c"


def table(labels: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"text": ["w1"] * len(labels), "labels": labels})


@pytest.mark.parametrize(
    "labels",
    [
        [["b"], ["a", "c"], []],
        ["b", "a, c", ""],
        ['["b"]', '["a", "c"]', "[]"],
        [np.array(["b"]), ("c", "a", "a"), np.array([], dtype=object)],
    ],
)
def test_lists_and_texts(labels: list[Any]) -> None:
    names = MULTI_LABEL.find_label_names(table(labels), TASK)
    assert names == ("a", "b", "c")
    assert MULTI_LABEL.read_labels(table(labels), TASK, names, "train").tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_numbers_are_ordered_as_such() -> None:
    rows = table([[10], [9, 2], [2]])
    assert MULTI_LABEL.find_label_names(rows, TASK) == ("2", "9", "10")
    assert MULTI_LABEL.read_labels(rows, TASK, ("2", "9", "10"), "train").tolist() == [[0, 0, 1], [1, 1, 0], [1, 0, 0]]


def test_a_column_for_each_label() -> None:
    task = get_task("multi-label", columns=Columns(label="rude, sad"))
    assert task.columns == ("text", "rude", "sad")
    rows = pd.DataFrame({"text": ["w1"] * 3, "rude": ["0", "1", "true"], "sad": [1.0, 0.0, 0.0]})
    names = MULTI_LABEL.find_label_names(rows, task)
    assert names == ("rude", "sad")
    assert MULTI_LABEL.read_labels(rows, task, names, "train").tolist() == [[0, 1], [1, 0], [1, 0]]
    with pytest.raises(TaskDataError, match="column 'sad' must say 0 or 1 in every row, but row 2 of the test rows"):
        MULTI_LABEL.read_labels(rows.assign(sad=[0, 2, 1]), task, names, "test")


@pytest.mark.parametrize("label", [None, 3.5, {"a": 1}, ["a", None], "[1"])
def test_a_row_needs_a_list(label: object) -> None:
    with pytest.raises(TaskDataError, match="must hold a list of labels in every row, but row 2 of the train rows"):
        MULTI_LABEL.find_label_names(table([["a"], label]), TASK)


def test_unknown_and_too_many_labels() -> None:
    with pytest.raises(TaskDataError, match="labels of the test rows must be among a, b, but got c too"):
        MULTI_LABEL.read_labels(table([["c"]]), TASK, ("a", "b"), "test")
    with pytest.raises(TaskDataError, match="must hold lists of labels, but 30 rows show 60 different ones"):
        MULTI_LABEL.find_label_names(table([[f"x{i}", f"y{i}"] for i in range(30)]), TASK)


def test_losses_are_the_formulas() -> None:
    student, teacher = torch.tensor([[0.3, -1.0], [2.0, 0.5]]), torch.tensor([[1.0, 0.0], [-1.0, 3.0]])
    labels, temperature = torch.tensor([[1, 0], [1, 1]]), 2.0

    def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        told = torch.sigmoid(logits)
        return -(target * told.log() + (1 - target) * (1 - told).log()).mean()

    hard, soft = cross_entropy(student, labels), cross_entropy(student / 2, torch.sigmoid(teacher / 2))
    torch.testing.assert_close(MULTI_LABEL.loss(student, labels), hard)
    found = MULTI_LABEL.distillation_loss(student, teacher, labels, temperature)
    torch.testing.assert_close(found, temperature**2 * soft + hard)


@pytest.mark.parametrize("metric", MULTI_LABEL.metrics)
def test_the_best_shift_is_the_best(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 3)) < [0.4, 0.2, 0.1]).astype(int)
    logits = (2 * labels - 3 + rng.normal(size=labels.shape)).astype(np.float32)  # too low by 2
    assert MULTI_LABEL.best_shift is not None
    shift = MULTI_LABEL.best_shift(logits, labels, metric)
    assert 1 < shift < 3
    error = compute_error(metric, MULTI_LABEL.predict(logits + shift), labels)
    others = [compute_error(metric, MULTI_LABEL.predict(logits + other), labels) for other in (-1, 0, 1, 3)]
    assert error < min(others)
    assert MULTI_LABEL.best_shift(2 * labels - 1.0, labels, metric) == 0  # any of many is as good


def rows(labels: list[list[int]]) -> Rows:
    return Rows(texts=tuple((f"w{i}",) for i in range(len(labels))), labels=np.array(labels))


def make_data(metric: str) -> TaskData:
    train = rows([[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0]])
    return TaskData(
        task=get_task("multi-label", metric=metric),
        train=train,
        validation=rows([[1, 0, 0], [0, 1, 0]]),
        test=rows([[1, 1, 1]]),
        label_names=("a", "b", "c"),
    )


def test_the_trivial_predictor_by_hand() -> None:
    # "a" alone: 2*3/(4+6) = 0.6; "a" and "b": 2*5/(8+6) = 0.714; all: 2*6/(12+6) = 0.667
    found = MULTI_LABEL.find_trivial(make_data("f1_micro"))
    assert found.name == "always 'a' and 'b'"
    assert (found.error, found.test_error) == pytest.approx((1 - 2 * 2 / (4 + 2), 1 - 2 * 2 / (2 + 3)))
    found = MULTI_LABEL.find_trivial(make_data("f1_macro"))
    assert found.name == "always every label"
    # a and b: 2*1/(2+1) each; c: 0 of 2 told
    assert found.error == pytest.approx(1 - (2 / 3 + 2 / 3 + 0) / 3)


def test_labels_in_the_order_of_a_model() -> None:
    data = in_order_of(make_data("f1_micro"), ("c", "x", "a", "b"))
    assert data.train.labels.tolist() == [[0, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_near_thresholds_give_slack() -> None:
    logits = np.array([[3.0, -3.0]] * 9 + [[1e-5, -3.0]])
    assert MULTI_LABEL.rounding_slack(logits[:9], "f1_micro", None) == 1e-6
    assert MULTI_LABEL.rounding_slack(logits, "f1_micro", None) == pytest.approx(1e-6 + 2 / 10)


def test_files(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    train = [{"text": f"w{i} w{i % 7}", "labels": ["a"] if i % 2 else ["a", "b"]} for i in range(40)]
    data = load_data(write_rows(train, "train.jsonl"), task_name="multi-label")
    assert data.label_names == ("a", "b")
    assert data.train.labels.shape == (len(data.train), 2)
    assert data.task.metric == "f1_micro"
    same = [{"text": f"w{i}", "labels": ["a"]} for i in range(40)]
    with pytest.raises(TaskDataError, match="must show different labels"):
        load_data(write_rows(same, "same.jsonl"), task_name="multi-label")
    rare = [{"text": f"v{i}", "labels": ["a"]} for i in range(10)]
    data = load_data(
        write_rows(train, "train.jsonl"), validation_file=str(write_rows(rare, "rare.jsonl")), task_name="multi-label"
    )
    assert "no validation row has b: nothing tells how well they are learnt." in data.notes
