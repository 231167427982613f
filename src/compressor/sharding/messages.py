"""What travels to a machine that computes: models and batches as JSON and safetensors bytes, never pickled.

Bytes are given as arrays [bytes] of uint8, which Ray keeps in shared memory and does not copy for each process.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compressor.data.batches import Batch
from compressor.data.heads import form_of_config
from compressor.device import fork_random_state
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PLACES = "places"
"""Beside the inputs of a batch: where its units stand among all."""


def pack_configuration(model: "PreTrainedModel") -> str:
    """Return what a model is built from, as JSON."""
    # A configuration names the class that it was saved as, which need not be the one that it has now.
    values = model.config.to_dict() | {"architectures": [type(model).__name__]}
    return json.dumps({"config": values, "attention": model.config._attn_implementation}, default=str)


def pack_weights(model: "PreTrainedModel") -> np.ndarray:
    """Return the weights of a model."""
    return _pack({name: values.detach().cpu().numpy() for name, values in model.state_dict().items()})


def unpack_model(configuration: str, weights: np.ndarray) -> "PreTrainedModel":
    """Return the model that was packed, on the CPU, ready to evaluate."""
    from transformers import CONFIG_MAPPING

    described = json.loads(configuration)
    config = CONFIG_MAPPING[described["config"]["model_type"]].from_dict(described["config"])
    # Weights are drawn here only to be replaced by those that were sent; the worker's random state must not move.
    with fork_random_state():
        model: PreTrainedModel = form_of_config(config).auto_class.from_config(
            config, attn_implementation=described["attention"], dtype=torch.float32
        )
    model.load_state_dict({name: torch.from_numpy(values) for name, values in _unpack(weights).items()})
    return model.eval()


def pack_batches(batches: Sequence[tuple[np.ndarray, Batch]]) -> np.ndarray:
    """Return batches with the places of their units."""
    tensors: dict[str, np.ndarray] = {}
    for number, (places, batch) in enumerate(batches):
        tensors |= {f"{number}.{name}": values.numpy() for name, values in batch.items()}
        tensors[f"{number}.{_PLACES}"] = np.asarray(places, dtype=np.int64)
    return _pack(tensors)


def unpack_batches(packed: np.ndarray, device: str = "cpu") -> list[tuple[np.ndarray, Batch]]:
    """Return the batches that were packed, their inputs on a device."""
    found: dict[int, dict[str, Any]] = {}
    for name, values in _unpack(packed).items():
        number, _, column = name.partition(".")
        found.setdefault(int(number), {})[column] = values
    return [
        (values.pop(_PLACES), {name: torch.from_numpy(value).to(device) for name, value in values.items()})
        for _, values in sorted(found.items())
    ]


def pack_sub_network(sub_network: SubNetwork, dimensions: EncoderDimensions) -> str:
    """Return a sub-network as JSON."""
    return json.dumps(sub_network.to_json(dimensions))


def unpack_sub_network(packed: str, dimensions: EncoderDimensions) -> SubNetwork:
    """Return the sub-network that was packed, for an encoder of these sizes."""
    return SubNetwork.from_json(json.loads(packed), dimensions)


def _pack(tensors: dict[str, np.ndarray]) -> np.ndarray:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    return np.frombuffer(save(whole), dtype=np.uint8)


def _unpack(packed: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays of their own, which may be written to."""
    from safetensors.numpy import load

    # safetensors gives views of the bytes, which are read-only, and PyTorch warns of tensors made of such.
    return {name: np.array(values) for name, values in load(packed.tobytes()).items()}
