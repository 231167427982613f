"""The file of a full model's answers: read as written, refused where it is broken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compressor.data.heads.answers import PARTS, Answers, Asked, read_answers, write_answers
from compressor.errors import TaskDataError

ANSWERS = Answers(
    full_model="./mine",
    asked=Asked(model="m", texts="t", max_length=9),
    label_names=("nö", "yes"),
    outputs={part: np.arange(4, dtype=np.float32).reshape(2, 2) for part in PARTS},
)


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = write_answers(tmp_path / "answers", ANSWERS)
    found = read_answers(path)
    assert replace(found, outputs={}) == replace(ANSWERS, outputs={})
    assert found.texts == "t"
    for part in PARTS:
        np.testing.assert_array_equal(found.outputs[part], ANSWERS.outputs[part])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_without_a_part_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write_answers(tmp_path / "a", replace(ANSWERS, outputs={"train": np.zeros((1, 2), np.float32)}))
    with pytest.raises(TaskDataError, match="must hold the full model's answers .*, but cannot be read: .*validation"):
        read_answers(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(TaskDataError, match="must hold the full model's answers"):
        read_answers(path)
    with pytest.raises(TaskDataError, match=r"cannot be read: .*No such file"):
        read_answers(tmp_path / "nowhere")
