"""A family: which member is its champion, what members are called, and files that name none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import FileError
from compressor.extraction.family import FAMILY_FILE, Family, find_members, is_family, make_family
from compressor.extraction.record import ExtractionReport
from test_golden import copy_golden


def reports(folder: Path) -> dict[str, ExtractionReport]:
    """Three, from large to small, the large one with the smallest error."""
    report = ExtractionReport.load(copy_golden("0.2.0", folder) / "model")
    made = {"L": (0.2, 900), "M": (0.21, 600), "S": (0.4, 200)}
    return {
        name: replace(report, error=error, extracted=replace(report.extracted, error=error, params=params))
        for name, (error, params) in made.items()
    }


@pytest.mark.parametrize(
    ("holding", "champion"),
    [(("L", "M"), "M"), (("L", "M", "S"), "S"), (("L",), "L"), ((), "L")],
    ids=["medium", "all", "large", "none"],
)
def test_the_champion_is_the_smallest_that_surely_loses_little(
    holding: tuple[str, ...], champion: str, tmp_path: Path
) -> None:
    family = make_family(reports(tmp_path / "golden"), {name: name in holding for name in "LMS"}, ("S", "M", "L"))
    assert family == Family(members=("S", "M", "L"), champion=champion, tiers=("S", "M", "L"))


def test_a_family_is_found_where_it_lies_and_among_artifacts(tmp_path: Path) -> None:
    assert not is_family(tmp_path)
    assert find_members(tmp_path) == {"": tmp_path}
    family = Family(members=("S", "L"), champion="L")
    family.save(tmp_path)
    for place in ("S", "L/model"):  # MLflow has the files of an extracted model in a folder of that name
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").touch()
    assert Family.load(tmp_path) == family
    assert find_members(tmp_path) == {"S": tmp_path / "S", "L": tmp_path / "L" / "model"}


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"members": ["../S"], "champion": "../S"}, "its members are '../S'"),
        ({"members": [], "champion": "S"}, "its members are none"),
        ({"members": ["S", "S"], "champion": "S"}, "its members are 'S', 'S'"),
        ({"members": ["S"], "champion": "L"}, "its champion 'L' is none of its members"),
        ({"members": "S", "champion": "S"}, 'members is "S"'),
        ({"members": ["S"]}, "it lacks 'champion'"),
    ],
)
def test_a_file_that_names_no_family(written: dict[str, Any], problem: str, tmp_path: Path) -> None:
    (tmp_path / FAMILY_FILE).write_text(json.dumps(written))
    with pytest.raises(FileError) as raised:
        Family.load(tmp_path)
    assert str(raised.value) == (
        f"the file {tmp_path}/family.json must be as it was written, but {problem}. Restore it, or extract again with "
        "compressor extract --tiers."
    )
