"""The laws of the model side: shared = sliced, counted = real, gradients, order. Family × task head × search space."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import ModernBertConfig, PreTrainedModel

from compressor.network.costs import create_cost_model
from compressor.network.execution import activate, expand_members
from compressor.network.families import ENCODER_FAMILIES, get_auto_class, get_family, get_layers
from compressor.network.saving import with_classes
from compressor.network.slicing import reorder, slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import SEARCH_SPACES, create_search_space
from conftest import (
    DIMENSIONS,
    HEADS,
    HIDDEN,
    LAYERS,
    TASK_HEADS,
    UNITS,
    random_weights,
    tiny_batch,
    tiny_config,
    tiny_model,
)

MODELS: dict[tuple[str, str, str], PreTrainedModel] = {}
EDGES = {
    "no layer": SubNetwork(heads=((),) * LAYERS, units=((),) * LAYERS),
    "no heads": SubNetwork(heads=((),) * LAYERS, units=((0, 5, 7),) * LAYERS),
    "no units": SubNetwork(heads=((1, 3),) * LAYERS, units=((),) * LAYERS),
    "all different": SubNetwork(heads=((0, 3), (), (2,)), units=((), (1, 2, 20), tuple(range(3, 9)))),
    "empty middle": SubNetwork(heads=((1,), (), (0, 1)), units=((0, 2), (), (4,))),
}


def model_of(model_type: str, task_head: str, attn_implementation: str = "eager") -> PreTrainedModel:
    key = (model_type, task_head, attn_implementation)
    if key not in MODELS:
        MODELS[key] = tiny_model(model_type, task_head, attn_implementation)
    return MODELS[key]


def logits_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return model(**batch).logits


def require_equal(first: Tensor, second: Tensor) -> None:
    assert first.shape == second.shape
    assert float((first - second).abs().max()) <= 1e-5 * float(first.abs().max())


def check_laws(model: PreTrainedModel, sub_network: SubNetwork) -> None:
    batch = tiny_batch(model)
    with activate(model, sub_network):
        shared = logits_of(model, batch)
    sliced = slice_model(model, sub_network)
    require_equal(shared, logits_of(sliced, batch))
    cost_model = create_cost_model(model)
    assert cost_model.costs(sub_network).params == sum(p.numel() for p in sliced.parameters())
    assert cost_model.encoder_params(sub_network) == sum(p.numel() for p in get_layers(sliced).parameters())


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("space_name", list(SEARCH_SPACES))
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_shared_is_sliced_and_counted_is_real(space_name: str, model_type: str, task_head: str, seed: int) -> None:
    space = create_search_space(space_name, DIMENSIONS)
    check_laws(model_of(model_type, task_head), space.draw(np.random.default_rng(seed)))


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("edge", list(EDGES))
def test_edges(edge: str, model_type: str, attn_implementation: str) -> None:
    for task_head in TASK_HEADS:
        check_laws(model_of(model_type, task_head, attn_implementation), EDGES[edge])


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_sub_networks_differ(model_type: str) -> None:
    """The laws above would hold for a `activate` that does nothing and a `slice_model` that copies."""
    model = model_of(model_type, "classification")
    batch = tiny_batch(model)
    outputs = []
    for sub_network in [full_sub_network(DIMENSIONS), *EDGES.values()]:
        with activate(model, sub_network):
            outputs.append(logits_of(model, batch))
    for first in range(len(outputs)):
        for second in range(first):
            assert float((outputs[first] - outputs[second]).abs().max()) > 1e-3


def masked_logits(model: PreTrainedModel, sub_network: SubNetwork, batch: dict[str, Tensor]) -> Tensor:
    """The paper's definition, a second way: dropped heads and units times zero inside the full super-network."""
    family, hooks = get_family(model.config.model_type), []
    for layer, heads, units in zip(get_layers(model), sub_network.heads, sub_network.units, strict=True):
        head_mask = torch.zeros(HEADS).index_fill(0, torch.tensor(heads, dtype=torch.long), 1.0).repeat_interleave(4)
        unit_mask = torch.zeros(UNITS).index_fill(0, torch.tensor(units, dtype=torch.long), 1.0)
        for group, mask in zip(family.groups, (head_mask, unit_mask), strict=True):
            consumer = group.consumer_of(layer)
            hooks.append(consumer.register_forward_pre_hook(lambda _, args, mask=mask: (args[0] * mask,)))
    try:
        return logits_of(model, batch)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_slices_are_what_masks_would_compute(model_type: str, data: st.DataObject) -> None:
    """Where no block is empty, slicing is masking; an empty block loses its LayerNorm too, which no mask can say."""
    heads = st.sets(st.integers(0, HEADS - 1), min_size=1).map(lambda kept: tuple(sorted(kept)))
    units = st.sets(st.integers(0, UNITS - 1), min_size=1).map(lambda kept: tuple(sorted(kept)))
    sub_network = SubNetwork(
        heads=data.draw(st.tuples(*[heads] * LAYERS)), units=data.draw(st.tuples(*[units] * LAYERS))
    )
    model = model_of(model_type, "classification")
    batch = tiny_batch(model)
    with activate(model, sub_network):
        shared = logits_of(model, batch)
    require_equal(shared, masked_logits(model, sub_network, batch))


SWITCHES: dict[str, dict[str, Any]] = {
    "biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    "mean": {"classifier_pooling": "mean"},  # Ettin, mmBERT and gte for classification
    "every second layer": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    "local first": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "local alone": {"layer_types": ["sliding_attention"] * LAYERS},
    "odd window": {"local_attention": 7},
    "no window": {"local_attention": 1},
    "mmBERT": {"global_rope_theta": 160000.0, "local_rope_theta": 160000.0, "position_embedding_type": "sans_pos"},
    "yarn": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10},
        "max_position_embeddings": 40,
    },
    "relu": {"hidden_activation": "relu", "classifier_activation": "silu"},
    "older": {"reference_compile": True, "global_attn_every_n_layers": 2, "deterministic_flash_attn": True},
    "no padding": {"pad_token_id": None},
}
"""Of ModernBERT's configuration, with values that checkpoints have; `tiny_config` has the others'."""


def switched(name: str, attn_implementation: str, task_head: str = "classification") -> PreTrainedModel:
    """A tiny ModernBERT with one of the switches thrown."""
    if name not in SWITCHES:
        return tiny_model("modernbert", task_head, attn_implementation)
    values = tiny_config("modernbert").to_dict()
    for told in ("layer_types", "rope_parameters"):  # older configurations do not have them
        del values[told]
    return random_weights(ModernBertConfig(**values | SWITCHES[name]), task_head, attn_implementation)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", list(SWITCHES))
def test_switches_of_modernbert(name: str, attn_implementation: str, tmp_path: Path) -> None:
    """All of the above for a text of several windows, saved, and loaded by the Auto classes."""
    for task_head in TASK_HEADS:
        model = switched(name, attn_implementation, task_head)
        batch = tiny_batch(model, length=17)
        for sub_network in EDGES.values():
            with activate(model, sub_network):
                shared = logits_of(model, batch)
            sliced = slice_model(model, sub_network)
            require_equal(shared, logits_of(sliced, batch))
            assert create_cost_model(model).costs(sub_network).params == sum(p.numel() for p in sliced.parameters())
            with_classes(sliced, sub_network, DIMENSIONS).save_pretrained(tmp_path)
            again = get_auto_class(task_head == "multiple_choice").from_pretrained(
                tmp_path, attn_implementation=attn_implementation
            )
            require_equal(shared, logits_of(again, batch))


def test_a_window_is_a_layers_own() -> None:
    """A layer that is kept behind a dropped one sees as far as it did, and not as far as its new place says."""
    model = switched("every second layer", "eager")
    last = SubNetwork(heads=((), (), (0, 1, 2, 3)), units=((), (), tuple(range(UNITS))))
    local = SubNetwork(heads=((), (0, 1, 2, 3), ()), units=((), tuple(range(UNITS)), ()))
    for sub_network, feels in ((last, True), (local, False)):
        batch, sliced = tiny_batch(model, batch_size=1, length=17), slice_model(model, sub_network)
        before = logits_of(sliced, batch)
        batch["input_ids"][:, 9:] = 7  # far from the first token, which the task head reads
        assert (not torch.equal(before, logits_of(sliced, batch))) == feels


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_macs_equal_the_profilers_count(model_type: str, task_head: str) -> None:
    model = model_of(model_type, task_head)  # eager: PyTorch 2.13 counts nothing inside its fused attention on the CPU
    cost_model, length = create_cost_model(model), 9
    ids = torch.randint(5, 60, (1, 1, length) if task_head == "multiple_choice" else (1, length))
    for sub_network in [full_sub_network(DIMENSIONS), *EDGES.values()]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            slice_model(model, sub_network)(input_ids=ids)
        assert counter.get_total_flops() == 2 * cost_model.macs(sub_network, length)


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("name", list(EDGES))
def test_gradients_land_in_the_kept_slices(name: str, model_type: str) -> None:
    """Inside the kept slices the sliced model's gradients, outside of them zero."""
    sub_network = EDGES[name]
    model, batch = tiny_model(model_type, attn_implementation="eager"), None
    batch, labels = tiny_batch(model), torch.tensor([0, 1, 2])
    with activate(model, sub_network):
        torch.nn.functional.cross_entropy(model(**batch).logits, labels).backward()
    sliced = slice_model(model, sub_network)
    torch.nn.functional.cross_entropy(sliced(**batch).logits, labels).backward()

    # A model whose weights are its gradients, sliced in the same way, must hold the sliced model's gradients …
    gradients = tiny_model(model_type, attn_implementation="eager")
    for (_, target), (_, parameter) in zip(gradients.named_parameters(), model.named_parameters(), strict=True):
        target.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    expected = {name: p.grad for name, p in sliced.named_parameters() if p.grad is not None}
    kept = dict(slice_model(gradients, sub_network).named_parameters())
    for key, gradient in expected.items():
        torch.testing.assert_close(kept[key].data, gradient, rtol=1e-4, atol=1e-6)
    # … and nothing else: every dropped row and column has a gradient of exactly zero, or none.
    family = get_family(model_type)
    for layer, heads, units in zip(get_layers(model), sub_network.heads, sub_network.units, strict=True):
        kept = {"heads": (expand_members(heads, 4), HIDDEN), "units": (units, UNITS)}
        for group in family.groups:
            kept_indices, size = kept[group.name]
            dropped = torch.tensor([i for i in range(size) if i not in kept_indices], dtype=torch.long)
            parts = [(module, producer.copies, 0) for producer, module in group.producers_of(layer)]
            for module, copies, dim in [*parts, (group.consumer_of(layer), 1, 1)]:
                gradient = module.weight.grad
                if not kept_indices:
                    assert gradient is None
                else:
                    assert not gradient.unflatten(dim, (copies, size)).index_select(dim + 1, dropped).any()


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_reordering_changes_no_output(model_type: str, task_head: str) -> None:
    model = tiny_model(model_type, task_head)
    batch, rng = tiny_batch(model), np.random.default_rng(0)
    before = logits_of(model, batch)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    sizes = {"heads": HEADS, "units": UNITS}
    reorder(model, {name: [rng.permutation(size).tolist() for _ in range(LAYERS)] for name, size in sizes.items()})
    require_equal(before, logits_of(model, batch))
    assert any(not torch.equal(weights[name], p) for name, p in model.named_parameters())


def test_reordering_puts_the_wanted_head_first() -> None:
    model, original = tiny_model(), tiny_model()
    units = [5, *(unit for unit in range(UNITS) if unit != 5)]
    reorder(model, {"heads": [[2, 0, 1, 3]] * LAYERS, "units": [units] * LAYERS})
    batch = tiny_batch(model)
    with activate(model, SubNetwork(heads=((0,),) * LAYERS, units=((0,),) * LAYERS)):
        first = logits_of(model, batch)
    with activate(original, SubNetwork(heads=((2,),) * LAYERS, units=((5,),) * LAYERS)):
        require_equal(first, logits_of(original, batch))


def test_training_with_dropout_goes_through_slices() -> None:
    model = tiny_model().train()
    with activate(model, EDGES["all different"]), torch.random.fork_rng():
        torch.manual_seed(0)
        model(**tiny_batch(model)).logits.sum().backward()
    query = model.bert.encoder.layer[2].attention.self.query.weight
    assert isinstance(query, nn.Parameter)
    assert query.grad is not None
    assert query.grad[8:12].abs().sum() > 0  # head 2 of layer 2 is kept
    assert query.grad[:8].abs().sum() == 0
    assert model.bert.encoder.layer[1].attention.self.query.weight.grad is None
