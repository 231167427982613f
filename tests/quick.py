"""What makes libraries quicker where nothing is lost by it."""

import functools
import hashlib
import json
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def do_not_wait_for_the_disk() -> None:
    """SQLite no longer waits until the disk has what was committed: a killed process loses nothing by that."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _do_not_wait):
        event.listen(Engine, "connect", _do_not_wait)


def _do_not_wait(connection: Any, _record: Any) -> None:
    with suppress(sqlite3.DatabaseError):  # of a file that is no database the first statement says so
        connection.execute("PRAGMA synchronous=OFF")


def remember_operators() -> None:
    """The exporter reads its table of operators anew for each graph: a fifth of a tiny one's time."""
    from torch.onnx._internal.exporter._registration import onnxscript_apis

    if not hasattr(onnxscript_apis.get_torchlib_ops, "cache_info"):
        onnxscript_apis.get_torchlib_ops = functools.cache(onnxscript_apis.get_torchlib_ops)


def remember(export: Any, folder: Path, *, refill: bool = False) -> Any:
    """`torch.onnx.export` for tests of what becomes of a graph: the same model's is made once, and lies in a folder.

    With `refill`, a model of the same modules gets that graph with weights of its own in the same places.
    """

    @functools.wraps(export)
    def remembered(model: Any, **options: Any) -> Any:
        import onnx

        tensors = {name: t.detach().contiguous() for name, t in [*model.named_parameters(), *model.named_buffers()]}
        words = _words_of(model, options)
        alike, same = folder / f"{_alike(words, tensors)}.onnx", folder / f"{_same(words, tensors)}.onnx"
        if refill and alike.is_file():
            return _Program(_refilled(onnx.load(alike), tensors))
        if not same.is_file():
            program = export(model, **options)
            if "Fused" not in repr(model):
                program.optimize()  # as `export_onnx` does next
            _write(same, program.model_proto)
            if _holds(program.model_proto, tensors):
                _write(alike, program.model_proto)
        return _Program(onnx.load(same))

    return remembered


@dataclass(frozen=True)
class _Program:
    """What the exporter gives, as far as it is asked."""

    model_proto: Any

    def optimize(self) -> None:
        """It is."""


def _write(path: Path, proto: Any) -> None:
    begun = path.with_suffix(f".{os.getpid()}")
    begun.write_bytes(proto.SerializeToString())
    begun.replace(path)  # at once, for other processes that read it


def _words_of(model: Any, options: dict[str, Any]) -> list[str]:
    """What tells one model from another, but for weights, names and the place that it was read from."""
    names = ("_name_or_path", "architectures", "auto_map", "id2label", "label2id", "layer_order")
    config = {name: value for name, value in model.model.config.to_dict().items() if name not in names}
    inputs = [(name, tuple(tensor.shape)) for name, tensor in options["kwargs"].items()]
    others = {name: value for name, value in options.items() if name not in ("kwargs", "dynamic_shapes")}
    return [repr(model), json.dumps(config, sort_keys=True, default=str), repr(inputs), repr(others)]


def _same(words: list[str], tensors: dict[str, Any]) -> str:
    """A digest of a model and its weights."""
    digest = hashlib.sha256("\n".join(words).encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _alike(words: list[str], tensors: dict[str, Any]) -> str:
    """A digest of a model and of all that a graph may be simplified by: tensors that are equal, or hold one value."""
    digest, found = hashlib.sha256("\n".join(words).encode()), dict[bytes, int]()
    for name, tensor in tensors.items():
        values = tensor.numpy()
        number = found.setdefault(values.tobytes(), len(found))
        uniform = values.size > 0 and bool((values == values.flat[0]).all())
        told = (uniform and (values.size > 1 or values.flat[0] in (0, 1))) or not tensor.is_floating_point()
        digest.update(
            f"{name} {tensor.dtype} {tuple(tensor.shape)} {number}".encode() + (values.tobytes() if told else b"")
        )
    return digest.hexdigest()


def _holds(proto: Any, tensors: dict[str, Any]) -> bool:
    """Whether all numbers of a graph are tensors of the model under their names, and none was computed from them."""
    from onnx import TensorProto, numpy_helper

    floats = [one for one in proto.graph.initializer if one.data_type == TensorProto.FLOAT and one.dims]
    inner = [attribute for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t")]
    return not any(attribute.t.dims for attribute in inner) and all(
        one.name in tensors and numpy_helper.to_array(one).tobytes() == tensors[one.name].numpy().tobytes()
        for one in floats
    )


def _refilled(proto: Any, tensors: dict[str, Any]) -> Any:
    from onnx import numpy_helper

    for one in proto.graph.initializer:
        if one.name in tensors:
            one.CopyFrom(numpy_helper.from_array(tensors[one.name].numpy(), one.name))
    return proto
