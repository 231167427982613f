"""The trivial predictor of each kind of task, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from compressor.data.metrics.trivial import TrivialPredictor, is_useful
from compressor.data.rows import Rows, TaskData
from compressor.data.tasks import TASKS, Task


def rows(labels: list[float], task: Task) -> Rows:
    return Rows(
        texts=(("a",),) * len(labels), labels=np.asarray(labels, dtype=float if task.head.name == "regression" else int)
    )


def trivial_of(task: Task, train: list[float], validation: list[float], test: list[float]) -> TrivialPredictor:
    parts = {name: rows(of, task) for name, of in (("train", train), ("validation", validation), ("test", test))}
    return task.head.find_trivial(TaskData(task=task, label_names=("no", "yes", "maybe"), **parts))


CUSTOM = TASKS["custom"]


@pytest.mark.parametrize(
    ("task", "name", "error", "test_error"),
    [
        (CUSTOM, "always 'no'", 0.75, 0.5),  # the majority of the training rows
        (replace(CUSTOM, metric="f1"), "always 'yes'", 1 - 2 * 0.75 / 1.75, 1 - 2 * 0.5 / 1.5),
        (replace(CUSTOM, metric="f1_macro"), "always 'no'", 1 - (2 * 0.25 / 1.25) / 2, 1 - (2 * 0.5 / 1.5) / 2),
        (replace(CUSTOM, metric="matthews_correlation"), "always 'no'", 1.0, 1.0),
        (TASKS["stsb"], "always the mean", 1.0, 1.0),
        (TASKS["swag"], "at random", 0.75, 0.75),
    ],
)
def test_by_hand(task: Task, name: str, error: float, test_error: float) -> None:
    found = trivial_of(task, [0, 0, 0, 1, 1], [0, 1, 1, 1], [0, 1])
    assert found.name == name
    assert (found.error, found.test_error) == pytest.approx((error, test_error))


def test_useful_is_better_wherever_the_error_is() -> None:
    trivial = TrivialPredictor(name="always 'yes'", error=0.19, test_error=0.2)
    assert is_useful((0.10, 0.18), trivial)
    assert not is_useful((0.15, 0.19), trivial)
    assert is_useful((0.9, 1.0), None)
    assert str(trivial) == "always 'yes' (error 0.1900)"
