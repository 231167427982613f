"""What makes libraries quicker where nothing is lost by it."""

import functools
import hashlib
import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
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


def remember(export: Any, folder: Path) -> Any:
    """`torch.onnx.export` for tests of what becomes of a graph: the same model's is made once, and lies in a folder.

    Graphs of standard operators are made anew: the caller goes on with the exporter's own program.
    """

    @functools.wraps(export)
    def remembered(model: Any, **options: Any) -> Any:
        import onnx

        if "Fused" not in repr(model):
            return export(model, **options)
        made = folder / f"{_same_model(model, options)}.onnx"
        if not made.is_file():
            begun = made.with_suffix(f".{os.getpid()}")
            begun.write_bytes(export(model, **options).model_proto.SerializeToString())
            begun.replace(made)  # at once, for other processes that read it
        return SimpleNamespace(model_proto=onnx.load_from_string(made.read_bytes()))

    return remembered


def _same_model(model: Any, options: dict[str, Any]) -> str:
    """A digest of modules, weights and configuration, but for the place that a model was read from."""
    config = {**model.model.config.to_dict(), "_name_or_path": None}
    inputs = [(name, tuple(tensor.shape)) for name, tensor in options["kwargs"].items()]
    others = {name: value for name, value in options.items() if name not in ("kwargs", "dynamic_shapes")}
    words = [repr(model), json.dumps(config, sort_keys=True, default=str), repr(inputs), repr(others)]
    digest = hashlib.sha256("\n".join(words).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
