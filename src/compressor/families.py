"""The one file that knows Hugging Face's attribute names: where each encoder family keeps its heads and units.

A family is one entry of `ENCODER_FAMILIES`, keyed by the configuration's `model_type`. A sub-network keeps rows or
columns of six linear modules per layer; a block that lost everything is replaced by stand-ins that pass their input
on. Shared-weight execution, slicing and costs all read this table and nothing else.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.dimensions import EncoderDimensions
from compressor.errors import ModelError
from compressor.files import INCOMPLETE

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PassHidden(nn.Module):
    """Stands in for an attention module: the hidden states unchanged, and no attention weights."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return hidden_states, None


class PassResidual(nn.Module):
    """Stands in for `output(hidden, residual)`: the residual alone, without the LayerNorm."""

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        return input_tensor


class ZeroAttention(nn.Module):
    """Stands in for an attention whose caller adds the residual: adds nothing."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return torch.zeros((), dtype=hidden_states.dtype, device=hidden_states.device), None


class ZeroFeedForward(nn.Module):
    """Stands in for a feed-forward block whose caller adds the residual: adds nothing."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.zeros((), dtype=hidden_states.dtype, device=hidden_states.device)


@dataclass(frozen=True, kw_only=True)
class EncoderFamily:
    """Module paths of one encoder family; `layers` from the base model, the others from a layer."""

    layers: str
    """The `ModuleList` of encoder layers."""
    query: str
    key: str
    value: str
    attention_output: str
    """The projection behind the heads; its columns belong to heads."""
    attention_norm: str
    feed_forward_in: str
    """The first feed-forward matrix; its rows belong to units."""
    feed_forward_out: str
    feed_forward_norm: str
    counts_positions_from_padding: bool = False
    """RoBERTa gives the first token the position behind the padding index."""
    without_attention: dict[str, type[nn.Module]] = field(default_factory=dict)
    """Which modules stand in for what when no head is left."""
    without_feed_forward: dict[str, type[nn.Module]] = field(default_factory=dict)
    """Which modules stand in for what when no unit is left."""


_BERT = EncoderFamily(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    feed_forward_in="intermediate.dense",
    feed_forward_out="output.dense",
    feed_forward_norm="output.LayerNorm",
    without_attention={"attention": PassHidden},
    without_feed_forward={"intermediate": nn.Identity, "output": PassResidual},
)

_ROBERTA = replace(_BERT, counts_positions_from_padding=True)

_DISTILBERT = EncoderFamily(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    feed_forward_in="ffn.lin1",
    feed_forward_out="ffn.lin2",
    feed_forward_norm="output_layer_norm",
    without_attention={"attention": ZeroAttention, "sa_layer_norm": nn.Identity},
    without_feed_forward={"ffn": ZeroFeedForward, "output_layer_norm": nn.Identity},
)


def get_family(model_type: str) -> EncoderFamily:
    """The entry of a `model_type`.

    Raises:
        ModelError: the family is not supported; the message lists those that are.
    """
    if model_type not in ENCODER_FAMILIES:
        raise ModelError(
            f"the encoder family must be one of {', '.join(sorted(ENCODER_FAMILIES))}, but got {model_type!r}. "
            "Choose a model of a supported family."
        )
    return ENCODER_FAMILIES[model_type]


def get_layers(model: "PreTrainedModel") -> nn.ModuleList:
    """The encoder layers of a model with any task head."""
    layers = model.base_model.get_submodule(get_family(model.config.model_type).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def get_dimensions(model: "PreTrainedModel") -> EncoderDimensions:
    """The encoder sizes of a super-network, read from its weights.

    Raises:
        ModelError: the family is not supported, the model is a decoder, or it has no layers.
    """
    family, config = get_family(model.config.model_type), model.config
    layers = get_layers(model)
    if not len(layers):
        raise ModelError(f"a super-network must have at least one layer, but {config.name_or_path} has none.")
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise ModelError(
            f"a super-network must be an encoder, but {config.name_or_path} has is_decoder or add_cross_attention set. "
            "Load it with both switched off."
        )
    feed_forward_in = layers[0].get_submodule(family.feed_forward_in)
    assert isinstance(feed_forward_in, nn.Linear)  # the family's entry says so
    return EncoderDimensions(
        num_layers=len(layers),
        num_heads=config.num_attention_heads,
        num_units=feed_forward_in.out_features,
        hidden_size=config.hidden_size,
        head_size=config.hidden_size // config.num_attention_heads,
    )


def picks_choices(model: "PreTrainedModel") -> bool:
    """Whether a model's task head is multiple choice: its inputs then have an axis of choices."""
    return type(model).__name__.endswith("MultipleChoice")


def max_positions(model: "PreTrainedModel") -> int:
    """The longest text in tokens that the position table has room for (RoBERTa counts from the padding index + 1)."""
    positions = int(model.config.max_position_embeddings)
    if get_family(model.config.model_type).counts_positions_from_padding:
        positions -= (model.config.pad_token_id or 0) + 1
    return positions


def require_weights(model_dir: Path) -> None:
    """Nothing, if a local model directory holds a configuration and safetensors weights.

    Raises:
        ModelError: one of them is missing.
    """
    if (model_dir / INCOMPLETE).exists():
        raise ModelError(f"a model directory must be whole, but writing {model_dir} was interrupted. Make it again.")
    if not (model_dir / "config.json").is_file():
        raise ModelError(
            f"a model directory must hold config.json, but {model_dir} does not. "
            "Point to a directory made by save_pretrained."
        )
    if not any(model_dir.glob("*.safetensors")):
        raise ModelError(
            f"a model directory must hold safetensors weights, but {model_dir} has none. "
            "Save the model with save_pretrained (pickled .bin weights are not read)."
        )


ENCODER_FAMILIES: dict[str, EncoderFamily] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
}
