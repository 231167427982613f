"""The Python interface: what docs/notebook.md shows, and that it gives what the commands give."""

import csv
import json
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compressor
import exporters
from compressor.extraction.record import ExtractionReport
from compressor.search.record import SearchResult
from conftest import sentence_rows
from exporters.export_record import Export
from mlproject.cli import main

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "notebook.md").read_text(), flags=re.S | re.M)


@pytest.fixture
def folder(tmp_path: Path, base_model_dir: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names, in which everything runs."""
    shutil.copytree(base_model_dir, tmp_path / "my-encoder")
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["body", "stars"])
        writer.writeheader()
        writer.writerows({"body": row["text"], "stars": ["bad", "good"][row["label"]]} for row in sentence_rows(240))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> None:
    try:
        main(list(words))
    except SystemExit as stop:
        assert not stop.code, words


def front_of(result: SearchResult) -> list[Any]:
    """All of a front but how long its evaluations took."""
    return [replace(member, eval_seconds=0.0) for member in result.front]


@pytest.mark.usefixtures("quick_exports")
def test_the_ten_lines_give_what_the_commands_give(folder: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "notebook.md", "exec"), names)
    data = ("--train-file", "reviews.csv", "--text-column", "body", "--label-column", "stars")
    run("train-supernet", "--model-name-or-path", "my-encoder", *data, "--output-dir", "cli/net")
    run("search", "--supernet", "cli/net", "--num-samples", "60", "--output-dir", "cli/search")
    run("extract", "--search", "cli/search", "--max-error-increase", "0.015", "--output-dir", "cli/model")
    run("export", "--model", "cli/model", "--output-dir", "cli/onnx")

    found, searched = names["found"], SearchResult.load("cli/search")
    assert front_of(found) == front_of(searched)
    assert found.hypervolumes == searched.hypervolumes
    assert len(found.evaluations) == 60
    report, extracted = names["small"].report, ExtractionReport.load(Path("cli/model"))
    assert names["member"].sub_network.hash == extracted.chosen.sub_network
    assert names["member"].reason == extracted.chosen.reason
    assert extracted.super_network is not None
    assert report.super_network == replace(extracted.super_network, model_mb=None)  # it is in no file
    assert (report.extracted, report.test) == (extracted.extracted, extracted.test)
    assert (report.repair, report.finetuning) == (extracted.repair, extracted.finetuning)
    assert ExtractionReport.load(Path("model")) == report
    exported = Export.load(Path("cli/onnx"))
    assert {precision: form.error for precision, form in names["onnx"].forms.items()} == {
        precision: form.error for precision, form in exported.forms.items()
    }
    assert Export.load(Path("onnx")) == names["onnx"]

    for block in BLOCKS[1:]:
        exec(compile(f"from pathlib import Path\n{block}", "notebook.md", "exec"), names)
    assert front_of(SearchResult.load("search")) == front_of(searched)  # of the super-network that was saved
    assert len(names["found"].to_frame()) == 60


def test_a_result_whose_super_network_was_not_saved_is_not_saved(folder: Path) -> None:
    data = compressor.load_data("reviews.csv", text="body", label="stars", max_train_samples=40)
    net = compressor.train_super_network("my-encoder", data, compressor.TrainingSettings(num_train_epochs=1))
    found = compressor.search_sub_networks(net, data, num_samples=3)
    with pytest.raises(compressor.CompressorError, match="must name the directory of its super-network"):
        found.save("search")
    with pytest.raises(compressor.CompressorError, match="must name the directory of its super-network"):
        compressor.search_sub_networks(net, data, num_samples=3, directory=Path("search"))
    assert not Path("search").exists()


def test_rows_of_the_training_are_not_searched_on(folder: Path) -> None:
    data = compressor.load_data("reviews.csv", text="body", label="stars")
    net = compressor.train_super_network("my-encoder", data, compressor.TrainingSettings(num_train_epochs=1))
    other = compressor.load_data("reviews.csv", text="body", label="stars", dataset_seed=1)
    with pytest.raises(compressor.CompressorError, match="must be searched and tested on rows it was not trained on"):
        compressor.search_sub_networks(net, other, num_samples=2)


def test_errors_name_what_the_caller_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.errors._spelled_as_flags", False)
    for wrong, message in (
        (lambda: compressor.SearchOptions(num_samples=0), "num_samples must be at least 1, but got 0. Raise it."),
        (
            lambda: compressor.load_data(validation_file="rows.csv", task_name="rte"),
            "the data file .*rows.csv must exist",
        ),
        (lambda: compressor.Choice(index=0, knee=True), "one way to choose must be given, but got knee and index"),
    ):
        with pytest.raises(compressor.CompressorError, match=message) as raised:
            wrong()
        assert "--" not in str(raised.value)


@pytest.mark.parametrize("module", [compressor, exporters])
def test_every_public_name_is_there(module: Any) -> None:
    listed = re.findall(r"import \w+ as (\w+)$", Path(module.__file__).read_text(), flags=re.M)
    assert sorted(listed) == sorted(module.__all__)
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
    assert (Path(module.__file__).parent / "py.typed").is_file()


def test_importing_costs_nothing() -> None:
    code = "import compressor, exporters, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    heavy = {"torch", "transformers", "mlflow", "numpy", "pandas", "onnx", "onnxruntime", "pydantic", "datasets"}
    assert not heavy & set(json.loads(done.stdout))


def test_the_page_of_the_interface_is_current() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["make_page"]()
    assert (ROOT / "docs" / "api.md").read_text() == page
