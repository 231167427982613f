"""Rows of a task in their three parts: text only, split by seed, checked; `batches` tokenises.

The search sees the validation rows alone; the test rows are looked at once, at the end.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from compressor.data.heads.answers import Answers
from compressor.data.labels import describe_alike, positions_among, require_two_of_f1
from compressor.data.overlap import describe_overlap
from compressor.data.sources import DataSource
from compressor.data.storage.texts import Texts
from compressor.data.tasks import Task
from compressor.errors import TaskDataError

TEST_SHARE = 0.2
"""Held out of the training rows where no test rows are given."""
PAIRS_TEST_SHARE = 0.4
"""Held out of the scored pairs where no test pairs are given."""
VALIDATION_SHARE = 0.3
"""Held out of the remaining training rows where no validation rows are given."""
MAX_DEMO_TEST_ROWS = 1000
_AT_ONCE = 10_000
"""Rows whose digest is computed at once."""
_DEMO = DataSource()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a task."""

    texts: Sequence[tuple[str, ...]]
    """Per row the text columns, then the choice columns; or its words. Of rows that were read, `Texts`."""
    labels: np.ndarray
    """As the task's head reads them, one entry per row: class indices, values, 0 or 1 a label, or indices of words."""
    groups: np.ndarray | None = None
    """The number of each row's group (int64), where rows are judged in groups and stay together."""
    reference: np.ndarray | None = None
    """A full model's outputs [rows, …], where answers are judged by how near they are to those."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def num_judged(self) -> int:
        """How many there are of what an error is the mean over: rows, or groups."""
        return len(self) if self.groups is None else len(np.unique(self.groups))

    @cached_property
    def digest(self) -> str:
        """A content hash of 16 hexadecimal digits: of texts, labels and groups as one JSON list, written in pieces."""
        columns = (self.texts, self.labels, *(() if self.groups is None else (self.groups,)))
        found = hashlib.sha256()
        for number, column in enumerate(columns):
            found.update(b", [" if number else b"[[")
            for start in range(0, len(column), _AT_ONCE):
                block = column[start : start + _AT_ONCE]
                values = block.tolist() if isinstance(block, np.ndarray) else list(block)
                # Byte for byte what json.dumps would write of the whole list, so that digests of older versions stay.
                found.update((", " * (start > 0) + json.dumps(values, ensure_ascii=False)[1:-1]).encode())
            found.update(b"]")
        found.update(b"]")
        return found.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A task's rows in their three parts."""

    task: Task
    train: Rows
    validation: Rows
    test: Rows
    label_names: tuple[str, ...]
    """Empty for regression; one per choice for multiple choice."""
    notes: tuple[str, ...] = ()
    """What is odd about the rows, a line each."""
    source: DataSource = _DEMO
    """Where the rows come from."""
    answers: Answers | None = None
    """The full model's, which the labels are made of; None where labels were given."""
    unlabeled: Rows | None = None
    """More texts to train on beside those with labels, which a teacher answers; their labels mean nothing."""

    @property
    def parts(self) -> dict[str, Rows]:
        """Train, validation and test by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def num_train_rows(self) -> int:
        """How many rows are trained on, with labels and without."""
        return len(self.train) + (0 if self.unlabeled is None else len(self.unlabeled))

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What is odd about the rows, and what an error on them is."""
        return (*self.notes, *self.source.meaning)

    @property
    def digest(self) -> str:
        """A content hash over all parts."""
        digests = [rows.digest for rows in self.parts.values()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class Given(Generic[_Part]):
    """The parts of a task that a user gives."""

    train: _Part
    validation: _Part | None = None
    test: _Part | None = None

    def items(self) -> list[tuple[str, _Part]]:
        """Return those that there are, with their names."""
        named = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, part) for name, part in named if part is not None]


def without_rows(source: DataSource, task: Task, label_names: tuple[str, ...] = ()) -> TaskData:
    none = Rows(texts=(), labels=np.zeros(0, dtype=np.int64))
    return TaskData(task=task, train=none, validation=none, test=none, label_names=label_names, source=source)


def split_rows(given: "Given[Rows]", data: TaskData) -> TaskData:
    """Return the data with rows for all three parts: what is not given is held out, no part longer than wanted."""
    task, source = data.task, data.source
    rng = np.random.default_rng([source.dataset_seed, 0])
    train, validation, test = given.train, given.validation, given.test
    # Scored pairs are few, and no training rows: test pairs come out of the validation pairs.
    if test is None and source.validation_pairs and validation is not None:
        validation, test = _hold_out(validation, PAIRS_TEST_SHARE, rng, "test", "pairs")
    if test is None:
        train, test = _hold_out(train, TEST_SHARE, rng, "test")
        if source.task_name == "demo":
            test = _take(test, MAX_DEMO_TEST_ROWS, rng)
    if validation is None:
        train, validation = _hold_out(train, VALIDATION_SHARE, rng, "validation")
    # After the hold-outs: a limit on training rows leaves validation and test rows as they are.
    train = _take(train, source.max_train_samples or task.max_train_rows, rng)
    validation = _take(validation, source.max_eval_samples or task.max_validation_rows, rng)
    test = _take(test, source.max_eval_samples, rng)
    return replace(data, train=train, validation=validation, test=test)


def check_rows(data: TaskData) -> TaskData:
    """Return the data with its notes.

    Raises:
        TaskDataError: labels give nothing to learn.
    """
    odd_labels = data.task.head.check_labels(data)
    notes = [describe_alike(data.label_names), *_empty_texts(data), *odd_labels, describe_overlap(data.parts)]
    return replace(data, notes=tuple(note for note in notes if note))


def _empty_texts(data: TaskData) -> list[str]:
    """Return a line for texts that are empty, if there are any."""
    empty = {name: sum(not all(map(str.strip, texts)) for texts in rows.texts) for name, rows in data.parts.items()}
    counts = [f"{count:,} of {len(data.parts[name]):,} {name} rows" for name, count in empty.items() if count]
    return [f"{' and '.join(counts)} have an empty text."] if counts else []


def in_order_of(data: TaskData, names: Sequence[str]) -> TaskData:
    """Return the data with class indices as a model numbers them that calls its labels so; matched by name.

    Raises:
        TaskDataError: a label of the data is none of the model's, or the metric does not fit these.
    """
    head = data.task.head
    # Nothing to do for heads whose outputs have no names, and where the order is the same already.
    if not data.label_names or not head.form.names_outputs or tuple(names) == data.label_names:
        return data
    # order[i] is the model's index of the data's label i.
    order = np.asarray(positions_among(data.label_names, names, defined=data.label_names == data.task.label_names))
    require_two_of_f1(data.task, names, "the model has")
    parts = data.parts if data.unlabeled is None else {**data.parts, "unlabeled": data.unlabeled}
    renumbered: dict[str, Any] = {
        name: replace(rows, labels=head.renumber(rows.labels, order, len(names))) for name, rows in parts.items()
    }
    return replace(data, task=name_words(data.task, names), label_names=tuple(names), **renumbered)


def name_words(task: Task, names: Sequence[str]) -> Task:
    """Return the task with the names of its labels where words are labelled: the metric reads entities from them."""
    return replace(task, label_names=tuple(names)) if task.head.labels_words else task


def require_same_rows(data: TaskData, digest: str | None, what: str, next_step: str) -> None:
    """Raise unless the rows and their split have a digest that was written down, which version 0.1.0 did not always do.

    Raises:
        TaskDataError: the rows are others.
    """
    if digest is not None and data.digest != digest:
        raise TaskDataError(
            f"the rows must be those that {what} (digest {digest}), but the digest is {data.digest}. "
            f"Restore the files or {next_step}."
        )


def as_rows(rows: Iterable[Iterable[int]]) -> np.ndarray:
    """Return an array [rows] of tuples."""
    tuples = [tuple(row) for row in rows]
    array = np.empty(len(tuples), dtype=object)
    array[:] = tuples
    return array


def _hold_out(
    rows: Rows, share: float, rng: np.random.Generator, name: str, of: str = "training rows"
) -> tuple[Rows, Rows]:
    order, ends = _in_random_order(rows, rng)
    held = round(share * len(ends))
    what, of = ("rows", of) if rows.groups is None else ("queries", "training queries")
    if not 0 < held < len(ends):
        raise TaskDataError(
            f"the {name} {what} must be held out of at least 5 {of}, but there are {len(ends)}. "
            f"Give more rows or --{name}-file."
        )
    # The rest first, then what is held out.
    return pick_rows(rows, order[ends[held - 1] :]), pick_rows(rows, order[: ends[held - 1]])


def _take(rows: Rows, limit: int | None, rng: np.random.Generator) -> Rows:
    """Return at most so many rows, drawn without replacement; of groups as many whole ones as fit, at least one."""
    if limit is None or len(rows) <= limit:
        return rows
    order, ends = _in_random_order(rows, rng)
    # Whole groups while they fit: `ends` are running totals.
    fitting = max(1, int(np.searchsorted(ends, limit, side="right")))
    return pick_rows(rows, order[: ends[fitting - 1]])


def _in_random_order(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return places of rows in an order drawn from `rng` that keeps groups together, and where each group ends."""
    groups = np.arange(len(rows)) if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1]
    # Groups are drawn, not rows; rows then come group by group, each group's in their own order.
    turns = np.argsort(rng.permutation(int(groups.max()) + 1))[groups]
    return np.argsort(turns, kind="stable"), np.cumsum(np.bincount(turns))


def pick_rows(rows: Rows, order: np.ndarray) -> Rows:
    """Return the rows at some places, in this order."""
    groups = None if rows.groups is None else rows.groups[order]
    return Rows(texts=Texts.of(rows.texts).take(order), labels=rows.labels[order], groups=groups)
