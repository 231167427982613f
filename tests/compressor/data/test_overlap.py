"""Which rows stand in two places."""

import json

import numpy as np
import pytest

from compressor.data.overlap import fingerprints, note_rows, recall_rows, relabelled_share, share_of
from compressor.data.sources import Rows
from compressor.errors import TaskDataError


def rows(numbers: range, labels: list[float] | None = None) -> Rows:
    classes = np.asarray([n % 3 for n in numbers]) if labels is None else np.asarray(labels, dtype=np.float32)
    return Rows(texts=tuple((f"row {n}", "b") for n in numbers), labels=classes)


def test_rows_are_told_by_their_texts() -> None:
    one = Rows(texts=(("a  b", "c"), ("a", "b c"), ("A b", "c")), labels=np.array([0, 0, 0]))
    other = Rows(texts=((" a b\n", "c"),), labels=np.array([1]))
    assert share_of(fingerprints(one), fingerprints(other)) == pytest.approx(1 / 3)
    assert share_of(fingerprints(rows(range(0))), fingerprints(other)) == 0.0


def test_other_labels_are_counted() -> None:
    seen = fingerprints(rows(range(20)))
    assert relabelled_share(fingerprints(rows(range(10, 30))), seen) == (10, 0.0)
    flipped = Rows(texts=rows(range(10)).texts, labels=np.asarray([(n + (n < 6)) % 3 for n in range(10)]))
    assert relabelled_share(fingerprints(flipped), seen) == (10, 0.6)
    assert relabelled_share(fingerprints(rows(range(50, 60))), seen) == (0, 0.0)
    values = [n / 7 for n in range(10)]
    assert relabelled_share(fingerprints(rows(range(10), values)), fingerprints(rows(range(10), values[::-1])))[1] == 0


def test_training_rows_are_remembered() -> None:
    parts = {"train": rows(range(40)), "validation": rows(range(36, 56)), "test": rows(range(90, 99))}
    noted = json.loads(json.dumps(note_rows(parts)))
    seen, shares = recall_rows(noted)
    assert sorted(seen) == sorted(fingerprints(parts["train"]))
    assert shares == {"validation": 0.2, "test": 0.0}
    for broken in (
        {},
        None,
        "x",
        noted | {"fingerprints": "%%"},
        noted | {"fingerprints": "AAAA"},
        noted | {"shares": {}},
    ):
        with pytest.raises(
            TaskDataError, match=r"the training rows in super_network.json must be as training noted them"
        ):
            recall_rows(broken)
