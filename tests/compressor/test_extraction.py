"""Law 2 without ONNX: sliced = saved = loaded, and stock loading fails loudly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedTokenizerFast

from compressor.errors import ModelError, ParityError
from compressor.extraction import is_sliced, load_sliced_model, require_error, require_parity, save_sliced_model
from compressor.families import ENCODER_FAMILIES
from compressor.search_spaces import SEARCH_SPACES, create_search_space
from compressor.slicing import slice_model
from compressor.sub_network import SubNetwork
from conftest import DIMENSIONS, TASK_HEADS, tiny_batch, tiny_model

ODD = SubNetwork(heads=((0, 3), (), ()), units=((), (1, 2, 20), ()))


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("task_head", TASK_HEADS)
def test_saved_is_loaded(model_type: str, task_head: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model(model_type, task_head)
    for space_name in SEARCH_SPACES:
        space = create_search_space(space_name, DIMENSIONS)
        for sub_network in (space.draw(np.random.default_rng(1)), space.smallest, ODD):
            path = tmp_path / f"{space_name}-{sub_network.hash}"
            path.mkdir(exist_ok=True)
            sliced = slice_model(model, sub_network)
            save_sliced_model(path, sliced, tokenizer, sub_network, DIMENSIONS, {"note": 1})
            loaded = load_sliced_model(path)
            assert loaded.sub_network == sub_network
            assert loaded.info["note"] == 1
            batch = tiny_batch(model)
            torch.testing.assert_close(loaded.model(**batch).logits, sliced(**batch).logits, rtol=1e-5, atol=1e-6)
            assert sorted(file.suffix for file in path.iterdir()) == [".json"] * 4 + [".safetensors"]


def test_stock_loading_fails_loudly(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    save_sliced_model(tmp_path, slice_model(tiny_model(), ODD), tokenizer, ODD, DIMENSIONS, {})
    assert is_sliced(tmp_path)
    with pytest.raises(ValueError, match="sliced-bert"):
        AutoConfig.from_pretrained(tmp_path)


def test_weights_of_another_sub_network(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    other = SubNetwork(heads=((0,), (), ()), units=((), (1, 2, 20), ()))
    save_sliced_model(tmp_path, slice_model(tiny_model(), other), tokenizer, ODD, DIMENSIONS, {})
    with pytest.raises(ModelError, match=r"the weights in .* must fit sub_network.json, but they do not"):
        load_sliced_model(tmp_path)


def test_a_directory_that_is_not_sliced(base_model_dir: Path) -> None:
    with pytest.raises(ModelError, match="a sliced model must have a model_type that starts with sliced-"):
        load_sliced_model(base_model_dir)


def test_parity_is_relative_to_the_logits() -> None:
    assert require_parity(np.array([100.0]), np.array([100.0005]), "two forms") == pytest.approx(5e-6)
    with pytest.raises(ParityError) as raised:
        require_parity(np.array([1.0]), np.array([1.5]), "two forms")
    assert str(raised.value) == (
        "two forms must agree within 1e-05 of the logit scale, but logits differ by 5.0e-01. Nothing was written."
    )
    with pytest.raises(ParityError):
        require_parity(np.array([1.0]), np.array([float("nan")]), "two forms")


def test_errors_may_differ_by_near_ties_alone() -> None:
    clear, tied = np.array([[2.0, 0.0]] * 10), np.array([[2.0, 0.0]] * 9 + [[2.0, 2.0]])
    require_error(0.3, 0.3, clear)
    require_error(0.3, 0.4, tied)
    with pytest.raises(ParityError, match=r"must be the 0.300000 that was measured before, but is 0.400000"):
        require_error(0.3, 0.4, clear)
    close = np.linspace(0.0, 1.0, 5000)[:, None]  # neighbours closer than rounding, all of them
    require_error(0.3, 0.3005, close)
    with pytest.raises(ParityError):
        require_error(0.3, 0.31, close)
