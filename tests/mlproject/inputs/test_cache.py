"""Which stages count as the same."""

from pathlib import Path

import pytest

from compressor.search.options import SearchOptions
from mlproject.inputs.cache import code_digest, fingerprint, read_record, stage_inputs, write_record


def test_inputs_hold_options_digests_and_the_code() -> None:
    inputs = stage_inputs(SearchOptions(num_samples=9), data="d1")
    assert (inputs["num_samples"], inputs["objectives"], inputs["data"]) == (9, ["error", "params"], "d1")
    assert inputs["code"] == code_digest()


def test_a_budget_is_no_part_of_the_fingerprint() -> None:
    few, many = (stage_inputs(SearchOptions(num_samples=count), data="d1") for count in (9, 60))
    assert fingerprint("search", few, "num_samples") == fingerprint("search", many, "num_samples")
    assert fingerprint("search", few) != fingerprint("search", many)
    assert fingerprint("search", few) != fingerprint("extract", few)
    assert fingerprint("search", few) != fingerprint("search", few | {"data": "d2"})


def test_a_record_is_of_one_stage(tmp_path: Path) -> None:
    assert read_record(tmp_path, "search") is None
    write_record(tmp_path, "search", {"seed": 0})
    assert read_record(tmp_path, "search") == {"seed": 0}
    assert read_record(tmp_path, "extract") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stage": "search"}', '{"stage": "search", "inputs": 3}'])
def test_a_broken_record_means_that_the_stage_is_made_again(content: str, tmp_path: Path) -> None:
    write_record(tmp_path, "search", {"seed": 0})
    (tmp_path / ".compressor" / "stage.json").write_text(content)
    assert read_record(tmp_path, "search") is None
