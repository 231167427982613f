"""Extraction: a chosen sub-network, physically sliced, saved, loaded again and proven equal to its shared form.

A sliced encoder has other head and unit counts per layer than any stock configuration can say, so it is saved under a
`model_type` of its own beside `sub_network.json`: stock loading fails loudly instead of loading half.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from compressor.dimensions import EncoderDimensions
from compressor.errors import ModelError, ParityError
from compressor.families import get_dimensions, require_weights
from compressor.files import read_json, write_json
from compressor.slicing import slice_model
from compressor.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUB_NETWORK_FILE = "sub_network.json"
SLICED_PREFIX = "sliced-"
"""Before the base family's `model_type` in a saved `config.json`."""
MAX_PARITY_DIFFERENCE = 1e-5
"""Between shared, sliced and loaded logits, relative to the largest logit."""


@dataclass(frozen=True, kw_only=True)
class SlicedModel:
    """A sliced model as it was loaded from disk."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    sub_network: SubNetwork
    info: dict[str, Any]
    """The content of `sub_network.json`."""


def save_sliced_model(
    path: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sub_network: SubNetwork,
    dimensions: EncoderDimensions,
    info: dict[str, Any],
) -> Path:
    """Writes a sliced model into the existing directory `path`: config, safetensors, tokenizer, `sub_network.json`."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["model_type"] = SLICED_PREFIX + model.config.model_type
    config["architectures"] = [type(model).__name__]
    config["num_hidden_layers"] = dimensions.num_layers  # of the super-network; sub_network.json says what is left
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    write_json(path / "config.json", config)
    tokenizer.save_pretrained(path)
    write_json(path / SUB_NETWORK_FILE, info | {"sub_network": sub_network.to_json(dimensions)})
    return path


def load_sliced_model(path: Path) -> SlicedModel:
    """A model saved by `save_sliced_model`, on the CPU, ready to evaluate.

    Raises:
        ModelError: the directory does not hold a sliced model, or its weights do not fit its `sub_network.json`.
        SubNetworkError: the sub-network does not fit the configuration.
    """
    from transformers import (
        CONFIG_MAPPING,
        AutoModelForMultipleChoice,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    path = path.expanduser().resolve()
    require_weights(path)
    config_values = read_json(path / "config.json")
    model_type = str(config_values.pop("model_type", ""))
    if not is_sliced(path):
        raise ModelError(
            f"a sliced model must have a model_type that starts with {SLICED_PREFIX}, but {path} has {model_type!r}. "
            "Make one with compressor extract."
        )
    info = read_json(path / SUB_NETWORK_FILE)
    config = CONFIG_MAPPING[model_type.removeprefix(SLICED_PREFIX)].from_dict(config_values)
    architecture = (config.architectures or [""])[0]
    auto = AutoModelForMultipleChoice if architecture.endswith("MultipleChoice") else AutoModelForSequenceClassification
    with torch.device("meta"):
        skeleton = auto.from_config(config)
    sub_network = SubNetwork.from_json(info["sub_network"], get_dimensions(skeleton))
    model = slice_model(skeleton, sub_network)
    try:
        weights = load_file(path / "model.safetensors")
        model.load_state_dict(weights, strict=True, assign=True)
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} must fit {SUB_NETWORK_FILE}, but they do not: {reason}.") from None
    _fill_buffers(model, config)
    return SlicedModel(
        model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(path), sub_network=sub_network, info=info
    )


def is_sliced(path: Path) -> bool:
    """Whether a model directory holds a sliced model."""
    return str(read_json(path / "config.json").get("model_type", "")).startswith(SLICED_PREFIX)


def require_parity(reference: np.ndarray, logits: np.ndarray, what: str, limit: float = MAX_PARITY_DIFFERENCE) -> float:
    """The largest difference of two forms' logits, relative to the largest logit.

    Raises:
        ParityError: it exceeds `limit`.
    """
    difference = float(np.abs(reference - logits).max() / max(float(np.abs(reference).max()), 1e-6))
    if not difference <= limit:
        raise ParityError(
            f"{what} must agree within {limit:g} of the logit scale, but logits differ by {difference:.1e}. "
            "Nothing was written."
        )
    return difference


def require_error(expected: float, error: float, logits: np.ndarray) -> None:
    """Nothing, if two forms of one sub-network have the same task error (law 4).

    Rows whose two best classes lie closer than parity's rounding may fall either way; a correlation of values
    may move by 1e-3, as neighbours in rank change places.

    Raises:
        ParityError: the errors differ by more than that.
    """
    if logits.shape[1] == 1:
        limit = 1e-3
    else:
        best, second = np.partition(logits, -2, axis=1)[:, [-1, -2]].T
        ties = np.count_nonzero(best - second < 2e-4 * max(float(np.abs(logits).max()), 1e-6))
        limit = 1e-6 + 2 * ties / len(logits)
    if not abs(expected - error) <= limit:
        raise ParityError(
            f"the error on the {len(logits)} validation rows must be the {expected:.6f} that was measured before, but "
            f"is {error:.6f}."
        )


def file_size_mb(path: Path) -> float:
    """The size of a file in MB (10⁶ bytes)."""
    return path.stat().st_size / 1e6


def _fill_buffers(model: "PreTrainedModel", config: Any) -> None:
    """Gives buffers that are not saved (position ids) their values: those of a fresh one-layer model."""
    config = copy.deepcopy(config)
    config.num_hidden_layers = 1
    fresh = type(model)(config)
    values = dict(fresh.named_buffers())
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            module, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(module), attribute, values[name].clone())
