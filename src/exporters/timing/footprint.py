"""What loading a model costs: seconds and peak memory, in a process of its own.

`python -m exporters.timing.footprint PATH THREADS PROVIDER PARENT` prints them as one JSON line.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import ModelError, shorten
from compressor.files import module_environment
from compressor.parent_process import end_with_parent

_SHAPE = (8, 128)
"""Batch size and length of the one call that is made, cut to what the model takes."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Of one model."""

    load_seconds: float
    """From the file to a model that answers; libraries are loaded before."""
    peak_mb: float
    """The process's largest resident memory, libraries and one call of 8 × 128 tokens included."""


def measure_footprint(path: Path, threads: int, provider: str = "cpu") -> Footprint:
    """Return the footprint of an ONNX file, an IR or a model directory.

    Raises:
        ModelError: the process that measures it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "exporters.timing.footprint", str(path), str(threads), provider, str(os.getpid())],
        capture_output=True,
        text=True,
        env=module_environment(),
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ModelError(
            f"a process of its own must load and run {path}, but it ended with {done.returncode}: {shorten(said)}. Try "
            "again; if it happens again, run the model in a Python of its own to see why."
        )
    return Footprint(**json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Measure this very process."""
    path, threads, provider, parent = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    end_with_parent(parent)
    from exporters.graph.openvino_ir import IR_SUFFIX, import_openvino
    from exporters.timing.runners import make_inputs, open_runner  # takes a while, in which the parent may go

    if path.suffix == IR_SUFFIX:
        import_openvino()
    elif path.is_file():
        import onnxruntime  # noqa: F401
    else:
        import torch

        import compressor.training.super_network  # noqa: F401

        torch.set_num_threads(threads)
    # The libraries are loaded by now: their seconds are the same for every model.
    start = time.perf_counter()
    runner = open_runner(path, threads, provider)
    seconds = time.perf_counter() - start
    batch_size, length = _SHAPE
    runner.run(make_inputs(runner, [length] * batch_size, num_choices=1))
    print(json.dumps({"load_seconds": seconds, "peak_mb": _peak_bytes() / 1e6}))


def _peak_bytes() -> int:
    """Return the peak of this process alone: Linux counts `ru_maxrss` from before the process became Python."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # macOS counts bytes, others kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
