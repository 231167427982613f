"""Encoder layers as fused operators."""

import ast
from pathlib import Path

import onnx
import pytest
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from conftest import tiny_config
from exported import Exported
from exporters.graph import fused
from exporters.graph.onnx_export import export_onnx
from exporters.graph.parity import check_onnx_parity
from exporters.graph.sessions import CUDA_OPERATORS

# heads in layers 0 and 2, units in layers 1 and 2; the last layer attends from the first token alone
POST_NORM = ["Attention", "BiasGelu", "BiasGelu", "MultiHeadAttention", *["SkipLayerNormalization"] * 4]
ROTARY = ["MultiHeadAttention"] * 2 + ["RotaryEmbedding"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(
    ("model_type", "fused"), [("bert", POST_NORM), ("distilbert", POST_NORM), ("modernbert", ROTARY)]
)
def test_the_fused_graph_uses_fused_operators_and_the_portable_one_none(
    model_type: str, fused: list[str], portable: bool, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(model_type, portable=portable)
    operators = [(node.domain, node.op_type) for node in onnx.load(str(path)).graph.node]
    vendor = [name for domain, name in operators if domain == "com.microsoft"]
    assert sorted(vendor) == ([] if portable else fused)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


def test_cuda_has_a_kernel_of_each_fused_operator() -> None:
    """What layers of all families are made of; nothing may move to the CPU unnoticed."""
    calls = [node for node in ast.walk(ast.parse(Path(fused.__file__).read_text())) if isinstance(node, ast.Call)]
    names = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_operator"]
    assert {name.value for name in names if isinstance(name, ast.Constant)} == CUDA_OPERATORS
    assert {*POST_NORM, *ROTARY} == CUDA_OPERATORS


@pytest.mark.slow
def test_another_activation_is_not_taken_for_gelu(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    config = tiny_config("bert")
    config.hidden_act = "relu"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    path = export_onnx(model, tokenizer, tmp_path / "model.onnx")
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4
