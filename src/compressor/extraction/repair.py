"""Training-free repair of a sliced model: what is left of a block's output projection compensates for what was pruned.

The dropped inputs of a projection are, in part, linear in the kept ones. Least squares over the tokens of some hundred
rows moves that part into the kept columns and the bias, with a ridge towards the weights as they are (in the spirit of
Kwon et al., NeurIPS 2022, section 4.3; one solve for all columns instead of a factor for each). The dense model runs
once; its second moments serve every sub-network.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from compressor.data.batches import EncodedRows, evaluation_batches, inputs_of
from compressor.device import Pieces, to_device
from compressor.network.execution import expand_members
from compressor.network.families import get_family, get_layers, kept_members
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_REPAIR_ROWS = 256
_RIDGE = 1e-2
"""As a share of the mean square of the inputs: kept inputs are nearly collinear, and few rows estimate the moments."""


Moments = dict[str, list[Tensor]]
"""Second moments of what flows into each group's consumers, a constant 1 appended.

By the group's name, per layer [inputs + 1, inputs + 1], float64.
"""


def measure_moments(
    model: "PreTrainedModel", rows: EncodedRows, num_rows: int = NUM_REPAIR_ROWS, seed: int = 0
) -> Moments:
    """Return the moments over the tokens (no padding) of `num_rows` rows drawn by `seed`."""
    drawn = np.random.default_rng([seed, 5]).permutation(len(rows))[:num_rows]
    return Pieces().run(lambda num_pieces: _measure_moments(model, rows, drawn, -(-32 // num_pieces)), 32)


def _measure_moments(model: "PreTrainedModel", rows: EncodedRows, drawn: np.ndarray, batch_size: int) -> Moments:
    """Return those of given rows."""
    family, layers = get_family(model.config.model_type), get_layers(model)
    sums: dict[tuple[int, str], Tensor] = {}
    mask: list[Tensor] = []

    def add(layer: int, name: str, inputs: Tensor) -> None:
        # [batch (, choices), length, inputs] -> [tokens, inputs] without padding. Float64: sums of 10⁴ squares, solved
        # below.
        tokens = inputs.reshape(-1, inputs.shape[-1])[mask[0]].double()
        tokens = torch.cat([tokens, tokens.new_ones(len(tokens), 1)], dim=1)
        moment = tokens.T @ tokens
        sums[layer, name] = sums[layer, name] + moment if (layer, name) in sums else moment

    hooks = [
        group.consumer_of(module).register_forward_pre_hook(
            # As defaults, because a lambda in a loop would see the last layer and group alone.
            lambda _, args, layer=layer, name=group.name: add(layer, name, args[0])
        )
        for layer, module in enumerate(layers)
        for group in family.groups
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            for _, batch in evaluation_batches(rows, batch_size, drawn):
                inputs = to_device(inputs_of(batch), model.device)
                mask[:] = [inputs["attention_mask"].reshape(-1).bool()]
                model(**inputs)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return {group.name: [sums[layer, group.name].clone() for layer in range(len(layers))] for group in family.groups}


def repair(
    sliced: "PreTrainedModel", dense: "PreTrainedModel", sub_network: SubNetwork, moments: Moments
) -> "PreTrainedModel":
    """Return the sliced model, its output projections changed in place; blocks that lost nothing stay as they are."""
    family, layers, members = get_family(dense.config.model_type), get_layers(dense), kept_members(dense, sub_network)
    for cut, number in zip(get_layers(sliced), family.kept_layers(dense.config, members), strict=True):
        for group, kept in zip(family.groups, members[number], strict=True):
            whole = group.consumer_of(layers[number])
            columns = expand_members(kept, group.member_size(layers[number], dense.config))
            if 0 < len(columns) < whole.in_features:
                _solve(group.consumer_of(cut), whole, columns, moments[group.name][number])
    return sliced


def _solve(projection: nn.Linear, original: nn.Linear, columns: tuple[int, ...], moment: Tensor) -> None:
    """Add the dropped columns' part that is linear in the kept ones to the kept columns and the bias, if any."""
    has_bias: bool = projection.bias is not None
    size = original.in_features
    kept = torch.tensor([*columns, size] if has_bias else columns, device=moment.device)  # `size` is the constant's
    dropped = torch.ones(size, dtype=torch.bool, device=moment.device)
    dropped[list(columns)] = False
    dropped_columns = dropped.nonzero().squeeze(1)
    gram = moment[kept][:, kept]
    ridge = (_RIDGE * moment.diagonal()[:-1].mean()).repeat(len(kept))
    # No ridge on the bias: it may take up the whole mean of what was dropped.
    ridge[len(columns) :] = 0.0
    lost = moment[kept][:, dropped_columns] @ original.weight.detach().double()[:, dropped_columns].T
    # Normal equations (K + λI) C = M_kd W_dᵀ: [kept, kept] and [kept, hidden] for all outputs at once.
    change = torch.linalg.solve(gram + torch.diag(ridge), lost)
    with torch.no_grad():
        projection.weight.add_(change[: len(columns)].T.to(projection.weight))
        if has_bias:
            projection.bias.add_(change[-1].to(projection.bias))
