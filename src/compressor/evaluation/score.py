"""The error of a model's logits on some rows, with the interval that the number of rows leaves."""

from dataclasses import dataclass

import numpy as np

from compressor.data.batches import EncodedRows
from compressor.data.metrics import compute_error, error_interval
from compressor.data.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good a model is on some rows."""

    error: float
    """1 − metric."""
    interval: tuple[float, float]
    """95 % interval of the error."""


def score(task: Task, logits: np.ndarray, rows: EncodedRows) -> Score:
    """Return the error of logits [rows, classes] against labels [rows], by the task's metric."""
    predictions = task.head.judge(logits, rows.reference)
    return Score(
        error=compute_error(task.metric, predictions, rows.labels, rows.structure),
        interval=error_interval(task.metric, predictions, rows.labels, rows.structure),
    )
