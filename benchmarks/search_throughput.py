"""How many sub-networks a second: the paper's reference procedure against shared-weight slices.

(a) Reference, after its definition (Klein et al., TMLR 2024): every sub-network runs the whole super-network with heads
    and units multiplied by 0/1 masks, batch 8, all texts padded to 128 tokens. Its cost does not depend on the
    sub-network, so a few are enough to time it.
(b) Ours: slices of the shared weights, texts sorted by length, batch 64 padded to its longest text.

Both see the same seeded `small` sub-networks and the same rows, alternating in one process. (b) must give the errors of
the physically sliced models. `python benchmarks/search_throughput.py` takes about five minutes on two cores, with
`--demo-base` eight.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel, PreTrainedTokenizerBase

from compressor.data.batches import EncodedRows, collate, encode
from compressor.data.loading import load_task_data
from compressor.data.rows import Rows
from compressor.data.sources import DataSource
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import get_dimensions, get_family, get_layers
from compressor.network.loading import load_base_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.spaces import create_search_space

LENGTH, REFERENCE_BATCH = 128, 8
MATRIX_PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "mkldnn_linear", "flash_attention")


def padded_batches(rows: EncodedRows) -> list[dict[str, torch.Tensor]]:
    """Batches of 8 in the rows' own order, all padded to 128 tokens."""
    batches = []
    for start in range(0, len(rows), REFERENCE_BATCH):
        batch = collate(rows, np.arange(start, min(start + REFERENCE_BATCH, len(rows))))
        missing = LENGTH - batch["input_ids"].shape[1]
        batches.append({name: torch.nn.functional.pad(values, (0, missing)) for name, values in batch.items()})
    return batches


@torch.inference_mode()
def run_reference(model: PreTrainedModel, batches: list[dict[str, torch.Tensor]], sub_network: SubNetwork) -> float:
    """Seconds to run all batches through the masked super-network."""
    dimensions, family, hooks = get_dimensions(model), get_family(model.config.model_type), []
    for layer, heads, units in zip(get_layers(model), sub_network.heads, sub_network.units, strict=True):
        head_mask, unit_mask = torch.zeros(dimensions.num_heads), torch.zeros(dimensions.num_units)
        head_mask[list(heads)], unit_mask[list(units)] = 1.0, 1.0
        masks = (head_mask.repeat_interleave(dimensions.head_size), unit_mask)
        for group, mask in zip(family.groups, masks, strict=True):
            module = group.consumer_of(layer)
            hooks.append(module.register_forward_pre_hook(lambda _, inputs, mask=mask: (inputs[0] * mask,)))
    start = time.perf_counter()
    for batch in batches:
        model(**batch)
    seconds = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    return seconds


def matrix_product_share(evaluator: Evaluator, sub_networks: list[SubNetwork]) -> float:
    """The share of (b)'s processor time that is spent in matrix products."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for sub_network in sub_networks:
            evaluator.evaluate(sub_network)
    events = profiler.key_averages()
    products = sum(e.self_cpu_time_total for e in events if any(name in e.key for name in MATRIX_PRODUCTS))
    return float(products / sum(e.self_cpu_time_total for e in events))


def compare(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    num_sub_nets: int,
    num_reference: int,
) -> dict[str, Any]:
    """Times both procedures on one model and prints a line."""
    task = DataSource(max_seq_length=LENGTH).task
    model.eval()
    encoded = encode(rows, task, tokenizer, LENGTH)
    space, rng = create_search_space("small", get_dimensions(model)), np.random.default_rng(0)
    sub_networks = [space.draw(rng) for _ in range(num_sub_nets)]
    reference_batches, evaluator = padded_batches(encoded), Evaluator(model, task, encoded)
    evaluator.evaluate(space.smallest)
    run_reference(model, reference_batches[:2], space.smallest)
    reference: list[float] = []
    ours, mismatches = [], 0
    every = max(1, num_sub_nets // num_reference)
    for position, sub_network in enumerate(sub_networks):
        if position % every == 0 and len(reference) < num_reference:
            reference.append(run_reference(model, reference_batches, sub_network))
        evaluation = evaluator.evaluate(sub_network)
        ours.append(evaluation.seconds)
        sliced = Evaluator(slice_model(model, sub_network), task, encoded).evaluate() if position < 5 else evaluation
        mismatches += sliced.error != evaluation.error
    result = {
        "model": name,
        "rows": len(rows),
        "mean_tokens": round(float(encoded.lengths.mean()), 1),
        "sub_networks": num_sub_nets,
        "reference_s_per_sub_network": round(float(np.mean(reference)), 3),
        "ours_s_per_sub_network": round(float(np.mean(ours)), 3),
        "speed_up": round(float(np.mean(reference) / np.mean(ours)), 2),
        "errors_unlike_sliced": mismatches,
        "matrix_product_share": round(matrix_product_share(evaluator, sub_networks[:3]), 3),
    }
    print("  ".join(f"{key} {value}" for key, value in result.items()), flush=True)
    return result


def main() -> None:
    """Compares on the demo encoder, a BERT-base-shaped one with random weights and MPNet; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--demo-base", action="store_true", help="MPNet's real weights too (extra [demo-base])")
    arguments = parser.parse_args()
    threads = arguments.threads
    torch.set_num_threads(threads)
    data = load_task_data(DataSource())
    model, tokenizer = load_base_model("demo", data.task, data.label_names, seed=0)
    demo = compare("demo encoder", model, tokenizer, data.validation, num_sub_nets=30, num_reference=5)
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_config(BertConfig())
    few = Rows(texts=data.validation.texts[:160], labels=data.validation.labels[:160])
    bert = compare("BERT-base shape, random weights", base, tokenizer, few, num_sub_nets=12, num_reference=3)
    results = [demo, bert]
    if arguments.demo_base:
        model, tokenizer = load_base_model("demo-base", data.task, data.label_names, seed=0)
        results.append(compare("demo-base, real weights", model, tokenizer, few, num_sub_nets=12, num_reference=3))
    print(json.dumps({"benchmark": "search_throughput", "threads": threads, "results": results}))


if __name__ == "__main__":
    main()
