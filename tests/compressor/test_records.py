"""Dataclasses as JSON files."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from compressor.errors import FileError
from compressor.records import (
    Amount,
    Count,
    Inline,
    Interval,
    Size,
    parse_record,
    read_record,
    require_keys,
    to_values,
    write_record,
)


@dataclass(frozen=True, kw_only=True)
class Form:
    mb: Amount
    length: int | str = 1
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Thing:
    name: str
    kept: tuple[Size, ...]
    error: float | None = None
    ends: Interval | None = None
    forms: dict[str, Form] | None = None
    main: Annotated[Form, require_keys("length")] = Form(mb=0)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "it is []"),
        ({"name": "a"}, "it lacks 'kept'"),
        ({"name": 3, "kept": []}, "name is 3"),
        ({"name": "a", "kept": [1, 0]}, "kept[1] is 0"),
        ({"name": "a", "kept": [10**9]}, "kept[0] is 1000000000"),
        ({"name": "a", "kept": [True]}, "kept[0] is true"),
        ({"name": "a", "kept": {}}, "kept is {}"),
        ({"name": "a", "kept": [], "error": False}, "error is false"),
        ({"name": "a", "kept": [], "ends": [2, 1]}, "ends is [2, 1]"),
        ({"name": "a", "kept": [], "forms": {"fp32": {"length": 1}}}, "forms.fp32 lacks 'mb'"),
        ({"name": "a", "kept": [], "main": {"mb": 1}}, "main lacks 'length'"),
        ({"name": "a", "kept": [], "forms": {"fp32": {"mb": "1", "length": 1}}}, 'forms.fp32.mb is "1"'),
        ({"name": "a", "kept": [], "forms": {"fp32": {"mb": 1, "length": 2.5}}}, "forms.fp32.length is 2.5"),
        (
            {"name": "a", "kept": [], "forms": {"fp32": {"mb": 1, "length": 2, "sizes": [1, 0]}}},
            "forms.fp32.sizes[1] is 0",
        ),
    ],
)
def test_the_first_problem_is_told(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match="^") as raised:
        parse_record(Thing, value)
    assert str(raised.value) == problem


def test_a_record_is_what_was_written(tmp_path: Path) -> None:
    thing = Thing(name="a", kept=(1, 2), error=0, ends=(0.5, 1), forms={"int8": Form(mb=3, length="real", sizes=(4,))})
    file = write_record(tmp_path / "a.json", thing, more=[object.__name__])
    assert read_record(file, Thing, "Restore it") == thing
    assert list(json.loads(file.read_text())) == ["format", "name", "kept", "error", "ends", "forms", "main", "more"]


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"format": 2}))
    with pytest.raises(FileError) as raised:
        read_record(file, Thing, "Restore it")
    assert str(raised.value) == (
        f"the file {file} must be of format 1, but is of 2, which a newer version wrote. Update mlflow-compressor."
    )
    file.write_text(json.dumps({"format": "2", "name": "a", "kept": []}))
    with pytest.raises(FileError, match=r'must be as it was written, but format is "2". Restore it.$'):
        read_record(file, Thing, "Restore it")


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_numbers_that_json_does_not_have(tmp_path: Path, number: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(f'{{"name": "a", "kept": [], "error": {number}}}')
    with pytest.raises(FileError, match=f"must hold JSON, but does not parse: {number} is no number of JSON"):
        read_record(file, Thing, "Restore it")


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A record with a mapping whose keys stand beside its others."""

    name: str
    sizes: Annotated[dict[str, Count], Inline(lambda: ("small", "large"))] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Several:
    """Records within a record."""

    items: tuple[Sized, ...]
    first: Sized | None = None


def test_an_inline_mapping_s_keys_stand_beside_the_others() -> None:
    record = Several(items=(Sized(name="a", sizes={"small": 1}), Sized(name="b")), first=Sized(name="c"))
    written = to_values(record)
    assert written == {
        "items": ({"name": "a", "small": 1, "large": None}, {"name": "b", "small": None, "large": None}),
        "first": {"name": "c", "small": None, "large": None},
    }
    assert parse_record(Several, written) == record
    assert parse_record(Several, {"items": [{"name": "d", "other": 3}]}).items[0].sizes == {}


def test_a_wrong_value_of_an_inline_mapping_is_told_where_it_stands() -> None:
    for wrong in (-1, "1", True, 2.5):
        with pytest.raises(ValueError, match=r"^items\[0\]\.large is "):
            parse_record(Several, {"items": [{"name": "a", "large": wrong}]})
