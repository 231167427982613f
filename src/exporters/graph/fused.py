"""The fused graph: encoder layers as five matrix products and ONNX Runtime's fused operators between them.

The exporter traces the model as it is, but with each layer replaced by a `FusedLayer`, so embeddings and task heads of
every family come out as PyTorch computes them, and a layer as MatMul and the operators `Attention` (one product for Q,
K and V), `SkipLayerNormalization` and `BiasGelu` of the domain `com.microsoft`. ModernBERT's layers, whose norms come
first, have `RotaryEmbedding` and `MultiHeadAttention`. See benchmarks/LOG.md for the other forms that were tried.

Where a task head reads the first token alone, the last layer computes that one alone: five sixths of its work fall
away, and the logits stay the same.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.data.heads import form_of
from compressor.network.families import get_family, get_layers
from compressor.network.modeling_sliced import EncoderFamily, PassHidden, PrunableGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DOMAIN = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class ExportedModel(nn.Module):
    """A model as it is exported: it gives its outputs alone, and its encoder layers may be fused.

    For export alone, since the vendor operators of fused layers compute nothing here.
    """

    def __init__(self, model: "PreTrainedModel", *, fused: bool = True) -> None:
        super().__init__()
        # Its layers are replaced below; the caller's model stays as it is.
        self.model = copy.deepcopy(model)
        self._mask: list[Tensor] = []
        family, config = get_family(model.config.model_type), model.config
        layers = get_layers(self.model)
        pools_first = all(getattr(config, name, value) == value for name, value in family.first_token.items())
        self._form = form_of(model)
        reads_first_token = pools_first and self._form.reads_first(config)
        for position, layer in enumerate(layers if fused else ()):
            last = reads_first_token and position == len(layers) - 1
            replacement = FUSED_LAYERS[str(family.fused)](layer, family, config, self._mask, position, last=last)
            replacement.__dict__ |= {
                name: value for name, value in vars(layer).items() if name not in vars(replacement)
            }
            layers[position] = replacement  # with what the encoder reads of a layer

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """Return the model's outputs; layers find the mask [batch × choices, length] where it is left for them."""
        # In place: every layer holds this very list. int32 is what the fused operators take.
        self._mask[:] = [attention_mask.reshape(-1, attention_mask.shape[-1]).to(torch.int32)]
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return self._form.read(output, attention_mask, self.model.config)


class FusedLayer(nn.Module):
    """An encoder layer of any family and any sizes; without heads (units) it has no attention (feed-forward) block."""

    def __init__(
        self,
        layer: nn.Module,
        family: EncoderFamily,
        config: Any,
        mask: list[Tensor],
        position: int = 0,
        *,
        last: bool = False,
    ) -> None:
        super().__init__()
        # Of the whole layer: a sliced one has fewer heads, each as large as before.
        self._mask, self._head_size, self._last = mask, config.hidden_size // config.num_attention_heads, last
        activation = getattr(config, "hidden_act", None) or config.activation
        self._gelu = activation == "gelu"
        self._activation = _make_activation(activation)
        self.inputs = self.attention_output = self.feed_forward_in = self.feed_forward_out = None
        self._gives_weights = issubclass(family.empty_layer, PassHidden)
        heads, units = family.groups
        if _has_block(layer, heads):
            parts = [module for _, module in heads.producers_of(layer)]
            self._width = parts[0].out_features
            # Q, K and V in one product [hidden, 3 · width]; in the last layer Q is of the first token alone, K and V of
            # all.
            groups = [parts[:1], parts[1:]] if last else [parts]
            self.inputs = nn.ParameterList(_transposed(torch.cat([p.weight for p in group])) for group in groups)
            self.input_bias = nn.Parameter(torch.cat([p.bias for p in parts]).detach(), requires_grad=False)
            self._bias = _SharedInput.of(layer, heads, config, position) if heads.member_inputs else None
            self.attention_output = _Product.of(heads.consumer_of(layer))
            self.attention_norm = layer.get_submodule(heads.norm)
        if _has_block(layer, units):
            self.feed_forward_in = _Product.of(next(units.producers_of(layer))[1])
            self.feed_forward_out = _Product.of(units.consumer_of(layer))
            self.feed_forward_norm = layer.get_submodule(units.norm)

    def forward(self, hidden_states: Tensor, *arguments: Any, **options: Any) -> Any:
        """Map hidden states [batch, length, hidden] to the same shape; the last layer gives the first token's alone."""
        everything = hidden_states
        # [batch, 1, hidden]: nobody reads the other tokens behind this layer, but its keys and values are of all of
        # them.
        if self._last:
            hidden_states = hidden_states[:, :1]
        # No modules, no block: hidden states pass on as they are, without residual and norm.
        if self.inputs is not None and self.attention_output is not None:
            bias = None if self._bias is None else self._bias.find(arguments, options)
            attend = self._attend_first if self._last else self._attend
            attended = attend(hidden_states, everything, bias)
            hidden_states = _add_norm(attended, self.attention_output, hidden_states, self.attention_norm)
        if self.feed_forward_in is not None and self.feed_forward_out is not None:
            units = torch.matmul(hidden_states, self.feed_forward_in.weight)
            # For the exact GELU there is an operator that adds the bias on the way.
            if self._gelu:
                units = _operator("BiasGelu", (units, self.feed_forward_in.bias), shape=tuple(units.shape))
            else:
                units = self._activation(units + self.feed_forward_in.bias)
            hidden_states = _add_norm(units, self.feed_forward_out, hidden_states, self.feed_forward_norm)
        # The encoders of some families expect attention weights beside the hidden states.
        return (hidden_states, None) if self._gives_weights else hidden_states

    def _attend(self, hidden_states: Tensor, _: Tensor, bias: Tensor | None) -> Tensor:
        """Return what each token gathers from all tokens [batch, length, width]; one product for Q, K and V."""
        assert self.inputs is not None
        return _operator(
            "Attention",
            (hidden_states, self.inputs[0], self.input_bias, self._mask[0], *([] if bias is None else [None, bias])),
            shape=(*hidden_states.shape[:2], self._width),
            num_heads=self._width // self._head_size,
            qkv_hidden_sizes=[self._width] * 3,
        )

    def _attend_first(self, first: Tensor, everything: Tensor, bias: Tensor | None) -> Tensor:
        """Return what the first token gathers from all tokens [batch, 1, width]; a product for Q, one for K and V."""
        assert self.inputs is not None
        query = torch.matmul(first, self.inputs[0])
        # [batch, length, 2 · width] -> K and V.
        key, value = torch.chunk(torch.matmul(everything, self.inputs[1]), 2, dim=-1)
        return _operator(
            "MultiHeadAttention",
            (query, key, value, self.input_bias, self._mask[0], *([] if bias is None else [bias[:, :, :1]])),
            shape=(first.shape[0], 1, self._width),
            num_heads=self._width // self._head_size,
        )


@dataclass(frozen=True, kw_only=True)
class _SharedInput:
    """An input that all layers share and that has an entry for each head, such as a bias of relative positions."""

    name: str
    place: int
    """Among a layer's arguments after the hidden states."""
    members: list[int] | None
    """The heads of a whole layer that are left; None for all."""

    @classmethod
    def of(cls, layer: nn.Module, group: PrunableGroup, config: Any, position: int) -> "_SharedInput":
        (name,) = group.member_inputs.values()
        numbers = getattr(config, f"{group.name}_numbers", None)
        place = list(inspect.signature(layer.forward).parameters).index(name) - 1
        return cls(name=name, place=place, members=numbers[position] if numbers else None)

    def find(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """Set this layer's part [1, heads, length, length], which is the same for all texts."""
        whole: Tensor = options[self.name] if self.name in options else arguments[self.place]
        if self.members is None:
            return whole[:1]
        # [batch, heads, length, length], the same for all texts: of the first one, this layer's heads.
        return whole[:1].index_select(1, torch.tensor(self.members))


class PreNormRotaryLayer(nn.Module):
    """A layer of ModernBERT's build: norms before its blocks, rotary positions, a gate beside the units.

    The encoder gives it a mask that says for each pair of tokens whether one sees the other (−∞ where it does not), so
    a layer with a window is like one without.
    """

    def __init__(
        self,
        layer: nn.Module,
        family: EncoderFamily,
        config: Any,
        mask: list[Tensor],  # noqa: ARG002
        position: int = 0,  # noqa: ARG002
        *,
        last: bool = False,
    ) -> None:
        super().__init__()
        self._last = last
        self._activation = _make_activation(config.hidden_activation)
        heads, units = family.groups
        self.inputs = self.feed_forward_in = None
        if _has_block(layer, heads):
            ((producer, packed),) = heads.producers_of(layer)
            # Rows of Q, K and V together, by the rows of one head of a whole layer: hidden_size / num_attention_heads.
            self._num_heads = packed.out_features * config.num_attention_heads // (3 * config.hidden_size)
            # [3 · kept heads · head size, hidden] into the three products of Q, K and V.
            self.inputs = _split_rows(packed, producer.copies)
            self.attention_output = _split_rows(heads.consumer_of(layer), 1)[0]
            self.attention_norm = layer.get_submodule(heads.norm)
        if _has_block(layer, units):
            ((producer, packed),) = units.producers_of(layer)
            # [2 · kept units, hidden] into those of the units and of their gate.
            self.feed_forward_in = _split_rows(packed, producer.copies)
            self.feed_forward_out = _split_rows(units.consumer_of(layer), 1)[0]
            self.feed_forward_norm = layer.get_submodule(units.norm)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> Tensor:
        """Map hidden states [batch, length, hidden] to the same shape; the last layer gives the first token's alone."""
        everything = hidden_states
        if self._last:
            # [batch, 1, queries, keys]: the first token asks, all answer.
            hidden_states, attention_mask = hidden_states[:, :1], attention_mask[:, :, :1]
        # Keys and values are of all tokens; only the queries and the residual can be the first one's alone.
        if self.inputs is not None:
            normed = self.attention_norm(everything)
            # transformers repeats the angles for both halves of a head; the operator takes them once.
            half = position_embeddings[0].shape[-1] // 2
            tables = [table[0, :, :half] for table in position_embeddings]
            query = _rotate(self.inputs[0](normed[:, :1] if self._last else normed), tables)
            key, value = _rotate(self.inputs[1](normed), tables), self.inputs[2](normed)
            attended = _operator(
                "MultiHeadAttention",
                (query, key, value, None, None, attention_mask),
                shape=tuple(query.shape),
                num_heads=self._num_heads,
            )
            hidden_states = hidden_states + self.attention_output(attended)
        if self.feed_forward_in is not None:
            normed = self.feed_forward_norm(hidden_states)
            units, gate = (product(normed) for product in self.feed_forward_in)
            hidden_states = hidden_states + self.feed_forward_out(self._activation(units) * gate)
        return hidden_states


class _PlainProduct(nn.Module):
    """A linear module as a product that ONNX Runtime packs, whatever the shape of its input."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = _transposed(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, values: Tensor) -> Tensor:
        product = torch.matmul(values, self.weight)
        return product if self.bias is None else product + self.bias


def _split_rows(linear: Any, copies: int) -> nn.ModuleList:
    """Return the products of a linear module that makes several things at once."""
    biases = [None] * copies if linear.bias is None else linear.bias.chunk(copies)
    return nn.ModuleList(map(_PlainProduct, linear.weight.chunk(copies), biases))


def _rotate(values: Tensor, tables: list[Tensor]) -> Tensor:
    """Return queries or keys turned by their positions from 0; `tables` hold cosines and sines [length, half]."""
    start = torch.zeros(1, dtype=torch.int64)
    return _operator("RotaryEmbedding", (values, start, *tables), shape=tuple(values.shape))


FUSED_LAYERS: dict[str, type[nn.Module]] = {"post-norm": FusedLayer, "pre-norm rotary": PreNormRotaryLayer}
"""By what a family's entry says of its fused layers."""


def _transposed(weight: Tensor) -> nn.Parameter:
    """Return a linear module's weight as ONNX multiplies it: [in, out]."""
    return nn.Parameter(weight.detach().T.contiguous(), requires_grad=False)


class _Product(nn.Module):
    """A linear module whose bias is added later."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = _transposed(weight)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    @classmethod
    def of(cls, linear: Any) -> "_Product":
        return cls(linear.weight, linear.bias)


def _add_norm(values: Tensor, product: _Product, residual: Tensor, norm: Any) -> Tensor:
    """Return layerNorm(values · weight + bias + residual)."""
    values = torch.matmul(values, product.weight)
    inputs = (values, residual, norm.weight, norm.bias, product.bias)
    return _operator("SkipLayerNormalization", inputs, shape=tuple(residual.shape), epsilon=norm.eps)


def _operator(name: str, inputs: tuple[Tensor | None, ...], *, shape: tuple[Any, ...], **attributes: Any) -> Tensor:
    from torch.onnx.ops import symbolic

    operator = f"{DOMAIN}::{name}"
    # A placeholder of that shape, which the exporter writes as the operator; it computes nothing here.
    output: Tensor = symbolic(operator, inputs, attributes, dtype=torch.float32, shape=shape, version=1)
    return output


def _has_block(layer: nn.Module, group: PrunableGroup) -> bool:
    """Return whether a layer still has members of a group."""
    return not all(isinstance(layer.get_submodule(path), kind) for path, kind in group.when_empty.items())


def _make_activation(name: str) -> Any:
    from transformers.activations import ACT2FN

    return ACT2FN[name]
