"""Which rows stand in two places."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from compressor.data.overlap import TrainingRows, fingerprints, relabelled_share, share_of
from compressor.data.rows import Rows
from compressor.errors import TaskDataError
from compressor.records import parse_record


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
    noted = TrainingRows.note(parts)
    assert parse_record(TrainingRows, asdict(noted)) == noted
    assert sorted(noted.recall()) == sorted(fingerprints(parts["train"]))
    assert noted.shares == {"validation": 0.2, "test": 0.0}
    for marks in ("%%", "AAAA"):
        with pytest.raises(
            TaskDataError, match=r"the training rows in super_network.json must be as training noted them"
        ):
            replace(noted, fingerprints=marks).recall()
    for broken in (
        {},
        None,
        "x",
        asdict(noted) | {"shares": {}},
        asdict(noted) | {"shares": {"validation": 2, "test": 0}},
    ):
        with pytest.raises(ValueError, match=r"^(it|shares)"):
            parse_record(TrainingRows, broken)
