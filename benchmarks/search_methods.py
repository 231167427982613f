"""Which search method finds the best front: hypervolume after 100 evaluations, mean and standard error over seeds.

Closed form: an error surface over the demo encoder's sizes, for the spaces `small` and `medium`; it takes seconds for
the simple methods and about a minute a seed for the Bayesian ones. With `--supernet DIR` the errors of a trained
super-network on 300 validation rows are used instead; each sub-network is evaluated once and remembered, whatever
method asks for it.

Hypervolume of (error, parameters relative to the super-network) up to (1, 1); larger is better. The exit code is 1 if
`local_search`, `morea` or `nsga2` finds no better front of `medium` than `random_search`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compressor.network.costs import BlockCosts, CostModel, create_cost_model
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.loop import run_search
from compressor.search.methods import SEARCH_METHODS
from compressor.search.options import SearchOptions
from compressor.spaces import create_search_space
from compressor.spaces.space import SearchSpace

GUIDED = ("local_search", "morea", "nsga2")
NUM_ROWS = 300
"""Validation rows of the surface of a trained super-network."""
DIMENSIONS = EncoderDimensions(num_layers=6, num_heads=12, num_units=1536, hidden_size=384, head_size=32)


def closed_form_error(sub_network: SubNetwork) -> float:
    """An error between 0.12 and 0.52 that every layer lowers, with diminishing returns in heads and in units."""
    remaining = 1.0
    for heads, units in zip(sub_network.heads, sub_network.units, strict=True):
        attention = np.sqrt(len(heads) / DIMENSIONS.num_heads)
        feed_forward = (len(units) / DIMENSIONS.num_units) ** 0.4
        remaining *= 1 - 0.14 * (attention + feed_forward) - 0.1 * attention * feed_forward
    return 0.12 + 0.4 * float(remaining)


def closed_form() -> tuple[EncoderDimensions, CostModel, Callable[[SubNetwork], float]]:
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
    return DIMENSIONS, cost_model, closed_form_error


def compare(
    name: str,
    space: SearchSpace,
    cost_model: CostModel,
    evaluate: Callable[[SubNetwork], float],
    arguments: argparse.Namespace,
) -> list[dict[str, Any]]:
    """One row per method, printed as it is done."""
    rows = []
    for method in arguments.methods:
        start, volumes = time.perf_counter(), []
        for seed in range(arguments.seeds):
            result = run_search(
                space,
                cost_model,
                evaluate,
                SearchOptions(search_strategy=method, num_samples=arguments.num_samples, seed=seed),
            )
            volumes.append(result.hypervolumes[-1])
        row = {
            "surface": name,
            "space": space.name,
            "method": method,
            "hypervolume": round(float(np.mean(volumes)), 4),
            "standard_error": round(float(np.std(volumes, ddof=1) / np.sqrt(len(volumes))), 4),
            "seconds_per_search": round((time.perf_counter() - start) / arguments.seeds, 1),
        }
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    return rows


def recorded_errors(supernet: Path) -> tuple[EncoderDimensions, CostModel, Callable[[SubNetwork], float]]:
    """Sizes, costs and remembered validation errors of a trained super-network."""
    from dataclasses import replace

    from compressor.data.batches import encode
    from compressor.data.loading import load_task_data
    from compressor.data.sources import DataSource
    from compressor.evaluation.evaluator import Evaluator
    from compressor.network.families import get_dimensions, max_positions
    from compressor.training.super_network import load_super_network

    opened = load_super_network(supernet)
    data = load_task_data(DataSource.from_json(opened.info["source"]))
    few = data.validation
    few = replace(few, texts=few.texts[:NUM_ROWS], labels=few.labels[:NUM_ROWS])
    rows = encode(few, data.task, opened.tokenizer, max_positions(opened.model))
    evaluator, known = Evaluator(opened.model, data.task, rows), {}

    def error(sub_network: SubNetwork) -> float:
        if sub_network.hash not in known:
            known[sub_network.hash] = evaluator.evaluate(sub_network).error
        return float(known[sub_network.hash])

    return get_dimensions(opened.model), create_cost_model(opened.model), error


def main() -> None:
    """Compares the methods; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", type=Path, default=None)
    parser.add_argument("--methods", nargs="+", default=list(SEARCH_METHODS), choices=list(SEARCH_METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--num-samples", type=int, default=100)
    arguments = parser.parse_args()
    surface = "closed form" if arguments.supernet is None else "super-network"
    dimensions, cost_model, error = closed_form() if arguments.supernet is None else recorded_errors(arguments.supernet)
    rows = []
    for name in ("small", "medium"):
        rows += compare(surface, create_search_space(name, dimensions), cost_model, error, arguments)
    print(json.dumps({"benchmark": "search_methods", "reference_point": [1.0, 1.0], "rows": rows}))
    in_medium = {row["method"]: row["hypervolume"] for row in rows if row["space"] == "medium"}
    chance = in_medium.get("random_search", 0.0)
    sys.exit(int(any(in_medium.get(method, 1.0) <= chance for method in GUIDED)))


if __name__ == "__main__":
    main()
