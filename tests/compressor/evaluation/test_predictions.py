"""The file of validation predictions, and their short form in the journal."""

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import SearchError
from compressor.evaluation.predictions import (
    PREDICTIONS_FILE,
    ValidationPredictions,
    pack,
    read_predictions,
    unpack,
    write_predictions,
)

LABELS = np.array([0, 1, 1, 2])
GUESSES = np.array([0, 1, 2, 2])


def test_written_and_read(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None
    by_name = {"subnet-000": GUESSES, "subnet-001": LABELS[::-1]}
    write_predictions(tmp_path / PREDICTIONS_FILE, ValidationPredictions(labels=LABELS, by_name=by_name))
    found = read_predictions(tmp_path)
    assert found is not None
    assert found.labels.tolist() == LABELS.tolist()
    assert {name: values.tolist() for name, values in found.by_name.items()} == {
        "subnet-000": [0, 1, 2, 2],
        "subnet-001": [2, 1, 1, 0],
    }


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100])
def test_a_broken_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PREDICTIONS_FILE).write_bytes(content)
    with pytest.raises(SearchError, match=r"must hold a search's validation predictions, but .* Search again"):
        read_predictions(tmp_path)


def test_other_rows(tmp_path: Path) -> None:
    by_name = {"subnet-000": GUESSES[:3]}
    write_predictions(tmp_path / PREDICTIONS_FILE, ValidationPredictions(labels=LABELS, by_name=by_name))
    with pytest.raises(SearchError, match="its tensors differ in length"):
        read_predictions(tmp_path)


def test_packed() -> None:
    for values in (GUESSES, np.array([0.25, -1.5], dtype=np.float32), np.zeros(0, dtype=np.int64)):
        again = unpack(pack(values))
        assert again.dtype == values.dtype
        assert again.tolist() == values.tolist()
    assert len(pack(np.random.default_rng(0).integers(2, size=1000))) < 400
