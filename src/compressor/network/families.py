"""What the rest asks of an encoder family: its layers, sizes and positions, read by the table in `modeling_sliced`."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compressor.errors import ModelError
from compressor.files import INCOMPLETE
from compressor.network.dimensions import EncoderDimensions
from compressor.network.modeling_sliced import (
    ENCODER_FAMILIES,
    NEWER_FAMILIES,
    SLICED_PREFIX,
    EncoderFamily,
    PrunableGroup,
)
from compressor.network.sub_network import IndexSets, SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def get_family(model_type: str) -> EncoderFamily:
    """Return the entry of a `model_type`, of a sliced model too.

    Raises:
        ModelError: the family is not supported; the message lists those that are.
    """
    model_type = model_type.removeprefix(SLICED_PREFIX)
    # Asked first: for a family that a newer version has the remedy is an upgrade, not another model.
    if model_type in NEWER_FAMILIES:
        raise ModelError(
            f"the encoder family {model_type} must have transformers of version {NEWER_FAMILIES[model_type]} or newer, "
            f"but {version('transformers')} is installed. Upgrade it: pip install --upgrade transformers."
        )
    if model_type not in ENCODER_FAMILIES:
        raise ModelError(
            f"the encoder family must be one of {', '.join(sorted(ENCODER_FAMILIES))}, but got {model_type!r}. "
            "Choose a model of a supported family."
        )
    return ENCODER_FAMILIES[model_type]


def get_layers(model: "PreTrainedModel") -> nn.ModuleList:
    """Return the encoder layers of a model with any task head."""
    layers = model.base_model.get_submodule(get_family(model.config.model_type).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def get_dimensions(model: "PreTrainedModel") -> EncoderDimensions:
    """Return the encoder sizes of a super-network, read from its weights.

    Raises:
        ModelError: the family is not supported, the model is a decoder, or it has no layers.
    """
    family, config = get_family(model.config.model_type), model.config
    # One number of heads and units cannot describe layers that differ.
    if config.model_type.startswith(SLICED_PREFIX):
        raise ModelError(
            f"a super-network must have equal layers, but {config.name_or_path} is a sliced model. Use the model that "
            "it was cut out of."
        )
    layers = get_layers(model)
    if not len(layers):
        raise ModelError(f"a super-network must have at least one layer, but {config.name_or_path} has none.")
    # Cross-attention reads another text with projections that no group of the family's table covers.
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise ModelError(
            f"a super-network must be an encoder, but {config.name_or_path} has is_decoder or add_cross_attention set. "
            "Load it with both switched off."
        )
    # From the weights: what is cut later are their rows and columns, whatever a configuration says of its sizes.
    rows = {group.name: group.consumer_of(layers[0]).in_features for group in family.groups}
    return EncoderDimensions(
        num_layers=len(layers),
        num_heads=config.num_attention_heads,
        num_units=rows["units"],
        hidden_size=config.hidden_size,
        # The attention's output projection has a column for each number of each head: heads · head size.
        head_size=rows["heads"] // config.num_attention_heads,
    )


def kept_members(model: "PreTrainedModel", sub_network: SubNetwork) -> list[IndexSets]:
    """Return what a sub-network keeps of each layer of its super-network by group: places in the weights."""
    groups = get_family(model.config.model_type).groups
    by_group = []
    for group in groups:
        kept, orders = getattr(sub_network, group.name), get_member_order(model, group)
        if orders:
            # Ranks become places, ascending again, as index sets must be.
            kept = [sorted(order[rank] for rank in ranks) for order, ranks in zip(orders, kept, strict=True)]
        by_group.append(map(tuple, kept))
    # From [group][layer] to [layer][group].
    return list(zip(*by_group, strict=True))


def get_member_order(model: "PreTrainedModel", group: PrunableGroup) -> tuple[tuple[int, ...], ...]:
    """Return the members of each layer, the most important first, where they could not change places; else ().

    A sub-network's numbers then count in this order.
    """
    orders = getattr(model.config, f"{group.name}_order", None) if group.member_inputs else None
    return tuple(map(tuple, orders)) if orders else ()


def set_member_order(model: "PreTrainedModel", group: PrunableGroup, orders: Sequence[Sequence[int]]) -> None:
    """Write the order of a group's members in each layer into the configuration; none where `orders` is empty."""
    if orders:
        setattr(model.config, f"{group.name}_order", [list(order) for order in orders])
    else:
        model.config.__dict__.pop(f"{group.name}_order", None)


def get_layer_order(model: "PreTrainedModel") -> tuple[int, ...]:
    """Return a super-network's layers, the most important first, as its training noted them; () where it did not."""
    order = getattr(model.config, "layer_order", None)
    if not isinstance(order, list) or any(type(layer) is not int for layer in order):
        return ()
    # A configuration may be a user's: an order of other layers is ignored rather than believed.
    return tuple(order) if sorted(order) == list(range(len(get_layers(model)))) else ()


def set_layer_order(model: "PreTrainedModel", order: Sequence[int]) -> None:
    """Write the order of the layers into the model's configuration, with which it is saved and loaded."""
    model.config.layer_order = list(order)


def forget_orders(model: "PreTrainedModel") -> None:
    """Remove the orders of layers and of their members from the model's configuration, where there are some."""
    model.config.__dict__.pop("layer_order", None)
    for group in get_family(model.config.model_type).groups:
        set_member_order(model, group, ())


def shift_outputs(model: "PreTrainedModel", shift: float) -> None:
    """Add a number to all outputs of a model, in the bias of its task head's last linear module."""
    encoder = set(model.base_model.modules())
    # A head may have several linear modules (dense, out_proj); `modules()` yields them in the order they were defined.
    last = [module for module in model.modules() if isinstance(module, nn.Linear) and module not in encoder][-1]
    last.bias.data += shift


def max_positions(model: "PreTrainedModel") -> int:
    """Return the longest text in tokens that the position table holds (RoBERTa counts from the padding index + 1)."""
    positions = int(model.config.max_position_embeddings)
    if get_family(model.config.model_type).counts_positions_from_padding:
        # The rows up to the padding index are never given to a token: 514 rows hold 512 of them.
        positions -= model.base_model.get_submodule("embeddings").padding_idx + 1
    return positions


def require_weights(model_dir: Path) -> None:
    """Raise unless a local model directory holds a configuration and safetensors weights.

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
