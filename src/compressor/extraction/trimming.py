"""A model directory without the tokens that some texts do not need: of any model, whoever has trained it.

Of an extracted sub-network `extract --trim-vocabulary` does that, which judges it by the rows of its task.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compressor.data.heads.pooling import MODULES_FILE
from compressor.errors import ModelError, TaskDataError
from compressor.extraction.record import describe_trimming
from compressor.extraction.vocabulary import count_tokens, ids_of, trim_tokenizer, trim_vocabulary
from compressor.files import new_directory, read_json, write_json
from compressor.hub import hub_options
from compressor.network.checkpoints import check_loaded, load_tokenizer
from compressor.network.families import get_family, max_positions
from compressor.network.loading import describe_loading_problem, resolve_model
from compressor.network.saving import is_sliced, require_parity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRIMMED_FILE = "vocabulary.json"
_HELD_OUT = 0.2
"""A share of the texts: how many are cut otherwise by a vocabulary that is made of the others alone."""
_FEWEST_TEXTS = 5
_COMPARED = 500
"""Texts whose outputs are compared before and after."""
_BATCH_SIZE = 32
_NOT_COPIED = (
    *("*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot"),
    *("*.onnx", "*.onnx.data", "*.onnx_data", "openvino_model*"),
    *("vocab.*", "merges.txt", "tokenizer*", "added_tokens.json", "special_tokens_map.json", "*.model", ".*"),
)
"""Weights in other formats, which would be the untrimmed ones, and the tokenizer's files; the rest belongs to it, and
so does all of a module behind the encoder."""


@dataclass(frozen=True, kw_only=True)
class TrimmedModel:
    """What came of trimming a model directory; its outputs for the texts are equal with `min_count` 1."""

    num_texts: int
    min_count: int
    """How often a token had to occur to be kept."""
    tokens_before: int
    tokens_after: int
    mb_before: float
    """The size of the weights in fp32, in 10⁶ bytes."""
    mb_after: float
    changed_texts: float
    """The share of held-out texts that a vocabulary made of the others cuts otherwise: what to expect of new texts."""

    def describe(self) -> str:
        """Return it as a sentence."""
        proof = describe_trimming(self.min_count, "equal outputs on the texts")
        return (
            f"Trimming left {self.tokens_after:,} of {self.tokens_before:,} tokens and {self.mb_after:.1f} of "
            f"{self.mb_before:.1f} MB: {proof}. Of such texts as were not counted about "
            f"{self.changed_texts:.1%} are cut into other tokens."
        )


def trim_model_directory(
    name_or_path: str | Path,
    texts: Sequence[str],
    directory: Path,
    *,
    min_count: int = 1,
    num_more: int = 0,
) -> TrimmedModel:
    """Write a model without the tokens that texts do not need into a directory, whole or not at all.

    Kept are special tokens, those that occur at least `min_count` times, single characters or bytes, and the `num_more`
    most frequent others. With `min_count` 1 tokens and outputs of the texts stay equal, which is checked.

    Raises:
        ModelError: the model does not load, has a head over its vocabulary, or its tokenizer cannot be trimmed; it is
            an extracted sub-network.
        ParityError: tokens or outputs of the texts differ.
        TaskDataError: there are too few texts.
    """
    texts = [text for text in texts if text.strip()]
    if len(texts) < _FEWEST_TEXTS:
        raise TaskDataError(
            f"a vocabulary must be trimmed to at least {_FEWEST_TEXTS} texts, but there are {len(texts)}. Give more."
        )
    source = Path(resolve_model(str(name_or_path)))
    model, tokenizer = _load(str(name_or_path), source)
    # Before the vocabulary is cut, in place: what the trimmed model is compared with.
    before, mb_before = _outputs(model, tokenizer, texts), _weights_mb(model)
    ids = ids_of(tokenizer, texts)
    options = {"min_count": min_count, "num_more": num_more}
    changed = _estimate_change(tokenizer, texts, ids, **options)
    tokens_before = model.get_input_embeddings().weight.shape[0]
    trimmed = trim_vocabulary(model, tokenizer, count_tokens(ids, tokens_before), **options)
    # With 1 no token of these texts has gone, so that equality can be asked for; with more it cannot.
    if min_count == 1:
        trimmed.require_same_tokens(ids, ids_of(trimmed.tokenizer, texts), "texts")
        after = _outputs(model, trimmed.tokenizer, texts)
        require_parity(before, after, "the model with the trimmed and the whole vocabulary", 0)
    with new_directory(directory) as folder:
        # What else lies there, such as a pooling, comes along; weights, tokenizer and other formats of them do not.
        if source.is_dir():
            shutil.copytree(source, folder, ignore=_ignore_outside(_find_modules(source)), dirs_exist_ok=True)
        model.to(model.config.dtype or torch.float32).save_pretrained(folder)
        trimmed.tokenizer.save_pretrained(folder)
        made = TrimmedModel(
            num_texts=len(texts),
            min_count=min_count,
            tokens_before=tokens_before,
            tokens_after=len(trimmed.kept),
            mb_before=mb_before,
            mb_after=_weights_mb(model),
            changed_texts=changed,
        )
        write_json(folder / TRIMMED_FILE, {"model": str(name_or_path), **options, **asdict(made)})
    return made


def _load(name: str, source: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Return a model as the class that its configuration names, and its tokenizer."""
    import transformers
    from transformers import AutoConfig

    local = hub_options(str(source))
    if source.is_dir() and is_sliced(source):
        raise ModelError(
            f"an extracted sub-network must be trimmed as it is extracted, but {name} is one. Use compressor extract "
            "--trim-vocabulary."
        )
    try:
        config = AutoConfig.from_pretrained(str(source), trust_remote_code=False, **local)
        get_family(config.model_type)
        tokenizer = load_tokenizer(str(source), **local)
        # The very class, not an Auto class: whatever head the model has is to stay.
        make: Any = getattr(transformers, (config.architectures or ["AutoModel"])[0])
        model: PreTrainedModel = make.from_pretrained(str(source), dtype=torch.float32, **local).eval()
        model.config.dtype = config.dtype  # in which it is saved
    except ModelError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(describe_loading_problem(name, str(source), error)) from error
    if model.get_output_embeddings() is not None:
        raise ModelError(
            f"a model whose vocabulary is trimmed must not predict tokens, but {name} is a {type(model).__name__}. "
            "Save the encoder alone, or fine-tune it first."
        )
    check_loaded(model, tokenizer, name)
    return model, tokenizer


def _find_modules(source: Path) -> list[Path]:
    """Return the folders of the modules behind a sentence-transformers model's encoder, such as a Dense layer."""
    file = source / MODULES_FILE
    written = read_json(file) if file.is_file() else []
    # The first is the encoder itself, which is trimmed.
    entries = written[1:] if isinstance(written, list) else []
    paths = [Path(str(entry.get("path") or "")) for entry in entries if isinstance(entry, dict)]
    return [source / path for path in paths if path.parts]


def _ignore_outside(modules: Sequence[Path]) -> Callable[[str, list[str]], set[str]]:
    """Return what `copytree` leaves out: weights and tokenizers, but not those of the modules, which stay."""
    ignore = shutil.ignore_patterns(*_NOT_COPIED)

    def left_out(folder: str, names: list[str]) -> set[str]:
        return set() if any(Path(folder).is_relative_to(module) for module in modules) else ignore(folder, names)

    return left_out


def _outputs(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> np.ndarray:
    """Return the first output of a model for the first texts, end to end."""
    found = []
    with torch.inference_mode():
        for first in range(0, min(len(texts), _COMPARED), _BATCH_SIZE):
            batch = tokenizer(
                list(texts[first : first + _BATCH_SIZE]),
                truncation=True,
                max_length=min(512, max_positions(model)),
                padding=True,
                return_tensors="pt",
            )
            found.append(model(**batch)[0].flatten().numpy())
    # One column [numbers, 1]: lengths differ from batch to batch, and parity compares number by number.
    return np.concatenate(found)[:, None]


def _estimate_change(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], ids: Sequence[np.ndarray], **options: int
) -> float:
    """Return the share of held-out texts that a vocabulary made of the others alone cuts otherwise."""
    order = np.random.default_rng(0).permutation(len(texts))
    count = max(1, round(_HELD_OUT * len(texts)))
    held, others = order[:count], order[count:]
    size = 1 + max(tokenizer.get_vocab().values())
    trimmed = trim_tokenizer(tokenizer, count_tokens((ids[place] for place in others), size), **options)
    after = ids_of(trimmed.tokenizer, [texts[place] for place in held])
    return trimmed.share_changed([ids[place] for place in held], after)


def _weights_mb(model: "PreTrainedModel") -> float:
    """Return the size of a model's weights in fp32, in 10⁶ bytes."""
    # four bytes each, in MB
    return 4e-6 * float(sum(parameter.numel() for parameter in model.parameters()))
