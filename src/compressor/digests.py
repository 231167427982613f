"""What a result depends on, written beside it and compared wherever it is read again.

`Inputs` is the one rule for whether work that was begun, or is finished, is the work that is asked for: of a command, a
stage of `compress`, a search's journal, a training's state and the trials of standard NAS. `digest_files` says what
counts of a directory: weights, configuration, tokenizer, code and graphs. The rows of a task have a digest of their own
(`TaskData.digest`), split included.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from compressor.errors import ModelError
from compressor.files import file_sha256, read_json

FILES_KEY = "files"
"""The key in `super_network.json`, `sub_network.json` and `export.json`: the digests of the files beside it."""
_PATTERNS = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*.py",
    "*.onnx",
    "*.onnx.data",
    "openvino_model*.xml",
    "openvino_model*.bin",
)
_POOLING = ("modules.json", "*_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json")
"""Files of sentence-transformers by which tokens become a vector."""
_VOLATILE = ("transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "is_local", "local_files_only")
"""Keys of configurations that change with each saving and change no result."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a result depends on. Two are the same where work on one can resume, or is, work on the other."""

    values: Mapping[str, Any]
    """Options and digests by name, as JSON has them; a value that is None counts as missing, as in older files."""
    budget: Collection[str] = ()
    """The names of values that say how much of the same is wanted: they may differ."""
    code: str | None = None
    """A digest of the code; None where other code may resume the work, as what a killed command has computed."""

    def __post_init__(self) -> None:
        # As a file gives it back, or tuples would differ from the lists that they are read as. (The class is frozen.)
        object.__setattr__(self, "values", _without_none(json.loads(json.dumps(self.values, default=str))))

    def differences(self, other: "Inputs") -> list[str]:
        """Return the names of the values that differ, the budget's apart."""
        mine, others = self.identity, other.identity
        return [name for name in sorted({*mine, *others}) if mine.get(name) != others.get(name)]

    def same_as(self, other: "Inputs") -> bool:
        """Return whether work on the other is work on these, wanted in whatever amount."""
        return self.identity == other.identity and self.code == other.code

    def same_amount_as(self, other: "Inputs") -> bool:
        """Return whether as much is wanted."""
        return all(self.values.get(name) == other.values.get(name) for name in self.budget)

    def are_in(self, path: Path) -> bool:
        """Return whether a JSON file is there and holds the same values."""
        return path.is_file() and self.same_as(Inputs(values=read_json(path), budget=self.budget, code=self.code))

    @property
    def identity(self) -> dict[str, Any]:
        """The values that must be the same."""
        return {name: value for name, value in self.values.items() if name not in self.budget}

    @property
    def hash(self) -> str:
        """A hash of 16 hexadecimal digits, equal where two are the same."""
        return hashlib.sha256(json.dumps([self.identity, self.code], sort_keys=True).encode()).hexdigest()[:16]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def digest_files(directory: Path) -> dict[str, str]:
    """Return a content hash of 16 hexadecimal digits of each file in a directory that results depend on, by name."""
    files = {file.name: file for pattern in _PATTERNS for file in directory.glob(pattern) if file.is_file()}
    return {name: _digest(files[name]) for name in sorted(files)}


def digest_source(directory: Path) -> str:
    """Return one digest of a model directory that others made: its files and, of sentence-transformers, how it pools.

    That lies beside the model there; what is saved of ours has it in its configuration too.
    """
    beside = {str(file.relative_to(directory)): file for pattern in _POOLING for file in directory.glob(pattern)}
    return combine({**digest_files(directory), **{name: _digest(file) for name, file in beside.items()}})


def digest_weights(directory: Path) -> str:
    """Return a content hash of a model directory's safetensors and ONNX files, as version 0.1.0 noted it."""
    files = sorted(file for pattern in ("*.safetensors", "*.onnx", "*.onnx.data") for file in directory.glob(pattern))
    return hashlib.sha256(" ".join(map(file_sha256, files)).encode()).hexdigest()[:16]


@cache
def digest_code(*packages: str) -> str:
    """Return a content hash of 16 hexadecimal digits of packages of the tool: other code may give other results."""
    source = Path(__file__).parents[1]
    # All of their modules and not what the work imports: too often different costs time, too seldom a wrong result.
    files = sorted(file for package in packages for file in source.joinpath(package).rglob("*.py"))
    return hashlib.sha256(" ".join(map(file_sha256, files)).encode()).hexdigest()[:16]


def combine(digests: Mapping[str, str]) -> str:
    """Return one digest of what `digest_files` says."""
    return hashlib.sha256(json.dumps(dict(sorted(digests.items()))).encode()).hexdigest()[:16]


def require_same_files(
    directory: Path, written: Any, where: str, next_step: str, only: Collection[str] | None = None
) -> None:
    """Raise unless the files of a directory (or `only` some of them) are those whose digests were written down.

    Directories of version 0.1.0 have none (None); then there is nothing to compare.

    Raises:
        ModelError: some were changed, added or are missing; all are named.
    """
    if not isinstance(written, Mapping):
        return
    # Both sides are restricted to the wanted names, or a file that nobody asks for would count as added.
    found = {name: digest for name, digest in digest_files(directory).items() if only is None or name in only}
    written = {name: digest for name, digest in written.items() if only is None or name in only}
    problems = [f"{name} is missing" for name in sorted(set(written) - set(found))]
    problems += [f"{name} was added" for name in sorted(set(found) - set(written))]
    problems += [f"{name} was changed" for name in sorted(found) if name in written and written[name] != found[name]]
    if problems:
        raise ModelError(
            f"the files of {directory} must be as {where} names them, but {', '.join(problems)}. "
            f"Restore them, or {next_step}."
        )


def _digest(file: Path) -> str:
    if file.suffix == ".json" and file.name.endswith("config.json"):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            kept = {key: value for key, value in values.items() if key not in _VOLATILE}
            # Sorted: transformers versions write the keys in different orders.
            return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
        except (ValueError, AttributeError, RecursionError):
            pass  # a broken one is compared as it is
    return file_sha256(file)[:16]
