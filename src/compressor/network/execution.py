"""Shared-weight execution: for the time of a `with` block the super-network computes as one of its sub-networks.

Linear modules compute with slices of their weights, blocks and layers that are dropped do no work. Nothing is masked
and nothing is copied for prefix sets; arbitrary sets are gathered once per block (once per call while gradients are
recorded, so that every backward pass has a graph of its own). Only `forward` of the modules concerned and the numbers
that they keep are replaced, and put back at the end, so parameters and state dict stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from compressor.errors import SubNetworkError
from compressor.network.families import get_dimensions, get_family, get_layers, kept_members
from compressor.network.modeling_sliced import PickMembers, PrunableGroup
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Weak, so that a model that was dropped inside a block is freed.
_ACTIVE: "WeakSet[nn.Module]" = WeakSet()


@contextmanager
def activate(model: "PreTrainedModel", sub_network: SubNetwork) -> Iterator[None]:
    """Have `model` compute as `sub_network` for the time of the block, with and without gradients, on any device.

    Weights may be changed inside the block only where gradients are on: without them gathered slices are kept.

    Raises:
        SubNetworkError: the sub-network is not one of this model, or another one of it is active already.
    """
    if model in _ACTIVE:
        raise SubNetworkError(
            "one sub-network of a model must be active at a time, but got a second one. Leave the first."
        )
    sub_network.check(get_dimensions(model))
    family, config = get_family(model.config.model_type), model.config
    # The stack undoes all patches in reverse, also where one of the later ones raises.
    with ExitStack() as patches:
        _ACTIVE.add(model)
        patches.callback(_ACTIVE.discard, model)
        for layer, kept in zip(get_layers(model), kept_members(model, sub_network), strict=True):
            if not any(kept):
                patches.enter_context(replaced(layer, "forward", family.empty_layer().forward))
                continue
            for group, members in zip(family.groups, kept, strict=True):
                # A whole group is left alone: the stock forward is the fastest and the full network must be exactly the
                # stock one.
                if len(members) < group.num_members(config):
                    _activate_group(patches, layer, group, members, group.member_size(layer, config))
        yield


def _activate_group(
    patches: ExitStack, layer: nn.Module, group: PrunableGroup, members: tuple[int, ...], size: int
) -> None:
    """Make a layer compute with these members of a group alone, of `size` rows each, until `patches` closes."""
    if not members:
        for path, stand_in in group.when_empty.items():
            patches.enter_context(replaced(layer.get_submodule(path), "forward", stand_in().forward))
        return
    # Self-attention reshapes its projections to [batch, tokens, -1, head_size], so fewer rows are fewer heads by
    # themselves; families that read a stored number of heads instead have it in `member_counts`.
    consumer, rows = group.consumer_of(layer), expand_members(members, size)
    for producer, module in group.producers_of(layer):
        patches.enter_context(replaced(module, "forward", _sliced_forward(module, rows, 0, producer.copies)))
    patches.enter_context(replaced(consumer, "forward", _sliced_forward(consumer, rows, 1)))
    for counting, name, number in group.counts_of(layer, len(members), len(rows)):
        patches.enter_context(replaced(counting, name, number))
    for path, argument in group.member_inputs.items():
        hook = PickMembers(argument, members)
        patches.callback(layer.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True).remove)


def expand_members(members: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the rows of a producer (columns of the consumer) that belong to these members, `size` of them to each."""
    if size == 1:
        return members
    return tuple(member * size + offset for member in members for offset in range(size))


def select(weight: Tensor, kept: tuple[int, ...], dim: int, copies: int = 1) -> Tensor:
    """Return the rows (`dim` 0) or columns (1) `kept` of each of the copies; a view where adjacent in the only one."""
    if copies > 1:
        # [copies * rows, columns] -> [copies, rows, columns] -> kept rows of each copy -> [copies * kept, columns].
        return select(split_copies(weight, dim, copies), kept, dim + 1).flatten(dim, dim + 1)
    # Ascending and without gaps: a view costs nothing, and its gradient lands in the shared weight without a scatter.
    if kept[-1] - kept[0] + 1 == len(kept):
        return weight.narrow(dim, kept[0], len(kept))
    return weight.index_select(dim, torch.tensor(kept, device=weight.device))


def split_copies(weight: Tensor, dim: int, copies: int) -> Tensor:
    """Return a view of a weight in which a dimension becomes two: one for the copies, one for the rows of each."""
    return weight.view(*weight.shape[:dim], copies, -1, *weight.shape[dim + 1 :])


def _sliced_forward(module: nn.Linear, kept: tuple[int, ...], dim: int, copies: int = 1) -> Callable[[Tensor], Tensor]:
    """Return what computes as `module` with these rows or columns of its weight alone."""
    # Empty until the first call without gradients; a list, so that the closure can fill it.
    gathered: list[tuple[Tensor, Tensor | None]] = []

    def sliced() -> tuple[Tensor, Tensor | None]:
        bias: Tensor | None = module.bias
        # A producer's bias has an entry per row; the consumer's is of the hidden size and stays whole.
        if dim == 0 and bias is not None:
            bias = select(bias, kept, 0, copies)
        return select(module.weight, kept, dim, copies), bias

    def forward(hidden_states: Tensor) -> Tensor:
        # A cached slice would tie the backward passes of all batches to one graph, which the first of them frees.
        if torch.is_grad_enabled():
            return linear(hidden_states, *sliced())
        if not gathered:
            gathered.append(sliced())
        return linear(hidden_states, *gathered[0])

    return forward


@contextmanager
def replaced(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Give an attribute of a module another value for the time of the block."""
    # The instance's own dictionary, not getattr: `forward` is mostly the class's, and must not become the instance's.
    before = module.__dict__.get(name)
    module.__dict__[name] = value
    try:
        yield
    finally:
        if before is None:
            module.__dict__.pop(name, None)
        else:
            module.__dict__[name] = before
