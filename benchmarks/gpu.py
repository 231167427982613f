"""What a GPU gains over the CPU of the same machine: training, search, latency; where there is none it says so.

Training: steps of `auto`'s second half (the super-network, two random sub-networks) on the demo's rows, in fp32 and in
what the device has of 16 bits. Search: sub-networks of `small_ordered` on the validation rows. Latency: one text and
eight of 128 tokens in PyTorch, and in ONNX Runtime where it has the CUDA provider. `python benchmarks/gpu.py` takes
about three minutes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.data.batches import encode, training_batches
from compressor.data.loading import load_task_data
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.device import half_type
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import get_dimensions, max_positions
from compressor.network.loading import load_base_model
from compressor.spaces import create_search_space
from compressor.training.loop import run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Step, get_strategy
from exporters.graph.onnx_export import export_onnx
from exporters.graph.quantization import FP16_SUFFIX, convert_fp16
from exporters.graph.sessions import PROVIDERS
from exporters.timing.runners import make_inputs, open_runner


def main() -> None:
    """Measures both devices; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sub-networks", type=int, default=20)
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    print(json.dumps(compare(load_task_data(DataSource()), **vars(arguments))))


def compare(data: TaskData, *, model_name_or_path: str, **counts: int) -> dict[str, Any]:
    """What each device of this machine does, and the gain of the GPU; of no GPU nothing but that."""
    found: dict[str, Any] = {"benchmark": "gpu", "model": model_name_or_path, "torch": torch.__version__}
    if not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no CUDA device: nothing is measured.")
        return found | {"gpu": None}
    found |= {"gpu": torch.cuda.get_device_name(), "threads": torch.get_num_threads()}
    for device in ("cpu", "cuda"):
        found[device] = measure(torch.device(device), data, model_name_or_path, **counts)
        print(device, found[device])
    ratios = {name: value / found["cpu"][name] for name, value in found["cuda"].items() if name in found["cpu"]}
    return found | {"cuda over cpu": {name: round(ratio, 2) for name, ratio in ratios.items()}}


def measure(
    device: torch.device, data: TaskData, model_name_or_path: str, *, steps: int, sub_networks: int, runs: int
) -> dict[str, float]:
    """Rows a second in training and search, milliseconds of an answer."""
    model, tokenizer = load_base_model(model_name_or_path, data.task, data.label_names, seed=0)
    model.to(device)
    train, validation = (
        encode(part, data.task, tokenizer, max_positions(model)) for part in (data.train, data.validation)
    )
    space, rng = create_search_space("small_ordered", get_dimensions(model)), np.random.default_rng(0)
    found: dict[str, float] = {}
    model.train()
    strategy, batches = get_strategy("auto", 2), list(training_batches(train, 32, rng))[: steps + 2]
    for half in (False, True):
        settings = TrainingSettings(bf16=half)
        seconds = []
        for index, (places, batch) in enumerate(batches):
            step = Step(index=900 + index, num_steps=1000, num_random_sub_nets=2, rng=rng, num_warm_up_steps=10)
            labels = torch.from_numpy(train.targets[places]).to(device)
            updates = strategy(space, step)
            seconds.append(
                _time(lambda *of: run_updates(*of).tolist(), model, batch, labels, updates, settings, data.task.head)
            )
            model.zero_grad(set_to_none=True)
        kind = str(half_type(device)).removeprefix("torch.") if half else "fp32"
        found[f"training rows/s, {kind}"] = round(32 / float(np.median(seconds[2:])), 1)  # the first two warm up
    evaluator = Evaluator(model.eval(), data.task, validation)
    evaluator.evaluate()
    seconds = [_time(evaluator.evaluate, space.draw(rng)) for _ in range(sub_networks)]
    found["search rows/s"] = round(len(validation) * len(seconds) / sum(seconds), 1)
    return found | _time_answers(device, model.cpu(), tokenizer, runs)


def _time_answers(device: torch.device, model: Any, tokenizer: Any, runs: int) -> dict[str, float]:
    """Milliseconds (median) of one text and of eight, of 128 tokens each."""
    import onnxruntime

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        graphs = {}
        if PROVIDERS[device.type] in onnxruntime.get_available_providers():
            graphs["onnx fp32"] = export_onnx(model, tokenizer, Path(folder) / "model.onnx")
            if device.type == "cuda":
                graphs["onnx fp16"] = convert_fp16(graphs["onnx fp32"], Path(folder) / f"model{FP16_SUFFIX}")
        for name, graph in graphs.items():
            runner = open_runner(graph, torch.get_num_threads(), device.type)
            for count in (1, 8):
                inputs = make_inputs(runner, [128] * count)
                found[f"{name} {count}×128, ms"] = _median_ms(partial(runner.run, inputs), runs)
    model.to(device)
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    length = min(128, max_positions(model))
    for count in (1, 8):
        batch = {name: torch.ones(count, length, dtype=torch.int64, device=device) for name in names}
        with torch.inference_mode():
            found[f"pytorch fp32 {count}×128, ms"] = _median_ms(partial(_logits, model, batch), runs)
    return found


def _logits(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    logits: torch.Tensor = model(**batch)[0].cpu()
    return logits


def _median_ms(call: Callable[[], object], runs: int) -> float:
    call()
    return round(1e3 * float(np.median([_time(call) for _ in range(runs)])), 3)


def _time(call: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
