"""Which blocks of a super-network its outputs miss, and the sub-networks that this proposes for each size.

Each attention and each feed-forward block is made smaller by itself, and the loss to the whole network's own outputs
measured. As if such losses added up, a knapsack then gives the sub-network that loses least at each cost. They do not
quite add up, so proposals are where a search begins, and no more.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from compressor.data.batches import Batch, EncodedRows, evaluation_batches, outputs_of
from compressor.data.heads.head import Head
from compressor.device import Pieces, to_device
from compressor.network.execution import activate
from compressor.network.families import get_dimensions, get_layers
from compressor.network.sub_network import SubNetwork, full_sub_network, keep_layers
from compressor.progress import progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_ROWS = 128
"""Outputs are compared with those of the whole network, row by row, so that few rows tell much."""
_KEPT = {"heads": (0, 1 / 6, 1 / 3, 1 / 2, 3 / 4), "units": (0, 1 / 24, 1 / 8, 1 / 4, 1 / 2, 3 / 4)}
"""Shares of a block's members that are tried; small blocks of units are worth much."""
SHARES = (0.6, 0.36, 0.2, 0.1, 0.045)
"""Shares of what all blocks cost, for each of which a sub-network is proposed."""
_STEPS = 1000
"""Into which the cost of all blocks is cut: a knapsack needs whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The heads or the units of a layer, and what is lost where it keeps fewer and all other blocks are whole."""

    name: str
    """`heads` or `units`."""
    layer: int
    counts: tuple[int, ...]
    """How many it might keep, ascending, from none to all."""
    losses: tuple[float, ...]
    """The distillation loss without the labels' part, less that of the whole network; 0 for all."""


def propose_sub_networks(
    model: "PreTrainedModel",
    head: Head,
    rows: EncodedRows,
    cost_of: Callable[[SubNetwork], float],
    shares: Sequence[float] = SHARES,
) -> list[SubNetwork]:
    """Return for each share of the cost of all blocks the sub-network of first members that should lose least.

    A block's cost is what the whole network costs more than without its members, so any cost will do that is about a
    sum over blocks: parameters, multiply-accumulates, predicted latencies. Equal sub-networks are returned once.
    """
    blocks, full = measure_blocks(model, head, rows), full_sub_network(get_dimensions(model))
    costs = find_costs(blocks, full, cost_of)
    of_blocks = sum(float(of_block.max()) for of_block in costs)
    proposed = [choose_counts(blocks, costs, full, share * of_blocks) for share in shares]
    return list({sub_network.hash: sub_network for sub_network in proposed}.values())


def measure_blocks(
    model: "PreTrainedModel", head: Head, rows: EncodedRows, num_rows: int = NUM_ROWS, seed: int = 0
) -> list[Block]:
    """Return what `num_rows` rows, drawn by `seed`, lose without some members of each block; the model stays as it is.

    What flows into a layer is computed once, and each loss continues from there.
    """
    # The stream of importance (ARCHITECTURE, Randomness): blocks are measured on the rows that members are scored on.
    drawn = np.random.default_rng([seed, 4]).permutation(len(rows))[:num_rows]
    return Pieces().run(lambda num_pieces: _measure_blocks(model, head, rows, drawn, -(-64 // num_pieces)), 64)


def _measure_blocks(
    model: "PreTrainedModel", head: Head, rows: EncodedRows, drawn: np.ndarray, batch_size: int
) -> list[Block]:
    """Return the same of given rows."""
    pairs = evaluation_batches(rows, batch_size, drawn)
    inputs = [to_device(batch, model.device) for _, batch in pairs]
    labels = torch.from_numpy(np.concatenate([rows.targets[picked] for picked, _ in pairs]))
    full, was_training = full_sub_network(get_dimensions(model)), model.training
    layers, states = range(len(full.heads)), list[Tensor | None]([None] * len(inputs))
    counts = {name: _counts(shares, len(getattr(full, name)[0])) for name, shares in _KEPT.items()}
    found = list[Block]()
    model.eval()
    try:
        with (
            torch.inference_mode(),
            progress_bar(
                total=len(layers) * sum(len(of) - 1 for of in counts.values()), unit="block", desc="blocks"
            ) as bar,
        ):
            whole = torch.cat([outputs_of(model, batch).cpu() for batch in inputs])
            # Cross-entropy of a distribution with itself is its entropy, not 0.
            own = _loss(head, whole, whole, labels)
            for layer in layers:
                # L layers cost about L²/2 instead of L² layer calls for each size, since each loss begins where its
                # block stands.
                starts = list(zip(inputs, [(layer, state) for state in states], strict=True))
                for name, of in counts.items():
                    losses = []
                    for count in of[:-1]:
                        smaller = resize(full, name, layer, count)
                        outputs = torch.cat(
                            [outputs_from(model, batch, smaller, start).cpu() for batch, start in starts]
                        )
                        losses.append(_loss(head, outputs, whole, labels) - own)
                        bar.update()
                    found.append(Block(name=name, layer=layer, counts=of, losses=(*losses, 0.0)))
                if layer + 1 < len(layers):
                    states = []
                    for batch, start in starts:
                        # One layer from its state gives the next one's; the layers behind it are dropped, since only
                        # their input is wanted.
                        outputs_from(model, batch, keep_layers(full, [layer]), start, (layer + 1, states))
    finally:
        model.train(was_training)
    return found


def _loss(head: Head, outputs: Tensor, whole: Tensor, labels: Tensor) -> float:
    """Return how far outputs are from the whole network's; where a frozen network is learnt those are the labels."""
    if head.learns_reference:
        return float(head.loss(outputs, labels))
    # Temperature 1: how much the answers differ as they are. All heads' distillation loss has the labels' loss as a
    # term.
    return float(head.distillation_loss(outputs, whole, labels, 1.0) - head.loss(outputs, labels))


def _counts(shares: Sequence[float], whole: int) -> tuple[int, ...]:
    return tuple(sorted({round(share * whole) for share in shares} | {whole}))


def resize(sub_network: SubNetwork, name: str, layer: int, count: int) -> SubNetwork:
    """Return a sub-network whose heads or units of a layer are the first so many."""
    kept: list[tuple[int, ...]] = list(getattr(sub_network, name))
    kept[layer] = tuple(range(count))
    return replace(sub_network, **{name: tuple(kept)})


def outputs_from(
    model: "PreTrainedModel",
    batch: Batch,
    sub_network: SubNetwork,
    start: tuple[int, Tensor | None],
    end: tuple[int, list[Tensor | None]] | None = None,
) -> Tensor:
    """Return a sub-network's outputs [units, …] where a state, if there is one, flows into the layer `start`.

    The layers before it are not computed then. What flows into the layer `end` is added to its list.
    """
    layers, (first, state) = get_layers(model), start
    computed = keep_layers(sub_network, range(0 if state is None else first, len(layers)))

    def exchange(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if state is None else (state, *args[1:])

    with ExitStack() as stack:
        # Dropped layers pass their input on, so that the state that a hook puts before layer `first` reaches it
        # whatever the layers before gave.
        stack.enter_context(activate(model, computed))
        stack.callback(layers[first].register_forward_pre_hook(exchange).remove)
        if end is not None:
            stack.callback(layers[end[0]].register_forward_pre_hook(lambda _, args: end[1].append(args[0])).remove)
        return outputs_of(model, batch)


def find_costs(blocks: Sequence[Block], full: SubNetwork, cost_of: Callable[[SubNetwork], float]) -> list[np.ndarray]:
    """Return what each block costs [counts]: the whole network's cost less its cost without the block's members."""
    found = []
    for block in blocks:
        with_so_many = np.array([cost_of(resize(full, block.name, block.layer, count)) for count in block.counts])
        found.append(with_so_many - with_so_many.min())
    return found


def choose_counts(blocks: Sequence[Block], costs: Sequence[np.ndarray], full: SubNetwork, budget: float) -> SubNetwork:
    """Return the sub-network that loses least where its blocks cost at most `budget`, if losses and costs add up."""
    # 1e-9: blocks that cost nothing must not make steps of nothing
    step = max(sum(float(of_block.max()) for of_block in costs), 1e-9) / _STEPS
    options = [(of_block / step, np.array(block.losses)) for block, of_block in zip(blocks, costs, strict=True)]
    chosen, picks = full, solve_knapsack(options, budget / step)
    for block, pick in zip(blocks, picks, strict=True):
        chosen = resize(chosen, block.name, block.layer, block.counts[pick])
    return chosen


def solve_knapsack(options: Sequence[tuple[np.ndarray, np.ndarray]], capacity: float) -> list[int]:
    """Return which option of each item has the smallest sum of losses at a sum of costs of at most `capacity`.

    An item is the costs and losses of its options; one of them costs nothing. Costs are rounded up to whole numbers,
    with which the choice is exact: a multiple-choice knapsack by dynamic programming.
    """
    size = int(capacity)
    # least[c]: the smallest loss of the items so far at costs of at most c. Items × options × capacity steps.
    least, picks = np.zeros(size + 1), []
    for costs, losses in options:
        sums = np.full((len(costs), size + 1), np.inf)
        for place, (cost, loss) in enumerate(zip(_round_up(costs), losses, strict=True)):
            if cost <= size:
                # This option, and what is left of each capacity for the items before.
                sums[place, cost:] = least[: size + 1 - cost] + loss
        picks.append(sums.argmin(axis=0))
        least = sums.min(axis=0)
    # Back from the last item, each taking its option's cost off.
    left, found = size, []
    for (costs, _), pick in zip(reversed(options), reversed(picks), strict=True):
        found.append(int(pick[left]))
        left -= _round_up(costs)[found[-1]]
    return found[::-1]


def _round_up(costs: np.ndarray) -> np.ndarray:
    return np.asarray(np.ceil(costs - 1e-9), dtype=np.int64)  # 3.0000000001 is 3
