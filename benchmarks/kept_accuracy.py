"""Accuracy kept at a speed-up: members of a front that is searched by the latency of what is served, distilled.

For each seed the encoder is trained with all defaults on so many film reviews (or your own), its sub-networks are
searched by (validation error, predicted ms of the fp32 ONNX graph, one thread, 1 x 128 tokens), and of those within
half, a quarter and a twelfth of the whole's time the one with the smallest validation error is extracted as `compressor
extract --max-latency-ms` does it. What is shown are test errors, and the kept share of the super-network's test
accuracy. With `--unlabeled` more reviews than those with labels are learnt at the extraction, as the super-network
answers them.

    python benchmarks/kept_accuracy.py --model-name-or-path demo-base --learning-rate 1e-4 --output-dir out/kept
    compressor benchmark --model out/kept/seed-0/net --model out/kept/seed-0/2x --lengths 128 --batch-sizes 1

What is in the directory already is not made again. demo-base takes about an hour and a half of one core for each seed.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData, pick_rows
from compressor.errors import SearchError
from compressor.extraction.extract import extract_sub_network
from compressor.markdown import markdown_table
from compressor.search.options import SearchOptions
from compressor.search.record import SearchResult
from compressor.search.shared import search_sub_networks
from compressor.training.settings import TrainingSettings
from compressor.training.super_network import SuperNetwork, load_super_network
from compressor.training.train import train_super_network
from exporters.timing.latency_table import measure_latency_table
from few_rows import add_row_options, source_of


def prepare(seed: int, data: TaskData, arguments: argparse.Namespace) -> tuple[SuperNetwork, SearchResult]:
    """Train and search, or load what an earlier call has made."""
    folder: Path = arguments.output_dir / f"seed-{seed}"
    where = folder / "net"
    if not (where / "super_network.json").is_file():
        settings = TrainingSettings(
            seed=seed,
            learning_rate=arguments.learning_rate,
            num_train_epochs=arguments.num_train_epochs,
            bf16=arguments.bf16,
        )
        train_super_network(arguments.model_name_or_path, data, settings, directory=where)
    net = load_super_network(where)
    if (folder / "found").is_dir():
        return net, SearchResult.load(folder / "found")
    (folder / "search").mkdir(exist_ok=True)
    found = search_sub_networks(
        net,
        data,
        SearchOptions(
            objectives=("error", "latency_ms"),
            num_samples=arguments.num_samples,
            seed=seed,
            latency_of="onnx-fp32",
            threads=1,
            batch_size=1,
            length=128,
        ),
        directory=folder / "search",
        measure_table=measure_latency_table,
    )
    found.save(folder / "found")
    return net, found


def measure(
    seed: int, data: TaskData, unlabeled: TaskData | None, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """What is kept at each speed-up with one seed."""
    net, found = prepare(seed, data, arguments)
    assert found.full is not None
    whole_ms, rows = found.full.costs["latency_ms"], []
    for speed_up in arguments.speed_ups:
        try:
            member = found.choose(max_latency_ms=whole_ms / speed_up)
        except SearchError as error:
            print(f"seed {seed}, {speed_up:g} x: {error}", flush=True)
            continue
        chosen = member.evaluation
        small = extract_sub_network(net, member, unlabeled or data)
        folder = arguments.output_dir / f"seed-{seed}" / f"{speed_up:g}x{'-texts' if unlabeled else ''}"
        if not folder.exists():
            small.save(folder)
        assert chosen is not None and small.report.test is not None
        before, after = small.report.test.base_error, small.report.test.error
        rows.append(
            {
                "seed": seed,
                "speed_up": speed_up,
                "predicted": round(whole_ms / chosen.costs["latency_ms"], 2),
                "encoder": round(chosen.relative_encoder_params, 3),
                "validation_searched": round(chosen.error, 4),
                "test_searched": None if chosen.test_error is None else round(chosen.test_error, 4),
                "test_extracted": round(after, 4),
                "test_super_network": round(before, 4),
                "kept": round((1 - after) / (1 - before), 4),
                "unlabeled": 0 if unlabeled is None or unlabeled.unlabeled is None else len(unlabeled.unlabeled),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, a line for each speed-up."""
    lines = []
    for speed_up in dict.fromkeys(row["speed_up"] for row in rows):
        of_seeds = [row for row in rows if row["speed_up"] == speed_up]
        means = {name: float(np.mean([row[name] for row in of_seeds])) for name in ("predicted", "encoder", "kept")}
        errors = {
            name: float(np.mean([row[name] for row in of_seeds])) for name in ("test_super_network", "test_extracted")
        }
        lines.append(
            [
                f"{speed_up:g} x",
                f"{means['predicted']:.2f}",
                f"{means['encoder']:.1%}",
                *(f"{error:.3f}" for error in errors.values()),
                f"{means['kept']:.3f}",
                " ".join(f"{row['kept']:.3f}" for row in of_seeds),
            ]
        )
    header = ["wanted", "speed-up", "of the encoder", "dense, test error", "extracted", "kept accuracy", "by seed"]
    return markdown_table(header, lines)


def main() -> None:
    """Measures all seeds; a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-name-or-path", default="demo-base")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--speed-ups", nargs="+", type=float, default=[2.0, 4.0, 12.0])
    parser.add_argument("--train-rows", type=int, default=3000)
    parser.add_argument("--unlabeled", type=int, default=0, help="more rows, without labels, for the distillation")
    parser.add_argument("--num-samples", type=int, default=60)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--num-train-epochs", type=int)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction)
    parser.add_argument("--threads", type=int, default=1)
    add_row_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    source = source_of(arguments, arguments.train_rows)
    data, unlabeled = load_task_data(source), None
    if arguments.unlabeled:
        every = load_task_data(replace(source, max_train_samples=10**6)).train
        known = {text for part in data.parts.values() for text in part.texts}
        others = np.array([place for place, text in enumerate(every.texts) if text not in known])
        texts = pick_rows(every, others[: arguments.unlabeled])
        unlabeled = replace(data, unlabeled=replace(texts, labels=np.zeros_like(texts.labels)))
    rows = [row for seed in arguments.seeds for row in measure(seed, data, unlabeled, arguments)]
    print(table(rows))
    print(json.dumps({"benchmark": "kept_accuracy", "model": arguments.model_name_or_path, "rows": rows}))


if __name__ == "__main__":
    main()
