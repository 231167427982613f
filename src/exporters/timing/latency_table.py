"""Timing the parts of a super-network as they are served: a dozen small exported graphs, in turn.

The graphs are sub-networks of few layers, made by the exporter and quantized as an export is, so that a part runs here
as it runs there. Their embedding tables are cut: looking up a token takes as long in a small one.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import ModelError
from compressor.evaluation.latency import Block, Meters, time_block, warm_up
from compressor.evaluation.latency_table import (
    ON_GPU,
    LatencyKind,
    LatencyTable,
    TableCheck,
    solve_latency_table,
    sub_network_to_check,
    sub_networks_to_time,
)
from compressor.extraction.vocabulary import cut_embeddings
from compressor.network.families import get_dimensions, get_family
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.progress import progress_bar
from exporters.graph.cpu import cpu_name
from exporters.graph.onnx_export import export_onnx
from exporters.graph.openvino_ir import IR_SUFFIX, UNREADABLE, convert_ir, halve_ir, quantize_ir
from exporters.graph.quantization import FP16_SUFFIX, INT8_SUFFIX, convert_fp16, quantize_int8
from exporters.graph.sessions import PROVIDERS, available_providers
from exporters.timing.runners import Runner, make_inputs, open_runner

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NUM_TOKENS = 1000
"""Rows of the cut embedding tables."""
_WARM_UPS, _ROUNDS, _FEWEST_ROUNDS = 3, 30, 7
"""Calls of each graph: untimed ones first, then one a round."""
_CALIBRATION_ROWS, _CALIBRATION_LENGTH = 2, 8
_MOST_S = 25.0
"""After which no further round begins, once there are the fewest."""
_CACHE_BYTES = 64 * 2**20
"""Read between the calls, so that each finds its weights in memory and not in the caches: as in `benchmark`, where
whole models take turns. Small graphs would stay there, and be faster than the parts of a model are."""


def _quantize(graph: Path) -> Path:
    return quantize_int8(graph, graph.with_suffix(INT8_SUFFIX))


def _halve_onnx(graph: Path) -> Path:
    return convert_fp16(graph, graph.with_suffix(FP16_SUFFIX))


def _convert(graph: Path) -> Path:
    return convert_ir(graph, graph.with_suffix(IR_SUFFIX))


def _halve(graph: Path) -> Path:
    return halve_ir(_convert(graph), graph.with_suffix(f".bf16{IR_SUFFIX}"))


def _quantize_static(graph: Path) -> Path:
    """Quantize a graph, calibrated on random tokens, since ranges of activations take no time."""
    whole = _convert(graph)
    runner = open_runner(whole, threads=1)
    rows = [make_inputs(runner, [_CALIBRATION_LENGTH], seed=seed) for seed in range(_CALIBRATION_ROWS)]
    return quantize_ir(whole, graph.with_suffix(f".int8{IR_SUFFIX}"), rows)


FORMS: dict[str, Callable[[Path], Path]] = {
    "onnx-fp32": lambda graph: graph,
    "onnx-int8": _quantize,
    "openvino-fp32": _convert,
    "openvino-bf16": _halve,
    "openvino-int8": _quantize_static,
    "onnx-cuda-fp32": lambda graph: graph,
    "onnx-cuda-fp16": _halve_onnx,
}
"""What is made of an fp32 graph, by runtime and precision: a file that `open_runner` opens."""


def measure_latency_table(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    kind: LatencyKind,
    *,
    meters: Meters | None = None,
) -> LatencyTable:
    """Return how long the parts of a super-network take, from medians of rounds in which all graphs take turns.

    It takes half a minute to a minute. On one thread of a CPU times are processor time: what the wall clock shows on a
    quiet machine, and what others on a busy one hardly change.

    Raises:
        ModelError: ONNX Runtime has no CUDA provider, for a kind that is computed on a GPU.
    """
    require_runtime_of(kind.latency_of)
    dimensions = get_dimensions(model)
    # The last one is none of the equations: what the table predicts for it is held against its own time.
    wanted, checked = sub_networks_to_time(dimensions), sub_network_to_check(dimensions)
    every = [*wanted, checked]
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_bar(total=len(every) + _ROUNDS, unit="step", desc=f"latency table of {kind.latency_of}") as bar,
    ):
        runners = []
        for number, sub_network in enumerate(every):
            path = Path(folder) / f"{number}.onnx"
            runners.append(open_part(model, tokenizer, sub_network, path, kind))
            bar.update()
        timed = time_runners(runners, kind, meters or Meters(), bar.update)
    *ms, check_ms = timed.ms
    table = solve_latency_table(kind, model.config.model_type, dimensions, list(zip(wanted, ms, strict=True)))
    check = TableCheck(timed_ms=check_ms, predicted_ms=table.predict(checked))
    return replace(table, check=check, cpu=cpu_name(), waited=timed.waited)


def require_runtime_of(latency_of: str | None) -> None:
    """Raise unless what latencies are of can be computed here.

    Raises:
        ModelError: it is computed on a GPU, and ONNX Runtime has no CUDA provider.
    """
    if latency_of not in ON_GPU:
        return
    available = available_providers()
    if PROVIDERS["cuda"] not in available:
        raise ModelError(
            f"--latency-of {latency_of} must be given where ONNX Runtime has {PROVIDERS['cuda']}, but it has "
            f"{', '.join(available)}. Choose another, or install onnxruntime-gpu in place of onnxruntime."
        )


def open_part(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sub_network: SubNetwork,
    path: Path,
    kind: LatencyKind,
) -> Runner:
    """Return the runner of a graph that a table is solved from, which is written to `path` and beside it."""
    portable = kind.latency_of.startswith("openvino") and get_family(model.config.model_type).fused in UNREADABLE
    graph = _export(model, tokenizer, sub_network, path, portable=portable)
    return open_runner(FORMS[kind.latency_of](graph), kind.threads, kind.provider)


def _export(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sub_network: SubNetwork,
    path: Path,
    *,
    portable: bool,
) -> Path:
    sliced = slice_model(model, sub_network).cpu()
    table: Any = sliced.get_input_embeddings()
    if table.num_embeddings > _NUM_TOKENS:
        padding = set() if table.padding_idx is None else {table.padding_idx}
        # Without its padding token a model that counts positions from it would not run.
        cut_embeddings(sliced, np.array(sorted({*range(_NUM_TOKENS), *padding})))
    return export_onnx(sliced, tokenizer, path, portable=portable)


@dataclass(frozen=True, kw_only=True)
class RunnerTimes:
    """What was measured of several models."""

    ms: tuple[float, ...]
    """The median of each."""
    waited: float | None
    """The share of the time that this process waited for others; None where nothing tells."""


def time_runners(
    runners: Sequence[Runner], kind: LatencyKind, meters: Meters, on_round: Callable[[], object] = lambda: None
) -> RunnerTimes:
    """Return the times of models that take turns in each round; few rounds where they take long."""
    others, calls = np.ones(_CACHE_BYTES // 8), dict[str, Callable[[], object]]()
    names = [str(number) for number in range(len(runners))]
    for name, runner in zip(names, runners, strict=True):
        # 8 bytes a number: reading so many pushes the weights of all graphs out of the processor's caches.
        calls[f"before {name}"] = others.sum
        calls[name] = partial(runner.run, make_inputs(runner, [kind.length] * kind.batch_size))
    one_thread = kind.threads == 1 and kind.provider == "cpu"
    warm_up(calls, _WARM_UPS)
    blocks: list[Block] = []
    start = meters.clock()
    # A fewest number of rounds, and more as long as there is time.
    while len(blocks) < _ROUNDS and (len(blocks) < _FEWEST_ROUNDS or meters.clock() - start < _MOST_S):
        blocks.append(time_block(calls, range(len(blocks), len(blocks) + 1), one_thread=one_thread, meters=meters))
        on_round()
    of = [block.cpu_seconds if one_thread else block.seconds for block in blocks]
    known = [block.waited for block in blocks if block.waited is not None]
    return RunnerTimes(
        # A block is one round here, and each graph ran once in it.
        ms=tuple(1e3 * float(np.median([seconds[name][0] for seconds in of])) for name in names),
        waited=float(np.mean(known)) if known else None,
    )
