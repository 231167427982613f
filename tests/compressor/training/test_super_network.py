"""A super-network's directory: what is saved is loaded, what is none is refused."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.digests import digest_files
from compressor.errors import ModelError
from compressor.network.modeling_sliced import ENCODER_FAMILIES
from compressor.training.super_network import SuperNetwork, load_super_network
from conftest import TASK_HEADS, answers, tiny_batch, tiny_model, training_record


@pytest.mark.parametrize("task_head", TASK_HEADS)
def test_saved_super_network_loads_the_same(task_head: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model(task_head=task_head)
    saved = SuperNetwork(model=model, tokenizer=tokenizer, record=training_record()).save(tmp_path / "net")
    loaded = load_super_network(tmp_path / "net")
    assert loaded.record == saved.record == training_record(files=digest_files(tmp_path / "net"))
    batch = tiny_batch(model)
    torch.testing.assert_close(answers(loaded.model, batch), answers(model, batch), rtol=1e-5, atol=1e-6)
    assert not list((tmp_path / "net").glob(".*"))


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_a_super_network_of_every_family_loads(
    model_type: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Whichever attention it was to be trained with."""
    model = tiny_model(model_type)
    SuperNetwork(model=model, tokenizer=tokenizer, record=training_record()).save(tmp_path / "net")
    loaded = load_super_network(tmp_path / "net").model
    assert loaded.config._attn_implementation == model.config._attn_implementation
    batch = tiny_batch(model)
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, rtol=1e-5, atol=1e-6)


def test_a_base_model_is_no_super_network(base_model_dir: Path) -> None:
    with pytest.raises(ModelError, match="a super-network must be fine-tuned, but .* lacks a task head"):
        load_super_network(base_model_dir)


def test_a_super_network_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--supernet must be a directory, but .* is not there"):
        load_super_network(tmp_path / "none")
