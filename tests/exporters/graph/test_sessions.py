"""Sessions and runners: the provider that was asked for or a sentence; one for every file that is no model, too."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelError
from exporters.graph.sessions import PROVIDERS, create_session, installed_package, require_provider
from exporters.timing.runners import make_inputs, open_runner


def write_graph(path: Path, inputs: dict[str, int], outputs: tuple[str, ...] = ("logits",), rows: int = 4) -> Path:
    """An ONNX file that looks up its first input in a table of so many rows, and ignores the others."""
    table = numpy_helper.from_array(np.zeros((rows, 2), np.float32), "table")
    first = next(iter(inputs))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", first], [name]) for name in outputs],
        "graph",
        [helper.make_tensor_value_info(name, kind, ["batch", "length"]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", 2]) for name in outputs],
        [table],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_provider_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_provider("cpu")
    with pytest.raises(ModelError) as refused:
        require_provider("cuda")
    assert str(refused.value) == (
        "--provider cuda must be there for what is computed, but ONNX Runtime has CPUExecutionProvider and PyTorch "
        f"{torch.__version__} finds no CUDA device. Use --provider cpu, or install onnxruntime-gpu in place of "
        "onnxruntime and install PyTorch's CUDA build on a machine with such a device."
    )
    with pytest.raises(ModelError, match=r"but PyTorch \S+ finds no CUDA device. Use --provider cpu, or install PyT"):
        require_provider("cuda", {"pytorch"})


def test_a_session_that_fell_back_is_refused(tmp_path: Path) -> None:
    """This build knows no CUDA, warns and takes the CPU, as a build with CUDA does where its libraries are missing."""
    path = write_graph(tmp_path / "model.onnx", {"input_ids": TensorProto.INT64})
    assert open_runner(path, 1).provider == "cpu"
    fell_back = pytest.raises(ModelError, match="must start in ONNX Runtime, but the session has CPUExecutionProvider.")
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), fell_back:
        create_session(path, 1, "cuda")


@pytest.mark.parametrize("content", [b"", b"a text, not a graph\n", None, "cut"])
def test_a_file_that_is_no_graph(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content == "cut":
        whole = write_graph(path, {"input_ids": TensorProto.INT64}).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        open_runner(path, 1)
    message = str(refused.value)
    assert message.startswith(f"an ONNX file must load in ONNX Runtime, but {path} does not: ")
    assert message.endswith(". Make it again with compressor export.")
    assert "\n" not in message


def test_weights_that_lie_elsewhere_and_are_gone(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", {"input_ids": TensorProto.INT64}, rows=2000)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    open_runner(path, 1)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"must load in ONNX Runtime, but .* does not: .*model.onnx.data"):
        open_runner(path, 1)


@pytest.mark.parametrize(
    ("inputs", "outputs", "found"),
    [
        ({"x": TensorProto.INT64}, ("y",), r"takes x tensor\(int64\)\['batch', 'length'\] and gives y"),
        ({"input_ids": TensorProto.INT64}, ("last_hidden_state",), "gives last_hidden_state"),
        ({"input_ids": TensorProto.INT32}, ("logits",), r"takes input_ids tensor\(int32\)"),
        ({"input_ids": TensorProto.INT64, "position_ids": TensorProto.INT64}, ("logits",), "position_ids"),
    ],
)
def test_a_graph_of_another_tool(inputs: dict[str, int], outputs: tuple[str, ...], found: str, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "other.onnx", inputs, outputs)
    with pytest.raises(ModelError, match=f"must take int64 token ids .* and give logits, but .*{found}.*. Use a file"):
        open_runner(path, 1)


def test_a_graph_that_fails_when_it_computes(tmp_path: Path) -> None:
    runner = open_runner(write_graph(tmp_path / "model.onnx", {"input_ids": TensorProto.INT64}), 1)
    with pytest.raises(ModelError, match="must answer random tokens, but .* does not: .*indices element out of data"):
        runner.run(make_inputs(runner, [5]))


def test_cuda_computes_fp32_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, which the provider rounds to by default, would not pass parity."""
    asked: list[object] = []
    session = onnxruntime.InferenceSession

    def start(path: str, options: object, providers: list[object]) -> object:
        asked.extend(providers)
        return SimpleNamespace(get_providers=lambda: [providers[0][0]])  # type: ignore[index]

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    path = write_graph(tmp_path / "model.onnx", {"input_ids": TensorProto.INT64})
    loaded: list[object] = []
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: loaded.append(len(asked)))
    create_session(path, 1, "cuda")
    create_session(path, 1)
    assert loaded == [0]  # CUDA's libraries, before it starts
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert create_session(path, 1).get_providers() == ["CPUExecutionProvider"]


def test_an_operator_that_cuda_does_not_have_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "cuda", "CPUExecutionProvider")
    path = write_graph(tmp_path / "model.onnx", {"input_ids": TensorProto.INT64})
    graph = onnx.load(path)
    graph.graph.node.append(helper.make_node("QGemm", ["a"], ["b"], domain="com.microsoft"))
    onnx.save(graph, path)
    with pytest.raises(ModelError) as raised:
        create_session(path, 1, "cuda")
    assert str(raised.value) == (
        f"the fused operators of a graph must be ones that --provider cuda computes, but {path} has QGemm. Export with "
        "--portable, or use --provider cpu."
    )


def test_the_package_of_a_runtime_is_the_one_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime-gpu": "1.30", "openvino": "2026.4"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("exporters.graph.sessions.version", version)
    assert installed_package("onnxruntime") == "onnxruntime-gpu==1.30"
    assert installed_package("openvino") == "openvino==2026.4"
    installed.clear()
    installed["onnxruntime"] = "1.32"
    assert installed_package("onnxruntime") == "onnxruntime==1.32"
    with pytest.raises(PackageNotFoundError):
        installed_package("openvino")
