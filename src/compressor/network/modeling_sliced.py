"""Sliced encoders as Hugging Face models: BERT-family encoders whose layers differ in heads and feed-forward units.

This one file holds all that is needed to load a sliced model; it depends on torch and transformers alone and travels
with the weights, so that `from_pretrained(directory, trust_remote_code=True)` works where nothing else is installed:

    from transformers import AutoModelForSequenceClassification
    model = AutoModelForSequenceClassification.from_pretrained("directory", trust_remote_code=True)

It is also the one file that knows Hugging Face's attribute names: where each encoder family keeps its heads and units.
A family is one entry of `ENCODER_FAMILIES`; its classes are made from that at the foot.

A sliced model's configuration is its family's, and two lists: how many heads and how many units each layer has. A layer
without heads (units) has no attention (feed-forward) block at all: residual and LayerNorm are gone with it. Made by
mlflow-compressor after Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture
Search", TMLR 2024.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig

MIN_TRANSFORMERS = "5.14"
"""Older ones load a sliced model too, but compute attention of the configuration's width and fail, or lack weights."""


def is_older(version: str, least: str) -> bool:
    """Return whether a version comes before another one, by their first two numbers."""
    # Two numbers: what follows may be "0.dev0" or "0rc1".
    first, second = ([int(number) for number in text.split(".")[:2]] for text in (version, least))
    return first < second


def require_transformers(version: str) -> None:
    """Raise unless these classes work with this version of transformers.

    Raises:
        ImportError: it is too old.
    """
    if is_older(version, MIN_TRANSFORMERS):
        raise ImportError(
            f"transformers must be at least {MIN_TRANSFORMERS} for this model, whose layers differ in their sizes, but "
            f"{version} is installed. Upgrade it: pip install --upgrade transformers"
        )


# At import, before a class is made: this file is also run by strangers' `trust_remote_code`, where nothing else checks.
require_transformers(transformers.__version__)

SLICED_PREFIX = "sliced-"
"""Before the family's own `model_type`."""
PER_LAYER = "differs per layer: see kept_units, and load with trust_remote_code=True"
"""Stands in a sliced model's `config.json` for the number of units: stock classes cannot build from it and say so."""


class PassInput(nn.Module):
    """Stands in for a layer, or for a part of one: the hidden states unchanged."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states


class PassHidden(nn.Module):
    """Stands in for a module that returns attention weights too: the hidden states unchanged, and no weights."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return hidden_states, None


class PassResidual(nn.Module):
    """Stands in for `output(hidden, residual)`: the residual alone, without the LayerNorm."""

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        return input_tensor


class ZeroAttention(nn.Module):
    """Stands in for an attention whose caller adds the residual: adds nothing."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        # A scalar broadcasts over [batch, tokens, hidden]; zeros of that shape would be written and read for nothing.
        return torch.zeros((), dtype=hidden_states.dtype, device=hidden_states.device), None


class ZeroFeedForward(nn.Module):
    """Stands in for a feed-forward block whose caller adds the residual: adds nothing."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.zeros((), dtype=hidden_states.dtype, device=hidden_states.device)


class PickMembers:
    """A hook that gives a module the kept members' part of an input that has one for each member of a whole layer."""

    def __init__(self, argument: str, members: Sequence[int]) -> None:
        self.argument, self.members = argument, list(members)

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # [batch, heads, tokens, tokens]
        whole, first, number = kwargs[self.argument], self.members[0], len(self.members)
        if self.members[-1] - first + 1 == number:
            part = whole.narrow(1, first, number)
        else:
            part = whole.index_select(1, torch.tensor(self.members, device=whole.device))
        return args, {**kwargs, self.argument: part}


@dataclass(frozen=True, kw_only=True)
class Producer:
    """A linear module of a layer whose rows belong to the members of a group."""

    path: str
    copies: int = 1
    """How many times it has rows for all members, one time after another: 3 where one matrix makes Q, K and V."""
    optional: bool = False
    """Some configurations have none."""
    reads_tokens: bool = True
    """Its inputs are the text's tokens; it reads something else of a fixed length otherwise."""


@dataclass(frozen=True, kw_only=True)
class PrunableGroup:
    """What a layer can lose member by member: a member's rows of the producers and its columns of the consumer.

    All paths start from the layer.
    """

    name: str
    """Of its members, as `SubNetwork` names them; a sliced configuration lists their numbers as `kept_<name>`."""
    size_field: str
    """The configuration's number of members per layer."""
    producers: tuple[Producer, ...]
    consumer: str
    """The projection behind the members, to the hidden size."""
    norm: str
    """The LayerNorm of the block."""
    when_empty: dict[str, type[nn.Module]]
    """Which modules stand in for what when no member is left; together they hold all parameters of the block."""
    member_counts: tuple[str, ...] = ()
    """Attributes that hold the number of members."""
    row_counts: tuple[str, ...] = ()
    """Attributes that hold the number of a producer's rows."""
    member_inputs: dict[str, str] = field(default_factory=dict)
    """Modules and the keyword of an input that all layers share and whose second axis has one entry for each member.

    Members of such a group keep their places in the weights: ordering them is noted in the configuration.
    """
    other_macs: Callable[[Any, int], tuple[int, int, int]] = lambda _config, _size: (0, 0, 0)
    """Multiply-accumulates per member and text, besides those of producers that read tokens and of the consumer.

    From a configuration and the rows per member: a constant, times the length, times the length squared.
    """

    def producers_of(self, layer: nn.Module) -> Iterator[tuple[Producer, nn.Linear]]:
        """Yield the producers that a layer has."""
        for producer in self.producers:
            parent, _, name = producer.path.rpartition(".")
            # DeBERTa may project positions with Q's and K's matrices (share_att_key), or have no relative positions.
            if not producer.optional or hasattr(layer.get_submodule(parent), name):
                yield producer, _linear(layer, producer.path)

    def consumer_of(self, layer: nn.Module) -> nn.Linear:
        """Return the consumer of a layer."""
        return _linear(layer, self.consumer)

    def num_members(self, config: Any) -> int:
        """Return the members of a layer that has lost none."""
        return int(getattr(config, self.size_field))

    def member_size(self, layer: nn.Module, config: Any) -> int:
        """Return the rows of a producer (columns of the consumer) of a member, from a layer that has lost none."""
        return self.consumer_of(layer).in_features // self.num_members(config)

    def counts_of(self, layer: nn.Module, num_members: int, num_rows: int) -> Iterator[tuple[nn.Module, str, int]]:
        """Yield the modules and attributes of a layer that hold a number, and which one it has to be."""
        for paths, number in ((self.member_counts, num_members), (self.row_counts, num_rows)):
            for path in paths:
                parent, _, name = path.rpartition(".")
                yield layer.get_submodule(parent), name, number


@dataclass(frozen=True, kw_only=True)
class EncoderFamily:
    """What the rest has to know of one encoder family."""

    classes: str
    """What the names of its classes in transformers begin with."""
    layers: str
    """The `ModuleList` of encoder layers, from the base model."""
    groups: tuple[PrunableGroup, ...]
    """In the order in which a layer computes them."""
    empty_layer: type[nn.Module] = PassInput
    """Stands in for a layer that lost everything."""
    per_layer_fields: tuple[str, ...] = ()
    """Fields of the configuration that list something for each layer."""
    first_layer_differs: Callable[[Any], bool] = lambda _config: False
    """Whether, in this configuration, the first layer has a part of its own: it stays where it is, if need be empty."""
    first_token: dict[str, str] = field(default_factory=dict)
    """Values that configurations have whose task head reads the first token alone, where they state them."""
    position_kinds: tuple[str, ...] = ("absolute",)
    """What `position_embedding_type` may say, where a configuration has it."""
    counts_positions_from_padding: bool = False
    """RoBERTa gives the first token the position behind the padding index."""
    needs_a_layer: bool = False
    """Its encoder computes nothing without one: where all are dropped the first stays, empty."""
    min_transformers: str = MIN_TRANSFORMERS
    """The oldest transformers whose classes of this family can be sliced, saved and loaded again."""
    fused: str | None = "post-norm"
    """Which of the exporter's fused layers it has; None where the graph is exported as PyTorch has it."""

    @property
    def config_class(self) -> Any:
        """transformers' configuration."""
        return getattr(transformers, f"{self.classes}Config")

    @property
    def has_sdpa(self) -> bool:
        """Whether PyTorch's fused attention computes it."""
        return bool(getattr(transformers, f"{self.classes}ForSequenceClassification")._supports_sdpa)

    def attention(self, wanted: str) -> str:
        """Return the implementation of attention that is `wanted`, or the eager one where there is no other."""
        return wanted if self.has_sdpa else "eager"

    def kept_layers(self, config: Any, kept: Sequence[Sequence[Any]]) -> list[int]:
        """Return which layers a sliced model has: those with something kept, and the first where it has to stay."""
        first = [0] if self.first_layer_differs(config) else []
        layers = sorted({*first, *(layer for layer, groups in enumerate(kept) if any(groups))})
        return layers if layers or not self.needs_a_layer else [0]


def attention_macs(_config: Any, head_size: int) -> tuple[int, int, int]:
    """Return the MACs of one head: scores and weighted sums over all pairs of tokens."""
    # Q·Kᵀ and P·V multiply head_size numbers for each pair of tokens each.
    return 0, 0, 2 * head_size


def _disentangled_macs(config: Any, head_size: int) -> tuple[int, int, int]:
    """Return the MACs of one head of DeBERTa: attention, and products with relative positions, projected first."""
    if not config.relative_attention:
        return attention_macs(config, head_size)
    longest = getattr(config, "max_relative_positions", -1)
    span = getattr(config, "position_buckets", -1)
    # As DebertaV2's attention derives it: buckets if there are some, else the longest distance; -1 means "not set".
    span = span if span > 0 else longest if longest > 0 else config.max_position_embeddings
    # Content-to-position and position-to-content (He et al., DeBERTa, 2021, eq. 4).
    kinds = len({"c2p", "p2c"}.intersection(config.pos_att_type or ()))
    projections = 2 if getattr(config, "share_att_key", False) else kinds
    # 2·span relative positions are projected in each call (counted for a text of its own); each then meets every token.
    return projections * 2 * span * config.hidden_size * head_size, kinds * 2 * span * head_size, 2 * head_size


# A wrong path fails at once (`get_submodule`); a wrong stand-in breaks the law that shared and sliced are equal.
_HEADS = PrunableGroup(
    name="heads",
    size_field="num_attention_heads",
    producers=tuple(Producer(path=f"attention.self.{name}") for name in ("query", "key", "value")),
    consumer="attention.output.dense",
    norm="attention.output.LayerNorm",
    when_empty={"attention": PassHidden},
    other_macs=attention_macs,
)

_UNITS = PrunableGroup(
    name="units",
    size_field="intermediate_size",
    producers=(Producer(path="intermediate.dense"),),
    consumer="output.dense",
    norm="output.LayerNorm",
    when_empty={"intermediate": nn.Identity, "output": PassResidual},
)

_BERT = EncoderFamily(classes="Bert", layers="encoder.layer", groups=(_HEADS, _UNITS))

# The same modules under the same names; only positions start elsewhere.
_ROBERTA = replace(_BERT, classes="Roberta", counts_positions_from_padding=True)

_DISTILBERT = EncoderFamily(
    classes="DistilBert",
    layers="transformer.layer",
    groups=(
        PrunableGroup(
            name="heads",
            size_field="num_attention_heads",
            producers=tuple(Producer(path=f"attention.{name}_lin") for name in "qkv"),
            consumer="attention.out_lin",
            norm="sa_layer_norm",
            # DistilBERT's layer adds the residual itself, and then normalises: both have to do nothing.
            when_empty={"attention": ZeroAttention, "sa_layer_norm": nn.Identity},
            other_macs=attention_macs,
        ),
        PrunableGroup(
            name="units",
            size_field="hidden_dim",
            producers=(Producer(path="ffn.lin1"),),
            consumer="ffn.lin2",
            norm="output_layer_norm",
            when_empty={"ffn": ZeroFeedForward, "output_layer_norm": nn.Identity},
        ),
    ),
)

_MPNET = EncoderFamily(
    classes="MPNet",
    layers="encoder.layer",
    groups=(
        replace(
            _HEADS,
            producers=tuple(Producer(path=f"attention.attn.{name}") for name in "qkv"),
            consumer="attention.attn.o",
            norm="attention.LayerNorm",
            member_counts=("attention.attn.num_attention_heads",),
            # MPNet reshapes to stored numbers of heads and rows; with those of a whole layer the reshape fails.
            row_counts=("attention.attn.all_head_size",),
            member_inputs={"attention": "position_bias"},
        ),
        _UNITS,
    ),
    empty_layer=PassHidden,
    counts_positions_from_padding=True,
)

_DEBERTA = EncoderFamily(
    classes="DebertaV2",
    layers="encoder.layer",
    groups=(
        replace(
            _HEADS,
            producers=(
                *(Producer(path=f"attention.self.{name}_proj") for name in ("query", "key", "value")),
                *(
                    Producer(path=f"attention.self.pos_{name}_proj", optional=True, reads_tokens=False)
                    for name in ("key", "query")
                ),
            ),
            # DeBERTa reshapes to a stored number of heads; the size of one follows from it.
            member_counts=("attention.self.num_attention_heads",),
            other_macs=_disentangled_macs,
        ),
        _UNITS,
    ),
    empty_layer=PassHidden,
    first_layer_differs=lambda config: getattr(config, "conv_kernel_size", 0) > 0,  # a convolution follows it
    needs_a_layer=True,
    fused=None,
)

_MODERNBERT = EncoderFamily(
    classes="ModernBert",
    min_transformers="5.19",  # older configurations refuse layers that are all local, or all global
    layers="layers",
    groups=(
        PrunableGroup(
            name="heads",
            size_field="num_attention_heads",
            producers=(Producer(path="attn.Wqkv", copies=3),),
            consumer="attn.Wo",
            norm="attn_norm",
            when_empty={"attn": ZeroAttention, "attn_norm": nn.Identity},
            other_macs=attention_macs,
        ),
        PrunableGroup(
            name="units",
            size_field="intermediate_size",
            producers=(Producer(path="mlp.Wi", copies=2),),  # input and gate
            consumer="mlp.Wo",
            norm="mlp_norm",
            when_empty={"mlp": ZeroFeedForward, "mlp_norm": nn.Identity},
        ),
    ),
    per_layer_fields=("layer_types",),
    first_layer_differs=lambda _config: True,  # it has no norm before its attention
    needs_a_layer=True,
    first_token={"classifier_pooling": "cls"},
    position_kinds=("absolute", "sans_pos"),  # nobody reads it: they are rotary
    fused="pre-norm rotary",
)

ENCODER_FAMILIES: dict[str, EncoderFamily] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, classes="XLMRoberta"),
    "camembert": replace(_ROBERTA, classes="Camembert"),
    "electra": replace(_BERT, classes="Electra", first_token={"summary_type": "first"}),
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
    "modernbert": _MODERNBERT,
    "deberta-v2": _DEBERTA,
}
NEWER_FAMILIES = {
    name: family.min_transformers
    for name, family in ENCODER_FAMILIES.items()
    if is_older(transformers.__version__, family.min_transformers)
}
"""Families that the installed transformers is too old for, and which version each needs."""
ENCODER_FAMILIES = {name: family for name, family in ENCODER_FAMILIES.items() if name not in NEWER_FAMILIES}


def cut_layer(
    layer: nn.Module, family: EncoderFamily, config: Any, sizes: Sequence[int], numbers: Sequence[Sequence[int]]
) -> list[nn.Linear]:
    """Give an encoder layer so many members of each group, in place, instead of those that `config` says.

    `numbers` says which members of a whole layer they are, for groups that have to know. Returns the new modules, whose
    weights are still to be set.
    """
    new: list[nn.Linear] = []
    for group, size, members in zip(family.groups, sizes, numbers, strict=True):
        # No member is left: the whole block goes, and nothing of it is to be resized.
        if not size:
            stand_in(layer, group.when_empty)
            continue
        # Both are read before anything is replaced: the size of a member is told by a layer that has lost none.
        consumer, rows = group.consumer_of(layer), size * group.member_size(layer, config)
        # A list, since modules are replaced while `producers_of` still looks at the layer.
        for producer, module in list(group.producers_of(layer)):
            new.append(_resize(layer, producer.path, module, module.in_features, rows * producer.copies))
        # The consumer has a column for each of these rows; what it gives stays as wide as the hidden size.
        new.append(_resize(layer, group.consumer, consumer, rows, consumer.out_features))
        finish_group(layer, group, config, size, rows, members)
    return new


def finish_group(
    layer: nn.Module, group: PrunableGroup, config: Any, size: int, rows: int, members: Sequence[int]
) -> None:
    """Set what a layer knows of its number of members, in place; `config` says how many a whole layer has."""
    for module, name, number in group.counts_of(layer, size, rows):
        setattr(module, name, number)
    for path, argument in group.member_inputs.items() if size < group.num_members(config) else ():
        layer.get_submodule(path).register_forward_pre_hook(PickMembers(argument, members), with_kwargs=True)


def stand_in(layer: nn.Module, modules: dict[str, type[nn.Module]]) -> None:
    """Replace modules of a layer, in place."""
    for path, module in modules.items():
        layer.set_submodule(path, module())


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)  # the family's entry says so
    return module


def _resize(layer: nn.Module, path: str, old: nn.Linear, num_columns: int, num_rows: int) -> nn.Linear:
    like = {"device": old.weight.device, "dtype": old.weight.dtype}
    # `from_pretrained` builds on the device "meta", where the old one costs nothing.
    new = nn.Linear(num_columns, num_rows, bias=old.bias is not None, **like)
    layer.set_submodule(path, new)
    return new


class SlicedConfig:
    """Mixed into a family's configuration: how many members of each group each layer has.

    `kept_heads` and `kept_units` list a number for each layer, 0 for a layer without attention (feed-forward) block.
    Where layers share an input with an entry for each head, `heads_numbers` lists which of a whole layer's are kept.
    """

    model_type: str

    def __init__(self, **values: Any) -> None:
        kept: dict[str, Sequence[int]] = {}
        for group in self._family().groups:
            kept[group.name] = values.pop(f"kept_{group.name}", ())
            if values.get(group.size_field) == PER_LAYER:
                # The stock __init__ builds whole layers first, and warns of layers with no units.
                values[group.size_field] = max((1, *kept[group.name]))
        super().__init__(**values)
        for name, sizes in kept.items():
            setattr(self, f"kept_{name}", list(sizes))

    @classmethod
    def _family(cls) -> EncoderFamily:
        return ENCODER_FAMILIES[cls.model_type.removeprefix(SLICED_PREFIX)]

    def to_dict(self) -> dict[str, Any]:
        """Return the written form, which no stock class takes for its own."""
        values: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        # The last group's (units'): heads have to stay a number, from which stock configurations compute the head size.
        return values | {self._family().groups[-1].size_field: PER_LAYER}


class SlicedPreTrainedModel:
    """Mixed into a family's model: layers of the sizes that its configuration lists."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)  # type: ignore[call-arg]
        family = ENCODER_FAMILIES[config.model_type.removeprefix(SLICED_PREFIX)]
        # The family's own class has built whole layers by now; they are cut to size here, before weights are loaded
        # into them.
        layers = self.base_model.get_submodule(family.layers)  # type: ignore[attr-defined]
        kept = [getattr(config, f"kept_{group.name}") for group in family.groups]
        if any(len(sizes) != len(layers) for sizes in kept):
            raise ValueError(
                f"kept_heads and kept_units must list {len(layers)} layers, but list "
                f"{' and '.join(str(len(sizes)) for sizes in kept)}. Use the config.json as it was saved."
            )
        # Families whose members can change places list no numbers; then `members` is not read.
        nothing = [()] * len(layers)
        numbers = [getattr(config, f"{group.name}_numbers", nothing) for group in family.groups]
        for layer, sizes, members in zip(layers, zip(*kept, strict=True), zip(*numbers, strict=True), strict=True):
            for module in cut_layer(layer, family, config, sizes, members):
                self._init_weights(module)  # type: ignore[attr-defined]


AUTO_CLASSES = {
    "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "ForMultipleChoice": transformers.AutoModelForMultipleChoice,
    "ForTokenClassification": transformers.AutoModelForTokenClassification,
    "Model": transformers.AutoModel,
}
"""What the names of model classes end with, and transformers' Auto class for them."""


def _make_classes(model_type: str, family: EncoderFamily) -> dict[str, Any]:
    """Return a family's sliced configuration and models, by name."""
    # `__init__` stands in each class itself, or the one that transformers makes would take its place.
    namespace = {"model_type": SLICED_PREFIX + model_type, "__init__": SlicedConfig.__init__}
    config = type(f"Sliced{family.classes}Config", (SlicedConfig, family.config_class), namespace)
    made: dict[str, Any] = {config.__name__: config}
    for head in AUTO_CLASSES:
        stock = getattr(transformers, family.classes + head)
        made[f"Sliced{stock.__name__}"] = type(
            f"Sliced{stock.__name__}", (SlicedPreTrainedModel, stock), {"config_class": config}
        )
    return made


for _model_type, _family in ENCODER_FAMILIES.items():
    globals().update(_make_classes(_model_type, _family))


def sliced_classes(model_type: str) -> tuple[Any, dict[str, Any]]:
    """Return the configuration class of a family's sliced models, and their model classes by task head."""
    classes = ENCODER_FAMILIES[model_type].classes
    models = {head: globals()[f"Sliced{classes}{head}"] for head in AUTO_CLASSES}
    return globals()[f"Sliced{classes}Config"], models


def register() -> None:
    """Make transformers' Auto classes know the sliced models, so that they load without `trust_remote_code`.

    Saving one writes this file beside its weights.
    """
    for model_type in ENCODER_FAMILIES:
        config, models = sliced_classes(model_type)
        AutoConfig.register(config.model_type, config, exist_ok=True)
        config.register_for_auto_class()
        for head, auto in AUTO_CLASSES.items():
            auto.register(config, models[head], exist_ok=True)
            models[head].register_for_auto_class(auto.__name__)
