"""Models on disk: loading a base encoder or a super-network, saving one. Safetensors and JSON only."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from compressor.demo import DEMO_MODEL, find_demo_model
from compressor.errors import ModelError, brief
from compressor.families import get_auto_class, get_family, has_choice_head, require_weights
from compressor.files import new_directory, read_json, write_json
from compressor.hub import hub_answers
from compressor.modeling_sliced import SLICED_PREFIX
from compressor.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUPER_NETWORK_FILE = "super_network.json"
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


@dataclass(frozen=True, kw_only=True)
class SuperNetwork:
    """A fine-tuned encoder with its tokenizer and the record of its training."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    path: Path
    info: dict[str, Any]
    """The content of `super_network.json`; empty for a plain fine-tuned checkpoint."""


def resolve_model(name_or_path: str) -> str:
    """The absolute directory of a local model or of the demo encoder; anything else is a Hub name and stays.

    Raises:
        ModelError: the directory holds no configuration or no safetensors weights.
    """
    if name_or_path == DEMO_MODEL:
        return str(find_demo_model())
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        require_weights(path)
        return str(path.resolve())  # a relative path may be taken for a Hub name
    if path.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise ModelError(f"the model directory {name_or_path} must exist, but it does not. Check the path.")
    return name_or_path


def load_base_model(
    name_or_path: str,
    task: Task,
    label_names: tuple[str, ...],
    *,
    seed: int,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """A pre-trained encoder with a task head, and its tokenizer; new weights are drawn from `seed`.

    Raises:
        ModelError: the model cannot be found, is of an unsupported family, or lacks encoder weights.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = resolve_model(name_or_path)
    local = {"local_files_only": True} if not Path(source).is_dir() and not hub_answers() else {}
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **local)
        get_family(config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code, **local)
        if not task.multiple_choice:
            names = dict(enumerate(label_names or ("value",)))
            config.num_labels = len(names)
            config.id2label, config.label2id = names, {name: index for index, name in names.items()}
            config.problem_type = "regression" if task.regression else "single_label_classification"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model, loaded = get_auto_class(task.multiple_choice).from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                attn_implementation=attn_implementation,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **local,
            )
    except _LOADING_ERRORS as error:
        raise ModelError(_loading_problem(name_or_path, source, error)) from error
    prefix = f"{model.base_model_prefix}."
    missing = sorted(key for key in loaded["missing_keys"] if key.startswith(prefix) and "pooler" not in key)
    if missing:
        raise ModelError(
            f"the weights of {name_or_path} must cover the encoder, but {len(missing)} tensors are missing, such as "
            f"{missing[0]}. Use a complete checkpoint."
        )
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {name_or_path} must have a padding token, but has none. Add one to it.")
    return model, tokenizer


def load_super_network(path: Path) -> SuperNetwork:
    """A super-network made by `train-supernet`, or any fine-tuned classifier directory, on the CPU, ready to evaluate.

    Raises:
        ModelError: the directory is missing, has no weights, is half-written or is of an unsupported family.
    """
    from transformers import AutoConfig, AutoTokenizer

    path = path.expanduser().resolve()
    if not path.is_dir():
        raise ModelError(
            f"--supernet must be a directory, but {path} is not there. Run compressor train-supernet first."
        )
    require_weights(path)
    if str(read_json(path / "config.json").get("model_type", "")).startswith(SLICED_PREFIX):
        raise ModelError(
            f"a super-network must have equal layers, but {path} is a sliced model. Use the one it was cut out of."
        )
    info = read_json(path / SUPER_NETWORK_FILE) if (path / SUPER_NETWORK_FILE).is_file() else {}
    try:
        config = AutoConfig.from_pretrained(path)
        get_family(config.model_type)
        model, loaded = get_auto_class(has_choice_head(config)).from_pretrained(
            path,
            dtype=torch.float32,
            attn_implementation=info.get("attn_implementation", "sdpa"),
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(path)
    except _LOADING_ERRORS as error:
        raise ModelError(_loading_problem(str(path), str(path), error)) from error
    if loaded["missing_keys"]:
        raise ModelError(
            f"a super-network must be fine-tuned, but {path} lacks {sorted(loaded['missing_keys'])[0]}. "
            "Run compressor train-supernet on it first."
        )
    return SuperNetwork(model=model.eval(), tokenizer=tokenizer, path=path, info=info)


def save_super_network(
    path: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", info: dict[str, Any]
) -> Path:
    """The super-network as a Hugging Face directory plus `super_network.json`; whole or not there."""
    with new_directory(path) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / SUPER_NETWORK_FILE, info)
    return path


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _loading_problem(name: str, source: str, error: Exception) -> str:
    reason = brief(error)
    if Path(source).is_dir():
        return f"the model in {name} must load, but it does not: {reason}. Use a directory made by save_pretrained."
    return (
        f"the model {name!r} must be a local directory, 'demo' or a name on a Hugging Face Hub within reach, but "
        "it is none of them. Check the name, or download the model and give its directory."
    )
