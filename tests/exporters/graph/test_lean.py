"""Encoder layers as fused operators."""

from pathlib import Path

import onnx
import pytest
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from conftest import tiny_config
from exported import Exported
from exporters.graph.onnx_export import export_onnx
from exporters.graph.parity import check_onnx_parity

# heads in layers 0 and 2, units in layers 1 and 2; the last layer attends from the first token alone
POST_NORM = ["Attention", "BiasGelu", "BiasGelu", "MultiHeadAttention", *["SkipLayerNormalization"] * 4]
ROTARY = ["MultiHeadAttention"] * 2 + ["RotaryEmbedding"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(
    ("model_type", "fused"), [("bert", POST_NORM), ("distilbert", POST_NORM), ("modernbert", ROTARY)]
)
def test_the_lean_graph_uses_fused_operators_and_the_portable_one_none(
    model_type: str, fused: list[str], portable: bool, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(model_type, portable=portable)
    operators = [(node.domain, node.op_type) for node in onnx.load(str(path)).graph.node]
    vendor = [name for domain, name in operators if domain == "com.microsoft"]
    assert sorted(vendor) == ([] if portable else fused)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
def test_another_activation_is_not_taken_for_gelu(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    config = tiny_config("bert")
    config.hidden_act = "relu"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    path = export_onnx(model, tokenizer, tmp_path / "model.onnx")
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4
