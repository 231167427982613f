"""Pooling by hand; what sentence-transformers writes is read, what we write it reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedTokenizerFast

from compressor.data.heads.pooling import Pooling, note_pooling, pooling_of, read_pooling, write_pooling
from compressor.errors import ModelError
from compressor.network.saving import save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import DIMENSIONS, answers, tiny_batch, tiny_model

TOKENS = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("mode", "vectors"),
    [("mean", [[2.0, 3.0], [1.0, 0.0]]), ("cls", [[1.0, 2.0], [1.0, 0.0]]), ("max", [[3.0, 4.0], [2.0, 1.0]])],
)
def test_pooling_by_hand(mode: str, vectors: list[list[float]]) -> None:
    assert Pooling(mode=mode).pool(TOKENS, MASK).tolist() == vectors
    lengths = Pooling(mode=mode, normalize=True).pool(TOKENS, MASK).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(2))


def write_modules(folder: Path, kinds: list[str], pooling: dict[str, Any], **settings: Any) -> str:
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{k}" if n else "", "type": f"st.{k}"} for n, k in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 77}')
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return str(folder)


def test_both_forms_of_its_files_are_read(tmp_path: Path) -> None:
    assert read_pooling(str(tmp_path)) is None
    all_kinds = ["Transformer", "Pooling", "Normalize"]
    old = write_modules(tmp_path, all_kinds, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    assert read_pooling(old) == Pooling(mode="cls", normalize=True, max_length=77)
    prompts = {"query": "find: "}
    new = write_modules(tmp_path, all_kinds[:2], {"pooling_mode": "mean"}, prompts=prompts, default_prompt_name="query")
    found = read_pooling(new)
    assert found == Pooling(max_length=77, prompts=prompts, default_prompt_name="query")
    assert found.prompt == "find: "


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = AutoConfig.for_model("bert", hidden_size=16)
    pooling = Pooling(mode="max", normalize=True, max_length=12, prompts={"a": "b"}, default_prompt_name="a")
    config.sentence_embedding = vars(pooling)
    write_pooling(tmp_path, config)
    assert read_pooling(str(tmp_path)) == pooling
    other = AutoConfig.for_model("bert", hidden_size=16)
    note_pooling(other, str(tmp_path), max_length=9)
    assert pooling_of(other) == Pooling(**{**vars(pooling), "max_length": 9})
    assert pooling_of(AutoConfig.for_model("bert")) == Pooling()


def test_what_is_not_pooled_so(tmp_path: Path) -> None:
    cases = {
        "must be made of Transformer, Pooling and, at most, Normalize": (["Transformer", "Pooling", "Dense"], {}, {}),
        "must be one of mean, cls, max, but that of .* is lasttoken": (
            ["Transformer", "Pooling"],
            {"pooling_mode": "lasttoken"},
            {},
        ),
        "must be one of mean, cls, max, but that of .* is not stated": (["Transformer", "Pooling"], {}, {}),
        "a prompt must be pooled with the text": (
            ["Transformer", "Pooling"],
            {"pooling_mode": "mean", "include_prompt": False},
            {"prompts": {"q": "x"}, "default_prompt_name": "q"},
        ),
    }
    for message, (kinds, pooling, settings) in cases.items():
        with pytest.raises(ModelError, match=message):
            read_pooling(write_modules(tmp_path, kinds, pooling, **settings))
    (tmp_path / "modules.json").write_text('[{"kind": 1}]')
    with pytest.raises(ModelError, match="must be as it saves them"):
        read_pooling(str(tmp_path))
    config = AutoConfig.for_model("bert")
    config.sentence_embedding = {"mode": "median"}
    with pytest.raises(ModelError, match="sentence_embedding in config.json must be a pooling"):
        pooling_of(config)


ODD = SubNetwork(heads=((0, 3), (), (1,)), units=((), (1, 2, 20), (0,)))
STOCK = SubNetwork(heads=((0, 1, 2, 3), (), (0, 1, 2, 3)), units=((0, 5, 7), (), (1, 2, 3)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sub_network", [ODD, STOCK], ids=["sliced", "stock"])
def test_sentence_transformers_gives_the_same_vectors(
    sub_network: SubNetwork, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = slice_model(tiny_model(task_head="embedding"), sub_network)
    (tmp_path / "model").mkdir()
    save_sliced_model(tmp_path / "model", model, tokenizer, sub_network, DIMENSIONS, {})
    loaded = package.SentenceTransformer(str(tmp_path / "model"), trust_remote_code=sub_network is ODD, device="cpu")
    texts = ["w1 w2", "w3", "w4 w5 w6 w7"]
    with torch.inference_mode():
        vectors = answers(model, dict(tokenizer(texts, padding=True, return_tensors="pt")))
    np.testing.assert_allclose(loaded.encode(texts), vectors.numpy(), rtol=1e-4, atol=1e-6)
    assert tiny_batch(model)
