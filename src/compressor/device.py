"""Where models compute. PyTorch is loaded when that is asked, so that `--help` need not load it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device() -> "torch.device":
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
