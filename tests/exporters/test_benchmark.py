"""Timing models side by side without MLflow, and what is found behind the paths that are named."""

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import exporters.benchmark
from compressor.errors import ModelError
from exporters import BenchmarkOptions, benchmark_models
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export
from exporters.found_models import find_models
from exporters.graph.openvino_ir import convert_ir, missing_packages
from exporters.report.reproduction import make_export
from exporters.timing.footprint import Footprint
from test_golden import copy_golden

OPTIONS = BenchmarkOptions(batch_sizes=(1, 2), lengths=(8, 1000), runs=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_golden("0.2.0", tmp_path)


def test_models_are_timed_without_mlflow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    footprint = Footprint(load_seconds=0.1, peak_mb=60.0)  # measured in processes of their own, which take seconds
    monkeypatch.setattr(exporters.benchmark, "measure_footprint", lambda *_: footprint)
    made = benchmark_models([("pruned", folder / "onnx"), ("pruned", str(folder / "model"))], OPTIONS)
    assert list(made.models) == ["pruned", "pruned-int8", "pruned-pytorch"]
    assert {made.role_of(name) for name in made.models} == {"pruned"}
    assert {model.provider for model in made.models.values()} == {"cpu"}
    assert [model.precision for model in made.models.values()] == ["fp32", "int8", "fp32"]
    assert made.shapes == [(1, 8), (1, 40), (1, "real"), (2, 8), (2, 40), (2, "real")]  # 40 is the most they take
    assert len(made.latencies) == 18
    assert made.options == OPTIONS
    assert made.noise is not None
    made.save(folder / "timed")
    assert Benchmark.load(folder / "timed") == made
    assert {file.name for file in (folder / "timed").iterdir()} == {"latency.json", "latency.csv"}
    assert capsys.readouterr().out == ""


def test_models_that_would_have_one_name_are_all_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export `a` has an int8 form `a-int8`, which the user's next model may be called too."""
    monkeypatch.setattr(exporters.benchmark, "measure_footprint", lambda *_: Footprint(load_seconds=0.1, peak_mb=60.0))
    options = BenchmarkOptions(batch_sizes=(1,), lengths=(8,), runs=1)
    given = [("a", folder / "onnx"), ("a-int8", folder / "model"), ("a-int8", folder / "onnx" / "model.onnx")]
    made = benchmark_models([*given, ("a-int8", folder / "onnx")], options)
    files = {name: (model.role, model.path.name) for name, model in made.models.items()}
    assert files == {
        "a": ("a", "model.onnx"),
        "a-int8": ("a", "model.int8.onnx"),
        "a-int8-pytorch": ("a-int8", "model"),
        "a-int8-2": ("a-int8", "model.onnx"),
        "a-int8-3": ("a-int8", "model.onnx"),
        "a-int8-int8": ("a-int8", "model.int8.onnx"),
    }
    assert {row.model for row in made.latencies} == set(files)


def test_what_a_path_stands_for(folder: Path) -> None:
    assert [(found.name, found.precision, found.path.name) for found in find_models("x", folder / "onnx")] == [
        ("x", "fp32", "model.onnx"),
        ("x-int8", "int8", "model.int8.onnx"),
    ]
    (graph,) = find_models("x", folder / "onnx" / "model.int8.onnx")
    assert (graph.name, graph.precision, graph.error_interval is None) == ("x", "int8", False)
    (graph,) = find_models("x", Path(shutil.copyfile(graph.path, folder / "model.int8.onnx")))
    assert (graph.precision, graph.error) == ("int8", None)
    (graph,) = find_models("x", Path(shutil.copyfile(graph.path, folder / "other.onnx")))
    assert (graph.precision, graph.error, graph.lengths) == ("?", None, ())
    (extracted,), (trained,) = find_models("x", folder / "model"), find_models("x", folder / "net")
    assert (extracted.name, extracted.runtime, trained.runtime) == ("x-pytorch", "pytorch", "pytorch")
    assert extracted.error is not None
    assert trained.error is not None


def test_the_error_of_a_trial_of_standard_nas_is_known(folder: Path) -> None:
    """Its record says it of the epoch that was chosen, and has none of an extraction."""
    file = folder / "model" / "sub_network.json"
    written = json.loads(file.read_text())
    assert written.pop("error") is not None
    file.write_text(json.dumps(written))
    (found,) = find_models("x", folder / "model")
    assert found.error == written["chosen"]["error"]


def test_forms_for_openvino_are_timed_in_turn_with_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing_packages():
        pytest.skip("the extra openvino is not installed")
    monkeypatch.setattr(exporters.benchmark, "measure_footprint", lambda *_: Footprint(load_seconds=0.1, peak_mb=60.0))
    export = Export.load(folder / "onnx")
    convert_ir(export.path(), folder / "onnx" / "openvino_model.xml")
    replace(export, openvino=replace(export.fp32, file="openvino_model.xml")).save()
    options = BenchmarkOptions(batch_sizes=(2,), lengths=(8,), runs=2)
    made = benchmark_models([("pruned", folder / "onnx")], options)
    assert list(made.models) == ["pruned", "pruned-openvino-fp32", "pruned-int8"]
    timed = made.models["pruned-openvino-fp32"]
    assert (timed.runtime, timed.precision, timed.provider, timed.role) == ("openvino", "fp32", "cpu", "pruned")
    assert made.find("pruned", "openvino-fp32") == "pruned-openvino-fp32"
    assert (made.find("pruned"), made.find("pruned", "openvino-int8")) == ("pruned", None)
    assert made.environment.openvino == version("openvino")
    made.save(folder / "timed")
    assert Benchmark.load(folder / "timed") == made
    again = make_export(Export.load(folder / "onnx"))
    assert again.startswith("compressor export --model model --precision fp32,int8 --runtime onnxruntime,openvino ")
    (alone,) = find_models("x", folder / "onnx" / "openvino_model.xml")
    assert (alone.runtime, alone.precision, alone.error) == ("openvino", "fp32", export.fp32.error)
    assert alone.mb > (folder / "onnx" / "openvino_model.bin").stat().st_size / 1e6
    with pytest.raises(ModelError, match="but .*OpenVINO's variants are made for the CPU. Use --provider cpu"):
        benchmark_models([("pruned", folder / "onnx")], provider="cuda")


def test_a_path_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        benchmark_models([("x", tmp_path)])
    assert str(raised.value) == (
        f"--model must be made by compressor export, extract or train-supernet, but {tmp_path} is not. "
        "Run compressor export first."
    )
