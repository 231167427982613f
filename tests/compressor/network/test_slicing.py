"""Slicing: whose rows and columns are kept. That it computes what shared weights do is a law (`test_laws.py`)."""

import pytest
import torch

from compressor.errors import SubNetworkError
from compressor.network.families import get_family, get_layer_order, get_layers, set_layer_order
from compressor.network.modeling_sliced import ENCODER_FAMILIES
from compressor.network.slicing import reorder, slice_model
from compressor.network.sub_network import SubNetwork
from conftest import HEADS, HIDDEN, LAYERS, UNITS, tiny_model

HEAD_SIZE = HIDDEN // HEADS
KEPT = SubNetwork(heads=((0, 2), (), ()), units=((1, 5, 6), (), (3,)))


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_kept_rows_and_columns_are_the_super_network_s(model_type: str) -> None:
    model, family = tiny_model(model_type), get_family(model_type)
    sliced = slice_model(model, KEPT)
    assert len(get_layers(sliced)) == sliced.config.num_hidden_layers == 2  # the empty one in the middle is gone
    before, after = get_layers(model)[0], get_layers(sliced)[0]
    rows = [*range(HEAD_SIZE), *range(2 * HEAD_SIZE, 3 * HEAD_SIZE)]
    for group, kept, size in zip(family.groups, (rows, [1, 5, 6]), (HIDDEN, UNITS), strict=True):
        for (producer, new), (_, old) in zip(group.producers_of(after), group.producers_of(before), strict=True):
            places = [copy * size + index for copy in range(producer.copies) for index in kept]
            assert torch.equal(new.weight, old.weight[places])
            assert old.bias is None or torch.equal(new.bias, old.bias[places])
        new, old = group.consumer_of(after), group.consumer_of(before)
        assert torch.equal(new.weight, old.weight[:, kept])
        assert old.bias is None or torch.equal(new.bias, old.bias)


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_a_block_with_nothing_left_goes_whole(model_type: str) -> None:
    model, units = tiny_model(model_type), get_family(model_type).groups[1]
    params = [sum(p.numel() for p in layer.parameters()) for layer in get_layers(slice_model(model, KEPT))]
    layer = get_layers(model)[2]
    norm = sum(p.numel() for p in layer.get_submodule(units.norm).parameters())
    producers = [(producer.copies, module) for producer, module in units.producers_of(layer)]
    one_unit = sum(copies * (HIDDEN + (module.bias is not None)) for copies, module in producers)
    projection = HIDDEN + (HIDDEN if units.consumer_of(layer).bias is not None else 0)
    assert params[1] == one_unit + projection + norm  # no attention, nor its LayerNorm
    if model_type == "bert":
        assert params[1] == (HIDDEN + 1) + (HIDDEN + HIDDEN) + 2 * HIDDEN
    if model_type == "modernbert":
        assert params[1] == 2 * HIDDEN + HIDDEN + HIDDEN  # input and gate, and no biases


def test_the_super_network_is_neither_changed_nor_shared() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    set_layer_order(model, [2, 0, 1])
    sliced = slice_model(model, KEPT)
    with torch.no_grad():
        for parameter in sliced.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config.num_hidden_layers == LAYERS
    assert (get_layer_order(model), get_layer_order(sliced)) == ((2, 0, 1), ())


def test_what_is_no_sub_network_or_no_order_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(SubNetworkError, match="heads of layer 0 must lie in 0..3, but got"):
        slice_model(model, SubNetwork(heads=((9,),) * LAYERS, units=((),) * LAYERS))
    every_head, every_unit = [list(range(HEADS))] * LAYERS, [list(range(UNITS))] * LAYERS
    message = "an order of heads must be a permutation of 0..3 for each of 3 layers, but got another list"
    for heads in ([[0, 1, 2, 2]] * LAYERS, every_head[:2]):
        with pytest.raises(SubNetworkError, match=message):
            reorder(model, {"heads": heads, "units": every_unit})
