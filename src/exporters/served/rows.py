"""Rows with labels as a served model is asked about them, and its answers as predictions that a metric judges."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.heads.regression import REGRESSION
from compressor.data.loading import load_rows
from compressor.data.metrics.ratios import Structure, find_outside, read_tags
from compressor.data.reading import PAIR_COLUMNS
from compressor.data.rows import Rows
from compressor.data.tasks import Task
from compressor.errors import TaskDataError
from exporters.options import ColumnOptions
from exporters.served.models import ServedModel


def read_labelled(file: Path, model: ServedModel, columns: ColumnOptions) -> tuple[Rows, Task]:
    """Return the rows of a file with labels numbered as the model numbers them, and the task they are judged by.

    Labels are the model's names, or their numbers where not all are among the names.

    Raises:
        TaskDataError: a column is missing, or holds what this model cannot be judged by.
    """
    task = _with_columns(model, columns)
    if task.metric == "f1" and len(model.labels) != 2:
        raise TaskDataError(
            f"--metric f1 must be of a model with two labels, but {model.name} has {len(model.labels)}. "
            "Use --metric f1_macro or --metric accuracy."
        )
    return load_rows(file, task, model.labels, "data"), task


def _with_columns(model: ServedModel, columns: ColumnOptions) -> Task:
    """Return the task of a model with the columns and the metric that were named.

    Raises:
        TaskDataError: the model takes another number of texts, or its head has no such metric.
    """
    task = model.task
    if model.kind == "embed":  # a vector alone is neither right nor wrong
        task = replace(task, head=REGRESSION, metric=REGRESSION.metrics[0], text_columns=PAIR_COLUMNS)
    named = zip((columns.query_column, columns.document_column), task.text_columns, strict=False)
    texts = columns.text_columns or tuple(given or known for given, known in named)
    if len(texts) != len(task.text_columns):
        raise TaskDataError(
            f"--text-column must name as many columns as the model takes, {len(task.text_columns)}, but got "
            f"{len(texts)}. Correct it."
        )
    # Where the query groups the rows, another query column groups them too.
    group = columns.group_column or (texts[0] if task.group_column == task.text_columns[0] else task.group_column)
    return replace(
        task,
        text_columns=texts,
        label_column=columns.label_column or task.label_column,
        group_column=group if task.group_column else None,
        metric=columns.metric or task.metric,
    )


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is judged of some rows."""

    values: np.ndarray
    """Labels or values [units, …]."""
    structure: Structure | None
    """How units hang together, if they do."""


def targets_of(rows: Rows, task: Task, labels: Sequence[str]) -> Targets:
    """Return what predictions of rows are judged by; of words one after the other."""
    if not task.head.labels_words:
        structure = None if rows.groups is None else Structure(groups=rows.groups)
        return Targets(values=rows.labels, structure=structure)
    counts = [len(words) for words in rows.texts]
    structure = Structure(groups=np.repeat(np.arange(len(rows)), counts), tags=read_tags(labels))
    return Targets(values=np.concatenate([np.asarray(of_row) for of_row in rows.labels]), structure=structure)


def predict_rows(model: ServedModel, rows: Rows, task: Task, labels: Sequence[str]) -> np.ndarray:
    """Return what a served model predicts for rows [units, …], labels numbered by their places in `labels`."""
    requests = REQUESTS[model.kind](rows, task)
    return PREDICTIONS["embedding" if model.kind == "embed" else task.head.name](model.ask(requests), rows, labels)


def _pairs(rows: Rows, task: Task) -> list[Any]:  # noqa: ARG001
    return [{"text": first, "text_pair": second} for first, second in rows.texts]


def _texts(rows: Rows, task: Task) -> list[Any]:  # noqa: ARG001
    return [text for (text,) in rows.texts]


def _choices(rows: Rows, task: Task) -> list[Any]:
    stems = len(task.text_columns)
    return [
        {"text": texts[0], "start": " ".join(texts[1:stems]), "choices": list(texts[stems:])} for texts in rows.texts
    ]


def _queries(rows: Rows, task: Task) -> list[Any]:  # noqa: ARG001
    return [{"query": query, "documents": documents} for query, documents in _by_query(rows).items()]


def _by_query(rows: Rows) -> dict[str, list[str]]:
    """Return the documents of each query, in the order in which they come."""
    found: dict[str, list[str]] = {}
    for query, document in rows.texts:
        found.setdefault(query, []).append(document)
    return found


def _sentences(rows: Rows, task: Task) -> list[Any]:  # noqa: ARG001
    return [" ".join(words) for words in rows.texts]


def _both_texts(rows: Rows, task: Task) -> list[Any]:  # noqa: ARG001
    return [text for texts in rows.texts for text in texts]


REQUESTS: dict[str, Callable[[Rows, Task], list[Any]]] = {
    "single": _texts,
    "tokens": _sentences,
    "embed": _both_texts,
    "pair": _pairs,
    "choices": _choices,
    "labels": _texts,
    "pair_labels": _pairs,
    "documents": _queries,
}
"""What a served model is asked about rows, by the kind of its rows."""


def _classes(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    places = {name: place for place, name in enumerate(labels)}
    return np.asarray([places[answer.label] for answer in answers], dtype=np.int64)


def _numbers(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    return np.asarray([list(answer.scores).index(answer.label) for answer in answers], dtype=np.int64)


def _values(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    return np.asarray([answer.score for answer in answers], dtype=np.float32)


def _several(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    return np.asarray([[int(name in answer.labels) for name in labels] for answer in answers], dtype=np.int64)


def _scores(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    """Return the score of each row's document: the answers hold those of a query best first."""
    by_place = [{each.index: each.score for each in answer.documents} for answer in answers]
    by_query = {
        query: iter([scores[place] for place in range(len(documents))])
        for (query, documents), scores in zip(_by_query(rows).items(), by_place, strict=True)
    }
    # In double precision: near 1 float32 would take different scores for equal ones.
    return np.asarray([next(by_query[query]) for query, _ in rows.texts], dtype=np.float64)


def _tags(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:
    """Return the label of each word: of the span that it lies in, else of what is outside."""
    places, found = {name: place for place, name in enumerate(labels)}, []
    for words, answer in zip(rows.texts, answers, strict=True):
        sizes = np.asarray([len(word) for word in words])
        # Words are joined by one space each (`_sentences`).
        starts = np.cumsum([0, *(sizes[:-1] + 1)])
        tags = np.full(len(words), find_outside(labels))
        for span in answer.spans:
            # Every word that the span touches.
            inside = np.flatnonzero((starts + sizes > span.start) & (starts < span.end))
            for number, place in enumerate(inside):
                tags[place] = places[_name_tag(span.label, number, len(inside), places)]
        found.append(tags)
    return np.concatenate(found)


def _name_tag(kind: str, number: int, count: int, known: Collection[str]) -> str:
    """Return what a model calls a word of a span: by its place among so many, in the model's own notation."""
    # In BIO no label says that a span ends, in BIOES all do: the first that this model knows, the most telling first.
    fitting = ("SU" if count == 1 else "") + ("B" if number == 0 else "") + ("EL" if number == count - 1 else "") + "I"
    names = (f"{prefix}-{kind}" for prefix in f"{fitting}BSUEL")
    return next((name for name in names if name in known), kind)


def _cosines(answers: list[Any], rows: Rows, labels: Sequence[str]) -> np.ndarray:  # noqa: ARG001
    # [texts, dimensions] -> [pairs, 2, dimensions].
    vectors = np.asarray(answers, dtype=np.float64).reshape(len(rows), 2, -1)
    sizes = np.linalg.norm(vectors, axis=2).prod(axis=1)
    products = vectors.prod(axis=1).sum(axis=1)
    cosines = np.divide(products, sizes, out=np.zeros(len(rows)), where=sizes > 0)
    return np.asarray(cosines, dtype=np.float32)


PREDICTIONS: dict[str, Callable[[list[Any], Rows, Sequence[str]], np.ndarray]] = {
    "token_classification": _tags,
    "embedding": _cosines,
    "classification": _classes,
    "regression": _values,
    "multiple_choice": _numbers,
    "multi_label": _several,
    "rerank": _scores,
    "rerank_scores": _scores,
}
"""Predictions of a served model's answers, by its head."""
