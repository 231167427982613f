"""What loading a model costs, measured in a process that ends with the one that asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from compressor.errors import ModelError
from compressor.files import module_environment
from exporters.timing.footprint import measure_footprint
from test_golden import copy_golden


def test_a_graph_and_a_model_directory_are_measured(tmp_path: Path) -> None:
    folder = copy_golden("0.2.0", tmp_path)
    graph, model = (measure_footprint(folder / name, 1) for name in ("onnx/model.onnx", "model"))
    assert graph.load_seconds > 0
    assert 10 < graph.peak_mb < model.peak_mb  # PyTorch alone takes more than ONNX Runtime with so small a model


def test_it_ends_where_the_one_that_asked_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporters.timing.footprint", str(tmp_path / "model.onnx"), "1", "cpu", "1"]
    ended = subprocess.run(command, env=module_environment(), capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


def test_nothing_heavy_is_loaded_before_it_watches_its_parent() -> None:
    code = "import sys, exporters.timing.footprint; print({'torch', 'numpy', 'onnxruntime', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=module_environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_what_it_cannot_load_is_told_in_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no graph")
    with pytest.raises(
        ModelError, match="a process of its own must load and run .*onnx, but it ended with 1: .*must load"
    ):
        measure_footprint(tmp_path / "model.onnx", 1)
