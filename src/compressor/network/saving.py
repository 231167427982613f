"""Extraction: a chosen sub-network, physically sliced, saved, loaded again and verified to compute the same.

A sub-network that a stock configuration can express is saved as a stock model. All others are saved as the classes of
`modeling_sliced`, whose file is written beside the weights.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.initialization import no_init_weights

from compressor.data.batches import EncodedRows
from compressor.data.heads import form_of, form_of_config
from compressor.data.tasks import Task
from compressor.digests import FILES_KEY, digest_files, require_same_files
from compressor.errors import CompressorError, ModelError, ParityError, shorten
from compressor.files import write_json
from compressor.network.checkpoints import check_checkpoint, check_loaded, load_tokenizer
from compressor.network.dimensions import EncoderDimensions
from compressor.network.families import get_family, require_weights
from compressor.network.modeling_sliced import SLICED_PREFIX, EncoderFamily, register, sliced_classes
from compressor.network.sub_network import SubNetwork, WrittenSubNetwork
from compressor.records import Record, read_record

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Before anything is loaded: AutoConfig refuses a `model_type` that nobody registered.
register()

SUB_NETWORK_FILE = "sub_network.json"
MAX_PARITY_DIFFERENCE = 1e-5
"""Between shared, sliced and loaded logits, relative to the largest logit: float32 has seven digits, sums in another
order lose one or two."""


@dataclass(frozen=True, kw_only=True)
class SlicedModel:
    """A sliced model as it was loaded from disk."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    sub_network: SubNetwork
    dimensions: EncoderDimensions
    """The sizes of the super-network."""


@dataclass(frozen=True, kw_only=True)
class SavedSubNetwork:
    """What `sub_network.json` must say for the model beside it to load; whoever has made the model says more."""

    sub_network: WrittenSubNetwork
    files: dict[str, str] | None = None
    """Digests of the files beside it; None in a file of version 0.1.0."""


def save_sliced_model(
    path: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sub_network: SubNetwork,
    dimensions: EncoderDimensions,
    info: Mapping[str, Any],
) -> Path:
    """Write a sliced model into the existing directory `path` as `save_pretrained` does, and `sub_network.json`.

    That file holds the sub-network, the digests of the files, and what `info` says besides.
    """
    to_loadable_model(model, sub_network, dimensions).save_pretrained(path)
    form_of(model).finish(path, model.config)
    tokenizer.save_pretrained(path)
    of_files = {"sub_network": sub_network.to_json(dimensions), FILES_KEY: digest_files(path)}
    # Written last: a directory without it was not finished.
    write_json(path / SUB_NETWORK_FILE, {**info, **of_files})
    return path


def find_earlier_files(path: Path) -> list[str]:
    """Return the names of the files of a sliced model that was saved in a directory, as far as they are as it was."""
    if not is_sliced(path):
        return []
    try:
        written = read_sub_network(path, SavedSubNetwork).files or {}
    except CompressorError:  # what is broken says nothing
        return []
    return [name for name, digest in digest_files(path).items() if written.get(name) == digest]


def to_loadable_model(
    model: "PreTrainedModel", sub_network: SubNetwork, dimensions: EncoderDimensions
) -> "PreTrainedModel":
    """Return a sliced model as an instance of the classes that load it again; it shares the weights.

    Its classes are stock ones where the kept layers have all heads and equally many units, else our own.
    """
    if model.config.model_type.startswith(SLICED_PREFIX):
        return model  # it was loaded as one
    family = get_family(model.config.model_type)
    kept = _kept_sizes(sub_network, family, model.config)
    make, config = type(model), copy.deepcopy(model.config)
    if is_stock(sub_network, dimensions, family, config):
        for group in family.groups:
            config.__dict__.pop(f"{group.name}_numbers", None)  # all of them
        units = family.groups[-1]
        # Without layers nobody reads the number of units.
        setattr(config, units.size_field, kept[0][-1] if kept else dimensions.num_units)
    else:
        # By the written form, so that the new configuration is made of just what a file would hold.
        values = config.to_dict()
        make_config, models = sliced_classes(values.pop("model_type"))
        make = models[form_of(model).suffix]
        sizes = zip(*kept, strict=True) if kept else ((), ())
        named = {f"kept_{group.name}": list(each) for group, each in zip(family.groups, sizes, strict=True)}
        config = make_config(**named, **values)
        # No written field: to_dict leaves it out, and the default may be another one.
        config._attn_implementation = model.config._attn_implementation
    # Built without memory or drawing weights; `assign=True` then puts in the weights that there are, instead of
    # copying.
    with torch.device("meta"), no_init_weights():
        again: PreTrainedModel = make(config)
    again.load_state_dict(model.state_dict(), strict=True, assign=True)
    return again


def is_stock(sub_network: SubNetwork, dimensions: EncoderDimensions, family: EncoderFamily, config: Any) -> bool:
    """Return whether a stock configuration can express it: fewer layers, fewer units, the same in every kept layer.

    What the configuration lists for each layer must be what it says of so many layers by default: what serves
    models without transformers, or with an old one, does not read such lists. `config` is the sliced model's.
    """
    kept = set(_kept_sizes(sub_network, family, config))
    # ModernBERT: layer_types alternates local and global attention by a rule that cut-out layers rarely follow.
    values = {name: value for name, value in config.to_dict().items() if name not in family.per_layer_fields}
    defaults = family.config_class(**values) if family.per_layer_fields else config
    return (
        len(kept) <= 1
        # Fewer heads cannot be stock: self-attention computes the head size as hidden_size / num_attention_heads.
        and all(heads == dimensions.num_heads and units > 0 for heads, units in kept)
        and all(getattr(defaults, field) == getattr(config, field) for field in family.per_layer_fields)
    )


def _kept_sizes(sub_network: SubNetwork, family: EncoderFamily, config: Any) -> list[tuple[int, ...]]:
    """Return numbers of members of each group in the layers that are left."""
    kept = list(zip(*(getattr(sub_network, group.name) for group in family.groups), strict=True))
    return [tuple(map(len, kept[layer])) for layer in family.kept_layers(config, kept)]


def load_sliced_model(path: Path) -> SlicedModel:
    """Return a model saved by `save_sliced_model`, on the CPU, ready to evaluate.

    Raises:
        ModelError: the directory does not hold a sliced model, its files do not fit each other, or they were changed.
        SubNetworkError: `sub_network.json` is broken.
    """
    from transformers import AutoConfig

    # A relative path may be taken for a name on the Hub.
    path = Path(path).expanduser().resolve()
    require_weights(path)
    if not is_sliced(path):
        raise ModelError(
            f"a sliced model must have a {SUB_NETWORK_FILE}, but {path} has none. Make one with compressor extract."
        )
    saved = read_sub_network(path, SavedSubNetwork)
    sub_network = saved.sub_network.read()
    check_checkpoint(path, whole=True)
    require_same_files(path, saved.files, SUB_NETWORK_FILE, "extract again with compressor extract")
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)  # our classes are registered
        model, loaded = form_of_config(config).auto_class.from_pretrained(
            path, trust_remote_code=False, output_loading_info=True
        )
        tokenizer = load_tokenizer(str(path))
    except CompressorError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        reason = shorten(error)
        raise ModelError(
            f"the sliced model in {path} must load, but it does not: {reason}. Extract it again."
        ) from None
    # transformers only warns of weights that do not fit, and draws those that are missing.
    wrong = sorted({*loaded["missing_keys"], *loaded["unexpected_keys"]})
    if wrong:
        raise ModelError(
            f"the weights in {path} must fit its config.json, but {wrong[0]} does not. Make it again with compressor "
            "extract."
        )
    check_loaded(model, tokenizer, str(path))
    return SlicedModel(
        model=model.eval(), tokenizer=tokenizer, sub_network=sub_network, dimensions=saved.sub_network.dimensions
    )


def read_sub_network(path: Path, record: type[Record]) -> Record:
    """Return a record of `sub_network.json` in a directory.

    Raises:
        FileError: the file is broken.
    """
    return read_record(path / SUB_NETWORK_FILE, record, "Restore it, or extract again with compressor extract")


def is_sliced(path: Path) -> bool:
    """Return whether a model directory holds a sliced model."""
    return (path / SUB_NETWORK_FILE).is_file()


def require_parity(
    reference: np.ndarray,
    logits: np.ndarray,
    what: str,
    limit: float = MAX_PARITY_DIFFERENCE,
    scale: float | None = None,
) -> float:
    """Return the largest difference of two forms' logits, relative to `scale` or to the largest logit of the rows.

    Raises:
        ParityError: it exceeds `limit`.
    """
    scale = float(np.abs(reference).max()) if scale is None else scale
    difference = float(np.abs(reference - logits).max() / max(scale, 1e-6))  # logits may all be 0
    # Not `>`: NaN is no parity.
    if not difference <= limit:
        raise ParityError(
            f"{what} must agree within {limit:g} of the logit scale, but logits differ by {difference:.1e}. "
            "Nothing was written."
        )
    return difference


def require_error(expected: float, error: float, logits: np.ndarray, task: Task, rows: EncodedRows) -> None:
    """Raise unless two variants of one sub-network have the same task error (law 4), up to what rounding may move.

    Raises:
        ParityError: the errors differ by more than that.
    """
    if not abs(expected - error) <= task.head.rounding_slack(logits, task.metric, rows):
        raise ParityError(
            f"the error on the {len(logits)} validation rows must be the {expected:.6f} that was measured before, but "
            f"is {error:.6f}."
        )


def file_size_mb(path: Path) -> float:
    """Return the size of a file in MB (10⁶ bytes)."""
    return path.stat().st_size / 1e6
