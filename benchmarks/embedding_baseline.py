"""What a search over sub-networks is held against for sentence embeddings: some layers kept, the same distillation.

    python benchmarks/embedding_baseline.py --train-file texts.jsonl --text-column text --validation-pairs pairs.jsonl

Sentence-transformers' documentation makes a smaller model so: keep the first layers, or every other one, and learn the
full model's vectors from texts. Here both learn with the loss, the rows, the schedule and the number of epochs that
`compressor compress --task-name embed` uses; the epoch of the smallest validation error is kept, and the test rows are
looked at once. The last line is JSON.
"""

import argparse
import json

import numpy as np
from rich.console import Console
from rich.table import Table

from compressor.data.batches import EncodedParts, encode_parts
from compressor.data.loading import load_data
from compressor.data.rows import TaskData
from compressor.device import pick_device
from compressor.evaluation.evaluator import Evaluator
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions, max_positions
from compressor.network.loading import load_base_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import full_sub_network, keep_layers
from compressor.training.loop import distill
from compressor.training.settings import TrainingSettings


def pick_layers(how: str, kept: int, num_layers: int) -> list[int]:
    """The first layers, or so many spread from the first to the last."""
    if how == "first":
        return list(range(kept))
    return sorted({round(place) for place in np.linspace(0, num_layers - 1, kept)})


def measure(how: str, kept: int, model_name: str, data: TaskData, epochs: int | None) -> dict[str, float | str | int]:
    """Errors of a model that keeps some layers, before and after it has learnt."""
    model, tokenizer = load_base_model(model_name, data.task, data.label_names, seed=0)
    full = full_sub_network(get_dimensions(model))
    layers = pick_layers(how, kept, len(full.heads))
    sub_network = keep_layers(full, layers)
    parts: EncodedParts = encode_parts(data, tokenizer, max_positions(model))
    assert parts.train.reference is not None
    share = create_cost_model(model).costs(sub_network).relative_encoder_params
    cut = slice_model(model, sub_network).to(pick_device())
    settings = TrainingSettings(num_train_epochs=epochs).for_rows(len(parts.train))
    found = distill(cut, data.task, parts.train, parts.validation, parts.train.reference, settings)
    test = Evaluator(cut, data.task, parts.test).evaluate().error
    return {
        "layers": f"{how} {kept}",
        "share": round(share, 3),
        "before": round(found.error_before, 4),
        "error": round(found.error, 4),
        "test_error": round(test, 4),
        "epochs": len(found.errors),
    }


def main() -> None:
    """Prints a table and, last, one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="demo")
    parser.add_argument("--train-file", default=None)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--validation-pairs", default=None)
    parser.add_argument("--keep", default="3", help="numbers of layers, with commas")
    parser.add_argument("--epochs", type=int, default=None)
    given = parser.parse_args()
    data = load_data(
        given.train_file,
        text=given.text_column.split(","),
        task_name="embed",
        reference_model=given.model,
        validation_pairs=given.validation_pairs,
    )
    rows = []
    for kept in map(int, given.keep.split(",")):
        for how in ("first", "spread"):
            rows.append(measure(how, kept, given.model, data, given.epochs))
            print(rows[-1], flush=True)
    table = Table("layers", "of encoder", "error before", "error", "test error", "epochs")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "embedding_baseline", "metric": data.task.metric, "rows": rows}))


if __name__ == "__main__":
    main()
