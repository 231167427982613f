"""The models that a benchmark times, found behind the paths that a user names: what their files say of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compressor.errors import ModelError
from compressor.extraction.record import SlicedModelRecord
from compressor.network.saving import is_sliced
from compressor.training.super_network import TrainingRecord
from exporters.export_record import EXPORT_FILE, Export
from exporters.graph.openvino_ir import IR_SUFFIX
from exporters.graph.sessions import GRAPH_SUFFIXES, files_of, graph_mb
from exporters.options import FORMS, PRECISIONS, Precision, Runtime, Unnamed


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A model to time."""

    name: str
    """Unique among the precisions and runtimes of a role."""
    role: str
    """The name that its path was given."""
    path: Path
    """An ONNX file, an IR of OpenVINO, or a model directory."""
    runtime: Runtime | Literal["pytorch"]
    precision: Precision | Unnamed
    mb: float
    error: float | None
    """On the validation rows, where it is known."""
    error_interval: tuple[float, float] | None = None
    """95 % interval of the error, where it is known."""
    lengths: tuple[int, ...] = ()
    """Tokens of the validation rows, where they are known."""


def find_models(role: str, path: Path) -> list[FoundModel]:
    """Return what is timed for a path: an export's accepted forms, one ONNX file or IR, or a model in PyTorch.

    Raises:
        ModelError: the path is none of these, or a file was changed since it was exported.
        FileError: the record of an export or a model is broken.
    """
    path = path.expanduser().resolve()
    # The order matters: an export's directory has a `config.json` too.
    if path.is_dir() and (path / EXPORT_FILE).is_file():
        return _find_exported(role, Export.load(path))
    if path.is_file() and path.suffix in GRAPH_SUFFIXES:
        return [_find_graph(role, path)]
    if (path / "config.json").is_file():
        weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        return [
            FoundModel(
                name=f"{role}-pytorch",
                role=role,
                path=path,
                runtime="pytorch",
                precision="fp32",
                mb=weights / 1e6,
                error=_last_error(path),
            )
        ]
    raise ModelError(
        f"--model must be made by compressor export, extract or train-supernet, but {path} is not. "
        "Run compressor export first."
    )


def _find_exported(role: str, export: Export) -> list[FoundModel]:
    return [
        FoundModel(
            name=role if name == "fp32" else f"{role}-{name}",
            role=role,
            path=export.path(name),
            runtime=FORMS[name][0],
            precision=FORMS[name][1],
            mb=form.mb,
            error=form.error,
            error_interval=form.error_interval,
            lengths=export.lengths,
        )
        for name, form in export.accepted.items()
    ]


def _find_graph(role: str, path: Path) -> FoundModel:
    """Return one ONNX file or IR, of which more is known where it lies in an export's directory."""
    runtime: Runtime = "openvino" if path.suffix == IR_SUFFIX else "onnxruntime"
    # Only this graph's files are compared with their digests: others of the export may be gone by now.
    beside = [file.name for file in files_of(path)]
    forms = Export.load(path.parent, beside).forms if (path.parent / EXPORT_FILE).is_file() else {}
    exported = {form.file: (FORMS[name][1], form) for name, form in forms.items()}
    # What an export has noted of a file counts more than what its name suggests.
    precision, form = exported.get(path.name, (_named_precision(path), None))
    return FoundModel(
        name=role,
        role=role,
        path=path,
        runtime=runtime,
        precision=precision,
        mb=graph_mb(path),
        error=None if form is None else form.error,
        error_interval=None if form is None else form.error_interval,
    )


def _named_precision(path: Path) -> Precision | Unnamed:
    """Return the precision that the name of a graph tells; `?` for one that was not named by an export."""
    if not path.name.startswith(("model", "openvino_model")):
        return "?"
    return next((precision for precision in PRECISIONS if path.stem.endswith(f".{precision}")), "fp32")


def _last_error(path: Path) -> float | None:
    """Return the validation error that a model directory's own file tells: of a sliced model or a super-network."""
    if is_sliced(path):
        return SlicedModelRecord.load(path).known_error
    record = TrainingRecord.load(path)
    return None if record is None else record.error
