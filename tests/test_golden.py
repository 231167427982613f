"""Directories that version 0.1.0 wrote keep loading: they were made by it and lie in `golden/`, paths cut out."""

import json
import shutil
from pathlib import Path

import pytest

from mlproject.cli import main

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path: Path, mlflow_uri: str) -> Path:
    """The golden directories in the test's folder, which takes the place of the one that they were made in."""
    for source in GOLDEN.rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(GOLDEN)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            if source.suffix in (".json", ".jsonl", ".md"):
                target.write_text(target.read_text().replace("@FOLDER@", str(tmp_path)))
    return tmp_path


def run(*words: object) -> None:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        assert not stop.code, words


def error_of(folder: Path, name: str) -> float:
    return float(json.loads((folder / name).read_text())["error"])


def test_a_super_network_is_searched_and_extracted(folder: Path) -> None:
    run("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "again")
    before, after = (json.loads((folder / name / "search_results.json").read_text()) for name in ("search", "again"))
    assert [(e["sub_network"], e["error"]) for e in before["evaluations"]] == [
        (e["sub_network"], e["error"]) for e in after["evaluations"]
    ]
    run("extract", "--search", "search", "--max-params", 0.9, "--finetune-epochs", 0, "--output-dir", "cut")
    assert error_of(folder, "cut/extraction.json") == error_of(folder, "model/extraction.json")


def test_standard_nas_is_extracted(folder: Path) -> None:
    run("extract", "--search", "nas", "--index", 0, "--output-dir", "cut")
    assert (folder / "cut" / "model.safetensors").is_file()


def test_a_sliced_model_is_exported_and_timed(folder: Path) -> None:
    run("export", "--model", "model", "--precision", "fp32", "--output-dir", "graph")
    run("benchmark", "--model", "onnx", "--model", "model", "--runs", 2, "--lengths", 8, "--output-dir", "timed")
    timed = json.loads((folder / "timed" / "latency.json").read_text())["models"]
    before = json.loads((folder / "benchmark" / "latency.json").read_text())["models"]
    assert {name: model["error"] for name, model in timed.items()} == {
        name: model["error"] for name, model in before.items()
    }


def test_a_report_and_a_comparison_are_made(folder: Path) -> None:
    words = ["--search", "search", "--model", "model", "--onnx", "onnx", "--benchmark", "benchmark"]
    run("report", *words, "--output-dir", "page")
    assert "subnet-" in (folder / "page" / "report.html").read_text()
    run("compare", "search", "nas", "--output-dir", "both")
    assert (folder / "both" / "compare.json").is_file()
