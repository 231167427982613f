"""What a row says: one text or several, from the columns of a table; or a list of words."""

import json
import re
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.storage.texts import Texts
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd

    from compressor.data.tasks import Task


def read_texts(table: "pd.DataFrame", task: "Task", part: str) -> Texts:
    """Return the texts of a part's rows: of each the text columns, then the choice columns.

    Raises:
        TaskDataError: a value is no text, or a column is empty in all rows.
    """
    import pyarrow

    columns = []
    for column, option in task.named_columns[: len(task.text_columns) + len(task.choice_columns)]:
        # Checked value by value, as Arrow would only say that some value has another type, not in which row.
        values = table[column].tolist()
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise TaskDataError(
                    f"column {column!r} must hold text, but row {row + 1} of the {part} rows holds "
                    f"{reprlib.repr(value)}. Correct the file or name another {option}."
                )
        if not any(map(str.strip, values)):
            raise TaskDataError(
                f"column {column!r} must hold text, but all {len(values)} of the {part} rows are empty there. "
                f"Correct the file or name another {option}."
            )
        # `large_string` has 64-bit offsets: the texts of a column may exceed 2 GiB.
        columns.append(pyarrow.array(values, pyarrow.large_string()))
    return Texts.from_columns(columns)


def read_words(table: "pd.DataFrame", task: "Task", part: str) -> Texts:
    """Return the words of a part's rows.

    Raises:
        TaskDataError: a value is no list of words, or an empty one.
    """
    column = task.text_columns[0]

    def words_of(row: int, value: Any) -> list[str]:
        words = to_list(value)
        if not words or not all(isinstance(word, str) for word in words):
            raise TaskDataError(
                f"column {column!r} must hold a list of words in every row, but row {row + 1} of the {part} rows holds "
                f"{reprlib.repr(value)}. Correct the file or name another --text-column."
            )
        return words

    return Texts.of(words_of(row, value) for row, value in enumerate(table[column].tolist()))


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, and every other sign for itself."""
    return re.findall(r"\w+|[^\w\s]", text)


def to_list(value: Any) -> list[Any] | None:
    """Return a list as files hold it: as such, or written as JSON; None for anything else."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return list(value) if isinstance(value, list | tuple | np.ndarray) else None
