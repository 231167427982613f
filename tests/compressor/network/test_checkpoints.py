"""A model directory is judged before it is loaded. Whole directories of broken ones are in `tests/fuzz`."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM

from compressor.data.tasks import TASKS
from compressor.errors import ModelError
from compressor.network.checkpoints import StoredTensor, check_checkpoint, load_tokenizer
from compressor.network.families import max_positions
from compressor.network.loading import load_base_model
from compressor.network.modeling_sliced import ENCODER_FAMILIES
from conftest import tiny_batch, tiny_config, word_tokenizer


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


@pytest.mark.skipif("modernbert" not in ENCODER_FAMILIES, reason="transformers is too old for ModernBERT")
def test_an_older_modernbert_is_what_it_was(tmp_path: Path) -> None:
    """As the Hub has them: masked-LM weights, fields of older versions, a tokenizer without token types."""
    tokenizer, config = word_tokenizer(), tiny_config("modernbert")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    config.rope_parameters["sliding_attention"]["rope_theta"] = 500.0
    original = AutoModelForMaskedLM.from_config(config).eval()
    original.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    del written["layer_types"], written["rope_parameters"]
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 160000.0, "local_rope_theta": 500.0}
    (tmp_path / "config.json").write_text(json.dumps(written | older | {"reference_compile": False}))
    assert check_checkpoint(tmp_path, whole=True).model_type == "modernbert"
    for kind, good in (("sans_pos", True), ("absolute", True), ("relative_key", False)):
        change(tmp_path, position_embedding_type=kind)
        with contextlib.nullcontext() if good else pytest.raises(ModelError, match="must have absolute or sans_pos"):
            check_checkpoint(tmp_path, whole=False)
    change(tmp_path, position_embedding_type="sans_pos")
    model, loaded_tokenizer = load_base_model(str(tmp_path), TASKS["custom"], ("no", "yes"), seed=0)
    model.eval()
    assert (max_positions(model), loaded_tokenizer.model_input_names) == (40, ["input_ids", "attention_mask"])
    assert model.config.layer_types == config.layer_types
    assert torch.equal(model.head.dense.weight, original.head.dense.weight)
    batch = tiny_batch(model, length=17)
    torch.testing.assert_close(model.base_model(**batch)[0], original.base_model(**batch)[0])
    change(tmp_path, num_hidden_layers=2)  # fewer of them are a base model
    assert check_checkpoint(tmp_path, whole=False).size("num_hidden_layers") == 2
    with pytest.raises(ModelError, match="num_hidden_layers is 2 where the weights have 3"):
        check_checkpoint(tmp_path, whole=True)


def test_a_sentencepiece_model_alone_needs_its_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DeBERTa v3 comes from the Hub; transformers asks for tiktoken, which cannot read it."""
    (folder / "tokenizer.json").unlink()
    (folder / "spm.model").write_bytes(b"pieces")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DebertaV2Tokenizer"}))
    monkeypatch.setattr("compressor.network.checkpoints.find_spec", lambda _: None)
    with pytest.raises(ModelError) as raised:
        load_tokenizer(str(folder))
    assert str(raised.value) == (
        f"the tokenizer of {folder} must be read by the library of its SentencePiece model, but sentencepiece is not "
        "installed. Install it with pip install sentencepiece, or save the tokenizer with save_pretrained where it is."
    )
