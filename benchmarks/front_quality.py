"""How good the fronts of training recipes are, before any search: 41 fixed sub-networks, shared weights only.

Their sizes are drawn from `small`: so many layers, heads and units. Which layers those are is a recipe's search space:
the first ones (`small`) or the most important ones (`small_ordered`).

Each recipe trains the demo encoder (or another) on 3,000 rows; hypervolume of (validation error, share of the encoder)
up to (1, 1) on 1,000 others, larger is better, and the best error with at most 0.5, 0.25 and 0.1 of the encoder. `work`
is what all updates cost, in encoder parameters times rows, against two epochs of ordinary fine-tuning: it knows no
noise.

    python benchmarks/front_quality.py  # all recipes, one seed: 2 to 6 minutes each on one core with --bf16
    python benchmarks/front_quality.py --recipes plain auto --seeds 0 1 2
    python benchmarks/front_quality.py --task-name swag --train-file T.jsonl --validation-file V.jsonl

`--bf16` trains and evaluates in bfloat16, about 2.7 times as fast on CPUs that know it. `--compare-precisions` trains
each recipe and seed in fp32 and in bfloat16, evaluates both in fp32, and tells what bfloat16 changes beside the noise
of seeds:

    python benchmarks/front_quality.py --compare-precisions --recipes auto --seeds 0 1 2

With `--teacher-model` all updates learn the answers of another, fine-tuned model too:

    compressor train-supernet --model-name-or-path demo-base --sampling-strategy standard --num-train-epochs 2 \\
        --max-train-samples 3000 --max-eval-samples 1000 --output-dir teacher
    python benchmarks/front_quality.py --recipes auto --teacher-model teacher
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.data.batches import encode
from compressor.data.loading import load_task_data
from compressor.data.sources import DataSource
from compressor.evaluation.answers import ask_teacher
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.pareto import compute_hypervolume
from compressor.network.costs import CostModel, create_cost_model
from compressor.network.families import get_dimensions, get_layer_order, max_positions, set_layer_order
from compressor.network.loading import load_base_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import create_search_space
from compressor.spaces.space import SearchSpace
from compressor.training.importance import order_layers, sort_by_importance
from compressor.training.loop import Teacher, train_shared_weights
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import SAMPLING_STRATEGIES, WARM_UP_SHARES, Step, Strategy, Update

NUM_SUB_NETWORKS = 41
SHARES = (0.5, 0.25, 0.1)


def bounded(space: SearchSpace, step: Step) -> list[Update]:
    """The super-network and k random sub-networks of at least 2 layers, 2 heads and 128 units, distilled."""
    sub_networks: list[SubNetwork] = []
    while len(sub_networks) < step.num_random_sub_nets:
        drawn = space.draw(step.rng)
        if drawn.num_layers >= 2 and len(drawn.heads[0]) >= 2 and len(drawn.units[0]) >= 128:
            sub_networks.append(drawn)
    return [Update(full_sub_network(space.dimensions)), *(Update(s, distill=True) for s in sub_networks)]


def warmed_up(strategy: Strategy) -> Strategy:
    """A strategy after its warm-up."""
    return lambda space, step: (
        SAMPLING_STRATEGIES["standard"](space, step) if step.index < step.num_warm_up_steps else strategy(space, step)
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train."""

    strategy: str | Strategy
    settings: dict[str, Any] = field(default_factory=dict)
    ordered: str = "no"
    """`no`, `after a third` of the epochs, or at the `end`."""
    space: str = "small"


THREE = {"num_train_epochs": 3}
OLD = THREE | {"learning_rate": 1e-4}
TWO = OLD | {"num_train_epochs": 2}
RECIPES: dict[str, Recipe] = {
    "one_shot, T = 10": Recipe(strategy="one_shot", settings=TWO | {"temperature": 10.0, "num_random_sub_nets": 1}),
    "plain": Recipe(strategy="standard", settings=TWO),
    "plain, heads and units ordered": Recipe(strategy="standard", settings=TWO, ordered="end"),
    "plain, layers ordered too": Recipe(strategy="standard", settings=TWO, ordered="end", space="small_ordered"),
    "bounded, unordered": Recipe(strategy=bounded, settings=TWO | {"num_random_sub_nets": 1}),
    "bounded, ordered": Recipe(
        strategy=warmed_up(bounded), settings=OLD | {"num_random_sub_nets": 2}, ordered="after a third"
    ),
    "auto, rate 1e-4": Recipe(strategy="auto", settings=OLD, ordered="after a third"),
    "auto, in small, unordered": Recipe(strategy="auto", settings=THREE),
    "auto, in small": Recipe(strategy="auto", settings=THREE, ordered="after a third"),
    "auto, k = 3": Recipe(
        strategy="auto", settings=THREE | {"num_random_sub_nets": 3}, ordered="after a third", space="small_ordered"
    ),
    "auto": Recipe(strategy="auto", settings=THREE, ordered="after a third", space="small_ordered"),
}


def run(
    recipe: Recipe, seed: int, source: DataSource, bf16: bool, evaluates_bf16: bool, options: argparse.Namespace
) -> dict[str, float]:
    """What a recipe comes to with one seed."""
    data, teacher_model = load_task_data(source), options.teacher_model
    name, biases = options.model_name_or_path, data.task.head.start(data)
    model, tokenizer = load_base_model(name, data.task, data.label_names, seed=seed, start=biases)
    train, validation = (
        encode(part, data.task, tokenizer, max_positions(model)) for part in (data.train, data.validation)
    )
    cost_model, spent = create_cost_model(model), [0.0]
    strategy = SAMPLING_STRATEGIES[recipe.strategy] if isinstance(recipe.strategy, str) else recipe.strategy
    SAMPLING_STRATEGIES["measured"] = counted(strategy, cost_model, spent)
    WARM_UP_SHARES.pop("measured", None)
    if recipe.ordered == "after a third":
        WARM_UP_SHARES["measured"] = 1 / 3
    given = {} if options.learning_rate is None else {"learning_rate": options.learning_rate}
    settings = TrainingSettings(
        sampling_strategy="measured", search_space=recipe.space, seed=seed, bf16=bf16, **(recipe.settings | given)
    )
    teacher = None
    if teacher_model is not None:
        outputs = ask_teacher(teacher_model, data, np.diff(train.unit_bounds))
        teacher = Teacher(outputs=outputs, is_itself=False)
    start = time.process_time()
    train_shared_weights(model, data.task, train, validation, settings, lambda _: None, teacher=teacher)
    if recipe.ordered == "end":
        sort_by_importance(model, data.task, train)
        if recipe.space == "small_ordered":
            set_layer_order(model, order_layers(model, data.task, train))
    seconds = time.process_time() - start
    space = create_search_space(recipe.space, get_dimensions(model), get_layer_order(model))
    evaluator = Evaluator(model.eval(), data.task, validation)
    with torch.autocast("cpu", torch.bfloat16, enabled=evaluates_bf16):
        points = [
            (evaluator.evaluate(sub_network).error, cost_model.costs(sub_network).relative_encoder_params)
            for sub_network in fixed_sub_networks(space)
        ]
    steps_per_epoch = -(-len(train) // settings.per_device_train_batch_size)
    return {
        "hypervolume": compute_hypervolume(points, [1, 1]),
        "dense": points[0][0],
        **{f"error_{share}": min(error for error, size in points if size <= share) for share in SHARES},
        "work": spent[0] / (2 * steps_per_epoch),
        "cpu_seconds": seconds,
    }


def counted(strategy: Strategy, cost_model: CostModel, spent: list[float]) -> Strategy:
    """The strategy, whose updates' shares of the encoder are added to `spent`."""

    def plan(space: SearchSpace, step: Step) -> list[Update]:
        updates = strategy(space, step)
        kept = (update.sub_network or cost_model.full for update in updates)
        spent[0] += sum(cost_model.costs(sub_network).relative_encoder_params for sub_network in kept)
        return updates

    return plan


def fixed_sub_networks(space: SearchSpace) -> list[SubNetwork]:
    """The super-network, and random ones of different sizes that every recipe is judged by."""
    small = create_search_space("small", space.dimensions)
    rng, found = np.random.default_rng(0), {full_sub_network(space.dimensions): None}
    while len(found) < NUM_SUB_NETWORKS:
        found[small.draw(rng)] = None
    return [space.from_config(small.to_config(sub_network)) for sub_network in found]


def summarise(runs: list[dict[str, float]]) -> dict[str, float | None]:
    """Means over seeds, and the standard error of the hypervolume, None of one seed."""
    means = {key: round(float(np.mean([one[key] for one in runs])), 4) for key in runs[0]}
    volumes = [one["hypervolume"] for one in runs]
    error = round(float(np.std(volumes, ddof=1) / np.sqrt(len(volumes))), 4) if len(volumes) > 1 else None
    return means | {"standard_error": error, "seeds": len(runs)}


def compare(fp32: list[dict[str, float]], bf16: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """By figure: the mean change that bfloat16 makes, and the standard deviations of it and of fp32 over seeds."""
    changes: dict[str, dict[str, float]] = {}
    for key in fp32[0]:
        of_fp32, of_bf16 = ([one[key] for one in runs] for runs in (fp32, bf16))
        change = np.subtract(of_bf16, of_fp32)
        spread = {"deviation": change, "seeds_deviation": np.array(of_fp32)}
        changes[key] = {"change": float(change.mean())} | {
            name: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for name, values in spread.items()
        }
    return {key: {name: round(value, 4) for name, value in values.items()} for key, values in changes.items()}


def main() -> None:
    """Runs recipes × seeds; a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--task-name", default="demo")
    parser.add_argument("--train-file", type=Path)
    parser.add_argument("--validation-file", type=Path)
    parser.add_argument("--train-rows", type=int, default=3000)
    parser.add_argument("--validation-rows", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compare-precisions", action="store_true")
    parser.add_argument("--teacher-model")
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--learning-rate", type=float, help="in place of the recipes'")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = DataSource(
        task_name=arguments.task_name,
        train_file=str(arguments.train_file) if arguments.train_file else None,
        validation_file=str(arguments.validation_file) if arguments.validation_file else None,
        max_train_samples=arguments.train_rows,
        max_eval_samples=arguments.validation_rows,
    )
    precisions = {"": arguments.bf16}
    if arguments.compare_precisions:
        precisions = {", fp32": False, ", bf16": True}
    rows: dict[str, list[dict[str, float]]] = {}
    for recipe in arguments.recipes:
        for seed in arguments.seeds:
            for precision, bf16 in precisions.items():
                name, in_bf16 = recipe + precision, bf16 and not arguments.compare_precisions
                found = run(RECIPES[recipe], seed, source, bf16, in_bf16, arguments)
                rows.setdefault(name, []).append(found)
                print(json.dumps({"recipe": name, "seed": seed, **rows[name][-1]}), flush=True)
    table = {name: summarise(runs) for name, runs in rows.items()}
    columns = (
        *("hypervolume", "standard_error", "dense", *(f"error_{share}" for share in SHARES)),
        *("work", "cpu_seconds", "seeds"),
    )
    print("| recipe | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * len(columns))
    for name, values in table.items():
        print(
            f"| {name} | "
            + " | ".join("" if values[column] is None else f"{values[column]:g}" for column in columns)
            + " |"
        )
    done = {"benchmark": "front_quality", "task": arguments.task_name, "bf16": arguments.bf16, "recipes": table}
    if arguments.compare_precisions:
        done["changes"] = {name: compare(rows[f"{name}, fp32"], rows[f"{name}, bf16"]) for name in arguments.recipes}
        for name, changes in done["changes"].items():
            for key, values in changes.items():
                print(f"{name}, {key}: bf16 − fp32 " + ", ".join(f"{what} {value:g}" for what, value in values.items()))
    print(json.dumps(done))


if __name__ == "__main__":
    main()
