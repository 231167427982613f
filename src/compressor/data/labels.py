"""Labels as a file writes them, their names, and their numbers: those of the data, or of a model that names its own."""

import re
import reprlib
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd

    from compressor.data.rows import TaskData
    from compressor.data.tasks import Task

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_INTEGER_AS_FLOAT = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0*")
"""As pandas writes integers beside gaps."""
_UNNAMED = re.compile(r"LABEL_[0-9]+")
"""What transformers calls a label that nobody named."""
_EXACT = 2**53
"""From here on a float64 no longer tells neighbouring integers apart."""


def list_names(names: Sequence[str], limit: int = 10) -> str:
    """Return the first names in one line, each cut short where it is long."""
    shown = [" ".join(str(name).split()) for name in names[:limit]]
    return ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in shown)


def find_class_names(table: "pd.DataFrame", task: "Task") -> tuple[str, ...]:
    """Return the names of the labels 0, 1, …: those the data set defines, or else what the training rows show.

    Integers are ordered as numbers, other labels as texts. Labels are distinguished as they are written: `007` is not
    `7`, but `1.0` is `1`.

    Raises:
        TaskDataError: a row without label, labels that cannot be classes, or not two of them with the metric f1.
    """
    values = _label_texts(table, task, "train")
    different = set(values)
    require_two_of_f1(task, task.label_names or sorted(different), "the training rows have")
    positions = [_as_integer(value) for value in different]
    # Numbers or names of labels that the data set itself defines: its order counts, and labels without rows stay.
    if all(position is not None and 0 <= position < len(task.label_names) for position in positions):
        return task.label_names
    if different <= set(task.label_names):
        return task.label_names
    names = order_names(different)
    # More than half of the rows with a label of their own are an id, a text or a number, not a class.
    if len(names) > len(values) / 2 and len(names) > 20:
        raise TaskDataError(
            f"column {task.label_column!r} must hold labels, but {len(values)} rows show {len(names)} different "
            "values. Use another --label-column, or --regression for numbers."
        )
    return names


def require_two_of_f1(task: "Task", names: Sequence[str], who_has: str) -> None:
    """Raise where a task is judged by F1 of one label, and there are not two.

    Raises:
        TaskDataError: there are more, or one.
    """
    if task.metric == "f1" and len(names) != 2:
        raise TaskDataError(
            f"the metric f1 must have two labels, but {who_has} {len(names)}: {list_names(names)}. "
            "Use --metric f1_macro or --metric accuracy."
        )


def order_names(different: Collection[str]) -> tuple[str, ...]:
    """Return labels in their order: integers as numbers, other labels as texts."""
    numbers = {value: _as_whole_number(value) for value in different}
    if None in numbers.values():
        return tuple(sorted(different))
    # 1 and 1.0 are one label: pandas writes integers as floats in columns with gaps.
    by_name = {_plain_integer(value): number for value, number in numbers.items()}
    return tuple(sorted(by_name, key=lambda name: (by_name[name], name)))


def describe_alike(names: Sequence[str]) -> str | None:
    """Return one line on labels that are distinguished though they look like one, None where there are none."""
    groups: dict[str, list[str]] = {}
    for name in names:
        # NFKC folds full-width letters and ligatures; zero-width spaces are not printable.
        seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if letter.isprintable())
        groups.setdefault(_number_or_text(" ".join(seen.casefold().split())), []).append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return f"labels that look alike are told apart: {list_names(alike, 3)}." if alike else None


def require_own_numbers(names: Sequence[str], file: str) -> None:
    """Raise where a name of a label, in a file of such, is the number of another one: rows would be read either way.

    Raises:
        TaskDataError: one is.
    """
    for place, name in enumerate(names):
        number = _as_integer(name)
        if number is not None and number != place and 0 <= number < len(names):
            raise TaskDataError(
                f"the names of labels must not be other labels' numbers, but {file} calls label {place} {name!r}. "
                "Leave --label-names-file out where rows hold these names; else write others."
            )


def read_classes(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:
    """Return the labels of a part's rows as class indices (int64): by name, or by number where a data set defines them.

    Raises:
        TaskDataError: a label that is missing or unknown.
    """
    if tuple(label_names) == task.label_names:
        return read_numbered_classes(table, task, label_names, part)
    return to_indices(_label_texts(table, task, part), label_names, part, numbered=False)


def read_numbered_classes(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:
    """Return the labels of a part's rows as class indices (int64): numbers where all are, else names.

    Raises:
        TaskDataError: a label that is missing or unknown.
    """
    values = _label_texts(table, task, part)
    numbers = [_as_integer(value) for value in values]
    # 10 and 20 are names where these are 10, 20 and 30. Names in reach are their own numbers (`require_own_numbers`).
    in_reach = all(number is not None and 0 <= number < len(label_names) for number in numbers)
    numbered = in_reach or (None not in numbers and not set(values) <= set(label_names))
    return to_indices(values, label_names, part, numbered=numbered)


def to_indices(values: Sequence[str], label_names: Sequence[str], part: str, *, numbered: bool) -> np.ndarray:
    """Return the class indices (int64) of labels as a file writes them: their numbers, or their places among the names.

    Raises:
        TaskDataError: one is unknown.
    """
    # Names by their places, or "0", "1", … where the file writes numbers.
    names = map(str, range(len(label_names))) if numbered else label_names
    index = {name: position for position, name in enumerate(names)}
    # As it is written first; then as a plain integer, so that 1.0 of a column of floats is "1".
    indices = [index.get(value, index.get(_plain_integer(value))) for value in values]
    if None in indices:
        unknown = sorted({values[row] for row, position in enumerate(indices) if position is None})
        raise TaskDataError(
            f"the labels of the {part} rows must be among {list_names(label_names)}, but got "
            f"{list_names(unknown, 6)} too. Correct the file or give training rows with every label."
        )
    return np.asarray(indices, dtype=np.int64)


def check_classes(data: "TaskData") -> list[str]:
    """Return a line for each part that shows one label alone.

    Raises:
        TaskDataError: the training rows do, so there is nothing to learn.
    """
    labels = data.train.labels
    if len(np.unique(labels)) < 2:
        raise TaskDataError(
            f"the training rows must show at least two labels, but all {len(labels)} are "
            f"{list_names([data.label_names[int(labels[0])]])!r}. Check --label-column."
        )
    found = []
    for name, rows in data.parts.items():
        if len(np.unique(rows.labels)) < 2:
            label = list_names([data.label_names[int(rows.labels[0])]])
            found.append(f"all {name} rows ({len(rows):,}) are {label!r}: an error on them says little.")
    return found


def check_values(data: "TaskData") -> list[str]:
    """Raise unless the values of every part differ.

    Raises:
        TaskDataError: those of a part are all the same.
    """
    constant = [name for name, rows in data.parts.items() if len(np.unique(rows.labels)) < 2]
    if constant:
        raise TaskDataError(
            f"the labels of a regression must differ from row to row, but are all the same in the rows "
            f"{' and '.join(constant)}. Check --label-column, or give more rows."
        )
    return []


def positions_among(names: Sequence[str], model_names: Sequence[str], *, defined: bool) -> list[int]:
    """Return the number that a model gives each of the data's labels, matched by name: exactly, else whatever the case.

    Integers are the model's own numbers, where the data shows each of them. A model without names (`LABEL_0`, …) takes
    only labels whose order is certain: integers, or such as the data set itself defines (`defined`).

    Raises:
        TaskDataError: a label of the data is none of the model's.
    """
    # From strict to lenient; the first that tells all labels of both sides apart is taken.
    for change in (str, str.casefold, _number_or_text):
        position = {change(name): index for index, name in enumerate(model_names)}
        own = [change(name) for name in names]
        if len(position) == len(model_names) and len(set(own)) == len(names) and set(own) <= set(position):
            return [position[name] for name in own]
    by_number = [_as_integer(name) for name in names] == list(range(len(model_names)))
    model_has_numbers = any(_as_whole_number(name) is not None for name in model_names)
    unnamed = all(_UNNAMED.fullmatch(name) for name in model_names)
    if (by_number and not model_has_numbers) or (unnamed and defined and len(names) == len(model_names)):
        return list(range(len(names)))
    raise TaskDataError(
        f"the labels of the data must be the model's, {list_names(model_names)}, but are {list_names(names)}. "
        "Rename one or the other (id2label in its config.json)."
    )


def _label_texts(table: "pd.DataFrame", task: "Task", part: str, *, large_floats: bool = False) -> list[str]:
    """Return labels as texts; a missing one is an error, and so is what is neither text nor number."""
    values = table[task.label_column]
    for row, value in enumerate(values.tolist()):
        if isinstance(value, list | tuple | dict | set | np.ndarray | bytes):
            raise TaskDataError(
                f"column {task.label_column!r} must hold one label a row, but row {row + 1} of the {part} rows holds "
                f"{reprlib.repr(value)}. Write a text or a number."
            )
        if isinstance(value, float) and abs(value) >= _EXACT and value.is_integer() and not large_floats:
            raise TaskDataError(
                f"column {task.label_column!r} must hold labels that can be told apart, but row {row + 1} of the "
                f"{part} rows holds a float as large as {value!r}. Write such labels as texts."
            )
    missing = np.flatnonzero(values.isna() | (values.astype(str).str.strip() == ""))
    if missing.size:
        raise TaskDataError(
            f"column {task.label_column!r} must hold a label in every row, but row {missing[0] + 1} of the {part} rows "
            f"has none ({missing.size} such rows). Drop or label them."
        )
    return [str(value).strip() for value in values.tolist()]


def read_values(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:  # noqa: ARG001
    """Return the labels of a part's rows as values (float32).

    Raises:
        TaskDataError: a label that is missing or no finite number.
    """
    values = _label_texts(table, task, part, large_floats=True)
    kind = "regression" if task.group_column is None else "reranker"
    for row, value in enumerate(values):
        if not _is_number(value):
            raise TaskDataError(
                f"the labels of a {kind} must be numbers, but row {row + 1} of the {part} rows holds "
                f"{reprlib.repr(value)}. Check the file."
            )
    # 1e39 is a number, and too large for float32: found below as infinite, with its row.
    with np.errstate(over="ignore"):
        numbers = np.asarray([float(value) for value in values]).astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise TaskDataError(
            f"the labels of a {kind} must be finite, but row {row + 1} of the {part} rows holds "
            f"{list_names([values[row]])}. Drop such rows."
        )
    return numbers


def _is_number(text: str) -> bool:
    """Return whether a text is a number in the letters of a file: Python reads 1_0 as 10, and digits of any script."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _plain_integer(text: str) -> str:
    """Return 1.0 as 1; any other text as it is."""
    written = _INTEGER_AS_FLOAT.fullmatch(text)
    return written[1] if written else text


def _as_integer(text: str) -> int | None:
    """Return the integer that a text writes plainly (`1`, `1.0`), or None."""
    plain = _plain_integer(text)
    # Python refuses to read integers of thousands of digits; 20 are more than any class has.
    return int(plain) if _INTEGER.fullmatch(plain) and len(plain) < 20 else None


def _as_whole_number(text: str) -> int | None:
    """Return the integer that a text can be read as (`007`, `1e3`), or None."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _number_or_text(text: str) -> str:
    number = _as_whole_number(text)
    return text if number is None else str(number)
