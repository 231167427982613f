"""Smaller precisions."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from conftest import TASK_HEADS, tiny_config
from exported import Exported
from exporters.graph.onnx_export import export_onnx
from exporters.graph.parity import check_onnx_parity
from exporters.graph.quantization import convert_fp16, quantize_int8
from exporters.graph.sessions import create_session
from exporters.timing.runners import make_inputs, open_runner


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "task_head"), [*(("bert", head) for head in TASK_HEADS), ("modernbert", "classification")]
)
def test_smaller_forms_stay_near(model_type: str, task_head: str, tmp_path: Path, exported: Exported) -> None:
    """All products and tables are int8, the attention's too; logits move a little, not a lot."""
    _, path = exported(model_type, task_head)
    int8 = quantize_int8(path, tmp_path / "model.int8.onnx")
    operators = [node.op_type for node in onnx.load(str(int8)).graph.node]
    assert "Attention" not in operators
    assert "MultiHeadAttention" in operators
    assert "MatMul" not in operators
    assert _weight_bytes(int8) < 0.5 * _weight_bytes(path)  # of so small a model the graph itself outweighs them
    runner = open_runner(path, 1)
    inputs = make_inputs(runner, [5, 11, 17])
    logits = np.asarray(runner.run(inputs))
    for form in (int8, convert_fp16(path, tmp_path / "model.fp16.onnx")):
        smaller = np.asarray(open_runner(form, 1).run(inputs))
        assert smaller.dtype == np.float32
        assert 0 < np.abs(smaller - logits).max() < 0.2 * np.abs(logits).max()
        assert create_session(form, 1).get_modelmeta().custom_metadata_map["vocab_size"] == "60"


@pytest.mark.slow
def test_a_weight_of_two_products_is_small_in_both(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """DeBERTa's queries and keys of tokens and of relative positions; smaller weights are folded one way or another."""
    config = tiny_config("deberta-v2")
    config.hidden_size = config.pooler_hidden_size = 128
    config.num_hidden_layers = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    path = export_onnx(model, tokenizer, tmp_path / "model.onnx")
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4
    int8 = quantize_int8(path, tmp_path / "model.int8.onnx")
    operators = Counter(node.op_type for node in onnx.load(str(int8)).graph.node)
    assert operators["MatMulInteger"] == 5 + 1 + 2 + 2  # queries and keys twice, values; output; units; the task head
    assert operators["MatMul"] == 4  # scores, two with relative positions, weighted sums: nothing in them is constant


def _weight_bytes(path: Path) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(str(path)).graph.initializer)
