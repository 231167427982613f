"""A label per word, such as the entities in a text: softmax over each word's outputs, cross-entropy.

A word is judged by its first piece; further pieces, and words that are cut off at the maximal length, are not.
"""

import reprlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads.classification import (
    count_near_ties,
    describe_outputs,
    distillation_loss,
    logits_of,
    loss,
    name_outputs,
    predict,
)
from compressor.data.heads.head import Head, ModelForm
from compressor.data.heads.texts import read_words, to_list
from compressor.data.labels import list_names, order_names, to_indices
from compressor.data.metrics.ratios import OUTSIDE
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd

    from compressor.data.batches import EncodedRows
    from compressor.data.rows import Rows, TaskData
    from compressor.data.tasks import Task


def find_label_names(table: "pd.DataFrame", task: "Task") -> tuple[str, ...]:
    """Return the labels that the data set defines, or else those of the training rows, `O` first.

    Raises:
        TaskDataError: a row holds no list of labels, or labels are numbers that nobody names.
    """
    different = {label for labels in _read_lists(table, task, "train") for label in labels}
    # Labels may be written as names or as their numbers; either way the declared names are theirs.
    numbers = {str(number) for number in range(len(task.label_names))}
    if task.label_names and (different <= set(task.label_names) or different <= numbers):
        return task.label_names
    if all(label.isdecimal() for label in different):
        raise TaskDataError(
            f"labels of words must be named, but column {task.label_column!r} holds numbers: "
            f"{list_names(order_names(different))}. Write names, or give them with --label-names-file."
        )
    # A stable sort by "is not O": the others keep the order that they had.
    return tuple(sorted(order_names(different), key=lambda name: name != OUTSIDE))


def read_labels(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:
    """Return the class indices of each row's words: an array [rows] of tuples.

    Raises:
        TaskDataError: a row has not as many labels as words, or an unknown one.
    """
    # Each different label is looked up once, not each word's: there are few labels and many words.
    written = sorted({label for labels in _read_lists(table, task, part) for label in labels})
    # Numbers count only where the data set declares names and something else than those names is written.
    numbered = tuple(label_names) == task.label_names and not set(written) <= set(label_names)
    indices = dict(zip(written, to_indices(written, label_names, part, numbered=numbered).tolist(), strict=True))
    rows = zip(_read_lists(table, task, part), table[task.text_columns[0]].tolist(), strict=True)
    # An array of tuples: np.array would make a matrix of rows that happen to be equally long.
    found = np.empty(len(table), dtype=object)
    for row, (labels, words) in enumerate(rows):
        count = len(to_list(words) or ())
        if len(labels) != count:
            raise TaskDataError(
                f"a row must have a label for each word, but row {row + 1} of the {part} rows has {count} words and "
                f"{len(labels)} labels. Correct the file."
            )
        found[row] = tuple(indices[label] for label in labels)
    return found


def _read_lists(table: "pd.DataFrame", task: "Task", part: str) -> Iterator[list[str]]:
    """Yield the labels of a row after the other."""
    for row, value in enumerate(table[task.label_column].tolist()):
        labels = to_list(value)
        if labels is None or not all(isinstance(label, str | int | np.integer) for label in labels):
            raise TaskDataError(
                f"column {task.label_column!r} must hold a list of labels in every row, but row {row + 1} of the "
                f"{part} rows holds {reprlib.repr(value)}. Correct the file or name another --label-column."
            )
        yield [str(label).strip() for label in labels]


def check_labels(data: "TaskData") -> list[str]:
    """Return a line for each part that shows one label alone.

    Raises:
        TaskDataError: the training rows do, so there is nothing to learn.
    """
    # `labels` of a row are a tuple of indices, one for each word.
    seen = {name: {label for labels in rows.labels for label in labels} for name, rows in data.parts.items()}
    if len(seen["train"]) < 2:
        name = data.label_names[seen["train"].pop()]
        raise TaskDataError(
            f"the words of the training rows must show at least two labels, but all are {name!r}. Check --label-column."
        )
    return [
        f"all words of the {name} rows are {data.label_names[next(iter(labels))]!r}: an error on them says little."
        for name, labels in seen.items()
        if len(labels) < 2
    ]


def renumber(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Return class indices i as order[i], in each row's tuple."""
    moved = np.empty(len(labels), dtype=object)
    for row, indices in enumerate(labels):
        moved[row] = tuple(int(order[index]) for index in indices)
    return moved


def to_texts(rows: "Rows", task: "Task") -> tuple[list[list[str]], None]:
    """Return the words of each row."""
    return [list(words) for words in rows.texts], None


def find_start(data: "TaskData") -> np.ndarray:
    """Return the logits whose softmax are the labels' shares of the training words, [labels]."""
    return logits_of(_labels_of_words(data.train), len(data.label_names))


def _labels_of_words(rows: "Rows") -> np.ndarray:
    """Return the labels of all words, row after row."""
    return np.concatenate([np.asarray(labels) for labels in rows.labels])


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Predict the label of most words in training, mostly `O`: worth something where the metric is accuracy alone."""
    words = {name: _labels_of_words(rows) for name, rows in data.parts.items()}
    answer = int(np.bincount(words["train"]).argmax())
    of_accuracy = data.task.metric == "accuracy"
    errors = [
        round(float(np.mean(words[name] != answer)), 12) if of_accuracy else 1.0 for name in ("validation", "test")
    ]
    return TrivialPredictor(name=f"always {data.label_names[answer]!r}", error=errors[0], test_error=errors[1])


def rounding_slack(logits: np.ndarray, metric: str, rows: "EncodedRows") -> float:
    """Return words whose two best labels lie closer than parity's rounding (may flip), and two entities with each."""
    ties = count_near_ties(logits)
    predicted = predict(logits)
    marked = int(np.count_nonzero(predicted != np.bincount(predicted).argmax()))  # the others are mostly in no entity
    # A word that flips may split an entity or join two, each of which counts as a miss and a false alarm.
    return 1e-6 + 4 * ties / max(marked, 1)


def ask(task: "Task") -> tuple[str, Any]:
    """Return a text, in which entities are found."""
    return "tokens", "Ann Lee flew to Rome."


TOKEN_CLASSIFICATION = Head(
    name="token_classification",
    form=ModelForm(
        suffix="ForTokenClassification",
        auto_class_name="AutoModelForTokenClassification",
        reads_first_token=False,
        answers_tokens=True,
    ),
    metrics=("entity_f1", "accuracy"),
    pipeline_tag="token-classification",
    labels_words=True,
    find_label_names=find_label_names,
    read_labels=read_labels,
    read_texts=read_words,
    check_labels=check_labels,
    renumber=renumber,
    to_texts=to_texts,
    configure=lambda config, names: name_outputs(config, names, None),
    fits=lambda config, names: config.num_labels >= len(names),
    describe=lambda names: f"{describe_outputs(len(names))} a word",
    loss=loss,
    distillation_loss=distillation_loss,
    predict=predict,
    find_trivial=find_trivial,
    find_start=find_start,
    rounding_slack=rounding_slack,
    ask=ask,
)
