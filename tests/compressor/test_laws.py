"""The laws of the model side: shared = sliced, counted = real, gradients, order. Family × task head × search space."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from compressor.network.costs import create_cost_model
from compressor.network.execution import activate, expand_members
from compressor.network.families import ENCODER_FAMILIES, get_family, get_layers
from compressor.network.slicing import reorder, slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import SEARCH_SPACES, create_search_space
from conftest import DIMENSIONS, HEADS, HIDDEN, LAYERS, SWITCHES, TASK_HEADS, UNITS, answers, tiny_batch, tiny_model

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
        return answers(model, batch)


def require_equal(first: Tensor, second: Tensor) -> None:
    assert first.shape == second.shape
    assert float((first - second).abs().max()) <= 1e-5 * float(first.abs().max())


def check_laws(model: PreTrainedModel, sub_network: SubNetwork) -> None:
    batch = tiny_batch(model, length=17)  # of several local windows
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


@pytest.mark.skipif("modernbert" not in ENCODER_FAMILIES, reason="transformers is too old for ModernBERT")
def test_a_window_is_a_layers_own() -> None:
    """A layer that is kept behind a dropped one sees as far as it did, and not as far as its new place says."""
    model = model_of("modernbert: every second layer", "classification")
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
    check_macs(model_of(model_type, task_head), (1, 1) if task_head == "multiple_choice" else (1,))


def check_macs(model: PreTrainedModel, texts: tuple[int, ...] = (1,)) -> None:
    """Its attention has to be eager: PyTorch 2.13 counts nothing inside its fused attention on the CPU."""
    cost_model, length = create_cost_model(model), 9
    ids = torch.randint(5, 60, (*texts, length))
    for sub_network in [full_sub_network(DIMENSIONS), *EDGES.values()]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            slice_model(model, sub_network).requires_grad_(False)(input_ids=ids)
        assert counter.get_total_flops() == 2 * cost_model.macs(sub_network, length)


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("name", list(EDGES))
def test_gradients_land_in_the_kept_slices(name: str, model_type: str) -> None:
    check_gradients(model_type, EDGES[name])


def check_gradients(model_type: str, sub_network: SubNetwork) -> None:
    """Inside the kept slices the sliced model's gradients, outside of them zero."""
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
    family = get_family(model.config.model_type)
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
    check_reordering(tiny_model(model_type, task_head))


def check_reordering(model: PreTrainedModel) -> None:
    batch, rng = tiny_batch(model), np.random.default_rng(0)
    before = logits_of(model, batch)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    sizes = {"heads": HEADS, "units": UNITS}
    reorder(model, {name: [rng.permutation(size).tolist() for _ in range(LAYERS)] for name, size in sizes.items()})
    require_equal(before, logits_of(model, batch))
    assert any(not torch.equal(weights[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", [name for name in SWITCHES if name.split(":")[0] in ENCODER_FAMILIES])
def test_the_laws_hold_with_every_switch(name: str) -> None:
    for edge, task_head in zip(EDGES.values(), TASK_HEADS * 2, strict=False):
        check_laws(model_of(name, task_head), edge)
    check_macs(model_of(name, "classification"))
    for edge in ("all different", "empty middle"):
        check_gradients(name, EDGES[edge])
    check_reordering(tiny_model(name))
    if get_family(name.partition(":")[0]).has_sdpa:
        check_laws(model_of(name, "classification", "sdpa"), EDGES["all different"])


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_reordering_puts_the_wanted_head_first(model_type: str) -> None:
    """Shared and sliced; a second order counts from the first."""
    model, original, batch = tiny_model(model_type), tiny_model(model_type), tiny_batch(tiny_model(model_type))
    units = [5, *(unit for unit in range(UNITS) if unit != 5)]
    reorder(model, {"heads": [[2, 0, 1, 3]] * LAYERS, "units": [units] * LAYERS})
    for wanted, first in (((2, 5), True), ((1, 5), False)):
        kept = SubNetwork(heads=((wanted[0],),) * LAYERS, units=((wanted[1],),) * LAYERS)
        with activate(original, kept):
            expected = logits_of(original, batch)
        if not first:
            reorder(model, {"heads": [[2, 0, 1, 3]] * LAYERS, "units": [list(range(UNITS))] * LAYERS})
        best = SubNetwork(heads=((0,),) * LAYERS, units=((0,),) * LAYERS)
        with activate(model, best):
            require_equal(logits_of(model, batch), expected)
        require_equal(logits_of(slice_model(model, best), batch), expected)


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
