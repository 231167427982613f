"""Texts in Arrow's memory are read like tuples of tuples."""

import numpy as np
import pyarrow
import pytest

from compressor.data.storage.texts import Texts

ROWS = (("a", "b c"), ("",), ("d", "e", "é\n😀"), ("f",))


@pytest.mark.parametrize("at_once", [1, 3, 4096])
def test_they_are_read_like_tuples(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.storage.texts._AT_ONCE", at_once)
    texts = Texts.of(iter(ROWS))
    assert len(texts) == 4
    assert tuple(texts) == ROWS
    assert [texts[place] for place in (0, 3, -1, -4)] == [ROWS[place] for place in (0, 3, -1, -4)]
    assert texts[np.int64(2)] == ROWS[2]
    for part in (slice(1, 3), slice(None, 2), slice(-2, None), slice(3, 1), slice(None, None, -1), slice(0, 9)):
        assert tuple(texts[part]) == ROWS[part]
        assert tuple(texts[part][:1]) == ROWS[part][:1]
    assert tuple(reversed(texts)) == ROWS[::-1]
    assert ("f",) in texts
    with pytest.raises(IndexError):
        texts[4]


def test_they_are_equal_to_what_they_are_read_as() -> None:
    texts = Texts.of(ROWS)
    assert texts == ROWS
    assert texts == list(ROWS)
    assert texts == Texts.of(ROWS)
    assert texts[1:] == Texts.of(ROWS[1:])
    assert texts != ROWS[1:]
    assert texts != "texts"
    assert Texts.of(texts) is texts


def test_rows_are_taken_by_their_places() -> None:
    texts = Texts.of(ROWS)
    assert texts.take(np.array([3, 0, 0, 2])) == (ROWS[3], ROWS[0], ROWS[0], ROWS[2])
    assert texts[1:].take(np.array([1])) == (ROWS[2],)
    assert len(texts.take(np.array([]))) == 0
    assert Texts.of(()) == ()


@pytest.mark.parametrize("width", [1, 3])
def test_columns_become_rows(width: int) -> None:
    columns = [[f"{row} {column}" for row in range(5)] for column in range(width)]
    arrays = [pyarrow.array(column, pyarrow.large_string()) for column in columns]
    assert Texts.from_columns(arrays) == tuple(zip(*columns, strict=True))
