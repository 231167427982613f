"""A search's result: what is saved is loaded, its front and its costs are those of its evaluations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compressor.errors import FileError
from compressor.evaluation.predictions import ValidationPredictions
from compressor.search.record import SearchResult, hypervolume_of, relative_objectives
from conftest import write_search

POINTS = [(0.2, 1000), (0.25, 700), (0.3, 900), (0.4, 500)]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    result = SearchResult.load(write_search(tmp_path / "one", POINTS))
    again = SearchResult.load(write_search(tmp_path / "two", POINTS))
    assert result.evaluations == again.evaluations
    assert [e.name for e in result.front] == ["subnet-000", "subnet-001", "subnet-003"]
    assert result.full is not None
    assert result.full.name == "subnet-000"


def test_the_super_network_is_found_from_where_the_result_lies(tmp_path: Path) -> None:
    """A directory that is there is filled from within; what is written then is as seen from the directory all the same.

    So search and super-network can move together.
    """
    written = write_search(tmp_path / "search", POINTS, supernet=tmp_path / "net")
    result = SearchResult.load(written)
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there", target_is_directory=True)
    for name in ("search", "new", "there", "link"):
        result.save(tmp_path / name)
        assert json.loads((tmp_path / name / "search_results.json").read_text())["supernet_from_here"] == "../net"


def test_a_loaded_result_is_saved_with_its_predictions(tmp_path: Path) -> None:
    """Without them a choice promises less."""
    labels = np.array([0, 1, 1])
    predictions = ValidationPredictions(labels=labels, by_name={"subnet-000": labels})
    result = SearchResult.load(write_search(tmp_path / "search", POINTS, supernet=tmp_path / "net"))
    replace(result, known_predictions=predictions).save(tmp_path / "first")
    SearchResult.load(tmp_path / "first").save(tmp_path / "second")
    again = SearchResult.load(tmp_path / "second").predictions
    assert again is not None
    assert again.by_name["subnet-000"].tolist() == [0, 1, 1]


def test_costs_are_shares_of_the_super_network_s(tmp_path: Path) -> None:
    result = SearchResult.load(write_search(tmp_path / "search", POINTS))
    points = relative_objectives(result.evaluations, result.objectives, result.full_costs)
    assert points == [pytest.approx((error, params / 1000)) for error, params in POINTS]
    # by hand, from the right: 0.3 * 0.75 between 0.7 and 1, 0.2 * 0.6 between 0.5 and 0.7; none at 1
    assert hypervolume_of(result.evaluations, result.objectives, result.full_costs) == pytest.approx(
        0.3 * 0.75 + 0.2 * 0.6
    )


def test_a_broken_result_is_a_sentence(tmp_path: Path) -> None:
    file = write_search(tmp_path / "search", POINTS) / "search_results.json"
    written = json.loads(file.read_text())
    written["evaluations"][0]["error"] = -1
    file.write_text(json.dumps(written))
    with pytest.raises(FileError, match=r"must be as it was written, but evaluations\[0\]\.error is -1\."):
        SearchResult.load(file.parent)
