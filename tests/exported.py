"""What tests of exported graphs share: which models, and the facts in their metadata."""

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel

from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS

ODD = SubNetwork(heads=((0, 3), (), (1,)), units=((), (1, 2, 20), (0,)))
DENSE = full_sub_network(DIMENSIONS)
NOTHING = SubNetwork(heads=((),) * 3, units=((),) * 3)
FACTS = {
    "labels": ["bad", "so so", "good"],
    "task": "custom",
    "head": "classification",
    "max_length": 16,
    "pad_values": {"input_ids": 0, "token_type_ids": 0},
}
Exported = Callable[..., tuple[PreTrainedModel, Path]]
