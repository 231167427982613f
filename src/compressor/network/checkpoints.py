"""A model directory before it is loaded: read and judged without building anything, so that a broken one costs no time.

What transformers makes of a broken directory is a matter of luck: it asks on the terminal, makes an empty tokenizer,
builds a billion layers, or fails deep inside. Here the configuration is held against the weights' headers first.
"""

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor.errors import ModelError, shorten, shorten_value
from compressor.files import read_json
from compressor.network.families import get_family, require_weights
from compressor.network.modeling_sliced import SLICED_PREFIX

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_SIZE = 10_000_000
"""The largest number of anything that a configuration counts: no encoder has so much of it."""
_NAMES = {
    "num_hidden_layers": ("num_hidden_layers", "n_layers"),
    "num_attention_heads": ("num_attention_heads", "n_heads"),
    "hidden_size": ("hidden_size", "dim"),
    "intermediate_size": ("intermediate_size", "hidden_dim"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": ("max_position_embeddings",),
    "type_vocab_size": ("type_vocab_size",),
    "embedding_size": ("embedding_size",),
    "num_labels": ("num_labels",),
}
"""What a configuration may call its sizes."""
_MAY_BE_ZERO = ("num_hidden_layers", "type_vocab_size")
_TABLES = {
    "vocab_size": ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight"),
    "max_position_embeddings": ("embeddings.position_embeddings.weight",),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight",),
}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""One of them makes a tokenizer."""
_MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the library's own limit."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """What a safetensors file says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    end: int
    """The end of its bytes, counted from the end of the header."""

    @classmethod
    def from_json(cls, value: Any) -> "StoredTensor":
        """Return the entry of a file's header."""
        return cls(dtype=str(value["dtype"]), shape=tuple(value["shape"]), end=value["data_offsets"][1])


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a model's config.json says, as far as it is judged here."""

    model_type: str
    positions: Any
    """The kind of its position embeddings."""
    values: dict[str, Any]
    """All of it."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Configuration":
        """Return the content of the file, which has a model type."""
        return cls(model_type=value["model_type"], positions=value.get("position_embedding_type"), values=value)

    @property
    def is_sliced(self) -> bool:
        """Whether its layers differ: it is a sliced model's."""
        return self.model_type.startswith(SLICED_PREFIX)

    def size(self, size: str) -> int | None:
        """Return the size that has this name or another one of the same meaning; None where it is not stated."""
        return next((self.values[name] for name in _NAMES[size] if name in self.values), None)


Tensors = dict[str, StoredTensor]
"""Stored tensors by name."""


def check_checkpoint(directory: Path, *, whole: bool) -> Configuration:
    """Return the configuration of a model directory whose files fit together, as far as can be checked unloaded.

    A `whole` one has just the layers that its configuration counts; a base model may have more of them in its file.

    Raises:
        ModelError: a file is missing or broken, or configuration, weights and tokenizer do not fit.
    """
    # From cheap to dear: existence, one small JSON, headers; nothing here reads a weight.
    require_weights(directory)
    written = read_json(directory / "config.json")
    if not isinstance(written, dict) or not isinstance(written.get("model_type"), str):
        raise ModelError(
            f"config.json must be an object with a model_type, but that of {directory} is not. "
            "Use a directory made by save_pretrained."
        )
    config = Configuration.from_json(written)
    family = get_family(config.model_type)
    if config.positions is not None and config.positions not in family.position_kinds:
        raise ModelError(
            f"an encoder must have {' or '.join(family.position_kinds)} positions, but position_embedding_type of "
            f"{directory} is {shorten_value(config.positions)}. Choose another model."
        )
    _check_numbers(directory, config)
    tensors = {name: entry for file in sorted(directory.glob("*.safetensors")) for name, entry in _header(file).items()}
    integers = [
        name
        for name, tensor in tensors.items()
        # safetensors' names: F16, F32, BF16, … against I8, U8, …; old BERT checkpoints store the buffer position_ids as
        # I64.
        if not tensor.dtype.startswith(("F", "BF")) and "position_ids" not in name
    ]
    if integers:
        first = integers[0]
        raise ModelError(
            f"weights must be floating-point numbers, but {first} of {directory} is {tensors[first].dtype}. "
            "Use a checkpoint that is not quantized."
        )
    _check_fit(directory, config, tensors, family.layers, whole=whole)
    if not any(any(directory.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ModelError(
            f"a model directory must hold its tokenizer, but {directory} has neither tokenizer.json nor a vocabulary. "
            "Save it there with the tokenizer's save_pretrained."
        )
    return config


def _check_numbers(directory: Path, config: Configuration) -> None:
    """Raise unless every size that a configuration states is a number that an encoder can have.

    Raises:
        ModelError: some are not; all are named.
    """
    sliced, problems = config.is_sliced, []
    for size, names in _NAMES.items():
        for name in names:
            # 1 passes: a size that is not stated has transformers' default.
            value = config.values.get(name, 1)
            if sliced and size == "intermediate_size" and isinstance(value, str):
                continue  # a sentence stands there
            smallest = 0 if size in _MAY_BE_ZERO else 1
            # `isinstance` would let true and false pass: bool is an int.
            if type(value) is not int or not smallest <= value <= _MAX_SIZE:
                problems.append(f"{name} is {shorten_value(value)}")
    for group in get_family(config.model_type).groups if sliced else ():
        value = config.values.get(name := f"kept_{group.name}")
        if not isinstance(value, list) or not all(type(kept) is int and 0 <= kept <= _MAX_SIZE for kept in value):
            problems.append(f"{name} is {shorten_value(value)}")
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    # Only where each is a number by itself; otherwise `%` would raise on a text.
    if not problems and hidden and heads and hidden % heads:
        problems.append(f"{heads} heads do not divide a hidden size of {hidden}")
    if problems:
        raise ModelError(
            f"the sizes in config.json must be those of an encoder, but in {directory} {', '.join(problems)}. "
            "Restore the file as save_pretrained wrote it."
        )


def _check_fit(directory: Path, config: Configuration, tensors: Tensors, layers: str, *, whole: bool) -> None:
    """Raise unless the sizes of a configuration are those of the stored tensors, as far as both state them.

    Raises:
        ModelError: some differ; all are named.
    """
    stored: dict[str, int] = {}
    for size, tables in _TABLES.items():
        # By the end of the name: checkpoints with and without a task head differ in the prefix (bert., roberta., none).
        found = next((tensor.shape for name, tensor in tensors.items() if name.endswith(tables)), ())
        if len(found) == 2:
            stored[size] = found[0]
    # The layers that a file has are one more than the highest number in its tensors' names.
    places = [re.search(rf"(?:^|\.){re.escape(layers)}\.(\d+)\.", name) for name in tensors]
    stored["num_hidden_layers"] = max((int(place[1]) + 1 for place in places if place), default=0)
    problems = []
    for size, number in stored.items():
        said = config.size(size)
        # transformers leaves out layers that the configuration does not count, which people use to shorten a base
        # model.
        extra = size == "num_hidden_layers" and not whole and said is not None and said < number
        bare = config.is_sliced and (size, said, number) == ("num_hidden_layers", 1, 0)  # the only layer lost all
        if said is not None and said != number and not extra and not bare:
            problems.append(f"{size} is {said} where the weights have {number}")
    if problems:
        raise ModelError(
            f"config.json must fit the weights beside it, but in {directory} {', '.join(problems)}. "
            "Use the files of one model as save_pretrained wrote them."
        )


def _header(file: Path) -> Tensors:
    """Return what a safetensors file says of its tensors.

    Raises:
        ModelError: it is no such file, or is cut short.
    """
    problem = "it is cut short"
    try:
        with file.open("rb") as stream:
            # The format: 8 bytes with the header's length, the header as JSON, then the tensors' bytes.
            length = int.from_bytes(stream.read(8), "little")
            size = file.stat().st_size
            # 2 is the shortest JSON object; a length beyond the file would have us read as much memory as it says.
            if 2 <= length <= min(size - 8, _MAX_HEADER):
                entries = json.loads(stream.read(length))
                entries.pop("__metadata__", None)
                tensors = {name: StoredTensor.from_json(entry) for name, entry in entries.items()}
                # A cut download has a whole header, but ends before its last tensor does.
                if 8 + length + max((tensor.end for tensor in tensors.values()), default=0) == size and tensors:
                    return tensors
                problem = "it is cut short" if tensors else "it holds no tensor"
    except OSError as error:
        problem = shorten(error)
    # What JSON of another form raises in the lines above; all of it means the same to the user.
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        problem = "its header cannot be read"
    raise ModelError(
        f"{file} must be a whole safetensors file, but {problem}. Restore it, or save the model again with "
        "save_pretrained."
    )


def load_tokenizer(source: str, **options: Any) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a directory or of a name on the Hub; never asks whether it may run code.

    Raises:
        ModelError: it does not load, knows no words, or has no padding token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, **{"trust_remote_code": False, **options}
        )
        # Where its files are missing transformers makes a tokenizer of special tokens alone, without a warning.
        words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    except Exception as error:  # transformers raises a dozen kinds for a broken one
        if "tiktoken" in str(error) and find_spec("sentencepiece") is None:  # it takes the file for one of tiktoken's
            raise ModelError(
                f"the tokenizer of {source} must be read by the library of its SentencePiece model, but sentencepiece "
                "is not installed. Install it with pip install sentencepiece, or save the tokenizer with "
                "save_pretrained where it is."
            ) from error
        raise ModelError(
            f"the tokenizer of {source} must load, but it does not: {shorten(error)}. Restore its files as "
            "save_pretrained wrote them."
        ) from error
    if not words or "input_ids" not in tokenizer.model_input_names:
        what = "makes no input_ids" if words else "knows no words"
        raise ModelError(
            f"the tokenizer of {source} must turn words into input_ids, but {what}. Restore its files as "
            "save_pretrained wrote them."
        )
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {source} must have a padding token, but has none. Add one to it.")
    return tokenizer


def has_backend(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Return whether a tokenizer is a fast one, which a `tokenizer.json` makes again."""
    return getattr(tokenizer, "backend_tokenizer", None) is not None


def expect_words(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Make a byte-level tokenizer put a space before each word of a list, as before words within texts.

    Without it words are read as if they continued those before, which such encoders have hardly seen.

    Raises:
        ModelError: the tokenizer does not tell which word a token is of.
    """
    if not has_backend(tokenizer):
        raise ModelError(
            f"a tokenizer must have a tokenizer.json to read words with labels, but {type(tokenizer).__name__} has "
            "none. Save it as a fast tokenizer, or choose another model."
        )
    from tokenizers.pre_tokenizers import ByteLevel

    found: Any = tokenizer.backend_tokenizer.pre_tokenizer
    for step in found if hasattr(found, "__getitem__") else (found,):  # one, or a sequence of them
        if isinstance(step, ByteLevel):
            step.add_prefix_space = True
            tokenizer.add_prefix_space = True
            tokenizer.init_kwargs["add_prefix_space"] = True  # some classes make it anew when they are loaded


def check_loaded(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", source: str) -> None:
    """Raise unless a loaded model computes with finite numbers and has an embedding for each token.

    Raises:
        ModelError: a weight is NaN or infinite, or the tokenizer belongs to another model.
    """
    for name, parameter in model.named_parameters():
        # One NaN makes every error NaN, an hour later and without a hint to the file.
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(
                f"the weights of {source} must be finite, but {name} holds NaN or infinity. Use another checkpoint."
            )
    # An id beyond the table is an IndexError on CPUs, but a device-side assert on GPUs, after which nothing works
    # there.
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    rows = model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ModelError(
            f"the tokenizer of {source} must have ids below the {rows} rows of the embedding table, but "
            f"{shorten_value(token)} has {largest}. Use the tokenizer that the model was trained with."
        )
