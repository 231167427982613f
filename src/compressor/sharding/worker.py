"""What runs in a process of the cluster: a super-network that computes the logits of batches it holds."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from compressor.data.batches import Batch, compute_logits
from compressor.network.execution import activate
from compressor.network.families import get_dimensions
from compressor.sharding.messages import unpack_batches, unpack_model, unpack_sub_network


class Worker:
    """A super-network with sets of batches by name; all that comes and goes is JSON and arrays."""

    def __init__(self, configuration: str, weights: np.ndarray, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._model = unpack_model(configuration, weights).to(device)
        self._dimensions = get_dimensions(self._model)
        self._batches: dict[str, list[tuple[np.ndarray, Batch]]] = {}

    def hold(self, name: str, batches: np.ndarray) -> None:
        """Take a set of packed batches."""
        self._batches[name] = unpack_batches(batches, self._device)

    def compute(self, name: str, sub_network: str | None, numbers: Sequence[int]) -> np.ndarray:
        """Return the logits [units, …] of some batches of a set, by rising places.

        `sub_network` is a packed one; None is the super-network as it stands.
        """
        unpacked = None if sub_network is None else unpack_sub_network(sub_network, self._dimensions)
        with activate(self._model, unpacked) if unpacked is not None else nullcontext():
            return compute_logits(self._model, [self._batches[name][number] for number in numbers])

    def is_up(self) -> bool:
        """Return whether it can be asked."""
        return True
