"""Repair without training and distillation after extraction, alone and together, on the front of a search.

python benchmarks/extraction_repair.py --search out/search

Validation and test errors of each front member as cut, repaired, distilled, and repaired then distilled. Prints a table
and, as its last line, one JSON line.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from compressor.data.batches import encode
from compressor.data.loading import load_task_data
from compressor.data.rows import in_order_of
from compressor.evaluation.evaluator import Evaluator
from compressor.extraction.repair import measure_moments, repair
from compressor.markdown import markdown_table
from compressor.network.families import max_positions
from compressor.network.slicing import slice_model
from compressor.search.record import SearchResult
from compressor.training.loop import distill
from compressor.training.settings import TrainingSettings
from compressor.training.super_network import load_super_network

WAYS = {
    "cut": (False, 0),
    "repaired": (True, 0),
    "distilled": (False, 1),
    "repaired, distilled": (True, 1),
    "distilled, up to 3 epochs": (False, 3),
}


def main() -> None:
    """Measures all ways on all front members."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search", type=Path, required=True)
    parser.add_argument("--super-network", type=Path, help="where it is now, if it was moved")
    parser.add_argument("--learning-rate", type=float, default=None, help="of the distillation")
    parser.add_argument("--members", type=int, default=6, help="front members, spread by size")
    parser.add_argument("--names", nargs="+", help="these front members instead, such as subnet-012")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = SearchResult.load(options.search)
    net = load_super_network(options.super_network or Path(result.made_of.supernet or ""))
    data = in_order_of(load_task_data(result.made_of.source), net.label_names)
    dense, task = net.model, data.task
    rows = {name: encode(part, task, net.tokenizer, max_positions(dense)) for name, part in data.parts.items()}
    teacher = Evaluator(dense, task, rows["train"]).evaluate().logits
    moments = measure_moments(dense, rows["train"])
    front = [member for member in result.front if not member.is_full]
    if options.names:
        front = [member for member in front if member.name in options.names]
    else:
        front = front[:: max(1, len(front) // options.members)]
    found: dict[str, Any] = {}
    for member in front:
        sub_network = member.sub_network
        found[member.name] = {"share": member.relative_encoder_params}
        for way, (repaired, epochs) in WAYS.items():
            model = slice_model(dense, sub_network)
            if repaired:
                repair(model, dense, sub_network, moments)
            if epochs:
                settings = TrainingSettings(num_train_epochs=epochs, learning_rate=options.learning_rate)
                distill(model, task, rows["train"], rows["validation"], teacher, settings)
            errors = {part: Evaluator(model, task, rows[part]).evaluate().error for part in ("validation", "test")}
            found[member.name][way] = errors
            print(member.name, way, errors, flush=True)
    table = [
        [name, f"{ways['share']:.1%}", *(f"{ways[way]['validation']:.4f} / {ways[way]['test']:.4f}" for way in WAYS)]
        for name, ways in found.items()
    ]
    dense_errors = {part: Evaluator(dense, task, rows[part]).evaluate().error for part in ("validation", "test")}
    header = ["sub-network", "of encoder", *WAYS]
    print(f"Validation / test errors; dense {dense_errors}\n\n{markdown_table(header, table)}")
    print(json.dumps({"benchmark": "extraction_repair", "dense": dense_errors, "members": found}))


if __name__ == "__main__":
    main()
