"""What is read off a model of each family."""

import numpy as np
import pytest
import torch

from compressor.errors import ModelError
from compressor.network.families import (
    ENCODER_FAMILIES,
    forget_orders,
    get_dimensions,
    get_family,
    get_layer_order,
    get_layers,
    max_positions,
    set_layer_order,
    shift_outputs,
)
from compressor.network.modeling_sliced import SLICED_PREFIX
from compressor.network.slicing import slice_model
from conftest import DIMENSIONS, LAYERS, tiny_batch, tiny_model
from exported import ODD


def test_longest_text_leaves_room_for_roberta_s_offset() -> None:
    assert max_positions(tiny_model("bert")) == 40
    roberta = tiny_model("roberta")
    assert max_positions(roberta) == 40 - roberta.config.pad_token_id - 1
    assert max_positions(slice_model(roberta, ODD)) == max_positions(roberta)
    assert max_positions(tiny_model("mpnet")) == 40 - 1 - 1
    assert np.isfinite(max_positions(tiny_model("distilbert")))


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_sizes_are_read_off_every_family(model_type: str) -> None:
    model = tiny_model(model_type)
    assert get_dimensions(model) == DIMENSIONS
    assert len(get_layers(model)) == LAYERS
    assert get_family(f"{SLICED_PREFIX}{model_type}") is get_family(model_type)


def test_a_family_that_needs_a_newer_transformers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.network.families.NEWER_FAMILIES", {"modernbert": "99.1"})
    with pytest.raises(ModelError, match=r"^the encoder family modernbert must have transformers of version 99\.1 or"):
        get_family("modernbert")


def test_another_family_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"the encoder family must be one of bert, .*, but got 'gpt2'\. Choose a model"
    ):
        get_family("gpt2")


@pytest.mark.parametrize("task_head", ["classification", "token_classification"])
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_outputs_are_shifted_for_all_rows_alike(model_type: str, task_head: str) -> None:
    model = tiny_model(model_type, task_head)
    batch = tiny_batch(model)
    with torch.inference_mode():
        before = model(**batch).logits
        shift_outputs(model, 0.75)
        torch.testing.assert_close(model(**batch).logits, before + 0.75)


def test_an_order_of_layers_is_noted_and_a_broken_one_is_none() -> None:
    model = tiny_model()
    assert get_layer_order(model) == ()
    set_layer_order(model, (2, 0, 1))
    assert get_layer_order(model) == (2, 0, 1)
    for broken in ([0, 1], [0, 0, 1], ["0", 1, 2], "012", None):
        model.config.layer_order = broken
        assert get_layer_order(model) == ()
    set_layer_order(model, (2, 0, 1))
    forget_orders(model)
    assert get_layer_order(model) == ()
    forget_orders(model)
