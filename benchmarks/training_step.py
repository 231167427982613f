"""What one training step costs: `one_shot` with two random sub-networks against four passes of the super-network.

Both make four forward and backward passes on the same batch; ours passes the smallest and the random sub-networks
through slices of the shared weights. Alternating in one process.
`python benchmarks/training_step.py` takes about two minutes; `--model-name-or-path demo-base --steps 8` does the same
for a base-size encoder.
"""

import argparse
import json
import time

import numpy as np
import torch

from compressor.data.batches import encode, training_batches
from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.loading import load_task_data
from compressor.data.sources import DataSource
from compressor.network.families import get_dimensions
from compressor.network.loading import load_base_model
from compressor.network.sub_network import full_sub_network
from compressor.spaces import create_search_space
from compressor.training.loop import run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Step, Update, get_strategy


def main() -> None:
    """Times both kinds of step on an encoder and the demo's sentences; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--bf16", action="store_true", help="under bfloat16 autocast")
    arguments = parser.parse_args()
    data = load_task_data(DataSource())
    model, tokenizer = load_base_model(arguments.model_name_or_path, data.task, data.label_names, seed=0)
    model.train()
    rows = encode(data.train, data.task, tokenizer, 512)
    settings = TrainingSettings(num_random_sub_nets=2, bf16=arguments.bf16)
    space = create_search_space("small", get_dimensions(model))
    rng, strategy = np.random.default_rng(0), get_strategy("one_shot", 2)
    four_full = [Update(full_sub_network(space.dimensions))] * 4
    times: dict[str, list[float]] = {"one_shot": [], "four_full": []}
    batches = list(training_batches(rows, arguments.batch_size, rng))[: arguments.steps + 2]
    for index, (picked, batch) in enumerate(batches):
        step = Step(index=index, num_steps=len(batches), num_random_sub_nets=2, rng=rng)
        labels = torch.from_numpy(rows.labels[picked])
        for name, updates in (("one_shot", strategy(space, step)), ("four_full", four_full)):
            start = time.perf_counter()
            run_updates(model, batch, labels, updates, settings, CLASSIFICATION)
            times[name].append(time.perf_counter() - start)
            model.zero_grad(set_to_none=True)
    one_shot, full = (np.asarray(seconds[2:]) for seconds in times.values())  # the first two warm up
    result = {
        "benchmark": "training_step",
        "model": arguments.model_name_or_path,
        "bf16": arguments.bf16,
        "steps": len(one_shot),
        "batch_size": arguments.batch_size,
        "one_shot_ms": round(1e3 * float(one_shot.mean()), 1),
        "four_full_ms": round(1e3 * float(full.mean()), 1),
        "ratio": round(float(one_shot.sum() / full.sum()), 3),
    }
    print(f"one_shot {result['one_shot_ms']} ms, four full passes {result['four_full_ms']} ms: {result['ratio']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
