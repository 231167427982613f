"""The stages one after the other, on a tiny encoder: what they write and print, and what each hands on."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from compressor.evaluation.predictions import read_predictions
from conftest import WORDS, tiny_model
from running import RunCli, WriteRows, train_words


@pytest.mark.slow
def test_stages_one_by_one(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    assert (trained / "super_network.json").is_file()
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "search")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == (
        f"Made the Pareto front {tmp_path}/search. Next: compressor extract --search {tmp_path}/search"
    )
    results = json.loads((tmp_path / "search" / "search_results.json").read_text())
    assert len(results["evaluations"]) == 6
    assert {file.name for file in (tmp_path / "search").iterdir()} == {
        ".compressor",
        "search_results.json",
        "validation_predictions.safetensors",
        "evaluations.jsonl",
        "pareto_front.png",
        "pareto_front.csv",
        "pareto_front.html",
    }
    known = read_predictions(tmp_path / "search")
    assert known is not None
    assert list(known.by_name) == [evaluation["name"] for evaluation in results["evaluations"]]
    for evaluation in results["evaluations"]:
        assert np.mean(known.by_name[evaluation["name"]] != known.labels) == pytest.approx(evaluation["error"])
    assert results["trivial"]["name"] in ("always '0'", "always '1'")
    assert results["trivial"]["name"] in outcome.out
    outcome = run_cli("extract", "--search", "search", "--index", 0, "--output-dir", "model")
    assert outcome.code == 0, outcome.err
    assert f"Chosen: {results['evaluations'][results['front'][0]]['name']}, " in outcome.out
    parity = json.loads((tmp_path / "model" / "parity.json").read_text())
    assert max(parity["sliced"], parity["loaded"]) <= 1e-5
    assert parity["error_searched"] == parity["error_loaded"]
    for name, model in (("onnx", "model"), ("dense", "net")):
        outcome = run_cli("export", "--model", model, "--output-dir", name, "--max-int8-loss", 1)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/" in outcome.out
    assert {file.name for file in (tmp_path / "onnx" / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}
    assert json.loads((tmp_path / "onnx" / "config.json").read_text())["model_type"] == "bert"
    words = ["--model", "dense", "--model", "onnx", "--model", "model"]
    outcome = run_cli("benchmark", *words, "--runs", 2, "--lengths", "8")
    assert outcome.code == 0, outcome.err
    assert "of dense's p50 (95 %)" in outcome.out
    report = json.loads(outcome.last_line)  # one JSON line last, for machines
    assert {name: model["precision"] for name, model in report["models"].items()} == {
        "dense": "fp32",
        "dense-int8": "int8",
        "onnx": "fp32",
        "onnx-int8": "int8",
        "model-pytorch": "fp32",
    }
    assert {row["length"] for row in report["latencies"]} == {8, "real"}
    assert all(model["peak_mb"] > 10 for model in report["models"].values())
    benchmarked = next((tmp_path / "compressor-output").glob("benchmark-*"))
    for file in (
        tmp_path / "onnx" / "export.json",
        tmp_path / "model" / "sub_network.json",
        benchmarked / "latency.json",
    ):
        told = file.read_text().replace(str(tmp_path / "train.jsonl"), "")  # the rows are needed, and asked for there
        assert str(tmp_path) not in told, file
    assert (benchmarked / report["models"]["onnx"]["path"]).resolve() == tmp_path / "onnx" / "model.onnx"
    outcome = run_cli("export", "--model", "onnx", "--output-dir", "again")
    assert "must hold safetensors weights, but" in outcome.error_lines[0]  # its config.json makes no model of it
    made = {file.name for file in benchmarked.iterdir()}
    assert made == {".compressor", "latency.json", "latency.csv", "latency.png"}


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["regression", "stsb", "swag", "rte", "rerank", "multi-label", "ner"])
def test_other_tasks_train_and_search(
    task: str,
    model_type: str,
    run_cli: RunCli,
    base_model_dir: Path,
    write_rows: WriteRows,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    if model_type == "roberta":
        tiny_model("roberta").base_model.save_pretrained(tmp_path / "roberta")
        tokenizer.save_pretrained(tmp_path / "roberta")
        base_model_dir = tmp_path / "roberta"
    texts = [f"{WORDS[i % 50]} {WORDS[(3 * i) % 50]}" for i in range(60)]
    shapes: dict[str, list[dict[str, object]]] = {
        "regression": [{"text": text, "label": i / 7} for i, text in enumerate(texts)],
        "stsb": [{"sentence1": text, "sentence2": texts[i - 1], "label": i / 7} for i, text in enumerate(texts)],
        "rte": [{"sentence1": text, "sentence2": texts[i - 1], "label": i % 2} for i, text in enumerate(texts)],
        "swag": [
            {"sent1": text, "sent2": "w3", **{f"ending{c}": texts[i - c] for c in range(4)}, "label": i % 4}
            for i, text in enumerate(texts)
        ],
    }
    shapes["rerank"] = [
        {"query": WORDS[i // 5], "document": text, "label": int(i % 5 == 1)} for i, text in enumerate(texts)
    ]
    shapes["multi-label"] = [{"text": text, "labels": ["a", "b"][: i % 3]} for i, text in enumerate(texts)]
    shapes["ner"] = [
        {"tokens": text.split(), "ner_tags": ["B-x" if i % 2 else "O", "I-x" if i % 3 else "O"]}
        for i, text in enumerate(texts)
    ]
    named = ["--regression"] if task == "regression" else ["--task_name", task]
    words = train_words(base_model_dir, write_rows(shapes[task]))
    outcome = run_cli(*words, *named, "--output-dir", "net", "--search-space", "large")
    assert outcome.code == 0, outcome.err
    outcome = run_cli("search", "--supernet", "net", "--search-space", "large", "--num-samples", 5, "--output-dir", "s")
    assert outcome.code == 0, outcome.err
    assert run_cli("extract", "--search", "s", "--output-dir", "model").code == 0
    if task in ("multi-label", "ner") and model_type == "bert":
        outcome = run_cli("export", "--model", "model", "--output-dir", "onnx")
        assert outcome.code == 0, outcome.err


def test_moved_directories_are_found(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for name in ("net", "search"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    outcome = run_cli("extract", "--search", "moved/search", "--index", 0, "--output-dir", "model")
    assert outcome.code == 0, outcome.err


def test_no_stage_writes_over_what_it_reads(run_cli: RunCli, searched: Path) -> None:
    begun = {file: file.read_text() for name in ("net", "search") for file in Path(name, ".compressor").glob("*.json*")}
    assert len(begun) > 5
    for words in (
        ["search", "--supernet", "net", "--output-dir", "net"],
        ["extract", "--search", "search", "--output-dir", "search"],
        ["export", "--model", "net", "--output-dir", "net"],
        ["compare", "net", "search", "--output-dir", "search"],
        ["extract", "--search", "search", "--output-dir", "net"],
    ):
        outcome = run_cli(*words, "--overwrite-output-dir")
        assert outcome.code == 1
        assert outcome.error_lines[0].startswith("Error: --output-dir must not be what is read, but ")
        # What is named keeps all that it needs to resume; of what a search was of that is known too late.
        if words[:2] != ["extract", "--search"] or words[-1] != "net":
            assert {file: file.read_text() for file in begun if file.is_file()} == begun
