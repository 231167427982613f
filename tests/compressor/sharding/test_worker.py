"""A worker and what is sent to it: for every head and family the very numbers that one process computes."""

import numpy as np
import pytest

from compressor.data.batches import evaluation_batches
from compressor.data.heads import HEADS as ALL_HEADS
from compressor.data.tasks import TASKS
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import ENCODER_FAMILIES, get_dimensions
from compressor.network.sub_network import SubNetwork
from compressor.sharding.messages import pack_batches, pack_configuration, pack_sub_network, pack_weights
from compressor.sharding.worker import Worker
from conftest import LAYERS, SWITCHES, tiny_model
from random_rows import random_rows

KEPT = SubNetwork(heads=((1, 3),) * LAYERS, units=((0, 5, 7),) * LAYERS)


EVERY_HEAD = [(model_type, head) for model_type in ENCODER_FAMILIES for head in ALL_HEADS]


@pytest.mark.parametrize(("model_type", "head"), [*EVERY_HEAD, *((name, "classification") for name in SWITCHES)])
def test_a_worker_computes_what_one_process_does(model_type: str, head: str) -> None:
    model, rows = tiny_model(model_type, head), random_rows(head)
    batches = evaluation_batches(rows, 4)
    worker = Worker(pack_configuration(model), pack_weights(model), "cpu", 1)
    worker.hold("rows", pack_batches(batches))
    evaluator, packed = Evaluator(model, TASKS["custom"], rows, 4), pack_sub_network(KEPT, get_dimensions(model))
    for sub_network, sent in ((None, None), (KEPT, packed)):
        whole = evaluator.compute_logits(sub_network)
        assert np.array_equal(worker.compute("rows", sent, range(len(batches))), whole)
        places = np.sort(np.concatenate([batches[number][0] for number in (0, 2)]))
        assert np.array_equal(worker.compute("rows", sent, (2, 0)), whole[places])
    assert worker.is_up()
