"""Physical slicing: a sub-network cut out of its super-network as a stand-alone module, and exact re-ordering.

The semantics are those of Klein et al. (TMLR 2024): a dropped head takes its rows of Q, K, V and its columns of the
output projection with it, a dropped unit its row and its column; a block with nothing left goes whole, LayerNorm too.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from compressor.errors import SubNetworkError
from compressor.network.execution import expand_members, select, split_copies
from compressor.network.families import (
    forget_orders,
    get_dimensions,
    get_family,
    get_layers,
    get_member_order,
    kept_members,
    set_member_order,
)
from compressor.network.modeling_sliced import EncoderFamily, finish_group
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def slice_model(model: "PreTrainedModel", sub_network: SubNetwork) -> "PreTrainedModel":
    """Return a new model that holds the weights of `sub_network` alone and shares no memory with `model`.

    Dropped layers are gone, the kept ones closed up. The configuration is a copy with the new `num_hidden_layers`.

    Raises:
        SubNetworkError: the sub-network is not one of this model.
    """
    sub_network.check(get_dimensions(model))
    layers, family = get_layers(model), get_family(model.config.model_type)
    # Layers are copied one by one and only where they are kept, and the memo keeps deepcopy away from the list.
    sliced = copy.deepcopy(model, {id(layers): nn.ModuleList()})
    kept_layers, config, members = get_layers(sliced), sliced.config, kept_members(model, sub_network)
    kept = family.kept_layers(config, members)
    kept_layers.extend(slice_layer(layers[number], family, config, members[number]) for number in kept)
    for position, layer in enumerate(kept_layers):
        _set_config(layer, sliced, position)
    config.num_hidden_layers = len(kept)
    # Lists with an entry for each layer keep those of the kept layers, or layer i would read another one's.
    for field in family.per_layer_fields:
        setattr(config, field, [getattr(config, field)[number] for number in kept])
    forget_orders(sliced)  # those layers are gone
    for place, group in enumerate(family.groups):
        if group.member_inputs:
            # A saved model has to pick the kept heads' part of the shared input again.
            setattr(config, f"{group.name}_numbers", [list(members[number][place]) for number in kept])
    return sliced


def slice_layer(
    layer: nn.Module, family: EncoderFamily, config: "PreTrainedConfig", kept: Sequence[tuple[int, ...]]
) -> nn.Module:
    """Return a copy of an encoder layer with these members of each group alone; `config` is the super-network's."""
    # deepcopy asks the memo first: what stands there takes the place of the copy, so that dropped weights are not
    # copied.
    memo: dict[int, object] = {}
    rows: list[tuple[int, ...]] = []
    for group, members in zip(family.groups, kept, strict=True):
        rows.append(expand_members(members, group.member_size(layer, config)))
        if not members:
            memo |= {id(layer.get_submodule(path)): stand_in() for path, stand_in in group.when_empty.items()}
            continue
        for producer, module in group.producers_of(layer):
            memo[id(module)] = _slice_linear(module, rows[-1], 0, producer.copies)
        consumer = group.consumer_of(layer)
        memo[id(consumer)] = _slice_linear(consumer, rows[-1], 1)
    cut = copy.deepcopy(layer, memo)
    for group, members, kept_rows in zip(family.groups, kept, rows, strict=True):
        if members:
            # In the copy: counts and hooks set in the super-network's layer would change that one too.
            finish_group(cut, group, config, len(members), len(kept_rows), members)
    return cut


def reorder(
    model: "PreTrainedModel",
    orders: Mapping[str, Sequence[Sequence[int]]],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Permute the members of each group within each layer, in place; what the super-network computes does not change.

    `orders["heads"][i]` lists layer i's old head numbers in their new order; likewise `units`. The `optimizer`'s
    moments move with their weights, so that its next step is the one it would have made, permuted. Where members have
    to keep their places, the order is noted in the configuration instead.

    Raises:
        SubNetworkError: an order is not a permutation of all members of its layer.
    """
    family, layers = get_family(model.config.model_type), get_layers(model)
    for group in family.groups:
        name, size = group.name, group.num_members(model.config)
        # All are checked before the first weight moves: half a reordering cannot be undone.
        if len(orders[name]) != len(layers) or any(sorted(order) != list(range(size)) for order in orders[name]):
            raise SubNetworkError(
                f"an order of {name} must be a permutation of 0..{size - 1} for each of {len(layers)} layers, "
                "but got another list. Give every index once."
            )
    for group in family.groups:
        if group.member_inputs:
            before = get_member_order(model, group) or [range(group.num_members(model.config))] * len(layers)
            # Orders compose: `order` counts in ranks of the order before.
            new = [[old[rank] for rank in order] for old, order in zip(before, orders[group.name], strict=True)]
            set_member_order(model, group, new)
            continue
        for layer, order in zip(layers, orders[group.name], strict=True):
            rows = expand_members(tuple(order), group.member_size(layer, model.config))
            for producer, module in group.producers_of(layer):
                _permute(module, rows, 0, producer.copies, optimizer)
            _permute(group.consumer_of(layer), rows, 1, 1, optimizer)


@torch.no_grad()
def _permute(
    module: nn.Linear, order: tuple[int, ...], dim: int, copies: int, optimizer: torch.optim.Optimizer | None
) -> None:
    # Only a producer's bias has an entry per row.
    for parameter in (module.weight, module.bias if dim == 0 else None):
        if parameter is not None:
            state = {} if optimizer is None else optimizer.state.get(parameter, {})
            # Adam's exp_avg and exp_avg_sq; its step counter is a tensor of another shape.
            moments = [value for value in state.values() if torch.is_tensor(value) and value.shape == parameter.shape]
            for tensor in (parameter, *moments):
                parts = split_copies(tensor, dim, copies)
                # In place, because the optimizer and tied modules hold these very tensors; index_select copies before
                # it writes.
                parts.copy_(parts.index_select(dim + 1, torch.tensor(order, device=tensor.device)))


def _slice_linear(module: nn.Linear, kept: tuple[int, ...], dim: int, copies: int = 1) -> nn.Linear:
    # A clone, since a prefix is a view, which would be saved (and held in memory) with all of the weight behind it.
    weight = select(module.weight.detach(), kept, dim, copies).clone(memory_format=torch.contiguous_format)
    sliced = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None, device="meta")
    sliced.weight = nn.Parameter(weight, requires_grad=module.weight.requires_grad)
    if module.bias is not None:
        bias = module.bias.detach()
        bias = (select(bias, kept, 0, copies) if dim == 0 else bias).clone()
        sliced.bias = nn.Parameter(bias, requires_grad=module.bias.requires_grad)
    return sliced.train(module.training)


def _set_config(layer: nn.Module, model: "PreTrainedModel", position: int) -> None:
    """Point a layer's modules to the new model's configuration (the attention implementation is read from there)."""
    for module in layer.modules():
        if hasattr(module, "config"):
            module.config = model.config
        if hasattr(module, "layer_idx"):
            # ModernBERT asks its configuration's lists by this number.
            module.layer_idx = position  # type: ignore[assignment]
