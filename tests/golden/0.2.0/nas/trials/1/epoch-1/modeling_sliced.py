"""Sliced encoders as Hugging Face models: BERT-family encoders whose layers differ in heads and feed-forward units.

This one file holds all that is needed to load a sliced model; it depends on torch and transformers alone and travels
with the weights, so that `from_pretrained(directory, trust_remote_code=True)` works where nothing else is installed:

    from transformers import AutoModelForSequenceClassification
    model = AutoModelForSequenceClassification.from_pretrained("directory", trust_remote_code=True)

It is also the one file that knows Hugging Face's attribute names: where each encoder family keeps its heads and units.
A family is one entry of `ENCODER_FAMILIES` and three classes at the foot.

A sliced model's configuration is its family's, and two lists: how many heads and how many units each layer has. A layer
without heads (units) has no attention (feed-forward) block at all: residual and LayerNorm are gone with it. Made by
mlflow-compressor after Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture
Search", TMLR 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMultipleChoice,
    BertForSequenceClassification,
    CamembertConfig,
    CamembertForMultipleChoice,
    CamembertForSequenceClassification,
    DistilBertConfig,
    DistilBertForMultipleChoice,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForMultipleChoice,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForMultipleChoice,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForMultipleChoice,
    XLMRobertaForSequenceClassification,
)

MIN_TRANSFORMERS = "5.14"
"""Older ones load a sliced model too, but compute attention of the configuration's width and fail, or lack weights."""


def require_transformers(version: str) -> None:
    """Nothing, if these classes work with this version of transformers.

    Raises:
        ImportError: it is too old.
    """
    if [int(number) for number in version.split(".")[:2]] < [int(number) for number in MIN_TRANSFORMERS.split(".")]:
        raise ImportError(
            f"transformers must be at least {MIN_TRANSFORMERS} for this model, whose layers differ in their sizes, but "
            f"{version} is installed. Upgrade it: pip install --upgrade transformers"
        )


require_transformers(transformers.__version__)

SLICED_PREFIX = "sliced-"
"""Before the family's own `model_type`."""
PER_LAYER = "differs per layer: see kept_units, and load with trust_remote_code=True"
"""Stands in a sliced model's `config.json` for the number of units: stock classes cannot build from it and say so."""


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
    units_field: str = "intermediate_size"
    """The configuration's number of units."""
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
    units_field="hidden_dim",
    without_attention={"attention": ZeroAttention, "sa_layer_norm": nn.Identity},
    without_feed_forward={"ffn": ZeroFeedForward, "output_layer_norm": nn.Identity},
)

ENCODER_FAMILIES: dict[str, EncoderFamily] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
}


def cut_layer(
    layer: nn.Module, family: EncoderFamily, num_heads: int, num_units: int, head_size: int
) -> list[nn.Linear]:
    """Gives an encoder layer so many heads and units, in place; the new modules, whose weights are still to be set."""
    new: list[nn.Linear] = []
    if num_heads:
        for path in (family.query, family.key, family.value):
            new.append(_resize(layer, path, num_rows=num_heads * head_size))
        new.append(_resize(layer, family.attention_output, num_columns=num_heads * head_size))
    else:
        stand_in(layer, family.without_attention)
    if num_units:
        new.append(_resize(layer, family.feed_forward_in, num_rows=num_units))
        new.append(_resize(layer, family.feed_forward_out, num_columns=num_units))
    else:
        stand_in(layer, family.without_feed_forward)
    return new


def stand_in(layer: nn.Module, modules: dict[str, type[nn.Module]]) -> None:
    """Replaces modules of a layer, in place."""
    for path, module in modules.items():
        layer.set_submodule(path, module())


def _resize(layer: nn.Module, path: str, *, num_rows: int | None = None, num_columns: int | None = None) -> nn.Linear:
    old = layer.get_submodule(path)
    assert isinstance(old, nn.Linear)
    new = nn.Linear(
        num_columns or old.in_features,
        num_rows or old.out_features,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    layer.set_submodule(path, new)
    return new


class SlicedConfig:
    """Mixed into a family's configuration: how many heads and units each layer has."""

    model_type: str
    kept_heads: list[int]
    """Heads of each layer, 0 for a layer without attention."""
    kept_units: list[int]
    """Units of each layer, 0 for a layer without feed-forward block."""

    def __init__(self, kept_heads: Sequence[int] = (), kept_units: Sequence[int] = (), **values: Any) -> None:
        units_field = ENCODER_FAMILIES[self.model_type.removeprefix(SLICED_PREFIX)].units_field
        if values.get(units_field) == PER_LAYER:
            values[units_field] = max((1, *kept_units))
        super().__init__(**values)
        self.kept_heads, self.kept_units = list(kept_heads), list(kept_units)

    def to_dict(self) -> dict[str, Any]:
        """The written form, which no stock class takes for its own."""
        units_field = ENCODER_FAMILIES[self.model_type.removeprefix(SLICED_PREFIX)].units_field
        values: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        return values | {units_field: PER_LAYER}


class SlicedPreTrainedModel:
    """Mixed into a family's model: layers of the sizes that its configuration lists."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)  # type: ignore[call-arg]
        family = ENCODER_FAMILIES[config.model_type.removeprefix(SLICED_PREFIX)]
        layers = self.base_model.get_submodule(family.layers)  # type: ignore[attr-defined]
        if not len(config.kept_heads) == len(config.kept_units) == len(layers):
            raise ValueError(
                f"kept_heads and kept_units must list {len(layers)} layers, but list {len(config.kept_heads)} and "
                f"{len(config.kept_units)}. Use the config.json as it was saved."
            )
        head_size = config.hidden_size // config.num_attention_heads
        for layer, num_heads, num_units in zip(layers, config.kept_heads, config.kept_units, strict=True):
            for module in cut_layer(layer, family, num_heads, num_units, head_size):
                self._init_weights(module)  # type: ignore[attr-defined]


class SlicedBertConfig(SlicedConfig, BertConfig):
    model_type = "sliced-bert"
    __init__ = SlicedConfig.__init__  # in each class, or the one that transformers makes would take its place


class SlicedBertForSequenceClassification(SlicedPreTrainedModel, BertForSequenceClassification):
    config_class = SlicedBertConfig


class SlicedBertForMultipleChoice(SlicedPreTrainedModel, BertForMultipleChoice):
    config_class = SlicedBertConfig


class SlicedRobertaConfig(SlicedConfig, RobertaConfig):
    model_type = "sliced-roberta"
    __init__ = SlicedConfig.__init__


class SlicedRobertaForSequenceClassification(SlicedPreTrainedModel, RobertaForSequenceClassification):
    config_class = SlicedRobertaConfig


class SlicedRobertaForMultipleChoice(SlicedPreTrainedModel, RobertaForMultipleChoice):
    config_class = SlicedRobertaConfig


class SlicedXLMRobertaConfig(SlicedConfig, XLMRobertaConfig):
    model_type = "sliced-xlm-roberta"
    __init__ = SlicedConfig.__init__


class SlicedXLMRobertaForSequenceClassification(SlicedPreTrainedModel, XLMRobertaForSequenceClassification):
    config_class = SlicedXLMRobertaConfig


class SlicedXLMRobertaForMultipleChoice(SlicedPreTrainedModel, XLMRobertaForMultipleChoice):
    config_class = SlicedXLMRobertaConfig


class SlicedCamembertConfig(SlicedConfig, CamembertConfig):
    model_type = "sliced-camembert"
    __init__ = SlicedConfig.__init__


class SlicedCamembertForSequenceClassification(SlicedPreTrainedModel, CamembertForSequenceClassification):
    config_class = SlicedCamembertConfig


class SlicedCamembertForMultipleChoice(SlicedPreTrainedModel, CamembertForMultipleChoice):
    config_class = SlicedCamembertConfig


class SlicedElectraConfig(SlicedConfig, ElectraConfig):
    model_type = "sliced-electra"
    __init__ = SlicedConfig.__init__


class SlicedElectraForSequenceClassification(SlicedPreTrainedModel, ElectraForSequenceClassification):
    config_class = SlicedElectraConfig


class SlicedElectraForMultipleChoice(SlicedPreTrainedModel, ElectraForMultipleChoice):
    config_class = SlicedElectraConfig


class SlicedDistilBertConfig(SlicedConfig, DistilBertConfig):
    model_type = "sliced-distilbert"
    __init__ = SlicedConfig.__init__


class SlicedDistilBertForSequenceClassification(SlicedPreTrainedModel, DistilBertForSequenceClassification):
    config_class = SlicedDistilBertConfig


class SlicedDistilBertForMultipleChoice(SlicedPreTrainedModel, DistilBertForMultipleChoice):
    config_class = SlicedDistilBertConfig


SLICED_CLASSES: tuple[tuple[Any, Any, Any], ...] = (
    (SlicedBertConfig, SlicedBertForSequenceClassification, SlicedBertForMultipleChoice),
    (SlicedRobertaConfig, SlicedRobertaForSequenceClassification, SlicedRobertaForMultipleChoice),
    (SlicedXLMRobertaConfig, SlicedXLMRobertaForSequenceClassification, SlicedXLMRobertaForMultipleChoice),
    (SlicedCamembertConfig, SlicedCamembertForSequenceClassification, SlicedCamembertForMultipleChoice),
    (SlicedElectraConfig, SlicedElectraForSequenceClassification, SlicedElectraForMultipleChoice),
    (SlicedDistilBertConfig, SlicedDistilBertForSequenceClassification, SlicedDistilBertForMultipleChoice),
)


def register() -> None:
    """Makes transformers' Auto classes know the sliced models, so that they load without `trust_remote_code`.

    Saving one writes this file beside its weights.
    """
    for config, classification, multiple_choice in SLICED_CLASSES:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        config.register_for_auto_class()
        for auto, model in (
            (AutoModelForSequenceClassification, classification),
            (AutoModelForMultipleChoice, multiple_choice),
        ):
            auto.register(config, model, exist_ok=True)
            model.register_for_auto_class(auto.__name__)
