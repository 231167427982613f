"""Physical slicing: a sub-network cut out of its super-network as a stand-alone module, and exact re-ordering.

The semantics are those of Klein et al. (TMLR 2024): a dropped head takes its rows of Q, K, V and its columns of the
output projection with it, a dropped unit its row and its column; a block with nothing left goes whole, LayerNorm too.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compressor.errors import SubNetworkError
from compressor.network.execution import expand_heads, select
from compressor.network.families import forget_layer_order, get_dimensions, get_family, get_layers
from compressor.network.modeling_sliced import EncoderFamily
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def slice_model(model: "PreTrainedModel", sub_network: SubNetwork) -> "PreTrainedModel":
    """A new model that holds the weights of `sub_network` alone and shares no memory with `model`.

    Dropped layers are gone, the kept ones closed up. The configuration is a copy with the new `num_hidden_layers`.

    Raises:
        SubNetworkError: the sub-network is not one of this model.
    """
    dimensions = get_dimensions(model)
    sub_network.check(dimensions)
    layers = get_layers(model)
    # Layers are copied one by one and only where they are kept, and the memo keeps deepcopy away from the list.
    sliced = copy.deepcopy(model, {id(layers): nn.ModuleList()})
    kept_layers = get_layers(sliced)
    family = get_family(model.config.model_type)
    for layer, heads, units in zip(layers, sub_network.heads, sub_network.units, strict=True):
        if heads or units:
            kept = slice_layer(layer, family, heads, units, dimensions.head_size)
            kept_layers.append(kept)
    for position, layer in enumerate(kept_layers):
        _set_config(layer, sliced, position)
    sliced.config.num_hidden_layers = len(kept_layers)
    forget_layer_order(sliced)  # those layers are gone
    return sliced


def slice_layer(
    layer: nn.Module, family: EncoderFamily, heads: tuple[int, ...], units: tuple[int, ...], head_size: int
) -> nn.Module:
    """A copy of an encoder layer that holds these heads and units alone."""
    memo: dict[int, object] = {}
    replaced: dict[str, nn.Module] = {}
    rows = expand_heads(heads, head_size)
    if heads:
        for path in (family.query, family.key, family.value):
            replaced[path] = _slice_linear(layer, path, rows, 0)
        replaced[family.attention_output] = _slice_linear(layer, family.attention_output, rows, 1)
    else:
        replaced |= {path: stand_in() for path, stand_in in family.without_attention.items()}
    if units:
        replaced[family.feed_forward_in] = _slice_linear(layer, family.feed_forward_in, units, 0)
        replaced[family.feed_forward_out] = _slice_linear(layer, family.feed_forward_out, units, 1)
    else:
        replaced |= {path: stand_in() for path, stand_in in family.without_feed_forward.items()}
    for path, module in replaced.items():
        memo[id(layer.get_submodule(path))] = module
    return copy.deepcopy(layer, memo)


def reorder(
    model: "PreTrainedModel",
    head_orders: Sequence[Sequence[int]],
    unit_orders: Sequence[Sequence[int]],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Permutes heads and units within each layer, in place; what the super-network computes does not change.

    `head_orders[i]` lists layer i's old head indices in their new order; likewise `unit_orders`. The `optimizer`'s
    moments move with their weights, so that its next step is the one it would have made, permuted.

    Raises:
        SubNetworkError: an order is not a permutation of all heads (units) of its layer.
    """
    dimensions, family, layers = get_dimensions(model), get_family(model.config.model_type), get_layers(model)
    for name, orders, size in (
        ("heads", head_orders, dimensions.num_heads),
        ("units", unit_orders, dimensions.num_units),
    ):
        if len(orders) != len(layers) or any(sorted(order) != list(range(size)) for order in orders):
            raise SubNetworkError(
                f"an order of {name} must be a permutation of 0..{size - 1} for each of {len(layers)} layers, "
                "but got another list. Give every index once."
            )
    with torch.no_grad():
        for layer, heads, units in zip(layers, head_orders, unit_orders, strict=True):
            rows = torch.tensor(expand_heads(tuple(heads), dimensions.head_size))
            columns = torch.tensor(tuple(units))
            for path in (family.query, family.key, family.value):
                _permute(layer.get_submodule(path), rows, 0, optimizer)
            _permute(layer.get_submodule(family.attention_output), rows, 1, optimizer)
            _permute(layer.get_submodule(family.feed_forward_in), columns, 0, optimizer)
            _permute(layer.get_submodule(family.feed_forward_out), columns, 1, optimizer)


def _permute(module: nn.Module, order: Tensor, dim: int, optimizer: torch.optim.Optimizer | None) -> None:
    assert isinstance(module, nn.Linear)
    order = order.to(module.weight.device)
    for parameter in (module.weight, module.bias if dim == 0 else None):
        if parameter is not None:
            state = {} if optimizer is None else optimizer.state.get(parameter, {})
            moments = [value for value in state.values() if torch.is_tensor(value) and value.shape == parameter.shape]
            for tensor in (parameter, *moments):
                tensor.copy_(tensor.index_select(dim, order))


def _slice_linear(layer: nn.Module, path: str, kept: tuple[int, ...], dim: int) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)
    weight = select(module.weight.detach(), kept, dim).clone(memory_format=torch.contiguous_format)
    sliced = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None, device="meta")
    sliced.weight = nn.Parameter(weight, requires_grad=module.weight.requires_grad)
    if module.bias is not None:
        bias = module.bias.detach()
        bias = (select(bias, kept, 0) if dim == 0 else bias).clone()
        sliced.bias = nn.Parameter(bias, requires_grad=module.bias.requires_grad)
    return sliced.train(module.training)


def _set_config(layer: nn.Module, model: "PreTrainedModel", position: int) -> None:
    """Points a layer's modules to the new model's configuration (the attention implementation is read from there)."""
    for module in layer.modules():
        if hasattr(module, "config"):
            module.config = model.config
        if hasattr(module, "layer_idx"):
            module.layer_idx = position  # type: ignore[assignment]
