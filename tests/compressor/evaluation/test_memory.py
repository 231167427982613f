"""Memory in closed form against what PyTorch's allocator says: at most a sixth off the mark, as a rule a fiftieth."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from compressor.evaluation.memory import count_live_bytes
from compressor.network.dimensions import EncoderDimensions
from compressor.network.families import get_dimensions
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import LAYERS, tiny_config

POST_NORM = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
"""Families whose layers are as the closed form says."""
BATCH = 64
HEADS, UNITS = tuple(range(4)), tuple(range(256))
KEPT = {
    "half": SubNetwork(heads=(HEADS[:2],) * LAYERS, units=(UNITS[:128],) * LAYERS),
    "few units": SubNetwork(heads=(HEADS,) * LAYERS, units=(UNITS[:8],) * LAYERS),
    "no units": SubNetwork(heads=(HEADS,) * LAYERS, units=((),) * LAYERS),
    "no heads": SubNetwork(heads=((),) * LAYERS, units=(UNITS,) * LAYERS),
}


def wide_model(model_type: str) -> PreTrainedModel:
    """Wide enough that activations, and not tokens or masks, fill the memory."""
    config = tiny_config(model_type)
    for names, size in (
        (("hidden_size", "dim"), 64),
        (("intermediate_size", "hidden_dim"), len(UNITS)),
        (("max_position_embeddings",), 140),
    ):
        setattr(config, next(name for name in names if hasattr(config, name)), size)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()


def allocated_bytes(model: PreTrainedModel, length: int) -> int:
    """The most that is allocated at once in a forward pass, beyond what there is before it."""
    ids = torch.randint(5, 60, (BATCH, length))
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["attention_mask"][0, length // 2 :] = 0  # without padding there is no mask
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.inference_mode(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        model(**inputs)
    assert profile.profiler is not None
    live = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most


@pytest.mark.parametrize("length", [9, 128])
@pytest.mark.parametrize("model_type", POST_NORM)
def test_activations_are_what_the_allocator_holds(model_type: str, length: int) -> None:
    model = wide_model(model_type)
    dimensions = get_dimensions(model)
    whole = full_sub_network(dimensions)
    assert count_live_bytes(whole, dimensions, BATCH, length) == pytest.approx(
        allocated_bytes(slice_model(model, whole), length), rel=0.02
    )
    for name, kept in KEPT.items():
        found = allocated_bytes(slice_model(model, kept), length)
        assert count_live_bytes(kept, dimensions, BATCH, length) == pytest.approx(found, rel=1 / 6), name


def test_by_hand() -> None:
    """Tokens 2 · 3; the units' block holds 3 · 8 + 2 · 20 numbers, a model without layers 4 · 8; masks 2 · 3 · 3."""
    dimensions = EncoderDimensions(num_layers=2, num_heads=2, num_units=20, hidden_size=8, head_size=4)
    whole, nothing = full_sub_network(dimensions), SubNetwork(heads=((), ()), units=((), ()))
    assert count_live_bytes(whole, dimensions, 2, 3) == 4 * 6 * 64 + 18
    assert count_live_bytes(nothing, dimensions, 2, 3) == 4 * 6 * 32 + 18
