"""Training on several processes: a step's rows are split among them, their gradients added up.

Each process ("rank") has the whole model and draws the same sub-networks, so after a step all have the same weights.
Sub-networks leave parameters without gradients, which DistributedDataParallel takes for an error or has to look for:
here one flat all-reduce a step has the gradients of all parameters. The first process alone evaluates, orders, logs and
writes; at the end of each epoch the others take over its state. Who starts the processes is no matter here: torchrun.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from compressor.device import pick_device
from compressor.errors import OptionError, TrainingError, shorten
from compressor.parent_process import end_with_parent

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Json = TypeVar("Json")

_TIMEOUT = timedelta(hours=24)
"""The others wait so long for the first process, which evaluates alone. One that ends is noticed at once."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, seen from one of them."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates, logs and writes."""
        return self.rank == 0

    def agree(self, compute: Callable[[], Json]) -> Json:
        """Return what the first process computes, as JSON values; the others wait for it.

        Raises:
            TrainingError: another process has ended.
        """
        if self.size == 1:
            return compute()
        text = json.dumps(compute()).encode() if self.is_first else b""
        # The receivers have to know how much memory to give before the bytes come.
        length = torch.tensor([len(text)])
        self._broadcast(length)
        sent = (
            torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if text
            else torch.empty(int(length), dtype=torch.uint8)
        )
        self._broadcast(sent)
        agreed: Json = json.loads(sent.numpy().tobytes())
        return agreed

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block in the first process, then in the others, which find what it has put into caches.

        Raises:
            TrainingError: another process has ended.
        """
        if not self.is_first:
            self.agree(lambda: None)
        yield
        if self.is_first:
            self.agree(lambda: None)

    def share(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the first process's tensors by their names, on the kind of device that they are on there.

        Raises:
            TrainingError: another process has ended.
        """
        if self.size == 1:
            return tensors
        # Names and kinds first: a broadcast needs an empty tensor of the right shape, which the others cannot know.
        kinds = self.agree(
            lambda: {
                name: (list(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.device.type)
                for name, tensor in tensors.items()
            }
        )
        shared: dict[str, Tensor] = {}
        for name, (shape, dtype, device) in kinds.items():
            empty = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
            shared[name] = tensors[name].detach().contiguous() if self.is_first else empty
            self._broadcast(shared[name])
        return shared

    def add_up(self, model: "PreTrainedModel", losses: Tensor) -> Tensor:
        """Return the sum of all processes' `losses` [updates]; the model's gradients are replaced by their sum.

        A parameter that has no gradient in any process keeps none, so the optimizer passes it over.

        Raises:
            TrainingError: another process has ended.
        """
        if self.size == 1:
            return losses
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        is_there = losses.new_tensor([parameter.grad is not None for parameter in parameters])
        # One message for all: a hundred small ones would cost a hundred round trips a step.
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), is_there, losses])
        with _noticing_ends():
            dist.all_reduce(flat)
        sizes = [*(parameter.numel() for parameter in parameters), len(parameters), len(losses)]
        parts: tuple[Tensor, ...] = torch.split(flat, sizes)
        *sums, counts, total = parts
        for parameter, gradient, count in zip(parameters, sums, counts.tolist(), strict=True):
            # As in one process: a gradient of 0 would have AdamW move a weight by its moments.
            parameter.grad = gradient.view_as(parameter) if count else None
        return total

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """Set PyTorch's random state, of which dropout is drawn, to this process's own; the first one's stays.

        It follows from the epoch, so a resumed training draws what it would have drawn.
        """
        if not self.is_first:
            torch.manual_seed(int(np.random.SeedSequence([seed, 8, self.rank, epoch]).generate_state(1)[0]))

    def _broadcast(self, tensor: Tensor) -> None:
        with _noticing_ends():
            dist.broadcast(tensor, 0)


ALONE = Ranks()
"""A training of one process."""


def current_ranks() -> Ranks:
    """Return the processes of PyTorch's process group; this one alone where there is none."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Connect the processes that torchrun has started for the time of the block; here they wait for each other.

    Each takes a GPU of its own where the device that was chosen is one.

    Raises:
        TrainingError: another process has ended.
        OptionError: this machine has fewer GPUs than processes, or one of them was chosen for all.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(os.getppid())
    on_gpu = _take_gpu()
    with _noticing_ends():
        # gloo beside nccl, for what is agreed on as JSON lies on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_TIMEOUT)
    try:
        yield current_ranks()
    finally:
        dist.destroy_process_group()


def _take_gpu() -> bool:
    """Make the GPU of this process's number on its machine PyTorch's own; whether there is one to take.

    Raises:
        OptionError: there are fewer GPUs than processes, or one of them was chosen for all.
    """
    device, number = pick_device(), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cpu":
        return False
    count = torch.cuda.device_count()
    # A device with a number, such as cuda:1, would be the same one for all processes.
    if ":" in str(device) or number >= count:
        raise OptionError(
            f"the processes of a training must have a GPU each, but got --device {device} and a process {number} on a "
            f"machine of {count}. Start as many processes as there are GPUs, with --device cuda, or take --device cpu."
        )
    torch.cuda.set_device(number)
    return True


@contextmanager
def _noticing_ends() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            "the processes of a training must all run to its end, but another one has ended "
            f"({shorten(error, 120)}). See what it says; the same command again resumes after the last epoch."
        ) from error
