"""The costs of a sub-network in closed form: parameters and multiply-accumulate operations (MACs)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from compressor.data.heads import form_of
from compressor.network.families import get_dimensions, get_family, get_layers
from compressor.network.modeling_sliced import PrunableGroup
from compressor.network.sub_network import SubNetwork, full_sub_network

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Sizes of one sub-network."""

    params: int
    """Parameters of the whole model, embeddings and task head included."""
    encoder_params: int
    """Parameters of the encoder layers."""
    relative_params: float
    """`params` as a share of the super-network's."""
    relative_encoder_params: float
    """`encoder_params` as a share of the super-network's."""


@dataclass(frozen=True, kw_only=True)
class BlockCosts:
    """What a block of a layer costs that keeps some members of one prunable group; without members it costs nothing."""

    params: int
    """Parameters of the block itself: LayerNorm and the consumer's bias."""
    member_params: int
    """Parameters of each member."""
    member_macs: tuple[int, int, int]
    """Multiply-accumulates of each member for one text: a constant, times its tokens, times their square."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """The numbers of a super-network from which every sub-network's costs follow."""

    blocks: dict[str, tuple[BlockCosts, ...]]
    """The blocks of each prunable group by its name, one for each layer."""
    params_outside: int
    """Parameters outside of the encoder layers."""
    macs_per_token_outside: int
    """Multiply-accumulates per token outside of the encoder layers (a projection of the embeddings)."""
    macs_per_text_outside: int
    """Multiply-accumulates per text outside of the encoder layers (pooler and task head)."""
    full: SubNetwork
    unread_params: int = 0
    """Parameters that no output depends on, which a graph leaves out: a pooler's where tokens are pooled otherwise."""

    def encoder_params(self, sub_network: SubNetwork) -> int:
        """Return parameters of the kept encoder layers."""
        return sum(block.params + kept * block.member_params for block, kept in self._kept(sub_network))

    def costs(self, sub_network: SubNetwork) -> Costs:
        """Return parameters of a sub-network, absolute and relative to the super-network."""
        encoder, full_encoder = self.encoder_params(sub_network), self.encoder_params(self.full)
        return Costs(
            params=encoder + self.params_outside,
            encoder_params=encoder,
            relative_params=(encoder + self.params_outside) / (full_encoder + self.params_outside),
            relative_encoder_params=encoder / full_encoder,
        )

    def macs(self, sub_network: SubNetwork, sequence_length: int) -> int:
        """Return multiply-accumulates of the matrix products for one text of `sequence_length` tokens."""
        length = sequence_length
        total = length * self.macs_per_token_outside + self.macs_per_text_outside
        for block, kept in self._kept(sub_network):
            constant, per_token, per_pair = block.member_macs
            total += kept * (constant + length * per_token + length * length * per_pair)
        return total

    def _kept(self, sub_network: SubNetwork) -> Iterator[tuple[BlockCosts, int]]:
        """Yield the blocks of which a sub-network keeps members, and how many."""
        for name, blocks in self.blocks.items():
            for block, members in zip(blocks, getattr(sub_network, name), strict=True):
                if members:
                    yield block, len(members)


def create_cost_model(model: "PreTrainedModel") -> CostModel:
    """Return the cost model of a super-network with its task head."""
    layers, family = get_layers(model), get_family(model.config.model_type)
    inside = {id(parameter) for parameter in layers.parameters()}
    per_token, per_text = _linear_macs_outside(model, {id(module) for module in layers.modules()})
    return CostModel(
        blocks={
            group.name: tuple(_count_block(layer, group, model.config) for layer in layers) for group in family.groups
        },
        # `parameters()` yields tied weights once, as the file holds them.
        params_outside=sum(p.numel() for p in model.parameters() if id(p) not in inside),
        macs_per_token_outside=per_token,
        macs_per_text_outside=per_text,
        full=full_sub_network(get_dimensions(model)),
        unread_params=_count_unread(model),
    )


def _count_unread(model: "PreTrainedModel") -> int:
    if not form_of(model).pools_tokens:
        return 0
    # A bare encoder keeps its pooler at the top level, and `ModelForm.read` never asks for its output.
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith("pooler."))


def _count_block(layer: nn.Module, group: PrunableGroup, config: Any) -> BlockCosts:
    """Count the parameters of a group's block, and how many of them belong to each member."""
    # Counted from a whole layer and divided: every member has equally many rows, so the division is exact.
    members, consumer = group.num_members(config), group.consumer_of(layer)
    block = sum(p.numel() for path in group.when_empty for p in layer.get_submodule(path).parameters())
    # The consumer's bias stays with the block: it is of the hidden size, whichever members are left.
    params = per_token = consumer.weight.numel()
    for producer, module in group.producers_of(layer):
        params += sum(p.numel() for p in module.parameters())
        # A Linear multiplies once per weight and token; biases and LayerNorms are not counted, as in the profilers'
        # MACs.
        per_token += module.weight.numel() if producer.reads_tokens else 0
    constant, linear, square = group.other_macs(config, group.member_size(layer, config))
    return BlockCosts(
        params=block - params,
        member_params=params // members,
        member_macs=(constant, linear + per_token // members, square),
    )


def _linear_macs_outside(model: "PreTrainedModel", inside: set[int]) -> tuple[int, int]:
    """Return MACs per token and per text of what multiplies outside of the layers.

    Embeddings, convolutions and heads that answer each token count per token.
    """
    per_token = per_text = 0
    answers_tokens = form_of(model).answers_tokens
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d) and id(module) not in inside:
            # DeBERTa's convolution and ELECTRA's embedding projection see each token; other heads see one vector per
            # text.
            if answers_tokens or "embeddings" in name or isinstance(module, nn.Conv1d):
                per_token += module.weight.numel()
            else:
                per_text += module.weight.numel()
    return per_token, per_text
