"""Law 2: ONNX = PyTorch for sliced models of every family and task head, over shapes and paddings."""

from pathlib import Path

import onnx
import pytest
import torch.fx
from onnx import helper, numpy_helper
from transformers import PreTrainedTokenizerFast

import exporters
from compressor.network.costs import create_cost_model
from compressor.network.families import ENCODER_FAMILIES, max_positions
from compressor.network.sub_network import SubNetwork
from compressor.search.objectives import Measurable, measure_costs
from compressor.spaces import SEARCH_SPACES
from conftest import DIMENSIONS, TASK_HEADS, tiny_model
from export_parity import export_differences
from exported import DENSE, NOTHING, ODD, Exported
from exporters.graph.onnx_export import _forget_sources, _operators, example_inputs, export_onnx
from exporters.graph.parity import check_onnx_parity
from exporters.graph.sessions import create_session, run_session
from exporters.timing.runners import make_inputs, open_runner

CASES = [
    (space, TASK_HEADS[(row + column) % len(TASK_HEADS)], model_type)
    for row, space in enumerate(SEARCH_SPACES)
    for column, model_type in enumerate(("bert", "roberta"))
]
"""Every space with both families and two task heads, both families with every task head."""


def require_size(path: Path, model_type: str, task_head: str = "classification", kept: SubNetwork = ODD) -> None:
    """`size_mb` is the graph's weights to the byte; the file adds tables of positions and its nodes."""
    model = tiny_model(model_type, task_head)
    of = Measurable(sub_network=kept, cost_model=create_cost_model(model), dimensions=DIMENSIONS, length=8)
    size = 1e6 * measure_costs(of)["size_mb"]
    floats = [one for one in onnx.load(path).graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    found = sum(numpy_helper.to_array(one).nbytes for one in floats if one.dims)  # others are constants
    tables = sum(buffer.nbytes for buffer in model.buffers() if buffer.is_floating_point())
    assert -1e-3 < found - size < tables + 1e-3
    assert 0 < path.stat().st_size - size < 10_000 * (1 + kept.num_layers)


@pytest.mark.slow
@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_sliced_models_export_equal(
    model_type: str, task_head: str, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(model_type, task_head)
    require_size(path, model_type, task_head)
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
        "head": task_head,
        "max_length": "16",
        "pad_values": '{"input_ids": 0, "token_type_ids": 0}',
        "vocab_size": "60",
        "max_positions": str(max_positions(model)),
    }
    logits = run_session(session, make_inputs(open_runner(path, 1), [11] * 5))
    shapes = {"classification": (3,), "regression": (1,), "multiple_choice": (4,), "token_classification": (11, 3)}
    shapes["embedding"] = (16,)
    assert logits.shape == (5, *shapes[task_head])


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
    require_size(path, model_type)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "deberta-v2: as v2-xlarge",
        "deberta-v2: own projections, no buckets",
        "modernbert: biases",
        "modernbert: mean",  # the last layer has to compute all tokens
    ],
)
def test_other_switches_export_equal(name: str, exported: Exported, tokenizer: PreTrainedTokenizerFast) -> None:
    """All of them: `python benchmarks/export_parity.py`."""
    model, path = exported(name)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("sub_network", [NOTHING, DENSE], ids=["nothing", "dense"])
def test_zero_layers_and_the_dense_model_export_equal(
    sub_network: SubNetwork, exported: Exported, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, path = exported(sub_network=sub_network)
    require_size(path, "bert", kept=sub_network)
    assert max(check_onnx_parity(path, model, tokenizer, []).values()) <= 1e-4


def test_inputs_are_the_tokenizer_s(tokenizer: PreTrainedTokenizerFast) -> None:
    names = ["input_ids", "token_type_ids", "attention_mask"]
    assert list(example_inputs(tiny_model(), tokenizer, batch_size=1, length=4)) == names
    choices = example_inputs(tiny_model(task_head="multiple_choice"), tokenizer, batch_size=2, length=4)
    assert choices["input_ids"].shape == (2, 2, 4)


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


def test_the_exporter_s_table_of_operators_is_made_once(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same graph comes of it, and PyTorch's class and settings are as before."""
    from torch.onnx._internal.exporter import _registration

    made = _registration.ONNXRegistry.__dict__["from_torchlib"]
    _operators.cache_clear()
    first = export_onnx(tiny_model(), tokenizer, tmp_path / "first.onnx")
    assert _registration.ONNXRegistry.__dict__["from_torchlib"] is made
    assert not torch.fx.config.do_not_emit_stack_traces  # what was set for the time of the export
    monkeypatch.setattr(_registration.onnxscript_apis, "get_torchlib_ops", None)  # which a new table would ask
    second = export_onnx(tiny_model(), tokenizer, tmp_path / "second.onnx")
    assert first.read_bytes() == second.read_bytes()
    assert _operators.cache_info().misses == 1
