"""Where models compute: one rule for all commands. PyTorch is loaded when it is asked, not for `--help`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compressor.errors import OptionError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
DEVICE_VARIABLE = "COMPRESSOR_DEVICE"
"""Of the environment, so that processes which this one starts compute where it does."""
_NAMES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def is_device(name: str) -> bool:
    """Return whether a text is one that names a device: auto, cpu, cuda, or cuda:1."""
    return _NAMES.fullmatch(name) is not None


@contextmanager
def chosen_device(name: str) -> Iterator[None]:
    """Have `pick_device` return the device of that name for the time of the block, also in processes started then."""
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

    name, count = os.environ.get(DEVICE_VARIABLE) or AUTO, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == AUTO:
        return torch.device("cuda" if count else "cpu")
    if not is_device(name) or (name != "cpu" and int(name.partition(":")[2] or 0) >= count):
        raise OptionError(
            f"--device must be one that PyTorch finds on this machine, cpu or one of {count} GPUs, but got {name!r}. "
            "Take auto."
        )
    return torch.device(name)
