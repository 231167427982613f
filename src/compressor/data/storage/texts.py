"""The texts of rows in Arrow's memory: a million rows are two arrays, and become Python texts a few at a time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    import pyarrow

_AT_ONCE = 4096
"""Rows that are Python texts at the same time while one goes through all of them."""


class Texts(Sequence[tuple[str, ...]]):
    """A tuple of texts per row, as `Rows.texts`; it is read like a tuple of tuples, and equal to one."""

    def __init__(self, rows: "pyarrow.LargeListArray") -> None:
        self._rows = rows

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]]) -> "Texts":
        """Keep rows of any number of texts each."""
        import pyarrow

        if isinstance(rows, cls):
            return rows
        # The large kinds have 64-bit offsets: those of 32 bits end at 2 GB of text.
        kind = pyarrow.large_list(pyarrow.large_string())
        blocks, block = [pyarrow.array([], kind)], list[Sequence[str]]()
        for row in rows:
            block.append(row)
            if len(block) == _AT_ONCE:
                blocks.append(pyarrow.array(block, kind))
                block.clear()
        return cls(pyarrow.concat_arrays([*blocks, pyarrow.array(block, kind)]))

    @classmethod
    def from_columns(cls, columns: "Sequence[pyarrow.LargeStringArray]") -> "Texts":
        """Keep rows that have a text of each column [rows]."""
        import pyarrow

        width, length = len(columns), len(columns[0])
        values = columns[0]
        if width > 1:
            # From column after column [width · length] to row after row: the places are transposed, and `take` copies
            # once.
            by_row = np.arange(width * length).reshape(width, length).T.ravel()
            values = pyarrow.concat_arrays(columns).take(pyarrow.array(by_row))
        bounds = pyarrow.array(np.arange(length + 1) * width)
        return cls(pyarrow.LargeListArray.from_arrays(bounds, values))

    def take(self, places: np.ndarray) -> "Texts":
        """Return the rows at some places, in this order."""
        import pyarrow

        return Texts(self._rows.take(pyarrow.array(np.asarray(places, dtype=np.int64))))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> tuple[str, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> "Texts": ...

    def __getitem__(self, place: int | slice) -> "tuple[str, ...] | Texts":
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            return self.take(np.arange(start, stop, step)) if step != 1 else self._slice(start, stop)
        return tuple(self._rows[range(len(self))[place]].as_py())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for start in range(0, len(self), _AT_ONCE):
            rows = self._rows.slice(start, _AT_ONCE)
            texts = rows.flatten().to_numpy(zero_copy_only=False).tolist()
            ends = np.cumsum(rows.value_lengths().to_numpy()).tolist()
            yield from (tuple(texts[first:end]) for first, end in zip([0, *ends], ends, strict=False))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return bool(self._rows.equals(other._rows))
        return isinstance(other, tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({len(self)} rows)"

    def _slice(self, start: int, stop: int) -> "Texts":
        return Texts(self._rows.slice(start, max(stop - start, 0)))
