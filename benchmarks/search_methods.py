"""Which search method, in which space, finds the best front: hypervolume, mean and standard error over seeds.

Closed form: an error surface over the demo encoder's sizes, for the spaces `small` and `medium`; it takes seconds for
the simple methods and about a minute a seed for the Bayesian ones. With `--supernet DIR` the errors of a trained
super-network on 300 validation rows are used instead; each sub-network is evaluated once and remembered, whatever
method asks for it. A space that begins with what its blocks are worth does so here too. Two spaces at two budgets:

    python benchmarks/search_methods.py --supernet DIR --spaces small_ordered medium --methods local_search \\
        --num-samples 60 200 --num-rows 1000 --seeds 2

Hypervolume of (error, parameters relative to the super-network) up to (1, 1) after each of `--num-samples`
evaluations; larger is better. The exit code is 1 if `local_search`, `morea` or `nsga2` finds no better front of
`medium` than `random_search`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.batches import encode
from compressor.data.loading import load_task_data
from compressor.data.rows import in_order_of, pick_rows
from compressor.evaluation.blocks import propose_sub_networks
from compressor.evaluation.evaluator import Evaluator
from compressor.network.costs import BlockCosts, CostModel, create_cost_model
from compressor.network.dimensions import EncoderDimensions
from compressor.network.families import get_dimensions, get_layer_order, max_positions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.loop import Beginning, run_search
from compressor.search.methods import SEARCH_METHODS
from compressor.search.options import SearchOptions
from compressor.spaces import create_search_space
from compressor.spaces.space import SearchSpace
from compressor.training.super_network import load_super_network

GUIDED = ("local_search", "morea", "nsga2")
DIMENSIONS = EncoderDimensions(num_layers=6, num_heads=12, num_units=1536, hidden_size=384, head_size=32)


def closed_form_error(sub_network: SubNetwork) -> float:
    """An error between 0.12 and 0.52 that every layer lowers, with diminishing returns in heads and in units."""
    remaining = 1.0
    for heads, units in zip(sub_network.heads, sub_network.units, strict=True):
        attention = np.sqrt(len(heads) / DIMENSIONS.num_heads)
        feed_forward = (len(units) / DIMENSIONS.num_units) ** 0.4
        remaining *= 1 - 0.14 * (attention + feed_forward) - 0.1 * attention * feed_forward
    return 0.12 + 0.4 * float(remaining)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What is searched: an error of every sub-network of an encoder."""

    name: str
    dimensions: EncoderDimensions
    cost_model: CostModel
    error: Callable[[SubNetwork], float]
    layer_order: tuple[int, ...] = ()
    proposed: tuple[SubNetwork, ...] = ()
    """What a space that measures blocks begins with."""

    def space(self, name: str) -> SearchSpace:
        """Return the search space of that name of the encoder."""
        return create_search_space(name, self.dimensions, self.layer_order)


def closed_form() -> Surface:
    """The demo encoder's sizes, with its 12 million parameters outside of the layers, and the error surface."""
    hidden, size = DIMENSIONS.hidden_size, DIMENSIONS.head_size
    head = BlockCosts(
        params=3 * hidden, member_params=4 * hidden * size + 3 * size, member_macs=(0, 4 * hidden * size, 2 * size)
    )
    unit = BlockCosts(params=3 * hidden, member_params=2 * hidden + 1, member_macs=(0, 2 * hidden, 0))
    cost_model = CostModel(
        blocks={"heads": (head,) * DIMENSIONS.num_layers, "units": (unit,) * DIMENSIONS.num_layers},
        params_outside=12_000_000,
        macs_per_token_outside=0,
        macs_per_text_outside=0,
        full=full_sub_network(DIMENSIONS),
    )
    return Surface(name="closed form", dimensions=DIMENSIONS, cost_model=cost_model, error=closed_form_error)


def recorded_errors(supernet: Path, num_rows: int) -> Surface:
    """A trained super-network's validation errors, each measured once and remembered."""
    net = load_super_network(supernet)
    if net.record is None:
        raise SystemExit(f"{supernet} is no super-network: train one with compressor train-supernet.")
    data = in_order_of(load_task_data(net.record.source), net.label_names)
    few = pick_rows(data.validation, np.arange(min(num_rows, len(data.validation))))
    train, rows = (encode(part, data.task, net.tokenizer, max_positions(net.model)) for part in (data.train, few))
    evaluator, known = Evaluator(net.model, data.task, rows), dict[str, float]()
    cost_model = create_cost_model(net.model)

    def error(sub_network: SubNetwork) -> float:
        if sub_network.hash not in known:
            known[sub_network.hash] = evaluator.evaluate(sub_network).error
        return known[sub_network.hash]

    return Surface(
        name="super-network",
        dimensions=get_dimensions(net.model),
        cost_model=cost_model,
        error=error,
        layer_order=get_layer_order(net.model),
        proposed=tuple(propose_sub_networks(net.model, data.task.head, train, cost_model.encoder_params)),
    )


def compare(surface: Surface, space: SearchSpace, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per method and number of evaluations, printed as it is done."""
    rows, budgets = [], sorted(arguments.num_samples)
    for method in arguments.methods:
        start, volumes = time.perf_counter(), []
        proposed = surface.proposed if space.measures_blocks and method != "random_search" else ()
        for seed in range(arguments.seeds):
            result = run_search(
                space,
                surface.cost_model,
                surface.error,
                SearchOptions(search_strategy=method, num_samples=budgets[-1], seed=seed),
                beginning=Beginning(recorded={}, proposed=list(proposed)),
            )
            volumes.append(result.hypervolumes)
        for budget in budgets:
            found = [of_seed[budget - 1] for of_seed in volumes]
            error = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
            row = {
                "surface": surface.name,
                "space": space.name,
                "method": method,
                "evaluations": budget,
                "hypervolume": round(float(np.mean(found)), 4),
                "standard_error": None if error is None else round(error, 4),
                "seconds_per_search": round((time.perf_counter() - start) / arguments.seeds, 1),
            }
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    """Compares the methods; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", type=Path, default=None)
    parser.add_argument("--num-rows", type=int, default=300, help="validation rows of a super-network's errors")
    parser.add_argument("--methods", nargs="+", default=list(SEARCH_METHODS), choices=list(SEARCH_METHODS))
    parser.add_argument("--spaces", nargs="+", default=["small", "medium"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--num-samples", nargs="+", type=int, default=[100])
    arguments = parser.parse_args()
    surface = closed_form() if arguments.supernet is None else recorded_errors(arguments.supernet, arguments.num_rows)
    rows = []
    for name in arguments.spaces:
        rows += compare(surface, surface.space(name), arguments)
    print(json.dumps({"benchmark": "search_methods", "reference_point": [1.0, 1.0], "rows": rows}))
    last = [row for row in rows if row["space"] == "medium" and row["evaluations"] == max(arguments.num_samples)]
    in_medium = {row["method"]: row["hypervolume"] for row in last}
    chance = in_medium.get("random_search", 0.0)
    sys.exit(int(any(in_medium.get(method, 1.0) <= chance for method in GUIDED)))


if __name__ == "__main__":
    main()
