"""Directories that earlier versions wrote keep loading: they lie in `golden/<version>`, paths and pictures cut out.

`0.1.0` is the first format. `0.2.0` adds what came before the next change: digests of files (`files`, `model_files`,
`depends_on`), the trivial predictor, kept predictions, fingerprints of the training rows, noise of a benchmark, and two
more directories: `timed-search` (objective latency_ms) and `configured` (`extract --config`).
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.extraction.extract import extract_sub_network
from compressor.extraction.record import ExtractionReport, Variant
from compressor.search.record import SearchResult
from compressor.training.super_network import open_super_network
from mlproject.cli import main

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("0.1.0", "0.2.0")


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, mlflow_uri: str) -> Path:
    """The golden directories in the test's folder, which takes the place of the one that they were made in."""
    return copy_golden(request.param, tmp_path)


def copy_golden(version: str, tmp_path: Path) -> Path:
    golden = GOLDEN / version
    for source in golden.rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(golden)
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


def test_a_super_network_is_searched_and_extracted(folder: Path) -> None:
    run("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "again")
    before, after = (json.loads((folder / name / "search_results.json").read_text()) for name in ("search", "again"))
    assert [(e["sub_network"], e["error"]) for e in before["evaluations"]] == [
        (e["sub_network"], e["error"]) for e in after["evaluations"]
    ]
    run("extract", "--search", "search", "--max-params", 0.9, "--finetune-epochs", 0, "--output-dir", "cut")
    cut, model = (json.loads((folder / name / "extraction.json").read_text()) for name in ("cut", "model"))
    assert cut["error"] == model["error"]
    assert cut["chosen"]["name"] == model["chosen"]["name"]


def known_before(variant: Variant, before: Variant) -> Variant:
    """A model without the costs that the version before did not know."""
    return replace(variant, costs={name: variant.costs[name] for name in before.costs})


def test_the_library_extracts_what_the_version_before_extracted(tmp_path: Path) -> None:
    """From its files: same errors and intervals, repaired and distilled alike, the same verdict on the test rows."""
    folder = copy_golden("0.2.0", tmp_path)
    before, found = ExtractionReport.load(folder / "model"), SearchResult.load(folder / "search")
    member = next(e for e in found.evaluations if e.name == before.name)
    net, data = open_super_network(folder / "net")
    assert before.finetuning is not None
    after = extract_sub_network(net, member, data, finetune_epochs=before.finetuning.most_epochs).report
    assert after.finetuning is not None
    assert replace(after.finetuning, bf16=None) == before.finetuning  # which did not say so
    assert not after.finetuning.bf16
    for name in ("error", "repair", "kept", "trivial", "test"):
        assert getattr(after, name) == getattr(before, name), name
    assert known_before(after.extracted, before.extracted) == before.extracted
    assert after.super_network is not None
    assert before.super_network is not None
    assert known_before(after.super_network, before.super_network) == before.super_network
    assert after.chosen == replace(before.chosen, reason=None)


def test_standard_nas_is_extracted(folder: Path) -> None:
    run("extract", "--search", "nas", "--index", 0, "--output-dir", "cut")
    assert (folder / "cut" / "model.safetensors").is_file()


@pytest.mark.usefixtures("quick_footprint")
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


def test_a_search_by_latency_is_extracted(tmp_path: Path, mlflow_uri: str) -> None:
    folder = copy_golden("0.2.0", tmp_path)
    front = json.loads((folder / "timed-search" / "search_results.json").read_text())["evaluations"]
    slowest = max(evaluation["latency_ms"] for evaluation in front)
    run("extract", "--search", "timed-search", "--max-latency-ms", slowest, "--output-dir", "cut")
    assert (folder / "cut" / "model.safetensors").is_file()


def test_a_model_that_was_cut_by_a_config_is_exported(tmp_path: Path, mlflow_uri: str) -> None:
    folder = copy_golden("0.2.0", tmp_path)
    run("export", "--model", "configured", "--precision", "fp32", "--output-dir", "graph")
    assert (folder / "graph" / "model.onnx").is_file()
