"""Batches shared out and put together again, whoever computes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.heads import HEADS as ALL_HEADS
from compressor.data.tasks import TASKS
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import get_dimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.sharding.evaluator import ShardedEvaluator, count_parts, share_out
from compressor.sharding.messages import pack_configuration, pack_weights
from compressor.sharding.worker import Worker
from compressor.sharding.workers import Task
from conftest import DIMENSIONS, LAYERS, tiny_model
from random_rows import random_rows

KEPT = SubNetwork(heads=((1, 3),) * LAYERS, units=((0, 5, 7),) * LAYERS)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(1, 40))
def test_all_batches_are_shared_out_about_evenly(costs: list[int], num_parts: int) -> None:
    parts = share_out(costs, num_parts)
    assert sorted(place for part in parts for place in part) == list(range(len(costs)))
    assert len(parts) == min(num_parts, len(costs))
    assert all(parts)
    sums = [sum(costs[place] for place in part) for part in parts]
    assert max(sums) - min(sums) <= max(costs)


def test_one_sub_network_has_a_part_for_each_worker_and_several_have_smaller_ones() -> None:
    assert [count_parts(4, count) for count in (1, 2, 16, 300)] == [4, 8, 1, 1]
    assert count_parts(256, 16) == 64


class InProcess:
    """A stand-in for the workers: one of them, in this process."""

    def __init__(self, worker: Worker, count: int) -> None:
        self.worker, self.count = worker, count
        self.tasks: dict[str, dict[int, Task]] = {}

    def __len__(self) -> int:
        return self.count

    def hold(self, name: str, batches: np.ndarray) -> None:
        self.worker.hold(name, batches)

    def submit(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.tasks.setdefault(task.key, {})[task.part] = task

    def forget(self, key: str) -> None:
        del self.tasks[key]

    def collect(self, key: str, num_parts: int) -> list[np.ndarray]:
        tasks = self.tasks.pop(key)
        assert sorted(tasks) == list(range(num_parts))
        return [self.worker.compute(tasks[part].rows, tasks[part].sub_network, tasks[part].numbers) for part in tasks]


@pytest.mark.parametrize("num_workers", [1, 3, 50])
@pytest.mark.parametrize("head", list(ALL_HEADS))
def test_logits_are_those_of_one_process(head: str, num_workers: int) -> None:
    model, rows, task = tiny_model("bert", head), random_rows(head), TASKS["custom"]
    workers: Any = InProcess(Worker(pack_configuration(model), pack_weights(model), "cpu", 1), num_workers)
    alone, sharded = Evaluator(model, task, rows, 2), ShardedEvaluator(workers, DIMENSIONS, task, rows, 2)
    for sub_network in (None, KEPT, full_sub_network(get_dimensions(model))):
        logits = sharded.compute_logits(sub_network)
        assert np.array_equal(logits, alone.compute_logits(sub_network))
        assert logits.dtype == np.float32
    other = SubNetwork(heads=((),) * LAYERS, units=KEPT.units)
    sharded.announce([KEPT, other])
    sharded.announce([])
    assert len(workers.tasks) == 2  # both are on their way
    for sub_network in (KEPT, other):
        assert np.array_equal(sharded.compute_logits(sub_network), alone.compute_logits(sub_network))
    assert not workers.tasks
    sharded.announce([KEPT, other])
    sharded.forget()
    assert not workers.tasks
    assert np.array_equal(sharded.compute_logits(KEPT), alone.compute_logits(KEPT))  # it can still be asked for
