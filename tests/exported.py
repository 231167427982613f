"""What tests of exported graphs share: which models, and the facts in their metadata."""

from collections.abc import Callable
from functools import cache
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


@cache
def read_operators_once() -> None:
    """Lets PyTorch's exporter keep its table of operators, which it makes anew for each export: a sixth of the time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign,assignment]
