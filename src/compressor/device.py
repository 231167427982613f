"""Where models compute: one rule for all commands. PyTorch is loaded when it is asked, not for `--help`."""

import gc
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from compressor.errors import DeviceError, OptionError, shorten

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

AUTO = "auto"
DEVICE_VARIABLE = "COMPRESSOR_DEVICE"
"""The variable of the environment, so that processes which this one starts compute where it does."""
_NAMES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def is_device(name: str) -> bool:
    """Return whether a text is one that names a device: auto, cpu, cuda, or cuda:1."""
    return _NAMES.fullmatch(name) is not None


@contextmanager
def chosen_device(name: str) -> Iterator[None]:
    """Have `pick_device` return the device of that name for the time of the block, also in processes started then."""
    # An environment variable, as processes that are started in the block inherit it; a global would stay in this one.
    before = os.environ.get(DEVICE_VARIABLE)
    os.environ[DEVICE_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[DEVICE_VARIABLE]
        else:
            os.environ[DEVICE_VARIABLE] = before


def pick_device() -> "torch.device":
    """Return the device that was chosen (`chosen_device`, or COMPRESSOR_DEVICE); by default the GPU where there is one.

    Raises:
        OptionError: it is not a device of this machine.
    """
    import torch

    # An empty variable counts as none: that is how shells unset one for a single command.
    name, count = os.environ.get(DEVICE_VARIABLE) or AUTO, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == AUTO:
        return torch.device("cuda" if count else "cpu")
    if not is_device(name) or (name != "cpu" and int(name.partition(":")[2] or 0) >= count):
        raise OptionError(
            f"--device must be one that PyTorch finds on this machine, cpu or one of {count} GPUs, but got {name!r}. "
            "Take auto."
        )
    return torch.device(name)


@contextmanager
def fork_random_state() -> Iterator[None]:
    """Put PyTorch's random states back after the block: that of the CPU, and of the GPU that is computed on, if any.

    `torch.random.fork_rng` by itself takes the states of all GPUs, and warns of it.
    """
    import torch

    device = pick_device()
    used = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(used):
        yield


def may_use_gpus() -> bool:
    """Return whether the device that was chosen leaves GPUs to a cluster's machines: all but `cpu` do."""
    return os.environ.get(DEVICE_VARIABLE) != "cpu"


def may_take_any_gpu() -> bool:
    """Return whether the choice of the device leaves open which GPU it is, if there is one."""
    return (os.environ.get(DEVICE_VARIABLE) or AUTO) in (AUTO, "cuda")


def to_device(batch: "Mapping[str, torch.Tensor]", device: "torch.device") -> "dict[str, torch.Tensor]":
    """Return the tensors of a batch on a device; a GPU takes them from pinned memory, while the processor continues."""
    if device.type != "cuda":
        return {name: values.to(device) for name, values in batch.items()}
    return {
        name: values if values.device.type == "cuda" else values.pin_memory().to(device, non_blocking=True)
        for name, values in batch.items()
    }


def half_type(device: "torch.device") -> "torch.dtype":
    """Return the 16-bit numbers that a device multiplies: bfloat16, or float16 of a GPU that has none."""
    import torch

    if device.type != "cuda":
        return torch.bfloat16
    # It asks the current device, which need not be this one.
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Of full memory, in errors of PyTorch that have no type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device is full."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


@dataclass
class Pieces:
    """Into how many pieces batches are cut so that each fits into a device's memory: twice as many when one did not."""

    count: int = 1

    def run(self, compute: Callable[[int], T], num_rows: int, undo: Callable[[], None] | None = None) -> T:
        """Return what `compute` gives, which gets the number of pieces that `num_rows` rows are cut into.

        Where memory is full, what was begun is undone, a note is printed, and it is called again with twice as many.

        Raises:
            DeviceError: one row alone does not fit.
        """
        while True:
            try:
                return compute(self.count)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # The text alone: the error's traceback holds the frames, and with them the tensors that filled the
                # memory.
                problem = shorten(error, 160).rstrip(".")
            if undo is not None:
                undo()
            _empty_caches()
            if self.count >= num_rows:
                raise DeviceError(
                    f"one row must fit into the memory of the device, but it does not: {problem}. Lower "
                    "--max-seq-length, take a smaller model or --device cpu."
                )
            # Kept for later batches too: what did not fit once will not fit again.
            self.count = min(2 * self.count, num_rows)
            # Rounded up.
            rows = -(-num_rows // self.count)
            print(
                f"Note: {num_rows} rows do not fit into the memory of the device at once: from here on at most {rows} "
                "are computed at a time. The results are the same up to rounding."
            )


def _empty_caches() -> None:
    """Give back what the failed attempt has held."""
    import torch

    # Frames of the failed call may form cycles, which only a collection frees.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
