"""What travels: bytes of safetensors and JSON that give back what was packed."""

import json

import numpy as np
import torch

from compressor.data.batches import UNITS
from compressor.network.sub_network import SubNetwork
from compressor.sharding.messages import (
    pack_batches,
    pack_configuration,
    pack_sub_network,
    pack_weights,
    unpack_batches,
    unpack_model,
    unpack_sub_network,
)
from conftest import DIMENSIONS, LAYERS, tiny_model


def test_a_model_arrives_whole_and_no_random_state_is_touched() -> None:
    model = tiny_model()
    model.config.heads_order = [[0, 1]]  # what a configuration notes beside the sizes goes along
    told, weights = pack_configuration(model), pack_weights(model)
    assert weights.dtype == np.uint8
    before = torch.get_rng_state()
    arrived = unpack_model(told, weights)
    assert torch.equal(before, torch.get_rng_state())
    assert type(arrived) is type(model)
    assert not arrived.training
    assert arrived.config.heads_order == [[0, 1]]
    assert arrived.config._attn_implementation == model.config._attn_implementation
    assert json.loads(told)["config"]["architectures"] == ["BertForSequenceClassification"]
    for name, values in model.state_dict().items():
        assert torch.equal(values, arrived.state_dict()[name]), name


def test_batches_arrive_in_their_order() -> None:
    batches = [
        (np.array([number]), {"input_ids": torch.full((1, 3), number), UNITS: torch.arange(number)})
        for number in range(12)  # of which 10 and 11 come before 2 where names are sorted as texts
    ]
    arrived = unpack_batches(pack_batches(batches))
    assert len(arrived) == 12
    for (places, batch), (sent_places, sent) in zip(arrived, batches, strict=True):
        assert np.array_equal(places, sent_places)
        assert batch.keys() == sent.keys()
        assert all(torch.equal(batch[name], sent[name]) for name in sent)


def test_a_sub_network_arrives() -> None:
    kept = SubNetwork(heads=((1, 3), (), (0,)), units=((0, 5, 7),) * LAYERS)
    assert unpack_sub_network(pack_sub_network(kept, DIMENSIONS), DIMENSIONS) == kept
