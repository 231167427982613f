"""Columns of tokens in files, end to end: written block by block, mapped where they are large.

Arrow's own files are cut into batches, so that picking rows from all over them means looking up the batch of each.
Here a column is one array, whose pages the system reads when they are asked for and forgets when memory is short;
several processes of a machine share them.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from compressor.files import name_temporary, temporary_directory

_MAPPED_FROM = 1 << 24
"""Bytes of a file from which on it is mapped; a smaller one is read."""
_UNREADABLE = (ValueError, OSError, EOFError)
"""What a file raises that is missing or damaged."""


def write_columns(folder: Path, blocks: Iterable[dict[str, np.ndarray]]) -> None:
    """Write columns that come in blocks, each a file `NAME.npy` in a folder; all of them or nothing.

    All blocks have the same columns, each an array [entries, …] whose entries alone differ in number. Where another
    process writes the same columns at the same time, the folder is that of the first to end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_directory(folder.parent, folder.name) as temporary:
        columns: dict[str, _Column] = {}
        try:
            for block in blocks:
                for name, values in block.items():
                    if name not in columns:
                        columns[name] = _Column((temporary / f"{name}.npy").open("xb"), values)
                    columns[name].append(values)
        finally:
            for column in columns.values():
                column.close()
        if not columns.keys() <= open_columns(folder).keys():
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or what is left of one
        try:
            # Renaming is atomic, and fails where the folder is there and not empty.
            temporary.replace(folder)
        except OSError:
            if not columns.keys() <= open_columns(folder).keys():  # else another process has just made it
                raise


class _Column:
    """A file of NumPy's that grows: its header has room for any length."""

    def __init__(self, file: BinaryIO, like: np.ndarray) -> None:
        self._file, self._like, self._length = file, like[:0], 0
        self._write_header()
        # The length is not known yet; NumPy pads the header, so that the final one has the same size (see `close`).
        self._start = file.tell()

    def append(self, values: np.ndarray) -> None:
        """Write what follows."""
        self._file.write(np.ascontiguousarray(values, dtype=self._like.dtype).data)
        self._length += len(values)

    def close(self) -> None:
        """Note the length and close the file."""
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._start
        self._file.close()

    def _write_header(self) -> None:
        header = header_data_from_array_1_0(self._like)
        write_array_header_1_0(self._file, {**header, "shape": (self._length, *self._like.shape[1:])})


def open_columns(folder: Path) -> dict[str, np.ndarray]:
    """Return the columns of a folder by name, to be read alone; none where there is no folder, or a damaged file."""
    try:
        return {file.stem: open_column(file) for file in sorted(folder.glob("*.npy"))}
    except _UNREADABLE:
        return {}


def open_column(file: Path) -> np.ndarray:
    """Return an array of a file of NumPy's, mapped where it is large."""
    if file.stat().st_size < _MAPPED_FROM:
        return np.asarray(np.load(file, allow_pickle=False))
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def open_kept_column(file: Path) -> np.ndarray | None:
    """Return an array of a file of the cache; None where there is none, or it is damaged."""
    try:
        return open_column(file)
    except _UNREADABLE:
        return None


@contextmanager
def new_column(file: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield a mapped float32 array to be filled, which is in `file` when the block ends well."""
    # In the same folder: a rename to another file system would be a copy.
    temporary = name_temporary(file.parent, file.name)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        yield array
        array.flush()
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
