"""Loading the rows of a source: read, checked, split; and texts without labels, alone or beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads.answers import Answers, read_answers
from compressor.data.heads.rerank import RERANK, RERANK_SCORES
from compressor.data.heads.texts import split_words, to_list
from compressor.data.labels import positions_among, require_two_of_f1
from compressor.data.metrics.ratios import find_outside
from compressor.data.overlap import fingerprints, texts_in
from compressor.data.reading import as_judged, check_columns, only_column, read_file, read_groups, read_tables, to_rows
from compressor.data.rows import (
    Given,
    Rows,
    TaskData,
    as_rows,
    check_rows,
    name_words,
    pick_rows,
    require_same_rows,
    split_rows,
    without_rows,
)
from compressor.data.sources import DataSource, find_path, make_source
from compressor.data.tables import read_table
from compressor.data.tasks import Task
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd


def load_data(
    train_file: str | Path | None = None,
    *,
    text: str | Sequence[str] = (),
    label: str | None = None,
    **fields: Any,
) -> TaskData:
    """Load the rows of a task, checked and split; without arguments those of the demo.

    `text` is the column of the texts, or two of them; `label` that of the labels. `fields` are the other fields of
    `DataSource`, such as `validation_file`, `test_file`, `dataset_name`, `task_name`, `metric` or `regression=True`.
    Without a validation file 30 % of the training rows are held out for the search, without a test file 20 % before.

    Raises:
        OptionError: fields do not go together, or a number is out of its range.
        TaskDataError: a file, a column or a row that cannot be used, or a Hub that cannot be reached.
    """
    columns = (text,) if isinstance(text, str) else tuple(text)
    return load_task_data(make_source(train_file=train_file, text_columns=columns, label_column=label, **fields))


def load_task_data(source: DataSource, *, with_unlabeled: bool = True) -> TaskData:
    """Return the rows of a task, checked and split; the same source gives the same rows.

    Texts without labels beside them are read for who learns from them; others do `with_unlabeled=False`.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used, or a Hub that cannot be reached.
    """
    import pyarrow

    data = _load_task_data(source)
    if with_unlabeled and source.unlabeled_file is not None and not source.has_no_labels:
        data = _with_unlabeled(data, find_path(source.unlabeled_file))
    pyarrow.default_memory_pool().release_unused()  # what reading has taken, of many rows as much as they keep
    return data


def _load_task_data(source: DataSource) -> TaskData:
    """Return the same; the tables that were read are gone with it."""
    if source.has_no_labels:
        if source.answers_file is None:
            raise TaskDataError(
                f"texts without labels must be answered by a fine-tuned model first, but those of "
                f"{source.unlabeled_file} are not. Call answer_texts, or compressor compress."
            )
        return with_answers(load_texts(source), read_answers(find_path(source.answers_file)))
    tables, task = read_tables(source)
    # From here on each part may be read as another task: texts without labels to train on, scored pairs to judge by.
    tables, tasks = as_judged(tables, task, scored_pairs=source.validation_pairs is not None)
    for name, table in tables.items():
        check_columns(table, tasks[name], name)
    if task.head.settle is not None:
        # By the training rows alone: what the others show must not change what is learnt.
        task = replace(task, head=task.head.settle(tables.train, task))
        tasks = dict.fromkeys(tasks, task)
    label_names = task.head.find_label_names(tables.train, task)
    task = name_words(task, label_names)
    given = Given(**{name: to_rows(table, tasks[name], label_names, name) for name, table in tables.items()})
    return check_rows(split_rows(given, without_rows(source, task, label_names)))


def load_texts(source: DataSource) -> TaskData:
    """Return the texts of a file without labels, split as rows are; all labels are 0, until `with_answers`.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used.
    """
    assert source.unlabeled_file is not None
    task = source.task
    rows = _read_unlabeled(find_path(source.unlabeled_file), task)
    if task.head.labels_words:  # which tell later what word an answer is about
        rows = replace(rows, labels=as_rows(range(len(words)) for words in rows.texts))
    return split_rows(Given(train=rows), without_rows(source, task))


def _read_unlabeled(path: Path, task: Task) -> Rows:
    """Return the texts of a file without labels; all labels are 0."""
    table = read_table(path, lines_as=only_column(task))
    check_columns(table, task, "unlabeled", labelled=False)
    if task.head.labels_words:
        table = _with_words(table, task.text_columns[0])
    texts, groups = task.head.read_texts(table, task, "unlabeled"), read_groups(table, task, "unlabeled")
    return Rows(texts=texts, labels=np.zeros(len(table), dtype=np.int64), groups=groups)


def _with_unlabeled(data: TaskData, path: Path) -> TaskData:
    """Return the data with the texts of a file without labels, those left out that stand in one of its parts.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used, or no text is left.
    """
    rows = _read_unlabeled(path, data.task)
    # What a search or a test is to judge must not be trained on, whoever answers it.
    marks = _marks_of_letters if data.task.head.labels_words else fingerprints
    found = texts_in(marks(rows), np.concatenate([marks(part) for part in data.parts.values()]))
    if rows.groups is not None:
        # A query is judged by the order of all its documents: others than those that are judged would tell of it too.
        judged = np.concatenate([_marks_of_groups(part) for part in (data.validation, data.test)])
        found |= texts_in(_marks_of_groups(rows), judged)
    new = np.flatnonzero(~found)
    if len(new) == 0:
        raise TaskDataError(
            f"--unlabeled-file must hold texts that are not among the rows with labels, but all {len(rows):,} of "
            f"{path} are. Give others, or drop it."
        )
    kept, labels = pick_rows(rows, new), data.train.labels
    # Of the kind that the rows with labels have, so that both can be joined.
    if data.task.head.labels_words:
        blank = as_rows([0] * len(words) for words in kept.texts)
    else:
        blank = np.zeros((len(kept), *labels.shape[1:]), labels.dtype)
    queries = "" if rows.groups is None else ", or their queries are judged"
    note = (
        f"{len(rows) - len(kept):,} of {len(rows):,} texts without labels are among the rows with labels{queries}: "
        "left out."
    )
    notes = data.notes if len(kept) == len(rows) else (*data.notes, note)
    return replace(data, unlabeled=replace(kept, labels=blank), notes=notes)


def _marks_of_letters(rows: Rows) -> np.ndarray:
    """Return fingerprints of the rows' letters, however a text was cut into words."""
    return fingerprints(replace(rows, texts=[("".join("".join(words).split()),) for words in rows.texts]))


def _marks_of_groups(rows: Rows) -> np.ndarray:
    """Return fingerprints of the first text of each row, which is its query."""
    return fingerprints(replace(rows, texts=[texts[:1] for texts in rows.texts]))


def _with_words(table: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Return the table with the words of its texts in place of those that are no lists of words."""
    words = [
        split_words(value) if isinstance(value, str) and to_list(value) is None else value
        for value in table[column].tolist()
    ]
    changed = table.copy()
    changed[column] = words
    return changed


def with_answers(data: TaskData, answers: Answers) -> TaskData:
    """Return the texts of `load_texts` with what a full model answered to them as their labels.

    Raises:
        TaskDataError: it answered other texts, or the same to all of them; the metric does not fit its labels.
    """
    # Places of answers are meaningless for other texts, so the rows are compared before anything is read.
    next_step = "train again with compressor train-supernet"
    require_same_rows(data, answers.texts, "the full model answered", next_step)
    head, names = RERANK_SCORES if data.task.head is RERANK else data.task.head, answers.label_names
    require_two_of_f1(data.task, names, "the full model has")
    predicted = {name: head.predict(outputs) for name, outputs in answers.outputs.items()}
    # A constant teacher teaches nothing, and every sub-network would repeat it without an error.
    if len(np.unique(predicted["train"], axis=0)) < 2:
        raise TaskDataError(
            f"the full model must tell the texts apart, but gives all {len(data.train)} training rows the same answer. "
            "Give texts of the kind it was fine-tuned on."
        )
    # Answers for words come flat; they are put back to the rows whose words they are.
    if answers.words is not None:
        predicted = {
            name: _place_words(data.parts[name], predicted[name], words, names) for name, words in answers.words.items()
        }
    # Rows keep the outputs where the head judges by them; others are judged by the labels that were made of them.
    learnt = answers.outputs if head.compare is not None else {}
    train, validation, test = (
        replace(rows, labels=predicted[name], reference=learnt.get(name)) for name, rows in data.parts.items()
    )
    task = replace(data.task, head=head, label_names=names)
    answered = replace(data, task=task, label_names=names, answers=answers)
    return check_rows(replace(answered, train=train, validation=validation, test=test))


def _place_words(rows: Rows, predicted: np.ndarray, words: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the labels of each row's words, of answers [units] about these words [units, 2]."""
    labels = [[find_outside(names)] * len(texts) for texts in rows.texts]
    for (row, word), label in zip(words.tolist(), predicted.tolist(), strict=True):
        labels[row][word] = label
    return as_rows(labels)


def load_rows(file: Path, task: Task, names: Sequence[str], part: str) -> Rows:
    """Load the rows of one file for a model that calls its labels `names`, numbered as it numbers them.

    Labels are matched by these names or, where not all are among them, by their numbers. Errors call them `part`.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used.
    """
    head, table = task.head, read_file(find_path(str(file)), task)
    check_columns(table, task, part)
    names = task.choice_columns or tuple(names)
    try:
        labels = head.read_labels(table, replace(task, label_names=()), names, part)
    except TaskDataError:  # not all are names
        labels = head.read_labels(table, replace(task, label_names=names), names, part)
    if len(task.label_columns) > 1:
        order = np.asarray(positions_among(task.label_columns, names, defined=False))
        labels = head.renumber(labels, order, len(names))
    return Rows(texts=head.read_texts(table, task, part), labels=labels, groups=read_groups(table, task, part))
