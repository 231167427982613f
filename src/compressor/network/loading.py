"""Pre-trained encoders on disk or on the Hub: finding, digesting, loading them. Safetensors only."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compressor.data.demo_base import find_demo_encoder
from compressor.data.heads import form_of, form_of_config
from compressor.data.heads.head import ModelForm
from compressor.data.tasks import Task
from compressor.device import fork_random_state
from compressor.digests import digest_source
from compressor.errors import CompressorError, ModelError, shorten
from compressor.files import local_path
from compressor.hub import hub_options
from compressor.network.checkpoints import check_checkpoint, check_loaded, expect_words, load_tokenizer
from compressor.network.families import get_family

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def resolve_model(name_or_path: str) -> str:
    """Return the absolute directory of a local model or of a demo encoder; anything else is a Hub name and stays.

    Raises:
        ModelError: the directory is not there, or its files are missing, broken or of different models; the
            packages of a demo encoder are not installed, or damaged.
        FileError: the name is none.
    """
    if (demo := find_demo_encoder(name_or_path)) is not None:
        return str(demo)
    # A directory comes first, as in transformers: "roberta-base" in the current folder hides the Hub's.
    path = local_path(name_or_path)
    if path.is_dir():
        check_checkpoint(path.resolve(), whole=False)
        return str(path.resolve())  # a relative path may be taken for a Hub name
    # Hub names have at most one slash: asking the Hub for these would end in retries and a misleading error.
    if Path(name_or_path).is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise ModelError(f"the model directory {name_or_path} must exist, but it does not. Check the path.")
    return name_or_path


def digest_model(name_or_path: str) -> str:
    """Return what a base model is: a digest of its directory, or its name on the Hub."""
    resolved = resolve_model(name_or_path)
    return digest_source(Path(resolved)) if Path(resolved).is_dir() else resolved


def load_base_model(
    name_or_path: str,
    task: Task,
    label_names: tuple[str, ...],
    *,
    seed: int,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    start: np.ndarray | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Return a pre-trained encoder with a task head, and its tokenizer; new weights are drawn from `seed`.

    A head that the model has for another number of labels is drawn anew too. The biases of a new one are `start`,
    [outputs], 0 without (`Head.find_start`).

    Raises:
        ModelError: the model cannot be found, is of an unsupported family, lacks encoder weights, or its tokenizer does
            not fit.
    """

    def configure(config: Any) -> ModelForm:
        # Before the weights are loaded: the head's class reads the number of labels when it is built.
        task.head.configure(config, label_names)
        task.head.form.prepare(config, resolve_model(name_or_path), task.max_length)
        return task.head.form

    model, tokenizer, missing = _load(
        name_or_path,
        configure,
        seed=seed,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        head_may_be_new=True,
    )
    if task.head.labels_words:
        expect_words(tokenizer)
    if task.head.keeps_length:
        tokenizer.model_max_length = min(task.max_length, tokenizer.model_max_length)
    prefix = _encoder_prefix(model)
    # A new task head is expected to be missing, and so is the pooler, which many pre-trained encoders do not have.
    uncovered = [key for key in missing if key.startswith(prefix) and "pooler" not in key]
    if uncovered:
        raise ModelError(
            f"the weights of {name_or_path} must cover the encoder, but {len(uncovered)} tensors are missing, such as "
            f"{uncovered[0]}. Use a complete checkpoint."
        )
    if start is not None:
        _start_head(model, missing, start)
    check_loaded(model, tokenizer, name_or_path)
    return model, tokenizer


def load_fine_tuned_model(
    name_or_path: str,
    *,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    option: str = "--model-name-or-path",
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Return a model with the head that it was fine-tuned with, and its tokenizer; no weight is drawn anew.

    It was named by an `option`, which errors name.

    Raises:
        ModelError: the model cannot be found, is of an unsupported family, or lacks weights, as one without a head.
    """
    # The seed is of no consequence: a model in which a weight had to be drawn is refused below.
    model, tokenizer, missing = _load(
        name_or_path,
        form_of_config,
        seed=0,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
    )
    # A bare encoder lacks no weight, and yet has nothing that answers.
    if form_of(model).pools_tokens:
        missing = ["a task head"]
    if missing:
        asked = option == "--teacher-model"
        who = "the teacher" if asked else "the model that answers texts without labels"
        otherwise = "leave it out" if asked else "give rows with labels: --train-file"
        raise ModelError(
            f"{who} must be fine-tuned, but {name_or_path} lacks {missing[0]}. "
            f"Name a fine-tuned one with {option}, or {otherwise}."
        )
    check_loaded(model, tokenizer, name_or_path)
    return model.eval(), tokenizer


def require_head(
    model: "PreTrainedModel", task: Task, label_names: Sequence[str], *, who: str, name: object, remedy: str
) -> None:
    """Raise unless a model's head answers a task with these labels; the error says `who` it is.

    Raises:
        ModelError: it does not.
    """
    head, form = task.head, form_of(model)
    if form != head.form or not head.fits(model.config, label_names):
        raise ModelError(
            f"{who} must have a head for {head.describe(label_names)}, as the task {task.name} needs, but {name} has "
            f"{form.describe(model.config)}. {remedy}"
        )


def find_config(name_or_path: str, *, trust_remote_code: bool = False) -> Any:
    """Return the configuration of a model before it is loaded; None where it has none that transformers reads."""
    from transformers import AutoConfig

    try:
        source = resolve_model(name_or_path)
        return AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **hub_options(source))
    except Exception:  # transformers raises a dozen kinds; loading the model tells the user why
        return None


def _load(
    name_or_path: str,
    find_form: Callable[[Any], ModelForm],
    *,
    seed: int,
    attn_implementation: str,
    trust_remote_code: bool,
    head_may_be_new: bool = False,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", list[str]]:
    """Return a model of the given `ModelForm`, its tokenizer, and the names of newly initialised weights."""
    from transformers import AutoConfig

    source = resolve_model(name_or_path)
    local = hub_options(source)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **local)
        get_family(config.model_type)
        tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code, **local)
        form = find_form(config)
        # The new head is drawn from `seed`, and the caller's random state is as it was.
        with fork_random_state():
            torch.manual_seed(seed)
            model, loaded = form.auto_class.from_pretrained(
                source,
                config=config,
                # Else transformers 5 takes the checkpoint's own type, and parity of 1e-5 is beyond 16 bits.
                dtype=torch.float32,
                attn_implementation=get_family(config.model_type).attention(attn_implementation),
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                # Weights of another shape are drawn anew and told, of which a head's are welcome.
                ignore_mismatched_sizes=True,
                **local,
            )
        for key, stored, said in loaded["mismatched_keys"]:
            if not head_may_be_new or key.startswith(_encoder_prefix(model)):
                raise ValueError(f"{key} is of shape {list(stored)}, by its configuration of {list(said)}")
        new = {*loaded["missing_keys"], *(key for key, _, _ in loaded["mismatched_keys"])}
    except CompressorError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(describe_loading_problem(name_or_path, source, error)) from error
    return model, tokenizer, sorted(new)


def _start_head(model: "PreTrainedModel", new: Sequence[str], start: np.ndarray) -> None:
    """Give a head that was drawn anew the biases of its outputs."""
    prefix, parameters = _encoder_prefix(model), dict(model.named_parameters())
    # Of a head of several layers the last one gives the outputs.
    biases = [name for name in parameters if name.endswith(".bias") and not name.startswith(prefix)]
    if prefix and biases and biases[-1] in new:
        with torch.no_grad():
            parameters[biases[-1]].copy_(torch.from_numpy(start))


def _encoder_prefix(model: "PreTrainedModel") -> str:
    """Return what the names of an encoder's weights begin with: nothing where there is no task head beside it."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def describe_loading_problem(name: str, source: str, error: Exception) -> str:
    """Say why transformers could not load a model."""
    reason = shorten(error)
    if Path(source).is_dir():
        return f"the model in {name} must load, but it does not: {reason}. Use a directory made by save_pretrained."
    return (
        f"the model {name!r} must be a local directory, 'demo', 'demo-base' or a name on a Hugging Face Hub "
        "within reach, but it is none of them. Check the name, or download the model and give its directory."
    )
