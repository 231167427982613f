"""What few labelled rows cost, and what texts without labels bring back.

The demo encoder is trained as `compressor train-supernet` does it, with all defaults, on the first so many rows of the
film reviews, alone and with the last `--unlabeled` rows as texts without labels. 41 fixed sub-networks with shared
weights, as in `front_quality.py`: hypervolume of (error, share of the encoder) up to (1, 1), larger is better, and the
best error of the whole and with at most 0.5, 0.25 and 0.1 of the encoder. `teacher` is the model that is fine-tuned on
the labels alone and answers the texts. Sizes are picked by validation errors; what is shown are test errors.

    python benchmarks/few_rows.py --rows 500 1000 2000 --unlabeled 0 2700
    python benchmarks/few_rows.py --rows 2000 --unlabeled 0 2700 --teacher-model teacher
    python benchmarks/few_rows.py --train-file T.csv --test-file E.csv --text-column body --rows 400 --unlabeled 0 3000
"""

import argparse
import json
import time
from dataclasses import replace

import numpy as np
import torch

from compressor.data.batches import encode_parts
from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData, pick_rows
from compressor.data.sources import DataSource, make_source
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.pareto import compute_hypervolume
from compressor.markdown import markdown_table
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions, get_layer_order, max_positions
from compressor.spaces import create_search_space
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.super_network import SuperNetwork
from compressor.training.train import PreparedTraining, train_super_network
from front_quality import SHARES, fixed_sub_networks


def measure(data: TaskData, model: ModelOptions, settings: TrainingSettings) -> dict[str, float]:
    """What a training on these rows comes to."""
    begun: list[PreparedTraining] = []
    start = time.process_time()
    net = train_super_network(model, data, settings, on_start=begun.append)
    seconds = time.process_time() - start
    found = {"cpu_seconds": round(seconds), **judge(net, data)}
    if data.unlabeled is not None and data.task.head.form.names_outputs:
        (prepared,) = begun
        made, true = prepared.train.labels[len(data.train) :], data.unlabeled.reference
        found["teacher"] = round(float((made != true).mean()), 4)
    return found


def judge(net: SuperNetwork, data: TaskData) -> dict[str, float]:
    """Test errors of sub-networks that validation errors pick, and hypervolumes on both."""
    model, rows = net.model, encode_parts(data, net.tokenizer, max_positions(net.model))
    space = create_search_space(net.search_space, get_dimensions(model), get_layer_order(model))
    costs, members = create_cost_model(model), fixed_sub_networks(space)
    shares = [costs.costs(member).relative_encoder_params for member in members]
    errors = {
        name: [Evaluator(model, data.task, part).evaluate(member).error for member in members]
        for name, part in (("validation", rows.validation), ("test", rows.test))
    }
    volumes = {
        f"hypervolume, {name}": round(compute_hypervolume(list(zip(found, shares, strict=True)), [1, 1]), 4)
        for name, found in errors.items()
    }
    picked = {
        f"error at {share}": errors["test"][min(small, key=lambda place: errors["validation"][place])]
        for share in SHARES
        if (small := [place for place, size in enumerate(shares) if size <= share])
    }
    return {**volumes, "error, dense": errors["test"][0], **picked}


def take(data: TaskData, num_rows: int, num_unlabeled: int) -> TaskData:
    """The first so many training rows, and the last so many as texts without labels."""
    train, order = data.train, np.arange(len(data.train))
    if num_rows + num_unlabeled > len(train):
        raise SystemExit(f"there are {len(train)} training rows, but {num_rows} + {num_unlabeled} are wanted.")
    rows = pick_rows(train, order[:num_rows])
    if not num_unlabeled:
        return replace(data, train=rows)
    texts = pick_rows(train, order[-num_unlabeled:])
    # Their true labels are kept where nothing of the training looks, to tell how good the teacher is.
    unlabeled = replace(texts, labels=np.zeros_like(texts.labels), reference=texts.labels)
    return replace(data, train=rows, unlabeled=unlabeled)


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where rows come from: the film reviews, or files of one's own."""
    parser.add_argument("--task-name", default="demo")
    for name in ("train-file", "validation-file", "test-file", "label-column"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--text-column", action="append", default=[])
    parser.add_argument("--eval-rows", type=int, default=1000)


def source_of(arguments: argparse.Namespace, train_rows: int) -> DataSource:
    """Where rows come from, by `add_row_options`."""
    return make_source(
        task_name=arguments.task_name,
        train_file=arguments.train_file,
        validation_file=arguments.validation_file,
        test_file=arguments.test_file,
        label_column=arguments.label_column,
        text_columns=tuple(arguments.text_column),
        max_train_samples=train_rows,
        max_eval_samples=arguments.eval_rows,
    )


def main() -> None:
    """Trains for all numbers of rows, texts and seeds; a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[500, 1000, 2000])
    parser.add_argument("--unlabeled", nargs="+", type=int, default=[0, 2700])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--teacher-model", help="answers all rows; else the model fine-tuned on the labels the texts")
    add_row_options(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_task_data(source_of(arguments, 10**6))
    model = ModelOptions(model_name_or_path=arguments.model_name_or_path, teacher_model=arguments.teacher_model)
    table = []
    for num_rows in arguments.rows:
        for num_unlabeled in arguments.unlabeled:
            runs = []
            for seed in arguments.seeds:
                settings = TrainingSettings(seed=seed, bf16=arguments.bf16)
                runs.append(measure(take(data, num_rows, num_unlabeled), model, settings))
                print(json.dumps({"rows": num_rows, "unlabeled": num_unlabeled, "seed": seed, **runs[-1]}), flush=True)
            means = {name: round(float(np.mean([run[name] for run in runs])), 4) for name in runs[0]}
            table.append({"rows": num_rows, "unlabeled": num_unlabeled, **means})
    header = list(dict.fromkeys(name for row in table for name in row))
    print(markdown_table(header, [["" if name not in row else f"{row[name]:g}" for name in header] for row in table]))
    print(json.dumps({"benchmark": "few_rows", "task": arguments.task_name, "seeds": arguments.seeds, "table": table}))


if __name__ == "__main__":
    main()
