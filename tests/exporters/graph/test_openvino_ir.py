"""A graph in OpenVINO's form computes what it computes in ONNX, says the same of itself, and reports to nobody."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from transformers import PreTrainedTokenizerFast

from compressor.errors import ModelError
from compressor.files import module_environment
from exported import Exported
from exporters.graph.openvino_ir import (
    OpenVinoSession,
    computes_bf16,
    convert_ir,
    halve_ir,
    import_openvino,
    missing_packages,
    quantize_ir,
)
from exporters.graph.parity import check_onnx_parity
from exporters.graph.sessions import create_session, files_of, graph_mb, require_provider
from exporters.timing.runners import Inputs, make_inputs, open_runner

pytestmark = pytest.mark.skipif(bool(missing_packages()), reason="the extra openvino is not installed")


@pytest.fixture
def ir(exported: Exported, tmp_path: Path) -> Path:
    """The fp32 IR of a sliced BERT."""
    return convert_ir(exported("bert")[1], tmp_path / "openvino_model.xml")


def inputs_of(path: Path, lengths: list[int]) -> Inputs:
    return make_inputs(open_runner(path, 1), lengths)


def logits_of(path: Path, inputs: Inputs) -> np.ndarray:
    return np.asarray(open_runner(path, 1).run(inputs))


@pytest.mark.parametrize(
    ("model_type", "task_head"),
    [
        ("bert", "classification"),
        ("bert", "multiple_choice"),
        ("mpnet", "classification"),
        ("deberta-v2", "classification"),
    ],
)
def test_an_ir_is_its_graph(
    model_type: str, task_head: str, exported: Exported, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """ModernBERT's, which is made of another graph, in `test_export`."""
    model, graph = exported(model_type, task_head)
    made = convert_ir(graph, tmp_path / "openvino_model.xml")
    assert {file.name for file in tmp_path.iterdir()} == {"openvino_model.xml", "openvino_model.bin"}
    assert max(check_onnx_parity(made, model, tokenizer, []).values()) <= 1e-4
    graph_runner, ir_runner = open_runner(graph, 1), open_runner(made, 1)
    for name in ("input_names", "takes_choices", "vocab_size", "max_positions", "provider"):
        assert getattr(ir_runner, name) == getattr(graph_runner, name)


def test_an_ir_says_of_itself_what_its_graph_says(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load(str(exported("bert")[1]))
    for key, value in {"prompt": ' say: "ö" <b>&\n', "empty": ""}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save_model(model, str(tmp_path / "model.onnx"))
    made = convert_ir(tmp_path / "model.onnx", tmp_path / "ir.xml")
    facts = create_session(tmp_path / "model.onnx", 1).get_modelmeta().custom_metadata_map
    for path in (made, halve_ir(made, tmp_path / "half.xml")):
        told = create_session(path, 1).get_modelmeta().custom_metadata_map
        computes_in = told.pop("computes_in")
        assert (told, computes_in) == (facts, "f32" if path == made else "bf16")


def test_a_form_for_bfloat16_has_half_the_weights(ir: Path, tmp_path: Path) -> None:
    half = halve_ir(ir, tmp_path / "half.xml")
    sizes = [path.with_suffix(".bin").stat().st_size for path in (half, ir)]
    assert sizes[0] < 0.6 * sizes[1]
    assert graph_mb(ir) == sum(file.stat().st_size for file in files_of(ir)) / 1e6
    compiled = [OpenVinoSession(path, 1)._request.get_compiled_model() for path in (ir, half)]
    used = [each.get_property("INFERENCE_PRECISION_HINT").to_string() for each in compiled]
    assert used == ["f32", "bf16" if computes_bf16() else "f32"]
    inputs = inputs_of(ir, [5, 11, 17])
    logits = logits_of(ir, inputs)
    assert 0 < np.abs(logits_of(half, inputs) - logits).max() < 0.05 * np.abs(logits).max()


def test_static_int8_stays_near_and_rows_do_not_depend_on_each_other(
    ir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [inputs_of(ir, [length]) for length in range(3, 27)]
    int8 = quantize_ir(ir, tmp_path / "int8.xml", rows)
    assert capsys.readouterr() == ("", "")
    kinds = [op.get_type_name() for op in import_openvino().Core().read_model(int8).get_ops()]
    assert kinds.count("FakeQuantize") > 5
    assert int8.with_suffix(".bin").stat().st_size < 0.5 * ir.with_suffix(".bin").stat().st_size
    inputs = inputs_of(ir, [5, 11, 17])
    logits, smaller = logits_of(ir, inputs), logits_of(int8, inputs)
    assert 0 < np.abs(smaller - logits).max() < 0.5 * np.abs(logits).max()
    alone = [
        logits_of(int8, {name: values[row : row + 1, : [5, 11, 17][row]] for name, values in inputs.items()})[0]
        for row in range(3)
    ]
    np.testing.assert_allclose(smaller, alone, atol=1e-5)


def test_nothing_is_left_of_a_form_that_is_half_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_model: Any, path: Path, **_options: Any) -> None:
        path.with_suffix(".bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    graph = exported("bert")[1]
    monkeypatch.setattr(import_openvino(), "save_model", stop)
    with pytest.raises(OSError, match="No space left"):
        convert_ir(graph, tmp_path / "openvino_model.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["cut", "no weights", "another text"])
def test_files_that_are_no_ir(broken: str, ir: Path) -> None:
    if broken == "no weights":
        ir.with_suffix(".bin").unlink()
    else:
        ir.write_bytes(ir.read_bytes()[:1000] if broken == "cut" else b"a text\n")
    with pytest.raises(ModelError) as refused:
        open_runner(ir, 1)
    assert str(refused.value).startswith(f"an IR must load in OpenVINO, but {ir} does not: ")
    assert str(refused.value).endswith(". Make it again with compressor export.")
    assert "\n" not in str(refused.value)


def test_a_graph_that_openvino_cannot_read(tmp_path: Path) -> None:
    entry = helper.make_tensor_value_info("input_ids", TensorProto.FLOAT, ["batch"])
    node = helper.make_node("Unheard", ["input_ids"], ["input_ids_"], domain="com.microsoft")
    graph = helper.make_graph([node], "graph", [entry], [helper.make_tensor_value_info("input_ids_", 1, ["batch"])])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(ModelError) as refused:
        convert_ir(tmp_path / "model.onnx", tmp_path / "openvino_model.xml")
    told = str(refused.value)
    assert told.startswith("OpenVINO must read the operators of an ONNX graph, but not those of model.onnx: ")
    assert told.endswith(". Export with --portable true, or with --runtime onnxruntime.")
    assert "Unheard" in told
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_without_openvino_the_extra_is_named(ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError) as refused:
        open_runner(ir, 1)
    assert str(refused.value) == (
        "OpenVINO must be installed for its variant of a model, but importing it failed: import of openvino halted; "
        "None in sys.modules. Install them: pip install 'mlflow-compressor[openvino]'."
    )


def test_openvino_is_for_cpus() -> None:
    require_provider("cpu", {"openvino"})
    with pytest.raises(ModelError) as refused:
        require_provider("cuda", {"openvino"})
    assert str(refused.value) == (
        "--provider cuda must be there for what is computed, but OpenVINO's variants are made for the CPU. Use "
        "--provider cpu, or export with --runtime onnxruntime."
    )


_LOOK = """
import socket, sys, threading, urllib.request
from pathlib import Path

def tell(*_, **__):
    print("asked")
    raise OSError

socket.getaddrinfo = socket.create_connection = urllib.request.urlopen = socket.socket.connect = tell
from exporters.graph.openvino_ir import convert_ir, quantize_ir
from exporters.timing.runners import make_inputs, open_runner

assert "openvino" not in sys.modules
graph, folder = map(Path, sys.argv[1:])
made = convert_ir(graph, folder / "ir.xml")
quantize_ir(made, folder / "int8.xml", [make_inputs(open_runner(made, 1), [9])])
print([name for name in sys.modules if name.startswith("openvino_telemetry")], threading.active_count())
"""


def test_nothing_is_reported(exported: Exported, tmp_path: Path) -> None:
    """In a process of its own, as NNCF keeps silent under pytest anyway; nor is anything left in the user's home."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**module_environment(), "HOME": str(home)}
    environment = {name: value for name, value in environment.items() if name not in ("CI", "NNCF_CI", "NNCF_DEV")}
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(exported("bert")[1]), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[] 1\n"), done.stderr
    assert list(home.iterdir()) == []


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from exporters.graph.openvino_ir import OpenVinoSession

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(True))
first = OpenVinoSession(Path(sys.argv[1]), 1)
second = OpenVinoSession(Path(sys.argv[1]), 1)
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
print(heard)
"""


def test_signals_are_heard_after_sessions_that_ended_in_their_order(ir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(ir)], env=module_environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "[True]\n"), done.stderr
