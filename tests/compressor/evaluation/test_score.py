"""The error of logits, and its interval."""

import numpy as np
import pytest

from compressor.data.batches import EncodedRows
from compressor.data.tasks import TASKS
from compressor.evaluation.score import score


def test_a_score_is_an_error_with_its_interval() -> None:
    """One of four is wrong; its interval is Wilson's, by hand."""
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    rows = EncodedRows(
        columns={},
        offsets=np.arange(5),
        labels=np.array([0, 1, 0, 1]),
        num_choices=1,
        takes_choices=False,
        pad_values={},
    )
    found = score(TASKS["custom"], logits, rows)
    assert found.error == 0.25
    z = 1.959964
    middle, half = 0.25 + z**2 / 8, z * np.sqrt(0.25 * 0.75 / 4 + z**2 / 64)
    assert found.interval == pytest.approx(((middle - half) / (1 + z**2 / 4), (middle + half) / (1 + z**2 / 4)))
