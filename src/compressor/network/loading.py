"""Models on disk: loading a base encoder or a super-network, saving one. Safetensors and JSON only."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor.data.demo import DEMO_MODEL, find_demo_model
from compressor.data.tasks import Task
from compressor.digests import FILES_KEY, combine, digest_files, require_same_files
from compressor.errors import CompressorError, ModelError, brief
from compressor.files import local_path, new_directory, write_json
from compressor.hub import hub_answers
from compressor.network.checkpoints import check_checkpoint, check_loaded, load_tokenizer
from compressor.network.families import get_auto_class, get_family, has_choice_head
from compressor.network.modeling_sliced import SLICED_PREFIX
from compressor.shapes import SUPER_NETWORK, TRAINED, read_record

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUPER_NETWORK_FILE = "super_network.json"


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
        ModelError: the directory is not there, or its files are missing, broken or of different models.
        FileError: the name is none.
    """
    if name_or_path == DEMO_MODEL:
        return str(find_demo_model())
    path = local_path(name_or_path)
    if path.is_dir():
        check_checkpoint(path.resolve(), whole=False)
        return str(path.resolve())  # a relative path may be taken for a Hub name
    if Path(name_or_path).is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise ModelError(f"the model directory {name_or_path} must exist, but it does not. Check the path.")
    return name_or_path


def digest_model(name_or_path: str) -> str:
    """What a base model is: a digest of the files of its directory, or its name on the Hub."""
    resolved = resolve_model(name_or_path)
    return combine(digest_files(Path(resolved))) if Path(resolved).is_dir() else resolved


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
        ModelError: the model cannot be found, is of an unsupported family, lacks encoder weights, or its tokenizer does
            not fit.
    """
    from transformers import AutoConfig

    source = resolve_model(name_or_path)
    local = {"local_files_only": True} if not Path(source).is_dir() and not hub_answers() else {}
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **local)
        get_family(config.model_type)
        tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code, **local)
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
    except CompressorError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(_loading_problem(name_or_path, source, error)) from error
    prefix = f"{model.base_model_prefix}."
    missing = sorted(key for key in loaded["missing_keys"] if key.startswith(prefix) and "pooler" not in key)
    if missing:
        raise ModelError(
            f"the weights of {name_or_path} must cover the encoder, but {len(missing)} tensors are missing, such as "
            f"{missing[0]}. Use a complete checkpoint."
        )
    check_loaded(model, tokenizer, name_or_path)
    return model, tokenizer


def load_super_network(path: Path) -> SuperNetwork:
    """A super-network made by `train-supernet`, or any fine-tuned classifier directory, on the CPU, ready to evaluate.

    Raises:
        ModelError: the directory is missing, has no weights, is half-written or is of an unsupported family, or its
            files were changed since it was trained.
    """
    from transformers import AutoConfig

    path = path.expanduser().resolve()
    if not path.is_dir():
        raise ModelError(
            f"--supernet must be a directory, but {path} is not there. Run compressor train-supernet first."
        )
    info = read_super_network(path)
    written = check_checkpoint(path, whole=True)
    if written["model_type"].startswith(SLICED_PREFIX):
        raise ModelError(
            f"a super-network must have equal layers, but {path} is a sliced model. Use the one it was cut out of."
        )
    require_same_files(path, info.get(FILES_KEY), SUPER_NETWORK_FILE, "train again with compressor train-supernet")
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        get_family(config.model_type)
        model, loaded = get_auto_class(has_choice_head(config)).from_pretrained(
            path,
            dtype=torch.float32,
            attn_implementation=info.get("attn_implementation", "sdpa"),
            trust_remote_code=False,
            output_loading_info=True,
        )
        tokenizer = load_tokenizer(str(path))
    except CompressorError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(_loading_problem(str(path), str(path), error)) from error
    if loaded["missing_keys"]:
        raise ModelError(
            f"a super-network must be fine-tuned, but {path} lacks {sorted(loaded['missing_keys'])[0]}. "
            "Run compressor train-supernet on it first."
        )
    check_loaded(model, tokenizer, str(path))
    return SuperNetwork(model=model.eval(), tokenizer=tokenizer, path=path, info=info)


def read_super_network(path: Path) -> dict[str, Any]:
    """The content of `super_network.json` in a directory; empty where there is none.

    Raises:
        FileError: the file is broken.
    """
    file = path / SUPER_NETWORK_FILE
    if not file.is_file():
        return {}
    next_step = "Restore it, or train again with compressor train-supernet"
    info = read_record(file, SUPER_NETWORK, next_step)
    return read_record(file, SUPER_NETWORK | TRAINED, next_step) if "source" in info else info


def save_super_network(
    path: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", info: dict[str, Any]
) -> Path:
    """The super-network as a Hugging Face directory plus `super_network.json`; whole or not there.

    The digests of its files are written into `super_network.json`.
    """
    with new_directory(path) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / SUPER_NETWORK_FILE, info | {FILES_KEY: digest_files(temporary)})
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
