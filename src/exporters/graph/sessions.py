"""Sessions of ONNX Runtime and OpenVINO with fixed threads, on the provider that was asked for and no other."""

from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import ModelError, shorten
from exporters.graph.openvino_ir import IR_SUFFIX, OpenVinoSession

GRAPH_SUFFIXES = (".onnx", IR_SUFFIX)
"""The suffixes of files that a session is made of."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Execution providers by the names users know."""
_EXACT: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""Options of providers that would round fp32 to fewer bits."""
_DOMAIN = "com.microsoft"
CUDA_OPERATORS = frozenset(("Attention", "BiasGelu", "MultiHeadAttention", "RotaryEmbedding", "SkipLayerNormalization"))
"""Of ONNX Runtime's own domain those that exports have; its CUDA provider computes each in fp32 and fp16 (its
docs/OperatorKernels.md)."""
_PACKAGES = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime")}
"""Packages that have a runtime, where it is not one of its own name."""


def installed_package(runtime: str) -> str:
    """Return the package that a runtime is installed by, pinned to its version, as pip takes it."""
    for package in _PACKAGES.get(runtime, (runtime,)):
        try:
            return f"{package}=={version(package)}"
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError(runtime)


def require_provider(provider: str, runtimes: Collection[str] = ("onnxruntime", "pytorch")) -> None:
    """Raise unless each of these runtimes can compute on a provider.

    Raises:
        ModelError: one cannot.
    """
    # Every runtime computes on the CPU, so nothing is loaded to find that out.
    if provider == "cpu":
        return
    wrong, steps = [], []
    if "onnxruntime" in runtimes:
        available = available_providers()
        if PROVIDERS[provider] not in available:
            wrong.append(f"ONNX Runtime has {', '.join(available)}")
            steps.append("install onnxruntime-gpu in place of onnxruntime")
    if "pytorch" in runtimes:
        import torch

        if not torch.cuda.is_available():
            wrong.append(f"PyTorch {torch.__version__} finds no CUDA device")
            steps.append("install PyTorch's CUDA build on a machine with such a device")
    if "openvino" in runtimes:
        wrong.append("OpenVINO's variants are made for the CPU")
        steps.append("export with --runtime onnxruntime")
    if wrong:
        raise ModelError(
            f"--provider {provider} must be there for what is computed, but {' and '.join(wrong)}. "
            f"Use --provider cpu, or {' and '.join(steps)}."
        )


def available_providers() -> list[str]:
    """Return what ONNX Runtime was built for, by its own names."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def create_session(path: Path, threads: int, provider: str = "cpu") -> Any:
    """Return a session that uses exactly `threads` CPU threads and does not spin while idle; of an IR OpenVINO's.

    Raises:
        ModelError: the file does not load, or the provider does not start.
    """
    if path.suffix == IR_SUFFIX:
        return OpenVinoSession(path, threads)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A layer of a transformer waits for the one before: there is nothing to run side by side.
    options.inter_op_num_threads = 1
    # Idle threads that spin answer sooner, but burn a core that others may need; a single thread never waits.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    wanted = PROVIDERS[provider]
    if provider == "cuda":
        _require_operators(path)
    if wanted in _EXACT:
        onnxruntime.preload_dlls()  # CUDA's libraries that came from pip, which nothing else finds without PyTorch
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[(wanted, _EXACT.get(wanted, {}))])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise ModelError(
            f"an ONNX file must load in ONNX Runtime, but {path} does not: {shorten(error, 400)}. "
            "Make it again with compressor export."
        ) from error
    used = session.get_providers()
    if wanted not in used:  # it falls back to the CPU with a warning
        raise ModelError(
            f"--provider {provider} must start in ONNX Runtime, but the session has {', '.join(used)}. "
            "Use --provider cpu, or install the CUDA libraries that this onnxruntime-gpu needs."
        )
    return session


def _require_operators(path: Path) -> None:
    """Raise unless the CUDA provider computes the fused operators of a graph: others would run on the CPU unnoticed.

    Raises:
        ModelError: it does not; a file that is no graph is left to ONNX Runtime to refuse.
    """
    import onnx

    try:
        nodes = onnx.load(str(path), load_external_data=False).graph.node
    except Exception:  # protobuf's errors have no base of their own
        return
    unknown = sorted({node.op_type for node in nodes if node.domain == _DOMAIN} - CUDA_OPERATORS)
    if unknown:
        raise ModelError(
            f"the fused operators of a graph must be ones that --provider cuda computes, but {path} has "
            f"{', '.join(unknown)}. Export with --portable, or use --provider cpu."
        )


def run_session(session: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the outputs of one batch; inputs the graph does not know are left out."""
    known = {entry.name for entry in session.get_inputs()}
    logits: np.ndarray = session.run(
        [session.get_outputs()[0].name], {name: values for name, values in inputs.items() if name in known}
    )[0]
    return logits


def files_of(graph: Path) -> list[Path]:
    """Return the files of an ONNX graph or an IR: its own, and its weights where they lie beside it."""
    beside = graph.with_suffix(".bin") if graph.suffix == IR_SUFFIX else graph.with_name(f"{graph.name}.data")
    return [file for file in (graph, beside) if file.is_file()]


def graph_mb(graph: Path) -> float:
    """Return the size of an ONNX graph or an IR in megabytes, weights included."""
    return sum(file.stat().st_size for file in files_of(graph)) / 1e6
