"""A model directory is judged before it is loaded. Whole directories of broken ones are in `tests/fuzz`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import ModelError
from compressor.network.checkpoints import StoredTensor, check_checkpoint


@pytest.fixture
def folder(base_model_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(base_model_dir, tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_whole_directory_is_what_its_configuration_says(folder: Path) -> None:
    config = check_checkpoint(folder, whole=False)
    assert (config.model_type, config.is_sliced) == ("bert", False)
    assert config.size("num_hidden_layers") == json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    change(folder, dim=1)
    assert check_checkpoint(folder, whole=False).size("hidden_size") != 1  # the other name is there, and comes first


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model_type": 7}, "config.json must be an object with a model_type"),
        ({"model_type": "gpt2"}, "the encoder family must be one of"),
        ({"position_embedding_type": "relative_key"}, "must have absolute positions, but position_embedding_type of"),
        ({"hidden_size": "wide", "vocab_size": -1}, r"hidden_size is \"wide\", vocab_size is -1"),
        ({"num_attention_heads": 3}, "3 heads do not divide a hidden size of"),
        ({"vocab_size": 7}, "vocab_size is 7 where the weights have"),
        ({"num_hidden_layers": 9}, "num_hidden_layers is 9 where the weights have"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(values: dict[str, Any], problem: str, folder: Path) -> None:
    change(folder, **values)
    with pytest.raises(ModelError, match=problem):
        check_checkpoint(folder, whole=False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is cut short"),
        (b"\x08\0\0\0\0\0\0\0not json", "its header cannot be read"),
        (b"\x02\0\0\0\0\0\0\0{}", "it holds no tensor"),
        (b'\x0a\0\0\0\0\0\0\0{"a": {} }', "its header cannot be read"),
    ],
)
def test_a_file_of_weights_that_is_none(content: bytes, problem: str, folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(content)
    with pytest.raises(ModelError, match=f"must be a whole safetensors file, but {problem}"):
        check_checkpoint(folder, whole=False)


def test_a_directory_without_a_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match="a model directory must hold its tokenizer"):
        check_checkpoint(folder, whole=False)


def test_an_entry_of_a_header() -> None:
    stored = StoredTensor.from_json({"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]})
    assert stored == StoredTensor(dtype="F32", shape=(2, 3), end=32)
