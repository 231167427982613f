"""Several labels per text, or none: an output per label, each on its own; sigmoid and binary cross-entropy.

A label is assigned where its output is above 0. Where training ends, one number is added to all outputs, so that 0 is
the threshold that is best on the validation rows: it lies in the weights, and nobody has to carry it along.
"""

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.heads.classification import (
    MULTI_LABEL_TYPE,
    SEQUENCE_FORM,
    ask,
    describe_outputs,
    name_outputs,
    to_texts,
)
from compressor.data.heads.head import Head
from compressor.data.heads.texts import read_texts, to_list
from compressor.data.labels import list_names, order_names, to_indices
from compressor.data.metrics import compute_error
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from compressor.data.batches import EncodedRows
    from compressor.data.rows import TaskData
    from compressor.data.tasks import Task

_THRESHOLDS = np.arange(0.05, 0.96, 0.05)
"""Probabilities above which a label might be assigned."""
_MAX_SHARE = 0.5
"""Labels that are different in more rows than this share are no labels."""


def find_label_names(table: "pd.DataFrame", task: "Task") -> tuple[str, ...]:
    """Return the label columns, or the labels that the data set defines, or else those in the training rows' lists.

    Raises:
        TaskDataError: a row holds no list of labels, or the labels are different in most rows.
    """
    # A column per label names the labels itself.
    if len(task.label_columns) > 1:
        return task.label_columns
    rows = _read_lists(table, task, "train")
    different = {label for labels in rows for label in labels}
    # A data set may declare names and write numbers: both spellings are of the declared labels.
    numbers = {str(number) for number in range(len(task.label_names))}
    if task.label_names and (different <= set(task.label_names) or different <= numbers):
        return task.label_names
    # Texts that hardly repeat are no labels: the wrong column was named.
    if len(different) > max(20, _MAX_SHARE * len(rows)) or not different:
        raise TaskDataError(
            f"column {task.label_column!r} must hold lists of labels, but {len(rows)} rows show {len(different)} "
            "different ones. Use another --label-column."
        )
    return order_names(different)


def read_labels(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:
    """Return which labels each row has: 0 or 1, int64 [rows, labels].

    Raises:
        TaskDataError: a row holds no list of labels, or an unknown one.
    """
    if len(task.label_columns) > 1:
        return np.stack([_read_flags(table, column, part) for column in task.label_columns], axis=1)
    rows = _read_lists(table, task, part)
    written = [label for labels in rows for label in labels]
    # Numbers only where the data set defines the labels: else "1" is a name.
    numbered = tuple(label_names) == task.label_names and not set(written) <= set(label_names)
    found = np.zeros((len(rows), len(label_names)), dtype=np.int64)
    places = np.repeat(np.arange(len(rows)), [len(labels) for labels in rows])
    found[places, to_indices(written, label_names, part, numbered=numbered)] = 1
    return found


def _read_lists(table: "pd.DataFrame", task: "Task", part: str) -> list[list[str]]:
    """Return the labels of each row: of a list, of one written as JSON, or of a text with commas between them."""
    column, rows = task.label_columns[0], []
    for row, value in enumerate(table[column].tolist()):
        # A text with commas is split; one that begins with a bracket is a list written as JSON.
        labels = value.split(",") if isinstance(value, str) and not value.strip().startswith("[") else to_list(value)
        if labels is None or not all(isinstance(label, str | int | np.integer) for label in labels):
            raise TaskDataError(
                f"column {column!r} must hold a list of labels in every row, but row {row + 1} of the {part} rows "
                f"holds {reprlib.repr(value)}. Write a list, a text with commas, or name a column per label."
            )
        # Empty entries, as behind a last comma, are no labels.
        rows.append([text for text in (str(label).strip() for label in labels) if text])
    return rows


def _read_flags(table: "pd.DataFrame", column: str, part: str) -> np.ndarray:
    """Return a label's own column: 0 or 1, int64 [rows]."""
    values = table[column].tolist()
    flags = [_FLAGS.get(str(value).strip().casefold()) for value in values]
    if None in flags:
        row = flags.index(None)
        raise TaskDataError(
            f"column {column!r} must say 0 or 1 in every row, but row {row + 1} of the {part} rows holds "
            f"{reprlib.repr(values[row])}. Correct the file or --label-column."
        )
    return np.asarray(flags, dtype=np.int64)


_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def check_labels(data: "TaskData") -> list[str]:
    """Return a line on labels that no validation row has, if there are any.

    Raises:
        TaskDataError: the training rows all have the same labels, so there is nothing to learn.
    """
    if (data.train.labels == data.train.labels[0]).all():
        raise TaskDataError(
            f"the training rows must show different labels, but all {len(data.train)} have the same ones. "
            "Check --label-column."
        )
    absent = [data.label_names[place] for place in np.flatnonzero(data.validation.labels.sum(axis=0) == 0)]
    return [f"no validation row has {list_names(absent)}: nothing tells how well they are learnt."] if absent else []


def renumber(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Return columns i as columns order[i] of `count`."""
    moved = np.zeros((len(labels), count), dtype=np.int64)
    moved[:, order] = labels
    return moved


def loss(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Return mean binary cross-entropy of logits [rows, labels]."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def distillation_loss(student: "Tensor", teacher: "Tensor", labels: "Tensor", temperature: float) -> "Tensor":
    """Return T² · BCE(student / T, sigmoid(teacher / T)) + BCE(student, labels); the teacher's logits are detached."""
    return soft_binary_loss(student, teacher, temperature) + loss(student, labels)


def soft_binary_loss(student: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
    """Return T² · BCE(student / T, sigmoid(teacher / T)); the teacher's logits are detached."""
    return temperature**2 * loss(student / temperature, (teacher.detach() / temperature).sigmoid())


def predict(logits: np.ndarray) -> np.ndarray:
    """Return which labels are assigned: 0 or 1 [rows, labels]."""
    return (logits > 0).astype(np.int64)


def best_shift(logits: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """Return the shift of all logits [rows, labels] with which 0 is the best threshold; 0 among equals."""
    # A threshold t on probabilities is a shift of −logit(t); the smallest first, since argmin takes the first of
    # equals.
    shifts = sorted(-np.log(_THRESHOLDS / (1 - _THRESHOLDS)), key=abs)
    errors = [compute_error(metric, predict(logits + shift), labels) for shift in shifts]
    return round(float(shifts[int(np.argmin(errors))]), 6)


def find_start(data: "TaskData") -> np.ndarray:
    """Return the logits of the labels' shares of the training rows, [labels]."""
    return logits_of_shares(data.train.labels)


def logits_of_shares(labels: np.ndarray) -> np.ndarray:
    """Return the outputs [labels] whose sigmoids are the means of labels [rows, labels] from 0 to 1.

    Each counts as if one row more had it and one row more had it not, since a share of 0 or 1 has no logit.
    """
    shares = (labels.sum(axis=0) + 1) / (len(labels) + 2)
    return np.asarray(np.log(shares) - np.log1p(-shares))


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Predict the same labels for all rows: for macro F1 all, for micro F1 as many frequent ones as are best.

    The k most frequent are worth 2 · hits / (k · rows + labels) of micro F1.
    """
    train, metric = data.train.labels, data.task.metric
    # Labels by falling frequency; stable, so that equally frequent ones keep their order. `sum(axis=0)` counts rows per
    # label, [labels].
    order = np.argsort(-train.sum(axis=0), kind="stable")
    # If the k most frequent labels are always predicted, hits[k - 1] of these predictions are right.
    hits = np.cumsum(train.sum(axis=0)[order])
    values = 2 * hits / (np.arange(1, len(order) + 1) * len(train) + train.sum())
    # Macro F1 is a mean over labels, to which a label that is never predicted adds 0: all are predicted.
    count = len(order) if metric == "f1_macro" else int(values.argmax()) + 1
    answer = np.zeros(len(order), dtype=np.int64)
    answer[order[:count]] = 1
    names = [data.label_names[place] for place in order[:count]]
    what = "every label" if count == len(order) else " and ".join(map(repr, names))
    # The same answer for every row: [labels] becomes [rows, labels].
    error, test_error = (
        compute_error(metric, np.tile(answer, (len(rows), 1)), rows.labels) for rows in (data.validation, data.test)
    )
    return TrivialPredictor(name=f"always {what}", error=error, test_error=test_error)


def rounding_slack(logits: np.ndarray, metric: str, rows: "EncodedRows") -> float:
    """Return what may move the error: outputs closer to 0 than parity's rounding, a hit more or less each."""
    # 1e-4 of the largest logit is what parity allows a logit to move
    close = np.abs(logits) < 1e-4 * max(float(np.abs(logits).max()), 1e-6)
    ties, num_predicted = close.sum(axis=0), np.maximum((logits > 0).sum(axis=0), 1)
    return float(1e-6 + np.minimum(2 * ties / num_predicted, 1.0).sum())


MULTI_LABEL = Head(
    name="multi_label",
    form=SEQUENCE_FORM,
    metrics=("f1_micro", "f1_macro"),
    pipeline_tag="text-classification",
    takes_label_columns=True,
    find_label_names=find_label_names,
    read_labels=read_labels,
    read_texts=read_texts,
    check_labels=check_labels,
    renumber=renumber,
    to_texts=to_texts,
    configure=lambda config, names: name_outputs(config, names, MULTI_LABEL_TYPE),
    fits=lambda config, names: config.num_labels >= len(names) and config.problem_type in (None, MULTI_LABEL_TYPE),
    describe=lambda names: f"{describe_outputs(len(names))} of several labels a row",
    loss=loss,
    distillation_loss=distillation_loss,
    best_shift=best_shift,
    predict=predict,
    find_trivial=find_trivial,
    find_start=find_start,
    rounding_slack=rounding_slack,
    ask=lambda task: ask(task, "labels", "pair_labels"),
)
