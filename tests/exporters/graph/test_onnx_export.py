"""Law 2: ONNX = PyTorch for sliced models of every family and task head, over shapes and paddings."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

import exporters
from compressor.errors import ParityError
from compressor.network.families import ENCODER_FAMILIES, max_positions
from compressor.network.saving import with_classes
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.spaces import SEARCH_SPACES
from conftest import DIMENSIONS, TASK_HEADS, tiny_config, tiny_model
from export_parity import export_differences
from exported import DENSE, NOTHING, ODD, Exported
from exporters.graph.hub_layout import link_graphs, write_stock_config
from exporters.graph.onnx_export import _forget_sources, example_inputs, export_onnx
from exporters.graph.parity import check_onnx_parity
from exporters.graph.quantization import convert_fp16, quantize_int8
from exporters.graph.sessions import create_session, run_session
from exporters.timing.runners import make_inputs, open_runner

CASES = [
    (space, TASK_HEADS[(row + column) % len(TASK_HEADS)], model_type)
    for row, space in enumerate(SEARCH_SPACES)
    for column, model_type in enumerate(("bert", "roberta"))
]
"""Every space with both families and two task heads, both families with every task head."""


@pytest.mark.slow
@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_sliced_models_export_equal(
    model_type: str, task_head: str, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(model_type, task_head)
    differences = check_onnx_parity(path, model, tokenizer, [])
    assert len(differences) == 10
    assert max(differences.values()) <= 1e-4
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    session = create_session(path, threads=1)
    metadata = session.get_modelmeta().custom_metadata_map
    told = [str(folder).encode() for folder in (Path(exporters.__file__).parent, path.parent)]
    assert not any(folder in path.read_bytes() for folder in told)
    assert metadata == {
        "labels": '["bad", "so so", "good"]',
        "task": "custom",
        "regression": "true" if task_head == "regression" else "false",
        "max_length": "16",
        "pad_values": '{"input_ids": 0, "token_type_ids": 0}',
        "vocab_size": "60",
        "max_positions": str(max_positions(model)),
    }
    logits = run_session(session, make_inputs(open_runner(path, 1), [11] * 5))
    assert logits.shape == (5, {"classification": 3, "regression": 1, "multiple_choice": 4}[task_head])


@pytest.mark.slow
@pytest.mark.parametrize(("search_space", "task_head", "model_type"), CASES)
def test_every_space_exports_equal(
    model_type: str, task_head: str, search_space: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """All 42 triples: `python benchmarks/export_parity.py`."""
    assert max(export_differences(model_type, task_head, search_space, tmp_path / "model.onnx", tokenizer)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("model_type", [name for name in ENCODER_FAMILIES if name not in ("bert", "roberta")])
def test_other_families_export_equal(model_type: str, exported: Exported, tokenizer: PreTrainedTokenizerFast) -> None:
    model, path = exported(model_type)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("sub_network", [NOTHING, DENSE], ids=["nothing", "dense"])
def test_zero_layers_and_the_dense_model_export_equal(
    sub_network: SubNetwork, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(sub_network=sub_network)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
def test_another_model_s_file_fails_parity(exported: Exported, tokenizer: PreTrainedTokenizerFast) -> None:
    model, path = exported(sub_network=DENSE)
    onnx.checker.check_model(str(path))
    with pytest.raises(ParityError, match=r"ONNX and PyTorch \(batch 1, length 1\) must agree within 0.0001"):
        check_onnx_parity(path, slice_model(model, ODD), tokenizer, [])


def test_inputs_are_the_tokenizer_s(tokenizer: PreTrainedTokenizerFast) -> None:
    names = ["input_ids", "token_type_ids", "attention_mask"]
    assert list(example_inputs(tiny_model(), tokenizer, batch_size=1, length=4)) == names
    choices = example_inputs(tiny_model(task_head="multiple_choice"), tokenizer, batch_size=2, length=4)
    assert choices["input_ids"].shape == (2, 2, 4)


def test_longest_text_leaves_room_for_roberta_s_offset() -> None:
    assert max_positions(tiny_model("bert")) == 40
    roberta = tiny_model("roberta")
    assert max_positions(roberta) == 40 - roberta.config.pad_token_id - 1
    assert max_positions(slice_model(roberta, ODD)) == max_positions(roberta)
    assert np.isfinite(max_positions(tiny_model("distilbert")))


@pytest.mark.slow
@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_the_lean_graph_uses_fused_operators_and_the_portable_one_none(
    model_type: str, portable: bool, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(model_type, portable=portable)
    operators = [(node.domain, node.op_type) for node in onnx.load(str(path)).graph.node]
    vendor = [name for domain, name in operators if domain == "com.microsoft"]
    # heads in layers 0 and 2, units in layers 1 and 2; the last layer attends from the first token alone
    fused = ["Attention", "BiasGelu", "BiasGelu", "MultiHeadAttention", *["SkipLayerNormalization"] * 4]
    assert sorted(vendor) == ([] if portable else fused)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
def test_another_activation_is_not_taken_for_gelu(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    config = tiny_config("bert")
    config.hidden_act = "relu"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    path = export_onnx(model, tokenizer, tmp_path / "model.onnx")
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("task_head", TASK_HEADS)
def test_smaller_forms_stay_near(task_head: str, tmp_path: Path, exported: Exported) -> None:
    """All products and tables are int8, the attention's too; logits move a little, not a lot."""
    _, path = exported("bert", task_head)
    int8 = quantize_int8(path, tmp_path / "model.int8.onnx", reduce_range=False)
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


def _weight_bytes(path: Path) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(str(path)).graph.initializer)


def test_a_graph_does_not_tell_where_it_was_made() -> None:
    node = helper.make_node("Identity", ["x"], ["y"], doc_string="/home/someone/model.py")
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "graph", values[:1], values[1:]))
    for part in (model.graph, model.graph.node[0], model.graph.input[0], model):
        entry = part.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.stack_trace", "File /home/someone/model.py"
    _forget_sources(model)
    assert [entry.key for entry in model.metadata_props] == ["pkg.torch.onnx.stack_trace"]  # ours are kept
    del model.metadata_props[:]
    assert b"someone" not in model.SerializeToString()


# What other tools look for


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_an_export_has_the_configuration_of_its_family(model_type: str, tmp_path: Path) -> None:
    model = with_classes(slice_model(tiny_model(model_type), ODD), ODD, DIMENSIONS)
    write_stock_config(tmp_path, model, ["bad", "so so", "good"])
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.model_type == model_type
    assert config.id2label == {0: "bad", 1: "so so", 2: "good"}
    assert config.label2id == {"bad": 0, "so so": 1, "good": 2}
    assert config.architectures == [type(tiny_model(model_type)).__name__]
    assert getattr(config, ENCODER_FAMILIES[model_type].units_field) == 3  # of the widest layer
    assert config.num_hidden_layers == 3
    assert not {"kept_heads", "kept_units", "auto_map"} & json.loads((tmp_path / "config.json").read_text()).keys()


@pytest.mark.parametrize("links", [True, False])
def test_graphs_have_the_hub_s_names_too(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("not supported")

    if not links:
        monkeypatch.setattr("os.link", no_links)
    for name in ("model.onnx", "model.onnx.data", "model.int8.onnx"):
        (tmp_path / name).write_text(name)
    link_graphs(tmp_path, {"fp32": "model.onnx", "int8": "model.int8.onnx"})
    made = {file.name: file for file in (tmp_path / "onnx").iterdir()}
    assert {name: file.read_text() for name, file in made.items()} == {
        "model.onnx": "model.onnx",
        "model.onnx.data": "model.onnx.data",  # the graph names it so
        "model_quantized.onnx": "model.int8.onnx",
    }
    assert all(file.stat().st_nlink == 1 + links for file in made.values())
