"""Shared-weight execution: for the time of a `with` block the super-network computes as one of its sub-networks.

Linear modules compute with slices of their weights, blocks and layers that are dropped do no work. Nothing is masked
and nothing is copied for prefix sets; arbitrary sets are gathered once per block (once per call while gradients are
recorded, so that every backward pass has a graph of its own). Only `forward` of the modules concerned is replaced,
and put back at the end, so parameters, state dict and hooks stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from compressor.errors import SubNetworkError
from compressor.network.families import get_dimensions, get_family, get_layers
from compressor.network.modeling_sliced import EncoderFamily
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_ACTIVE: "WeakSet[nn.Module]" = WeakSet()


@contextmanager
def activate(model: "PreTrainedModel", sub_network: SubNetwork) -> Iterator[None]:
    """For the time of the block `model` computes as `sub_network`, with and without gradients, on any device.

    Weights may be changed inside the block only where gradients are on: without them gathered slices are kept.

    Raises:
        SubNetworkError: the sub-network is not one of this model, or another one of it is active already.
    """
    if model in _ACTIVE:
        raise SubNetworkError(
            "one sub-network of a model must be active at a time, but got a second one. Leave the first."
        )
    dimensions = get_dimensions(model)
    sub_network.check(dimensions)
    family = get_family(model.config.model_type)
    with ExitStack() as patches:
        _ACTIVE.add(model)
        patches.callback(_ACTIVE.discard, model)
        for layer, heads, units in zip(get_layers(model), sub_network.heads, sub_network.units, strict=True):
            for module, forward in layer_forwards(
                layer, family, heads, units, (dimensions.num_heads, dimensions.num_units, dimensions.head_size)
            ):
                patches.enter_context(_forward_replaced(module, forward))
        yield


def layer_forwards(
    layer: nn.Module,
    family: EncoderFamily,
    heads: tuple[int, ...],
    units: tuple[int, ...],
    sizes: tuple[int, int, int],
) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """The modules of one layer whose `forward` must change, with the new one; `sizes` = (heads, units, head size)."""
    num_heads, num_units, head_size = sizes
    if not heads and not units:
        yield layer, _pass_input
        return
    if not heads:
        for path, stand_in in family.without_attention.items():
            yield layer.get_submodule(path), stand_in().forward
    elif len(heads) < num_heads:
        rows = expand_heads(heads, head_size)
        for path in (family.query, family.key, family.value):
            yield _sliced_linear(layer, path, rows, 0)
        yield _sliced_linear(layer, family.attention_output, rows, 1)
    if not units:
        for path, stand_in in family.without_feed_forward.items():
            yield layer.get_submodule(path), stand_in().forward
    elif len(units) < num_units:
        yield _sliced_linear(layer, family.feed_forward_in, units, 0)
        yield _sliced_linear(layer, family.feed_forward_out, units, 1)


def expand_heads(heads: tuple[int, ...], head_size: int) -> tuple[int, ...]:
    """The rows of Q, K and V (columns of the output projection) that belong to these heads."""
    return tuple(head * head_size + offset for head in heads for offset in range(head_size))


def select(weight: Tensor, kept: tuple[int, ...], dim: int) -> Tensor:
    """The rows (`dim` 0) or columns (1) `kept` of a weight: a view where they are adjacent, else a gathered copy."""
    if kept[-1] - kept[0] + 1 == len(kept):
        return weight.narrow(dim, kept[0], len(kept))
    return weight.index_select(dim, torch.tensor(kept, device=weight.device))


def _sliced_linear(
    layer: nn.Module, path: str, kept: tuple[int, ...], dim: int
) -> tuple[nn.Linear, Callable[[Tensor], Tensor]]:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)
    gathered: list[tuple[Tensor, Tensor | None]] = []

    def sliced() -> tuple[Tensor, Tensor | None]:
        bias: Tensor | None = module.bias
        if dim == 0 and bias is not None:
            bias = select(bias, kept, 0)
        return select(module.weight, kept, dim), bias

    def forward(hidden_states: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return linear(hidden_states, *sliced())
        if not gathered:
            gathered.append(sliced())
        return linear(hidden_states, *gathered[0])

    return module, forward


def _pass_input(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_states


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = before
