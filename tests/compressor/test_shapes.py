"""Shapes of the files between stages."""

import json
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import FileError
from compressor.shapes import Number, Size, find_problem, read_record

SHAPE = {"name": str, "error?": (Number, None), "kept": [Size], "forms?": {str: {"mb": Number}}}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"name": "a", "kept": []}, None),
        ({"name": "a", "kept": [1], "error": None, "more": object}, None),
        ({"name": "a", "kept": [1], "error": 0, "forms": {"fp32": {"mb": 1.5}}}, None),
        ([], "it is []"),
        ({"name": "a"}, "it lacks 'kept'"),
        ({"name": 3, "kept": []}, "name is 3"),
        ({"name": "a", "kept": [1, 0]}, "kept[1] is 0"),
        ({"name": "a", "kept": [10**9]}, "kept[0] is 1000000000"),
        ({"name": "a", "kept": [True]}, "kept[0] is true"),
        ({"name": "a", "kept": {}}, "kept is {}"),
        ({"name": "a", "kept": [], "error": float("inf")}, "error is Infinity"),
        ({"name": "a", "kept": [], "error": False}, "error is false"),
        ({"name": "a", "kept": [], "forms": {"fp32": {}}}, "forms.fp32 lacks 'mb'"),
        ({"name": "a", "kept": [], "forms": {"fp32": {"mb": "1"}}}, 'forms.fp32.mb is "1"'),
    ],
)
def test_the_first_problem_is_told(value: Any, problem: str | None) -> None:
    assert find_problem(value, SHAPE) == problem


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"format": 2}))
    with pytest.raises(FileError) as raised:
        read_record(file, SHAPE, "Restore it")
    assert str(raised.value) == (
        f"the file {file} must be of format 1, but is of 2, which a newer version wrote. Update mlflow-compressor."
    )
    file.write_text(json.dumps({"format": "2", "name": "a", "kept": []}))
    with pytest.raises(FileError, match=r'must be as it was written, but format is "2". Restore it.$'):
        read_record(file, SHAPE, "Restore it")
    file.write_text('{"name": "a", "kept": [NaN]}')
    with pytest.raises(FileError, match=r"must hold JSON, but does not parse: NaN is no number of JSON"):
        read_record(file, SHAPE, "Restore it")
