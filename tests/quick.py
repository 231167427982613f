"""What makes libraries quicker where nothing is lost by it."""

import functools
import sqlite3
from contextlib import suppress
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
