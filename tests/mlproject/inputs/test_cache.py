"""Which stages count as the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.search.options import SearchOptions
from mlproject.inputs.cache import code_digest, read_record, stage_inputs, write_record

BUDGET = ("num_samples",)


def test_inputs_hold_options_digests_and_the_code() -> None:
    inputs = stage_inputs("search", SearchOptions(num_samples=9), data="d1")
    found = inputs.identity
    assert (found["stage"], found["num_samples"], found["objectives"]) == ("search", 9, ["error", "params"])
    assert (found["data"], inputs.code) == ("d1", code_digest())


def test_a_budget_is_no_part_of_the_hash() -> None:
    few, many = (stage_inputs("search", SearchOptions(num_samples=n), data="d1", budget=BUDGET) for n in (9, 60))
    assert few.hash == many.hash
    assert few.hash != stage_inputs("search", SearchOptions(num_samples=9), data="d1").hash
    assert few.hash != stage_inputs("extract", SearchOptions(num_samples=9), data="d1", budget=BUDGET).hash
    assert few.hash != stage_inputs("search", SearchOptions(num_samples=9), data="d2", budget=BUDGET).hash


def test_a_record_is_of_one_stage(tmp_path: Path) -> None:
    few, many = (stage_inputs("search", SearchOptions(num_samples=n), budget=BUDGET) for n in (9, 60))
    assert read_record(tmp_path, few) is None
    write_record(tmp_path, few)
    found = read_record(tmp_path, few)
    assert found is not None and found.same_amount_as(few)
    found = read_record(tmp_path, many)
    assert found is not None and not found.same_amount_as(many)
    assert read_record(tmp_path, stage_inputs("search", SearchOptions(num_samples=9, seed=1), budget=BUDGET)) is None
    assert read_record(tmp_path, stage_inputs("extract", SearchOptions(num_samples=9), budget=BUDGET)) is None
    assert read_record(tmp_path, replace(few, code="of another version")) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stage": "search"}', '{"stage": "search", "inputs": 3}'])
def test_a_broken_record_means_that_the_stage_is_made_again(content: str, tmp_path: Path) -> None:
    inputs = stage_inputs("search", seed=0)
    write_record(tmp_path, inputs)
    (tmp_path / ".compressor" / "stage.json").write_text(content)
    assert read_record(tmp_path, inputs) is None
