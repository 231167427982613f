"""The dense end: does sharing weights cost anything where nearly all of the encoder is kept?

For each seed, on the demo's 3,000 film reviews: ordinary fine-tuning (two epochs), five spread layers of six cut out
of it and distilled from it (up to three epochs, the best kept), the super-network (all defaults), and five of its
layers as cut. Errors are of the validation rows, of the demo's 1,000 test rows, and of those with `--spare-rows` more
reviews that nothing was trained on or chosen by: 1,000 rows alone cannot tell 0.02 from luck.

    python benchmarks/dense_end.py --output-dir out/dense-end --seeds 0 1 2

About twenty minutes of one core for each seed; super-networks that are in the directory already are not trained again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from compressor.data.batches import EncodedRows, encode
from compressor.data.demo import read_demo_table
from compressor.data.loading import load_task_data
from compressor.data.rows import Rows, TaskData
from compressor.data.sources import DataSource
from compressor.evaluation.evaluator import Evaluator
from compressor.markdown import markdown_table
from compressor.network.families import get_dimensions, get_layer_order, max_positions
from compressor.network.loading import load_base_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import full_sub_network, keep_layers
from compressor.training.loop import distill, fine_tune
from compressor.training.settings import TrainingSettings
from compressor.training.super_network import load_super_network
from compressor.training.train import train_super_network

NUM_KEPT = 5
PARTS = ("validation", "test", "unseen")


def with_spare_rows(data: TaskData, count: int) -> Rows:
    """The test rows, and so many reviews more that are in no part of the data."""
    table = read_demo_table()
    used = {text for part in data.parts.values() for (text,) in part.texts}
    spare = table[~table["text"].isin(used)].sample(frac=1.0, random_state=0).head(count)
    labels = np.concatenate([data.test.labels, spare["label"].to_numpy(data.test.labels.dtype)])
    return replace(data.test, texts=[*data.test.texts, *((text,) for text in spare["text"])], labels=labels)


def measure(seed: int, data: TaskData, spare_rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """Errors by way and part of one seed, each printed when it is known."""
    model, tokenizer = load_base_model("demo", data.task, data.label_names, seed=seed)
    parts = {**data.parts, "unseen": with_spare_rows(data, spare_rows)}
    rows: dict[str, EncodedRows] = {
        name: encode(part, data.task, tokenizer, max_positions(model)) for name, part in parts.items()
    }
    settings, found = TrainingSettings(seed=seed, bf16=False), dict[str, dict[str, float]]()

    def judge(way: str, judged: PreTrainedModel, begun: float) -> None:
        errors = {name: Evaluator(judged.eval(), data.task, rows[name]).evaluate().error for name in PARTS}
        found[way] = {name: round(float(error), 4) for name, error in errors.items()}
        print(
            json.dumps({"way": way, "seed": seed, "cpu_seconds": round(time.process_time() - begun), **found[way]}),
            flush=True,
        )

    begun = time.process_time()
    plain = replace(settings, num_train_epochs=2, learning_rate=2e-4)
    fine_tune(model, data.task, rows["train"], rows["validation"], plain, lambda _: None)
    judge("fine-tuned", model, begun)
    full = full_sub_network(get_dimensions(model))
    spread = sorted({round(place) for place in np.linspace(0, full.num_layers - 1, NUM_KEPT)})
    begun = time.process_time()
    teacher = Evaluator(model, data.task, rows["train"]).compute_logits()
    five = slice_model(model, keep_layers(full, spread))
    distill(five, data.task, rows["train"], rows["validation"], teacher, replace(settings, num_train_epochs=3))
    judge("five spread layers of it, distilled", five, begun)
    begun = time.process_time()
    if not (folder / f"net-{seed}" / "super_network.json").is_file():
        train_super_network("demo", data, settings, directory=folder / f"net-{seed}")
    shared = load_super_network(folder / f"net-{seed}").model
    judge("super-network", shared, begun)
    important = sorted(get_layer_order(shared)[:NUM_KEPT])
    for way, kept in (("its five most important layers", important), ("its five spread layers", spread)):
        judge(f"{way}, as cut", slice_model(shared, keep_layers(full, kept)), time.process_time())
    return found


def main() -> None:
    """Measures all seeds; a table of means, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--spare-rows", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    data = load_task_data(DataSource(task_name="demo", max_train_samples=3000, max_eval_samples=1000))
    seeds = {seed: measure(seed, data, arguments.spare_rows, arguments.output_dir) for seed in arguments.seeds}
    ways = list(next(iter(seeds.values())))
    lines = [
        [way, *(f"{np.mean([found[way][part] for found in seeds.values()]):.4f}" for part in PARTS)] for way in ways
    ]
    print(markdown_table(["way", *PARTS], lines))
    print(json.dumps({"benchmark": "dense_end", "spare_rows": arguments.spare_rows, "seeds": seeds}))


if __name__ == "__main__":
    main()
