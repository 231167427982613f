"""An evaluator whose batches are computed by the workers of a cluster.

Batches are cut as one process cuts them and computed whole, since padding decides how sums are rounded; logits are
gathered, and the metric is computed once, here. So errors are those of one process.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from compressor.data.batches import CALL_TOKENS, EncodedRows, evaluation_batches
from compressor.data.tasks import Task
from compressor.evaluation.evaluator import Evaluator
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork
from compressor.sharding.messages import pack_batches, pack_sub_network
from compressor.sharding.workers import Task as WorkerTask
from compressor.sharding.workers import Workers

_PARTS_PER_WORKER = 4
"""Where several sub-networks are evaluated at once: smaller parts, so that nobody waits long for the last one."""


class ShardedEvaluator(Evaluator):
    """Evaluates sub-networks of the workers' model on the same rows, which are sent once."""

    def __init__(
        self,
        workers: Workers,
        dimensions: EncoderDimensions,
        task: Task,
        rows: EncodedRows,
        batch_size: int = 64,
        name: str = "validation",
    ) -> None:
        self.task, self.rows, self.name = task, rows, name
        self._workers, self._dimensions = workers, dimensions
        batches = evaluation_batches(rows, batch_size)
        self._places = [places for places, _ in batches]
        # Padded tokens, and what a call costs besides: of small batches the calls are most of the time.
        self._costs = [batch["attention_mask"].numel() + CALL_TOKENS for _, batch in batches]
        # All batches to all workers, once: what is sent for an evaluation is a few numbers.
        workers.hold(name, pack_batches(batches))
        self._numbers = itertools.count()
        self._announced: dict[str, tuple[str, list[tuple[int, ...]]]] = {}
        """By a sub-network's hash: the key of its tasks, and the batches of each."""

    def announce(self, sub_networks: Sequence[SubNetwork]) -> None:
        """Have sub-networks computed that will be asked for, in this order."""
        if not sub_networks:
            return
        parts = share_out(self._costs, count_parts(len(self._workers), len(sub_networks)))
        for one in sub_networks:
            self._submit(one.hash, pack_sub_network(one, self._dimensions), parts)

    def forget(self) -> None:
        """Leave out what was announced and not asked for; what workers have begun they end."""
        for key, _ in self._announced.values():
            self._workers.forget(key)
        self._announced.clear()

    def compute_logits(self, sub_network: SubNetwork | None = None) -> np.ndarray:
        """Return the logits [units, outputs] of a sub-network, or of the model, in the order of the rows."""
        key = "" if sub_network is None else sub_network.hash
        if key not in self._announced:
            packed = None if sub_network is None else pack_sub_network(sub_network, self._dimensions)
            self._submit(key, packed, share_out(self._costs, len(self._workers)))
        task_key, parts = self._announced.pop(key)
        found = self._workers.collect(task_key, len(parts))
        places = [np.concatenate([self._places[number] for number in numbers]) for numbers in parts]
        logits = np.empty((sum(map(len, places)), *found[0].shape[1:]), dtype=found[0].dtype)
        for where, part in zip(places, found, strict=True):
            # A worker gives the units of its batches by rising places (`compute_logits`).
            logits[np.sort(where)] = part
        return logits

    def _submit(self, key: str, packed: str | None, parts: list[tuple[int, ...]]) -> None:
        task_key = f"{self.name} {next(self._numbers)}"  # a sub-network may be left out, and asked for later
        self._announced[key] = task_key, parts
        self._workers.submit(
            [
                WorkerTask(key=task_key, part=part, rows=self.name, sub_network=packed, numbers=numbers)
                for part, numbers in enumerate(parts)
            ]
        )


def count_parts(num_workers: int, num_sub_networks: int) -> int:
    """Return into how many parts each of some sub-networks is cut that are evaluated at once."""
    per_worker = 1 if num_sub_networks == 1 else _PARTS_PER_WORKER
    return -(-per_worker * num_workers // num_sub_networks)


def share_out(costs: Sequence[float], num_parts: int) -> list[tuple[int, ...]]:
    """Return the places of costs in at most so many parts that cost about the same, none of them empty.

    The dearest goes first, each to the part that costs least so far (longest processing time first; Graham, 1969).
    """
    parts: list[list[int]] = [[] for _ in range(max(1, min(num_parts, len(costs))))]
    sums = [0.0] * len(parts)
    for place in sorted(range(len(costs)), key=lambda place: -costs[place]):
        least = min(range(len(parts)), key=sums.__getitem__)
        parts[least].append(place)
        sums[least] += costs[place]
    return [tuple(sorted(part)) for part in parts]
