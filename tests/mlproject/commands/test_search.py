"""`search`: what decides its front, what it takes over from the training, and how it ends early."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from compressor.data.batches import encode
from compressor.data.loading import load_task_data
from compressor.evaluation.blocks import propose_sub_networks
from compressor.evaluation.latency_table import TABLE_FILE, LatencyKind, LatencyTable
from compressor.network.costs import create_cost_model
from compressor.network.sub_network import SubNetwork
from compressor.search.objectives import OBJECTIVES, Objective
from compressor.search.record import MeasuredAt, SearchResult
from compressor.search.shared import search_sub_networks
from compressor.training.super_network import load_super_network
from conftest import sentence_rows
from running import RunCli, WriteRows, runs
from samples import sample_table


def test_the_same_seed_gives_the_same_front(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    fronts = []
    for name in ("first", "second"):
        assert run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", name).code == 0
        results = json.loads((tmp_path / name / "search_results.json").read_text())
        fronts.append([(e["sub_network"], e["error"]) for e in results["evaluations"]])
    assert fronts[0] == fronts[1]


def test_a_plain_checkpoint_is_searched_once_the_data_is_named(
    run_cli: RunCli, trained: Path, write_rows: WriteRows
) -> None:
    (trained / "super_network.json").unlink()
    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--regression").code == 1
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "Name the data: --task-name, --train-file" in outcome.err
    file = write_rows(sentence_rows(80))
    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--train-file", file).code == 0


def test_changed_rows_are_noticed(run_cli: RunCli, trained: Path, write_rows: WriteRows) -> None:
    write_rows(sentence_rows(80, seed=5))
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "the rows must be those the super-network was trained on" in outcome.error_lines[0]


def test_data_options_of_a_search_change_what_they_name_alone(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["search", "--supernet", "net", "--num-samples", 3, "--max-eval-samples", 7, "--output-dir", "s"]
    assert run_cli(*words).code == 0
    source = json.loads((tmp_path / "s" / "search_results.json").read_text())["source"]
    assert (source["task_name"], source["max_eval_samples"]) == ("custom", 7)
    assert source["train_file"].endswith("train.jsonl")


def test_overwriting_keeps_files_that_are_not_ours(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("mine")
    words = ["search", "--supernet", "net", "--num-samples", 3, "--output-dir", "s", "--overwrite-output-dir"]
    for _ in range(2):
        assert run_cli(*words).code == 0
    assert (tmp_path / "s" / "notes.txt").read_text() == "mine"
    assert len((tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()) == 3
    search_run = next(run for run in runs() if run.data.tags["stage"] == "search")
    assert "notes.txt" not in [file.path for file in mlflow.MlflowClient().list_artifacts(search_run.info.run_id)]
    assert (tmp_path / "s" / "search_results.json").is_file()


def test_an_interrupted_search_keeps_its_evaluations(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.evaluation.evaluator import Evaluator

    evaluate, calls = Evaluator.evaluate, []

    def interrupted(self: Evaluator, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(Evaluator, "evaluate", interrupted)
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "s")
    assert outcome.code == 1
    assert outcome.error_lines == ["Error: stopped by the user; what was finished is kept."]
    lines = (tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]
    assert f"Made the Pareto front {tmp_path}/s. Next: compressor extract" in outcome.out
    assert run_cli("extract", "--search", "s", "--index", 0, "--output-dir", "model").code == 0
    assert [run.data.tags["error"] for run in runs() if run.info.status == "KILLED"] == ["interrupted"]


def test_corrupt_weights(run_cli: RunCli, trained: Path) -> None:
    (trained / "model.safetensors").write_bytes(b"no safetensors")
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "model.safetensors must be a whole safetensors file, but it is cut short" in outcome.error_lines[0]
    (trained / ".incomplete").touch()
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert "a model directory must be whole, but writing" in outcome.error_lines[0]


def test_a_search_takes_the_space_of_the_training(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    def results() -> dict[str, Any]:
        return json.loads((tmp_path / "found" / "search_results.json").read_text())

    def search(*more: object) -> None:
        words = ("--supernet", "net", "--num-samples", 3, "--output-dir", "found", "--overwrite-output-dir", "true")
        outcome = run_cli("search", *words, *more)
        assert outcome.code == 0, outcome.err

    config, info = (json.loads((tmp_path / "net" / name).read_text()) for name in ("config.json", "super_network.json"))
    search()
    assert results()["options"]["search_space"] == info["settings"]["search_space"] == "small_ordered"
    assert results()["layer_order"] == config["layer_order"] == [2, 0, 1]  # one epoch: nothing has been measured

    del config["layer_order"]  # a fine-tuned model of someone else's: now it is measured
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    del info["files"]
    (tmp_path / "net" / "super_network.json").write_text(json.dumps(info))
    search()
    assert sorted(results()["layer_order"]) == [0, 1, 2]
    (tmp_path / "net" / "super_network.json").write_text(
        json.dumps(info | {"settings": info["settings"] | {"search_space": "layer"}})
    )
    search()
    assert results()["options"]["search_space"] == "layer"
    search("--search-space", "medium")
    assert results()["options"]["search_space"] == "medium"


def test_an_objective_is_one_entry(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one is in results, tables, pictures, MLflow, choices, models and comparisons, and nothing else is said."""
    bits = Objective(
        label="bits of all weights",
        short="bits",
        unit="kbit",
        scale=1e-3,
        measure=lambda of: 32 * of.cost_model.costs(of.sub_network).params,
    )
    monkeypatch.setitem(OBJECTIVES, "bits", bits)
    for name, seed in (("s", 0), ("t", 1)):
        words = ["--num-samples", 5, "--objectives", "error,bits", "--seed", seed, "--output-dir", name]
        outcome = run_cli("search", "--supernet", "net", *words)
        assert outcome.code == 0, outcome.err
    assert "kbit" in outcome.out
    evaluations = json.loads((tmp_path / "s" / "search_results.json").read_text())["evaluations"]
    assert all(e["bits"] == 32 * e["params"] for e in evaluations)
    header, *rows = (line.split(",") for line in (tmp_path / "s" / "pareto_front.csv").read_text().splitlines())
    assert [float(row[header.index("bits")]) for row in rows] == [e["bits"] for e in evaluations]
    found = SearchResult.load("s")
    assert found.objectives == ("error", "bits")
    logged = {run.data.metrics["bits"] for run in runs() if run.data.tags["stage"] == "subnet"}
    assert logged >= {float(e["bits"]) for e in evaluations}
    assert found.plot().axes[0].get_xlabel() == "bits of all weights (kbit), lower is better"

    member = found.front[-1]
    known = replace(found, trivial=None)  # tiny models may be no better
    assert known.choose(max_cost=("bits", member.costs["bits"])).evaluation == member
    assert known.choose(max_cost=("bits", found.full_costs["bits"])).evaluation == found.front[0]
    words = ["--index", len(found.front) - 1, "--finetune-epochs", 0, "--output-dir", "model"]
    outcome = run_cli("extract", "--search", "s", *words)
    assert outcome.code == 0, outcome.err
    assert "bits of all weights" in outcome.out
    extraction = json.loads((tmp_path / "model" / "extraction.json").read_text())
    assert extraction["extracted"]["bits"] == extraction["chosen"]["bits"] == member.costs["bits"]
    assert json.loads((tmp_path / "model" / "sub_network.json").read_text())["chosen"]["bits"] == member.costs["bits"]
    assert run_cli("report", "--search", "s", "--model", "model", "--output-dir", "page").code == 0
    page = (tmp_path / "page" / "report.html").read_text()
    for text in (bits.axis, bits.row, f">{bits.column}</th>", bits.describe(member.costs["bits"])):
        assert text in page
    assert run_cli("compare", "s", "t", "--output-dir", "both").code == 0
    assert json.loads((tmp_path / "both" / "compare.json").read_text())["cost"] == "bits"
    assert "bits of all weights as a share of the super-network" in (tmp_path / "both" / "compare.html").read_text()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[LatencyKind]:
    """What tables were measured of: each makes the rest a millisecond slower, so that nobody takes two for one."""
    kinds: list[LatencyKind] = []

    def measure(_: object, __: object, kind: LatencyKind) -> LatencyTable:
        kinds.append(kind)
        return sample_table(kind, rest_ms=float(len(kinds)))

    monkeypatch.setattr("mlproject.stages.search.measure_latency_table", measure)
    return kinds


def test_a_latency_is_predicted_from_a_table_and_the_same_when_a_search_goes_on(
    run_cli: RunCli, trained: Path, tmp_path: Path, asked: list[LatencyKind]
) -> None:
    """Law 5: a search with three evaluations that goes on to six finds what an undisturbed one finds."""
    words = ["search", "--supernet", "net", "--objectives", "error,latency_ms", "--latency-of", "onnx-int8"]
    words += ["--length", 100, "--batch-size", 8, "--search-space", "medium"]
    for number, count in enumerate((3, 6)):
        outcome = run_cli(*words, "--num-samples", count, "--output-dir", "s")
        assert outcome.code == 0, outcome.err
        assert (
            "Note: latency_ms is predicted from timed parts: onnx-int8, 1 thread, 8 texts of 40 tokens." in outcome.out
        )
        assert len((tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()) == (3, 6)[number]
    assert asked == [LatencyKind(latency_of="onnx-int8", threads=1, batch_size=8, length=40)]  # the longest it takes
    found, table = SearchResult.load(tmp_path / "s"), LatencyTable.load(tmp_path / "s" / TABLE_FILE)
    assert found.made_of.measured_at is not None
    assert [e.costs["latency_ms"] for e in found.evaluations] == [
        table.predict(e.sub_network) for e in found.evaluations
    ]
    assert found.made_of.measured_at == MeasuredAt(
        length=found.made_of.measured_at.length,
        batch_size=8,
        threads=1,
        latency_of="onnx-int8",
        latency_length=40,
    )
    asked.clear()
    assert run_cli(*words, "--num-samples", 6, "--output-dir", "t").code == 0
    assert [(e.sub_network, e.objectives) for e in SearchResult.load(tmp_path / "t").evaluations] == [
        (e.sub_network, e.objectives) for e in found.evaluations
    ]
    assert run_cli(*words, "--num-samples", 3, "--output-dir", "s", "--overwrite-output-dir").code == 0
    assert LatencyTable.load(tmp_path / "s" / TABLE_FILE).rest_ms == 2.0  # begun anew: measured anew
    outcome = run_cli(
        "extract", "--search", "t", "--max-latency-ms", 3, "--finetune-epochs", 0, "--output-dir", "model"
    )
    assert outcome.code == 0, outcome.err


def test_pytorch_is_timed_where_it_is_asked_for(
    run_cli: RunCli, trained: Path, tmp_path: Path, asked: list[LatencyKind], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[int, int, int]] = []

    def measure(_: object, sub_network: SubNetwork, length: int, *, batch_size: int, threads: int) -> float:
        timed.append((length, batch_size, threads))
        return float(sub_network.num_units)

    monkeypatch.setattr("compressor.evaluation.latency.measure_latency_ms", measure)
    words = ["search", "--supernet", "net", "--objectives", "error,latency_ms", "--latency-of", "pytorch"]
    assert run_cli(*words, "--length", 8, "--num-samples", 3, "--output-dir", "s").code == 0
    found = SearchResult.load(tmp_path / "s")
    assert [e.costs["latency_ms"] for e in found.evaluations] == [e.sub_network.num_units for e in found.evaluations]
    assert timed == [(8, 1, 1)] * 3
    assert not asked
    assert not (tmp_path / "s" / TABLE_FILE).exists()


def test_sizes_and_memory_are_objectives(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["search", "--supernet", "net", "--num-samples", 3, "--output-dir", "s"]
    outcome = run_cli(*words, "--objectives", "error,size_mb,peak_mb")
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "s" / "search_results.json").read_text())
    assert results["objectives"] == ["error", "size_mb", "peak_mb"]
    for evaluation in results["evaluations"]:
        assert evaluation["size_mb"] == 4 * evaluation["params"] / 1e6 < evaluation["peak_mb"]
        assert evaluation["latency_ms"] is None
    header = (tmp_path / "s" / "pareto_front.html").read_text()
    assert ">size (MB)</th>" in header
    assert ">peak (MB)</th>" in header


def test_a_search_of_medium_begins_with_what_its_blocks_are_worth(trained: Path) -> None:
    net = load_super_network(trained)
    assert net.record is not None
    data = load_task_data(net.record.source)

    def search(method: str) -> list[SubNetwork]:
        found = search_sub_networks(net, data, search_space="medium", search_strategy=method, num_samples=12)
        return [evaluation.sub_network for evaluation in found.evaluations]

    train, cost_model = encode(data.train, data.task, net.tokenizer, 64), create_cost_model(net.model)
    proposed = propose_sub_networks(net.model, data.task.head, train, lambda of: float(cost_model.encoder_params(of)))
    made, drawn = search("local_search"), search("random_search")
    assert made[:3] == drawn[:3]
    proposed = [sub_network for sub_network in proposed if sub_network not in made[:3]]
    assert len(proposed) >= 4
    assert made[3 : 3 + len(proposed)] == proposed[:9]
    assert not set(drawn[3:]) & set(proposed)
