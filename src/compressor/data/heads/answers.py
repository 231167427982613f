"""What a full model answers to texts without labels: its outputs, in a file, of which labels are made; frozen models.

Errors then are disagreement with that model, whatever is true.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.demo_base import find_demo_encoder
from compressor.device import fork_random_state, pick_device
from compressor.digests import combine, digest_source
from compressor.errors import ModelError, TaskDataError, shorten
from compressor.files import new_directory
from compressor.hub import hub_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from compressor.data.heads.head import ModelForm

ANSWERS_FOLDER, ANSWERS_FILE = "answers", "outputs.safetensors"
"""Beside the model that was made with them; in a folder of its own, since it holds no weights."""
AGAINST_FULL_MODEL = (
    "No labels were given: every error here is disagreement with the full model's own answers, not with the truth. A "
    "model that repeats all of its mistakes has an error of 0."
)
"""What is said wherever such errors are shown."""
PARTS = ("train", "validation", "test")
_WORDS = "words of "
"""Before the name of a part, in the file."""


def name_error(label: str, against_full_model: bool) -> str:
    """Return the name of an error: disagreement, where it is measured against a full model's answers."""
    return label.replace("error", "disagreement") if against_full_model else label


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who was asked what: answers depend on nothing else."""

    model: str
    """Digest of the full model."""
    texts: str
    """Digest of the texts, split included."""
    max_length: int
    """Tokens; longer texts were cut."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A full model's answers to the texts of all parts."""

    full_model: str
    """Its name on the Hub, or its directory."""
    asked: Asked
    label_names: tuple[str, ...]
    """In the order of its outputs; empty where it answers with values."""
    outputs: dict[str, np.ndarray]
    """By part, [units, …]."""
    words: dict[str, np.ndarray] | None = None
    """By part, of which word of which row they are: [units, 2], row first; None where rows are answered as a whole."""

    @property
    def texts(self) -> str:
        """Digest of the texts that were answered."""
        return self.asked.texts


def write_answers(folder: Path, answers: Answers) -> Path:
    """Write the answers into a folder, whole or not at all; returns their file."""
    from safetensors.numpy import save_file

    said = {"full_model": answers.full_model, "label_names": list(answers.label_names), **asdict(answers.asked)}
    words = {_WORDS + name: values for name, values in (answers.words or {}).items()}
    tensors = {name: np.ascontiguousarray(values) for name, values in (answers.outputs | words).items()}
    with new_directory(folder) as temporary:
        save_file(tensors, temporary / ANSWERS_FILE, metadata={"answers": json.dumps(said)})
        # safetensors makes files that only their owner may read.
        (temporary / ANSWERS_FILE).chmod(0o644)
    return folder / ANSWERS_FILE


def read_answers(path: Path) -> Answers:
    """Return the answers in a file that `write_answers` made.

    Raises:
        TaskDataError: it is not there, or broken.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # Metadata first: a file of another kind fails at this key, before a tensor is read.
        with safe_open(path, framework="numpy") as file:
            said = json.loads((file.metadata() or {})["answers"])
            outputs = {name: file.get_tensor(name) for name in PARTS}
            has_words = _WORDS + PARTS[0] in set(file.keys())
            words = {name: file.get_tensor(_WORDS + name) for name in PARTS} if has_words else None
        return Answers(
            full_model=str(said["full_model"]),
            label_names=tuple(map(str, said["label_names"])),
            asked=Asked(model=str(said["model"]), texts=str(said["texts"]), max_length=int(said["max_length"])),
            outputs=outputs,
            words=words,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TaskDataError(
            f"{path} must hold the full model's answers to the texts without labels, but cannot be read: "
            f"{shorten(error)}. Restore it, or run compressor compress or train-supernet with --unlabeled-file again."
        ) from None


def find_reference(name_or_path: str) -> str:
    """Return the directory of a frozen model, or its name on the Hub.

    Raises:
        ModelError: it was a directory, and is gone.
    """
    # The demo's own names come first, then a directory; any other name is one on the Hub, except that an absolute path
    # can only be a directory that has gone.
    if (demo := find_demo_encoder(name_or_path)) is not None:
        return str(demo)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.is_absolute():
        raise ModelError(
            f"the model whose outputs are learnt must be where it was, but {path} is gone. Restore it, or train again."
        )
    return name_or_path


def digest_reference(source: str) -> str:
    """Return what a frozen model is: a digest of its directory, or of its name on the Hub."""
    return digest_source(Path(source)) if Path(source).is_dir() else combine({"name": source})


def load_reference(source: str, form: "ModelForm") -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Return the frozen model, ready to evaluate, on the GPU where there is one, and its tokenizer.

    Raises:
        ModelError: it does not load.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer

    # Where no Hub answers, what its cache holds of a name has to do.
    local = hub_options(source)
    try:
        config = AutoConfig.from_pretrained(source, **local)
        form.prepare(config, source)
        # Drawn under a seed of its own, which leaves the global random state alone: a weight that the directory lacks
        # would otherwise be another one in each process that loads it.
        with fork_random_state():
            torch.manual_seed(0)
            model: PreTrainedModel = form.auto_class.from_pretrained(
                source, config=config, dtype=torch.float32, **local
            )
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **local)
    except ModelError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for a directory that it cannot use
        raise ModelError(
            f"the model whose outputs are learnt must load, but {source} does not: {shorten(error)}. Use a directory "
            "made by save_pretrained."
        ) from error
    return model.eval().to(pick_device()), tokenizer
