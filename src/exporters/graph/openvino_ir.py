"""A graph in OpenVINO's own form (IR): read from the ONNX graph, in fp32, for bfloat16, or in static int8 (NNCF).

An IR is an `.xml` with its weights in a `.bin` beside it. As our ONNX graphs do, it says of itself how rows are
tokenized and answered; and in which precision it computes, as OpenVINO would choose one by the CPU. OpenVINO and NNCF
are an extra, large, and imported only where they are used.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from compressor.errors import ModelError, shorten
from compressor.files import new_files

if TYPE_CHECKING:
    import numpy as np

PACKAGES = ("openvino", "nncf")
INSTALL = "Install them: pip install 'mlflow-compressor[openvino]'"
IR_FILE = "openvino_model.xml"
"""The fp32 form, under the name that other tools look for; the others have their precision before the suffix."""
IR_SUFFIX = ".xml"
_SECTION, _COMPUTES_IN = "compressor", "computes_in"
"""Keys of an IR's own information: where ours is, and of that the precision that it computes in."""
_TELEMETRY = "openvino_telemetry"
UNREADABLE = ("pre-norm rotary",)
"""Fused layers (`fused.py`) whose operators OpenVINO reads wrongly or not at all: of those it gets a portable graph."""


def missing_packages() -> tuple[str, ...]:
    """Return which of the packages are not installed that making an IR takes."""
    return tuple(name for name in PACKAGES if find_spec(name) is None)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting their import to Google Analytics, which they do where a module is found."""
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to say that a module cannot be imported
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before


def import_openvino() -> Any:
    """Return the module `openvino`, which reports nothing.

    Raises:
        ModelError: it is not installed.
    """
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise ModelError(
            f"OpenVINO must be installed for its variant of a model, but importing it failed: {shorten(error)}. "
            f"{INSTALL}."
        ) from error
    return openvino


def get_core() -> Any:
    """Return OpenVINO's core, the one of this process.

    Raises:
        ModelError: it is not installed.
    """
    return _create_core(import_openvino())


@cache
def _create_core(openvino: Any) -> Any:
    # Each core that compiles gives the thread a signal stack of its own and puts back the one it found when it ends.
    # Of two that end in the order in which they began, the second puts back what is freed: the next signal is fatal.
    return openvino.Core()


def computes_bf16() -> bool:
    """Return whether this CPU computes in bfloat16; others take fp32 in its place."""
    return "BF16" in get_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert_ir(graph: Path, output: Path) -> Path:
    """Write the IR of an fp32 ONNX graph.

    Raises:
        ModelError: OpenVINO is not installed, or cannot read the graph.
    """
    import onnx

    try:
        model = get_core().read_model(graph)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO must read the operators of an ONNX graph, but not those of {graph.name}: {shorten(error, 400)}. "
            "Export with --portable true, or with --runtime onnxruntime."
        ) from error
    # Reading a graph drops its metadata, which the IR needs too.
    written = onnx.load(str(graph), load_external_data=False).metadata_props
    return _save(model, output, {entry.key: entry.value for entry in written} | {_COMPUTES_IN: "f32"})


def halve_ir(path: Path, output: Path) -> Path:
    """Write an fp32 IR anew so that it computes in bfloat16; its weights are fp16, which is more exact and as small."""
    model = get_core().read_model(path)
    return _save(model, output, read_facts(model) | {_COMPUTES_IN: "bf16"}, halve=True)


def quantize_ir(path: Path, output: Path, rows: "Sequence[Mapping[str, np.ndarray]]") -> Path:
    """Write the static int8 variant of an fp32 IR: the ranges of activations are those of `rows`, inputs by name.

    What stays in floating point computes in bfloat16 where the CPU can, else in fp32. Rows do not depend on each other,
    as they do with dynamic int8.
    """
    core = get_core()
    with _without_telemetry():
        import nncf
    model = core.read_model(path)  # of an ONNX graph NNCF would find nodes under changing names
    facts = read_facts(model)
    names = [entry.any_name for entry in model.inputs]
    samples = nncf.Dataset([{name: row[name] for name in names} for row in rows])
    with _quiet(nncf):
        quantized = nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
    return _save(quantized, output, facts | {_COMPUTES_IN: "bf16"})


@contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Silence NNCF, which logs its progress and draws bars of its own."""
    from nncf.common.logging import track_progress

    before, logger = track_progress.Progress, logging.getLogger("nncf")
    level = logger.level
    nncf.set_log_level(logging.ERROR)
    # Its bars cannot be switched off from outside, so the class that draws them is replaced for the time of the block.
    track_progress.Progress = lambda *columns, **options: before(*columns, **options | {"disable": True})
    try:
        yield
    finally:
        track_progress.Progress = before
        nncf.set_log_level(level)


def _save(model: Any, output: Path, facts: Mapping[str, str], *, halve: bool = False) -> Path:
    """Write an IR whose two files appear once both are complete."""
    for key, value in facts.items():
        model.set_rt_info(value, [_SECTION, key])
    with new_files(output) as temporary:
        import_openvino().save_model(model, temporary / output.name, compress_to_fp16=halve)
    return output


def read_facts(model: Any) -> dict[str, str]:
    """Return what an IR says of itself: JSON values by name; nothing for one of another tool."""
    if not model.has_rt_info(_SECTION):
        return {}
    return {key: str(value.value) for key, value in model.get_rt_info(_SECTION).astype(dict).items()}


class OpenVinoSession:
    """A compiled IR that is asked as a session of ONNX Runtime is."""

    def __init__(self, path: Path, threads: int) -> None:
        """Compile the IR for exactly `threads` CPU threads, in the precision that it names (fp32 where it names none).

        Raises:
            ModelError: OpenVINO is not installed, or the files do not load.
        """
        core = get_core()
        # One request at a time on all threads that are given, as ONNX Runtime computes.
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
        try:
            model = core.read_model(path)
            self._facts = read_facts(model)
            precision = {"INFERENCE_PRECISION_HINT": self._facts.get(_COMPUTES_IN, "f32")}
            compiled = core.compile_model(model, "CPU", {**settings, **precision, "ENABLE_CPU_PINNING": False})
        except RuntimeError as error:
            raise ModelError(
                f"an IR must load in OpenVINO, but {path} does not: {shorten(error, 400)}. "
                "Make it again with compressor export."
            ) from error
        self._inputs = [_describe(entry) for entry in model.inputs]
        self._outputs = [_describe(entry) for entry in model.outputs]
        self._request = compiled.create_infer_request()

    def get_inputs(self) -> list[SimpleNamespace]:
        """Return what it takes: `name`, `type` and `shape` of each."""
        return self._inputs

    def get_outputs(self) -> list[SimpleNamespace]:
        """Return what it gives."""
        return self._outputs

    def get_modelmeta(self) -> SimpleNamespace:
        """Return what it says of itself, as `custom_metadata_map`."""
        return SimpleNamespace(custom_metadata_map=self._facts)

    def get_providers(self) -> list[str]:
        """Return where it computes, as ONNX Runtime would call it."""
        return ["CPUExecutionProvider"]

    def run(self, names: Sequence[str], inputs: "Mapping[str, np.ndarray]") -> "list[np.ndarray]":
        """Return the named outputs of one batch."""
        found = self._request.infer(dict(inputs))
        return [found[name] for name in names]


def _describe(entry: Any) -> SimpleNamespace:
    """Return an input or output as ONNX Runtime describes it."""
    kind = {"i64": "int64", "f32": "float"}.get(entry.element_type.get_type_name(), "other")
    shape = [str(size) for size in entry.partial_shape]
    return SimpleNamespace(name=entry.any_name, type=f"tensor({kind})", shape=shape)
