"""ONNX Runtime sessions with fixed threads."""

from pathlib import Path
from typing import Any

import numpy as np

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Execution providers by the names users know."""


def create_session(path: Path, threads: int, provider: str = "cpu") -> Any:
    """An inference session that uses exactly `threads` CPU threads and does not spin while idle."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[provider]])


def run_session(session: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of one batch; inputs the graph does not know are left out."""
    known = {entry.name for entry in session.get_inputs()}
    logits: np.ndarray = session.run(["logits"], {name: values for name, values in inputs.items() if name in known})[0]
    return logits
