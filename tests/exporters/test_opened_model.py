"""What is exported, opened and checked."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from compressor.data.sources import DataSource
from compressor.errors import ModelError
from compressor.network.saving import save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import DIMENSIONS, tiny_model
from exporters.opened_model import open_model
from test_golden import copy_golden

KEPT = SubNetwork(heads=((0, 2), (), (1,)), units=((0, 1, 2), (5,), ()))
ITS_DATA = {"source": DataSource(task_name="custom").to_json(), "label_names": ["a", "b", "c"]}


def write_model(path: Path, tokenizer: PreTrainedTokenizerFast, info: dict[str, Any]) -> Path:
    path.mkdir()
    return save_sliced_model(path, slice_model(tiny_model(), KEPT), tokenizer, KEPT, DIMENSIONS, info)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({}, None),
        ({"chosen": {"name": "mine"}}, None),  # of a file, so that it has not been searched
        ({"chosen": {"name": "mine", "error": 0.25}}, 0.25),
        ({"chosen": {"name": "mine", "error": 0.25}, "error": 0.125}, 0.125),
    ],
)
def test_the_error_that_was_measured_last(
    more: dict[str, Any], error: float | None, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert open_model(write_model(tmp_path / "model", tokenizer, ITS_DATA | more)).known_error == error


def test_a_model_that_names_no_data(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError) as raised:
        open_model(write_model(tmp_path / "model", tokenizer, {}))
    assert str(raised.value) == (
        f"--model must say which data it is for, but sub_network.json in {tmp_path}/model names none. "
        "Make the model with compressor extract."
    )


def test_a_model_that_a_version_without_digests_wrote(tmp_path: Path) -> None:
    opened = open_model(copy_golden("0.1.0", tmp_path) / "model")
    assert (opened.path, opened.load_data().task.name, opened.labels) == (tmp_path / "model", "custom", ("0", "1"))
    assert opened.sub_network != "full"
    assert opened.known_error is not None
    opened = open_model(tmp_path / "net")
    assert (opened.sub_network, opened.known_error, opened.labels) == ("full", None, ("0", "1"))
