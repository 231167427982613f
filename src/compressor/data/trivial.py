"""The trivial predictor of a task: what knows the labels but no text. A model that is no better has learnt nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.data.metrics import compute_error
from compressor.data.sources import TaskData
from compressor.records import Errors


@dataclass(frozen=True, kw_only=True)
class TrivialPredictor:
    """The best answer that does not look at the texts, and its errors."""

    name: str
    """What it does: always 'positive', the mean, at random."""
    error: Errors
    """1 − metric on the validation rows."""
    test_error: Errors

    def __str__(self) -> str:
        return f"{self.name} (error {self.error:.4f})"

    def cells(self, columns: Sequence[str]) -> list[str]:
        """Its row of a table: a cell for each column, empty where it is not one of `name`, `error` and `test_error`."""
        known = {"name": self.name, "error": f"{self.error:.4f}", "test_error": f"{self.test_error:.4f}"}
        return [known.get(column, "") for column in columns]


def is_useful(error_range: tuple[float, float], trivial: TrivialPredictor | None) -> bool:
    """Whether a model with an error in this range is better than the trivial predictor, wherever the error is in it."""
    return trivial is None or error_range[1] < trivial.error


def find_trivial(data: TaskData) -> TrivialPredictor:
    """The trivial predictor of a task, from the labels of its rows alone.

    For accuracy and macro F1 the majority class of the training rows; for F1 always the positive class, which is worth
    2p / (1 + p) of F1 where a share p is positive; for Matthews and correlations any constant, which is worth nothing;
    for multiple choice a choice at random.
    """
    task = data.task
    if task.multiple_choice:
        chance = round(1 - 1 / len(task.choice_columns), 12)
        return TrivialPredictor(name="at random", error=chance, test_error=chance)
    if task.regression:
        return TrivialPredictor(name="always the mean", error=1.0, test_error=1.0)
    told = 1 if task.metric == "f1" else int(np.bincount(data.train.labels).argmax())
    return TrivialPredictor(
        name=f"always {data.label_names[told]!r}",
        error=_error_of_constant(task.metric, told, data.validation.labels),
        test_error=_error_of_constant(task.metric, told, data.test.labels),
    )


def _error_of_constant(metric: str, told: int, labels: np.ndarray) -> float:
    """The error of one label for all rows; a constant's F1 is what it is here, not 0 as for a model."""
    share = float(np.mean(labels == told))
    if metric == "f1":
        return round(1 - 2 * share / (1 + share), 12)
    if metric == "f1_macro":
        return round(1 - 2 * share / (1 + share) / len(np.unique(np.append(labels, told))), 12)
    return compute_error(metric, np.full(len(labels), told), labels)
