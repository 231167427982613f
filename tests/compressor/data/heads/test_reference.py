"""The frozen model whose outputs are learnt."""

from pathlib import Path

import pytest

from compressor.data.heads.answers import digest_reference, find_reference, load_reference
from compressor.data.heads.embedding import EMBEDDING_FORM
from compressor.errors import ModelError


def test_a_directory_is_found_and_told_by_its_files(base_model_dir: Path, tmp_path: Path) -> None:
    source = find_reference(str(base_model_dir))
    assert source == str(base_model_dir.resolve())
    assert digest_reference(source) == digest_reference(source)
    (tmp_path / "config.json").write_text("{}")
    assert digest_reference(str(tmp_path)) != digest_reference(source)
    assert find_reference("owner/name") == "owner/name"


def test_it_evaluates_and_pools(base_model_dir: Path) -> None:
    model, tokenizer = load_reference(str(base_model_dir), EMBEDDING_FORM)
    assert not model.training
    assert model.config.sentence_embedding["mode"] == "mean"
    assert len(tokenizer) == model.config.vocab_size


def test_one_that_is_gone_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model whose outputs are learnt must be where it was, but .* is gone"):
        find_reference(str(tmp_path / "gone"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="the model whose outputs are learnt must load, but .* does not"):
        load_reference(str(tmp_path), EMBEDDING_FORM)
