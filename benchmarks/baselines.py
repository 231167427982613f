"""Fronts of every common way to a small encoder, on the same rows, with the same fine-tuning and the same clock.

    pip install torch-pruning==1.6.1
    python benchmarks/baselines.py --bf16 --output-dir out/baselines

All start from the same pre-trained encoder and its plain fine-tuning, except the super-network:

- `super-network`: strategy `auto`, then the default search (60 evaluations) in each of `--search-spaces`.
- `super-network, extracted`: a spread of that front, cut, repaired and distilled as `compressor extract` does.
- `fewer layers`: the first k layers of the fine-tuned encoder, and k spread ones, distilled from it.
- `Torch-Pruning`: its Taylor importance, the same share everywhere (hidden width, heads, units), then distilled.
- `trained alone`: random sub-networks of the pre-trained encoder, each fine-tuned on the labels.
- `standard NAS`: `compressor nas` (moasha) for as long as the super-network took to be trained and searched.
- `int8`: the dense encoder with dynamic int8 weights.

Distillation is the same for all: at most `--finetune-epochs`, the best one kept. Share: parameters of the encoder's
layers (of the file's bytes for int8, embeddings too: it does not compare). Latency: ONNX Runtime, one exporter for all,
one thread, all models in turn. Prints a table, draws `baselines.svg` and `baselines.png`, writes `baselines.json`.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.data.batches import EncodedRows, encode
from compressor.data.loading import load_task_data
from compressor.data.sources import DataSource
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.pareto import compute_hypervolume, find_front
from compressor.extraction.extract import Extractor
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.origins import SharedWeights
from compressor.files import write_json
from compressor.markdown import markdown_table
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions, get_layer_order, get_layers, max_positions
from compressor.network.loading import load_base_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.search.loop import run_search
from compressor.search.options import SearchOptions
from compressor.search.record import RESULTS_FILE
from compressor.spaces import create_search_space
from compressor.training.loop import distill, fine_tune
from compressor.training.settings import TrainingSettings
from compressor.training.train import train_super_network
from exporters.graph.onnx_export import export_onnx
from exporters.graph.quantization import quantize_int8
from exporters.timing.latency import measure_latencies
from exporters.timing.runners import open_runner

OURS, EXTRACTED, LAYERS, TORCH_PRUNING, ALONE, NAS, INT8, DENSE = (
    "super-network",
    "super-network, extracted",
    "fewer layers",
    "Torch-Pruning",
    "trained alone",
    "standard NAS",
    "int8",
    "dense",
)
METHODS = (OURS, LAYERS, TORCH_PRUNING, ALONE, NAS, INT8)
SHARES = (0.75, 0.5, 0.25, 0.1)
"""The sizes of the table."""


@dataclass(kw_only=True)
class Point:
    """One small model."""

    method: str
    name: str
    share: float
    error: float
    test_error: float | None = None
    latency_ms: float | None = None
    onnx: str | None = None


@dataclass(kw_only=True)
class Bench:
    """What all methods share, and what they found."""

    source: DataSource
    options: argparse.Namespace
    points: list[Point] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of computing, by method; the clock of one thread's CPU time, which neighbours do not change much."""

    def __post_init__(self) -> None:
        self.data = load_task_data(self.source)
        self.task = self.data.task
        model, self.tokenizer = self.load()
        self.rows: dict[str, EncodedRows] = {
            name: encode(part, self.task, self.tokenizer, max_positions(model))
            for name, part in self.data.parts.items()
        }
        self.encoder_params = count_encoder(model)

    def load(self) -> tuple[Any, Any]:
        """The pre-trained encoder with a new task head, and its tokenizer."""
        return load_base_model("demo", self.task, self.data.label_names, seed=self.options.seed)

    def settings(self, **changes: Any) -> TrainingSettings:
        return TrainingSettings(**({"seed": self.options.seed, "bf16": self.options.bf16} | changes))

    def errors(self, model: Any) -> dict[str, float]:
        parts = {"error": "validation", "test_error": "test"}
        return {
            key: Evaluator(model, self.task, self.rows[part]).evaluate().error
            for key, part in parts.items()
            if len(self.rows[part])
        }

    def add(self, method: str, name: str, model: Any, share: float | None = None) -> None:
        """Notes a model, and exports it for the clock."""
        share = count_encoder(model) / self.encoder_params if share is None else share
        file = self.options.output_dir / f"{len(self.points):03d}.onnx"
        export_onnx(model, self.tokenizer, file, portable=True)
        self.note(Point(method=method, name=name, share=share, onnx=str(file), **self.errors(model)))

    def note(self, point: Point) -> None:
        self.points.append(point)
        print(json.dumps(asdict(point)), flush=True)

    @contextmanager
    def timed(self, method: str) -> Iterator[None]:
        """Adds what is computed inside to a method's seconds."""
        start = time.process_time()
        yield
        self.seconds[method] = self.seconds.get(method, 0.0) + time.process_time() - start

    def distilled(self, model: Any, teacher: np.ndarray, method: str) -> Any:
        """The model after the fine-tuning that all methods share."""
        settings = self.settings(num_train_epochs=self.options.finetune_epochs)
        with self.timed(method):
            distill(model, self.task, self.rows["train"], self.rows["validation"], teacher, settings)
        return model


def count_encoder(model: Any) -> int:
    """Parameters of the encoder's layers."""
    return sum(parameter.numel() for layer in get_layers(model) for parameter in layer.parameters())


def super_network(bench: Bench, _: Any, __: np.ndarray) -> None:
    """The product: train, search, extract."""
    with bench.timed(OURS):
        net = train_super_network("demo", bench.data, bench.settings())
    model = net.model
    evaluator, cost_model = Evaluator(model, bench.task, bench.rows["validation"]), create_cost_model(model)
    test = Evaluator(model, bench.task, bench.rows["test"]) if len(bench.rows["test"]) else None
    extractor = Extractor(
        SharedWeights(net), bench.data, ExtractionOptions(finetune_epochs=bench.options.finetune_epochs)
    )
    for name in bench.options.search_spaces:
        with bench.timed(f"{OURS}, search in {name}"):
            result = run_search(
                create_search_space(name, get_dimensions(model), get_layer_order(model)),
                cost_model,
                lambda sub_network: evaluator.evaluate(sub_network).error,
                SearchOptions(seed=bench.options.seed),
            )
        for member in result.front:
            bench.note(
                Point(
                    method=OURS,
                    name=f"{name} {member.name}",
                    share=member.relative_encoder_params,
                    error=member.error,
                    test_error=test.evaluate(member.sub_network).error if test else None,
                )
            )
        for member in spread([m for m in result.front if 0 < m.relative_encoder_params < 1], bench.options.extracted):
            with bench.timed(EXTRACTED):
                small = extractor.extract(member)
            repaired = small.report.repair is not None and small.report.repair.kept
            bench.add(EXTRACTED, f"{name} {member.name}{' (repaired)' if repaired else ''}", small.model)


def spread(front: list[Any], count: int) -> list[Any]:
    """Members nearest in size to `count` shares of the encoder, log-spaced from 0.05 to 0.75."""
    wanted = np.geomspace(0.05, 0.75, count)
    nearest = [min(front, key=lambda m: abs(np.log(m.relative_encoder_params / share))) for share in wanted]
    return list({member.name: member for member in nearest}.values())


def fewer_layers(bench: Bench, dense: Any, teacher: np.ndarray) -> None:
    """The first k layers, and k layers spread over all."""
    dimensions = get_dimensions(dense)
    total = dimensions.num_layers
    heads, units = tuple(range(dimensions.num_heads)), tuple(range(dimensions.num_units))
    kept_sets = {}
    for k in range(1, total):
        kept_sets[tuple(range(k))] = f"first {k}"
        kept_sets.setdefault(tuple(sorted({round(i) for i in np.linspace(0, total - 1, k)})), f"{k} spread")
    for kept, name in kept_sets.items():
        sub_network = SubNetwork(
            heads=tuple(heads if i in kept else () for i in range(total)),
            units=tuple(units if i in kept else () for i in range(total)),
        )
        bench.add(LAYERS, name, bench.distilled(slice_model(dense, sub_network), teacher, LAYERS))


def torch_pruning(bench: Bench, dense: Any, teacher: np.ndarray) -> None:
    """One-shot structural pruning by Taylor importance, the same share of every dimension."""
    import torch_pruning as tp

    from compressor.data.batches import training_batches

    for ratio in (0.15, 0.3, 0.5, 0.7):
        model = copy.deepcopy(dense).train()
        with bench.timed(TORCH_PRUNING):
            rng, rows = np.random.default_rng(bench.options.seed), bench.rows["train"]
            model.zero_grad()
            for _, (picked, batch) in zip(range(8), training_batches(rows, 32, rng), strict=False):
                loss = bench.task.head.loss(model(**batch).logits, torch.from_numpy(rows.labels[picked]))
                torch.autograd.backward(loss)
            attention: list[Any] = [layer.get_submodule("attention.self") for layer in get_layers(model)]
            heads = {
                linear: block.num_attention_heads
                for block in attention
                for linear in (block.query, block.key, block.value)
            }
            example = {name: values[:1] for name, values in batch.items()}
            pruner = tp.pruner.MetaPruner(
                model,
                example,
                importance=tp.importance.GroupTaylorImportance(),
                global_pruning=False,
                pruning_ratio=ratio,
                num_heads=heads,
                prune_num_heads=True,
                head_pruning_ratio=ratio,
                prune_head_dims=False,
                output_transform=lambda output: output.logits,
                ignored_layers=[model.classifier],
            )
            pruner.step()
        note_sizes(pruner, attention)
        bench.add(TORCH_PRUNING, f"{ratio:.0%} of all widths", bench.distilled(model, teacher, TORCH_PRUNING))


def note_sizes(pruner: Any, attention: list[Any]) -> None:
    """Tells the modules the sizes that Torch-Pruning has left them."""
    for block in attention:
        block.num_attention_heads = pruner.num_heads[block.query]
        block.all_head_size = block.query.out_features
        block.attention_head_size = block.all_head_size // block.num_attention_heads


def trained_alone(bench: Bench, _: Any, __: np.ndarray) -> None:
    """Random sub-networks that can learn, each fine-tuned from the pre-trained weights."""
    rng = np.random.default_rng(bench.options.seed)
    for number in range(bench.options.alone):
        model, _ = bench.load()
        sub_network = create_search_space("small_ordered", get_dimensions(model)).draw_trainable(rng)
        cut = slice_model(model, sub_network)
        with bench.timed(ALONE):
            fine_tune(
                cut,
                bench.task,
                bench.rows["train"],
                bench.rows["validation"],
                bench.settings(num_train_epochs=2),
                lambda _: None,
            )
        bench.add(ALONE, f"random {number}", cut.eval())


def standard_nas(bench: Bench, _: Any, __: np.ndarray) -> None:
    """The command line's baseline, for as many seconds as the super-network took."""
    seconds = bench.seconds.get(OURS, 0.0)
    seconds += max((value for name, value in bench.seconds.items() if "search in" in name), default=0.0)
    target, source = bench.options.output_dir / "nas", bench.source
    files = {"--train-file": source.train_file, "--validation-file": source.validation_file}
    command = [
        *(sys.executable, "-m", "mlproject", "nas", "--method", "moasha", "--output-dir", str(target)),
        *(
            "--max-wallclock-time",
            str(round(seconds or 600)),
            "--precision-training",
            "bf16" if bench.options.bf16 else "fp32",
        ),
        *("--task-name", source.task_name, "--seed", str(bench.options.seed), "--overwrite-output-dir", "true"),
        *("--max-train-samples", str(source.max_train_samples), "--max-eval-samples", str(source.max_eval_samples)),
        *(part for name, file in files.items() if file for part in (name, file)),
    ]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    results = json.loads((target / RESULTS_FILE).read_text())
    bench.seconds[NAS] = seconds or 600
    for index in results["front"]:
        found = results["evaluations"][index]
        bench.note(Point(method=NAS, name=found["name"], share=found["relative_encoder_params"], error=found["error"]))


def int8(bench: Bench, dense: Any, _: np.ndarray) -> None:
    """The dense encoder, its weights in int8; its share is that of the file's bytes."""
    from compressor.data.batches import evaluation_batches
    from compressor.data.metrics import compute_error
    from exporters.graph.parity import onnx_logits
    from exporters.graph.sessions import create_session

    whole, small = (bench.options.output_dir / f"{name}.onnx" for name in ("dense-fp32", "dense-int8"))
    export_onnx(dense, bench.tokenizer, whole, portable=True)
    quantize_int8(whole, small)
    session = create_session(small, 1)
    errors = {}
    for key, part in (("error", "validation"), ("test_error", "test")):
        if len(bench.rows[part]):
            logits = onnx_logits(session, list(evaluation_batches(bench.rows[part], 64)))
            predicted = bench.task.head.predict(logits)
            errors[key] = compute_error(bench.task.metric, predicted, bench.rows[part].labels)
    share = small.stat().st_size / whole.stat().st_size
    bench.note(Point(method=INT8, name="dense, int8", share=share, onnx=str(small), **errors))


def measure(bench: Bench, length: int) -> None:
    """The latency of one text of `length` tokens, all models in turn."""
    files = {str(number): point.onnx for number, point in enumerate(bench.points) if point.onnx}
    runners = {number: open_runner(Path(file), 1) for number, file in files.items()}
    for latency in measure_latencies(runners, [1], [length], runs=41)[0]:
        bench.points[int(latency.model)].latency_ms = latency.p50_ms


def draw(bench: Bench, dense: Point) -> None:
    """Error by share of the encoder, and by latency."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    methods = list(dict.fromkeys(point.method for point in bench.points))
    for number, method in enumerate(methods):
        points = [point for point in bench.points if point.method == method]
        for axes, key in ((left, "share"), (right, "latency_ms")):
            pairs = [(point.error, getattr(point, key)) for point in points if getattr(point, key) is not None]
            if not pairs:
                continue
            best = sorted((pairs[index] for index in find_front(pairs)), key=lambda pair: pair[1])
            marker = "D" if method in (DENSE, INT8) else "o"
            axes.plot(
                [size for _, size in best],
                [error for error, _ in best],
                marker=marker,
                ms=5,
                lw=1.6,
                label=method,
                color=f"C{number}",
            )
    left.set(xlabel="share of the encoder's parameters (int8: of the bytes)", ylabel="validation error", xlim=(0, 1.02))
    right.set(xlabel="ms, one text, ONNX Runtime, one thread", xlim=(0, None))
    for axes in (left, right):
        axes.axhline(dense.error, color="grey", lw=0.8, ls=":")
        axes.grid(alpha=0.25)
    left.set_ylim(min(point.error for point in bench.points) - 0.01, min(0.5, left.get_ylim()[1]))
    left.legend(fontsize=8)
    for suffix in ("svg", "png"):
        figure.savefig(bench.options.output_dir / f"baselines.{suffix}", dpi=140)


def summarise(bench: Bench) -> dict[str, dict[str, float | None]]:
    """Per method: hypervolume up to (1, 1), best error at each share, seconds."""
    summary: dict[str, dict[str, float | None]] = {}
    for method in dict.fromkeys(point.method for point in bench.points):
        points = [point for point in bench.points if point.method == method]
        pairs = [(point.error, point.share) for point in points]
        best = {f"error_{s}": min((e for e, size in pairs if size <= s), default=None) for s in SHARES}
        seconds = sum(value for name, value in bench.seconds.items() if name.split(", search")[0] == method)
        summary[method] = {"hypervolume": round(compute_hypervolume(pairs, [1, 1]), 4), **best, "cpu_seconds": seconds}
    return summary


def main() -> None:
    """Runs the methods; a table, a picture and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--search-spaces", nargs="+", default=["small_ordered"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task-name", default="demo")
    parser.add_argument("--train-file", type=Path)
    parser.add_argument("--validation-file", type=Path)
    parser.add_argument("--train-rows", type=int, default=3000)
    parser.add_argument("--validation-rows", type=int, default=1000)
    parser.add_argument("--finetune-epochs", type=int, default=2)
    parser.add_argument("--extracted", type=int, default=5, help="front members that are extracted")
    parser.add_argument("--alone", type=int, default=6, help="sub-networks that are trained alone")
    parser.add_argument("--length", type=int, default=64, help="tokens of the text that is timed")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    source = DataSource(
        task_name=options.task_name,
        train_file=str(options.train_file) if options.train_file else None,
        validation_file=str(options.validation_file) if options.validation_file else None,
        max_train_samples=options.train_rows,
        max_eval_samples=options.validation_rows,
    )
    bench = Bench(source=source, options=options)
    dense, _ = bench.load()
    rows = bench.rows
    with bench.timed(DENSE):
        fine_tune(
            dense, bench.task, rows["train"], rows["validation"], bench.settings(num_train_epochs=2), lambda _: None
        )
    bench.add(DENSE, "dense", dense.eval(), share=1.0)
    teacher = Evaluator(dense, bench.task, rows["train"]).evaluate().logits
    runs: dict[str, Callable[[Bench, Any, np.ndarray], None]] = {
        OURS: super_network,
        LAYERS: fewer_layers,
        TORCH_PRUNING: torch_pruning,
        ALONE: trained_alone,
        NAS: standard_nas,
        INT8: int8,
    }
    for method in options.methods:
        runs[method](bench, dense, teacher)
        write_json(options.output_dir / "baselines.json", {"points": [asdict(point) for point in bench.points]})
    measure(bench, options.length)
    summary = summarise(bench)
    draw(bench, bench.points[0])
    result = {"benchmark": "baselines", "task": options.task_name, "methods": summary}
    write_json(options.output_dir / "baselines.json", result | {"points": [asdict(point) for point in bench.points]})
    header = ["method", "hypervolume", *(f"error at ≤ {share:g}" for share in SHARES), "CPU s"]
    table = [
        [name, *("" if value is None else f"{value:.4g}" for value in values.values())]
        for name, values in summary.items()
    ]
    print(f"Fronts on validation rows\n\n{markdown_table(header, table)}\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
