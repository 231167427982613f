"""Training-free repair of a sliced model: what is left of a block's output projection makes up for what was cut.

The dropped inputs of a projection are, in part, linear in the kept ones. Least squares over the tokens of some hundred
rows moves that part into the kept columns and the bias, with a ridge towards the weights as they are (in the spirit of
Kwon et al., NeurIPS 2022, section 4.3; one solve for all columns instead of a factor for each). The dense model runs
once; its second moments serve every sub-network.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from compressor.data.batches import EncodedRows, evaluation_batches
from compressor.network.execution import expand_heads
from compressor.network.families import get_dimensions, get_family, get_layers
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_REPAIR_ROWS = 256
_RIDGE = 1e-2
"""Of the mean square of the inputs."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Second moments of what flows into the output projections of each layer, a constant 1 appended."""

    heads: list[Tensor]
    """Attention's, per layer [hidden + 1, hidden + 1], float64."""
    units: list[Tensor]
    """Feed-forward's, per layer [units + 1, units + 1], float64."""


def measure_moments(
    model: "PreTrainedModel", rows: EncodedRows, num_rows: int = NUM_REPAIR_ROWS, seed: int = 0
) -> Moments:
    """The moments over the tokens (no padding) of `num_rows` rows drawn by `seed`."""
    family, layers = get_family(model.config.model_type), get_layers(model)
    sums: dict[tuple[int, str], Tensor] = {}
    mask: list[Tensor] = []
    paths = (family.attention_output, family.feed_forward_out)

    def add(layer: int, path: str, inputs: Tensor) -> None:
        tokens = inputs.reshape(-1, inputs.shape[-1])[mask[0]].double()
        tokens = torch.cat([tokens, tokens.new_ones(len(tokens), 1)], dim=1)
        moment = tokens.T @ tokens
        sums[layer, path] = sums[layer, path] + moment if (layer, path) in sums else moment

    hooks = [
        module.get_submodule(path).register_forward_pre_hook(
            lambda _, args, layer=layer, path=path: add(layer, path, args[0])
        )
        for layer, module in enumerate(layers)
        for path in paths
    ]
    was_training, drawn = model.training, np.random.default_rng([seed, 5]).permutation(len(rows))[:num_rows]
    try:
        model.eval()
        with torch.inference_mode():
            for _, batch in evaluation_batches(rows, 32, drawn):
                inputs = {name: values.to(model.device) for name, values in batch.items()}
                mask[:] = [inputs["attention_mask"].reshape(-1).bool()]
                model(**inputs)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    attention, feed_forward = ([sums[layer, path].clone() for layer in range(len(layers))] for path in paths)
    return Moments(heads=attention, units=feed_forward)


def repair(
    sliced: "PreTrainedModel", dense: "PreTrainedModel", sub_network: SubNetwork, moments: Moments
) -> "PreTrainedModel":
    """The sliced model, its output projections changed in place; blocks that lost nothing stay as they are."""
    dimensions, family = get_dimensions(dense), get_family(dense.config.model_type)
    kept_layers = iter(get_layers(sliced))
    kept = zip(get_layers(dense), sub_network.heads, sub_network.units, strict=True)
    for number, (layer, heads, units) in enumerate(kept):
        if not heads and not units:
            continue
        cut = next(kept_layers)
        if 0 < len(heads) < dimensions.num_heads:
            columns = expand_heads(heads, dimensions.head_size)
            _solve(cut, layer, family.attention_output, columns, moments.heads[number])
        if 0 < len(units) < dimensions.num_units:
            _solve(cut, layer, family.feed_forward_out, units, moments.units[number])
    return sliced


def _solve(cut: nn.Module, whole: nn.Module, path: str, columns: tuple[int, ...], moment: Tensor) -> None:
    """Adds the dropped columns' part that is linear in the kept ones to the kept columns and the bias."""
    projection, original = cut.get_submodule(path), whole.get_submodule(path)
    assert isinstance(projection, nn.Linear) and isinstance(original, nn.Linear)
    size = original.in_features
    kept = torch.tensor([*columns, size], device=moment.device)  # the last one is the bias
    dropped = torch.ones(size, dtype=torch.bool, device=moment.device)
    dropped[kept[:-1]] = False
    dropped_columns = dropped.nonzero().squeeze(1)
    gram = moment[kept][:, kept]
    ridge = _RIDGE * moment.diagonal()[:-1].mean()
    gram = gram + torch.diag(torch.cat([ridge.expand(len(columns)), ridge.new_zeros(1)]))
    lost = moment[kept][:, dropped_columns] @ original.weight.detach().double()[:, dropped_columns].T
    change = torch.linalg.solve(gram, lost)
    with torch.no_grad():
        projection.weight.add_(change[:-1].T.to(projection.weight))
        if projection.bias is not None:
            projection.bias.add_(change[-1].to(projection.bias))
