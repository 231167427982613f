"""Repair: less of a block's output is lost, nothing changes where nothing was cut, the dense model stays as it is."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, evaluation_batches
from compressor.extraction.repair import measure_moments, repair
from compressor.network.execution import expand_members
from compressor.network.families import ENCODER_FAMILIES, get_family, get_layers
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS, encoded_sentences, tiny_batch, tiny_model
from short_memory import short_memory

CUT = SubNetwork(heads=((0, 2), (), (1, 2, 3)), units=(tuple(range(10)), (), tuple(range(3, 24))))


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    return encoded_sentences(tokenizer, 60)


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_the_projection_makes_up_for_what_was_cut(model_type: str, rows: EncodedRows) -> None:
    """On the dense model's own tokens: W_kept x_kept + b is nearer to W x + b after the repair, in every block."""
    dense = tiny_model(model_type, num_labels=2)
    before, family, inputs = weights(dense), get_family(model_type), dict[tuple[int, str], Tensor]()
    moments = measure_moments(dense, rows)
    plain, repaired = (slice_model(dense, CUT) for _ in range(2))
    repair(repaired, dense, CUT, moments)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())

    def keep(layer: int, path: str, x: Tensor) -> None:
        tokens = x.detach().reshape(-1, x.shape[-1])
        inputs[layer, path] = torch.cat([inputs.get((layer, path), tokens[:0]), tokens])

    for layer, module in enumerate(get_layers(dense)):
        for path in (group.consumer for group in family.groups):
            module.get_submodule(path).register_forward_pre_hook(
                lambda _, args, layer=layer, path=path: keep(layer, path, args[0])
            )
    for picked, batch in evaluation_batches(rows, 1):
        assert len(picked) == 1  # nothing is padded
        dense(**batch)
    for position, layer in ((0, 0), (1, 2)):
        columns_of = (expand_members(CUT.heads[layer], DIMENSIONS.head_size), CUT.units[layer])
        for path, columns in zip((group.consumer for group in family.groups), columns_of, strict=True):
            x = inputs[layer, path]
            wanted = get_layers(dense)[layer].get_submodule(path)(x)
            found = [
                get_layers(model)[position].get_submodule(path)(x[:, list(columns)]) for model in (plain, repaired)
            ]
            errors = [float((output - wanted).detach().square().mean()) for output in found]
            assert errors[1] < errors[0], (layer, path)


def test_nothing_changes_where_nothing_was_cut(rows: EncodedRows) -> None:
    dense = tiny_model("bert")
    whole = full_sub_network(DIMENSIONS)
    sliced = slice_model(dense, whole)
    before = weights(sliced)
    repair(sliced, dense, whole, measure_moments(dense, rows))
    assert all(torch.equal(tensor, before[name]) for name, tensor in sliced.state_dict().items())


def test_what_was_linear_in_the_kept_is_made_up_for_entirely(rows: EncodedRows) -> None:
    """Units 12..23 copy units 0..11, so the first half can do all the work (but for the ridge)."""
    dense, family = tiny_model("bert"), get_family("bert")
    with torch.no_grad():
        for layer in get_layers(dense):
            _, first = next(family.groups[1].producers_of(layer))
            first.weight[12:], first.bias[12:] = first.weight[:12], first.bias[:12]
    half = SubNetwork(heads=full_sub_network(DIMENSIONS).heads, units=(tuple(range(12)),) * 3)
    batch = tiny_batch(dense)
    wanted = dense(**batch).logits
    plain, repaired = (slice_model(dense, half) for _ in range(2))
    repair(repaired, dense, half, measure_moments(dense, rows))
    lost, left = (float((model(**batch).logits - wanted).detach().abs().max()) for model in (plain, repaired))
    assert left < 0.2 * lost


def test_moments_do_not_depend_on_the_memory(rows: EncodedRows) -> None:
    dense = tiny_model(num_labels=2)
    expected = measure_moments(dense, rows)
    with short_memory(dense, 3) as sizes:
        found = measure_moments(dense, rows)
    assert max(sizes) <= 3
    for name, moments in expected.items():
        for moment, other in zip(moments, found[name], strict=True):
            torch.testing.assert_close(other, moment, atol=1e-3, rtol=1e-4)
