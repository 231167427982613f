"""What a sub-network weighs and works, in closed form: parameters and multiply-accumulate operations (MACs)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from compressor.network.families import get_dimensions, get_layers
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
class CostModel:
    """The numbers of a super-network from which every sub-network's costs follow."""

    hidden_size: int
    head_size: int
    params_outside: int
    """Parameters outside of the encoder layers."""
    macs_per_token_outside: int
    """Multiply-accumulates per token outside of the encoder layers (a projection of the embeddings)."""
    macs_per_text_outside: int
    """Multiply-accumulates per text outside of the encoder layers (pooler and task head)."""
    full: SubNetwork

    def encoder_params(self, sub_network: SubNetwork) -> int:
        """Parameters of the kept encoder layers."""
        hidden = self.hidden_size
        total = 0
        for heads, units in zip(sub_network.heads, sub_network.units, strict=True):
            if heads:
                width = len(heads) * self.head_size
                total += 3 * (hidden * width + width) + (width * hidden + hidden) + 2 * hidden
            if units:
                total += (hidden * len(units) + len(units)) + (len(units) * hidden + hidden) + 2 * hidden
        return total

    def costs(self, sub_network: SubNetwork) -> Costs:
        """Parameters of a sub-network, absolute and relative to the super-network."""
        encoder, full_encoder = self.encoder_params(sub_network), self.encoder_params(self.full)
        return Costs(
            params=encoder + self.params_outside,
            encoder_params=encoder,
            relative_params=(encoder + self.params_outside) / (full_encoder + self.params_outside),
            relative_encoder_params=encoder / full_encoder,
        )

    def macs(self, sub_network: SubNetwork, sequence_length: int) -> int:
        """Multiply-accumulates of the matrix products for one text of `sequence_length` tokens."""
        length, hidden = sequence_length, self.hidden_size
        total = length * self.macs_per_token_outside + self.macs_per_text_outside
        for heads, units in zip(sub_network.heads, sub_network.units, strict=True):
            width = len(heads) * self.head_size
            total += 4 * length * hidden * width + 2 * length * length * width
            total += 2 * length * hidden * len(units)
        return total


def create_cost_model(model: "PreTrainedModel") -> CostModel:
    """The cost model of a super-network with its task head."""
    dimensions, layers = get_dimensions(model), get_layers(model)
    inside = {id(parameter) for parameter in layers.parameters()}
    per_token, per_text = _linear_macs_outside(model, {id(module) for module in layers.modules()})
    return CostModel(
        hidden_size=dimensions.hidden_size,
        head_size=dimensions.head_size,
        params_outside=sum(p.numel() for p in model.parameters() if id(p) not in inside),
        macs_per_token_outside=per_token,
        macs_per_text_outside=per_text,
        full=full_sub_network(dimensions),
    )


def _linear_macs_outside(model: "PreTrainedModel", inside: set[int]) -> tuple[int, int]:
    """MACs per token and per text of the linear modules outside of the layers; embeddings count per token."""
    per_token = per_text = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module) not in inside:
            if "embeddings" in name:
                per_token += module.weight.numel()
            else:
                per_text += module.weight.numel()
    return per_token, per_text
