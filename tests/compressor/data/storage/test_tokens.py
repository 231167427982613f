"""Columns of tokens: what was written comes back, however large, whole or not at all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compressor.data.storage.tokens import new_column, open_column, open_columns, write_columns


def blocks() -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, 30, 7):
        numbers = np.arange(start, min(start + 7, 30), dtype=np.int32)
        yield {"ids": numbers, "kinds": (numbers % 2).astype(np.int8), "pairs": np.stack([numbers] * 2, axis=1)}


@pytest.mark.parametrize("mapped_from", [1, 1 << 24])
def test_blocks_become_columns(mapped_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.storage.tokens._MAPPED_FROM", mapped_from)
    write_columns(tmp_path / "rows", blocks())
    found = open_columns(tmp_path / "rows")
    assert {name: column.dtype.name for name, column in found.items()} == {
        "ids": "int32",
        "kinds": "int8",
        "pairs": "int32",
    }
    assert found["ids"].tolist() == list(range(30))
    assert found["kinds"].tolist() == [number % 2 for number in range(30)]
    assert found["pairs"][17].tolist() == [17, 17]
    assert isinstance(found["ids"].base, np.memmap) == (mapped_from == 1)
    if mapped_from == 1:
        with pytest.raises(ValueError, match="read-only"):
            found["ids"][0] = 1


def test_a_column_may_be_empty(tmp_path: Path) -> None:
    write_columns(tmp_path / "rows", [{"ids": np.array([], dtype=np.int32)}])
    assert open_columns(tmp_path / "rows")["ids"].shape == (0,)


def test_nothing_is_there_where_a_block_fails(tmp_path: Path) -> None:
    def failing() -> Iterator[dict[str, np.ndarray]]:
        yield {"ids": np.arange(3)}
        raise KeyError("no tokens")

    with pytest.raises(KeyError):
        write_columns(tmp_path / "rows", failing())
    assert list(tmp_path.iterdir()) == []
    assert open_columns(tmp_path / "rows") == {}


@pytest.mark.parametrize("left", [0, 60, 150])
@pytest.mark.parametrize("mapped_from", [1, 1 << 24])
def test_a_damaged_column_is_as_good_as_none(
    left: int, mapped_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.data.storage.tokens._MAPPED_FROM", mapped_from)
    write_columns(tmp_path / "rows", blocks())
    file = tmp_path / "rows" / "ids.npy"
    file.write_bytes(file.read_bytes()[:left])
    assert open_columns(tmp_path / "rows") == {}
    write_columns(tmp_path / "rows", blocks())
    assert open_columns(tmp_path / "rows")["ids"].tolist() == list(range(30))


def test_a_column_is_filled_in_any_order(tmp_path: Path) -> None:
    with new_column(tmp_path / "a.npy", (4, 2)) as column:
        column[np.array([3, 0])] = [[1, 2], [3, 4]]
        column[np.array([1, 2])] = 5
    assert open_column(tmp_path / "a.npy").tolist() == [[3, 4], [5, 5], [5, 5], [1, 2]]
    with pytest.raises(KeyError), new_column(tmp_path / "b.npy", (4,)):
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_the_first_of_several_writers_makes_the_folder(tmp_path: Path) -> None:
    """As processes that train together do: each finds no tokens and makes them."""
    together = threading.Barrier(4, timeout=20)

    def late_blocks() -> Iterator[dict[str, np.ndarray]]:
        yield from blocks()
        together.wait()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write_columns, tmp_path / "rows", late_blocks()) for _ in range(4)]
        assert [writer.result() for writer in writers] == [None] * 4
    assert open_columns(tmp_path / "rows")["ids"].tolist() == list(range(30))
    assert [file.name for file in tmp_path.iterdir()] == ["rows"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a file")
    with pytest.raises(OSError, match="rows"):
        write_columns(tmp_path / "rows", blocks())
    assert [file.name for file in tmp_path.iterdir()] == ["rows"]


def test_others_with_whom_the_cache_is_shared_may_read_the_folder(tmp_path: Path) -> None:
    write_columns(tmp_path / "rows", blocks())
    assert (tmp_path / "rows").stat().st_mode & 0o777 == 0o755
