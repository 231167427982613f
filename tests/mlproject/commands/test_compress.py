"""`compress`: one parent run, its stages, every sub-network, and the report."""

import html
import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.heads.answers import AGAINST_FULL_MODEL
from conftest import sentence_rows, tiny_model, write_slow_tokenizer
from exporters import Export
from exporters.graph.openvino_ir import missing_packages
from running import RunCli, WriteRows, runs, train_words


def test_a_tokenizer_that_cannot_be_served_is_refused_before_the_training(
    run_cli: RunCli, write_rows: WriteRows, tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    tiny_model("roberta").save_pretrained(tmp_path / "slow")
    write_slow_tokenizer(tmp_path / "slow")
    for more in ([], ["--dry-run"]):
        outcome = run_cli("compress", *train_words(tmp_path / "slow", write_rows(sentence_rows(80)))[1:], *more)
        assert outcome.code == 1
        assert "a tokenizer must have a tokenizer.json to be served, but PhobertTokenizer has none." in outcome.err
    assert not list(tmp_path.rglob("checkpoint-epoch-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
def test_compress_logs_parent_stages_and_every_sub_network(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    words = train_words(base_model_dir, write_rows(sentence_rows(80)))
    more = ["--num-samples", 5, "--runs", 2, "--lengths", 8, "--output-dir", "out"]
    more += ["--knee"]  # of so few rows the default choice can promise nothing of a smaller member
    outcome = run_cli("compress", *words[1:], *more)
    assert outcome.code == 0, outcome.err
    everything = runs()
    assert {run.info.status for run in everything} == {"FINISHED"}
    by_stage: dict[str, list[Any]] = {}
    for run in everything:
        by_stage.setdefault(run.data.tags["stage"], []).append(run)
    stages = ["train-supernet", "search", "extract", "export-dense", "export", "benchmark"]
    assert sorted(by_stage) == sorted(["compress", *stages, "subnet", "benchmark-model"])
    parent, search = by_stage["compress"][0], by_stage["search"][0]
    for stage in stages:
        assert [run.data.tags["mlflow.parentRunId"] for run in by_stage[stage]] == [parent.info.run_id]
    children = by_stage["subnet"]
    assert len(children) == 5
    results = json.loads((tmp_path / "out" / "search" / "search_results.json").read_text())
    for child in children:
        evaluation = next(e for e in results["evaluations"] if e["name"] == child.info.run_name)
        assert child.data.tags["mlflow.parentRunId"] == search.info.run_id
        assert child.data.metrics["error"] == pytest.approx(evaluation["error"])
        assert child.data.metrics["params"] == evaluation["params"]
        assert child.data.params["num_layers"] == str(evaluation["num_layers"])
        assert (child.data.tags["pareto"] == "true") == evaluation["on_front"]
    exact = {"params", "macs", "size_mb", "peak_mb"}  # of the costs: what is timed is no objective here
    more = {"error", "relative_params", "relative_encoder_params", "eval_seconds", "hypervolume"}
    assert all(set(child.data.metrics) - {"test_error"} == exact | more for child in children)
    history = mlflow.MlflowClient().get_metric_history(search.info.run_id, "search/hypervolume")
    assert [point.value for point in history] == pytest.approx(results["hypervolumes"])
    assert [entry.dataset.digest for entry in search.inputs.dataset_inputs]
    story = parent.data.tags["mlflow.note.content"]
    assert "| error (validation) |" in story
    pruned = [
        (n, i) for n, i in enumerate(results["front"]) if results["evaluations"][i]["relative_encoder_params"] < 1
    ]
    chosen = json.loads((tmp_path / "out" / "model" / "extraction.json").read_text())["name"]
    for number, index in pruned:
        name = f"subnet-{index:03d}"
        assert f"| {name}{' ← chosen' if name == chosen else ''} | {number} |" in story  # what --index takes
    assert story.count("← chosen") == 1
    experiment = mlflow.get_experiment(parent.info.experiment_id)
    assert any(tag.startswith("mlflow.sharedViewState.") for tag in experiment.tags)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pruned"]["params"] < summary["dense"]["params"]
    export = Export.load(tmp_path / "out" / "onnx")
    expected = ["fp32"] if missing_packages() else ["fp32", "openvino-fp32"]
    assert [*export.verified] == expected  # `--runtime auto`
    assert {"pruned", *(f"pruned-{form}" for form in export.accepted if form != "fp32")} <= summary.keys()
    assert [*Export.load(tmp_path / "out" / "onnx-dense").verified] == ["fp32"]
    assert f"and the report {tmp_path}/out/report.html." in outcome.last_line
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"report.html", "figures"} <= artifacts
    page = (tmp_path / "out" / "report.html").read_text()
    sections = ["At a glance", "The Pareto front", "What is kept per layer", "Dense against extracted"]
    sections += ["Parity: nothing changed on the way", "Search progress", "Environment", "Reproduce"]
    assert [name for name in sections if f"<h2>{name}</h2>" in page] == sections


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
def test_compress_without_labels_says_what_its_error_is(
    run_cli: RunCli, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model().save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    lines = [str(row["text"]) for row in sentence_rows(80)]
    (tmp_path / "texts.csv").write_text("body\n" + "\n".join(lines) + "\n")
    words = ["compress", "--model-name-or-path", "mine", "--unlabeled-file", "texts.csv", "--text-column", "body"]
    words += ["--num-train-epochs", 1, "--num-samples", 4, "--runs", 2, "--lengths", 8, "--batch-sizes", 1]
    words += [
        "--precision",
        "fp32",
        "--runtime",
        "onnxruntime",
        "--finetune-epochs",
        0,
        "--knee",
        "--output-dir",
        "out",
    ]
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err
    assert f"Note: {AGAINST_FULL_MODEL}" in outcome.out
    assert "disagreement (validation)" in outcome.out
    out = tmp_path / "out"
    report = json.loads((out / "model" / "extraction.json").read_text())
    assert report["against_full_model"] is True
    trained = json.loads((out / "supernet" / "super_network.json").read_text())
    assert trained["source"]["answers_file"] == str(out / "supernet" / "answers" / "outputs.safetensors")
    page = (out / "report.html").read_text()
    assert html.unescape(page).count(AGAINST_FULL_MODEL) == 2  # in the lead, and at a glance
    assert "--unlabeled-file" in page
    assert "answers-file" not in page
    assert AGAINST_FULL_MODEL in (out / "model" / "README.md").read_text()
    parent = next(run for run in runs() if run.data.tags["stage"] == "compress")
    assert "disagreement" in parent.data.tags["mlflow.note.content"]
    again = run_cli(*words[:-1], "again")
    assert again.out.count(": skipped, ") == 6, again.out


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
@pytest.mark.parametrize(
    ("head", "words"),
    [("token_classification", []), ("classification", ["--metric", "jensen_shannon", "--runtime", "onnxruntime"])],
)
def test_compress_without_labels_of_other_kinds(
    head: str, words: list[str], run_cli: RunCli, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model(task_head=head).save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    (tmp_path / "texts.txt").write_text("\n".join(str(row["text"]) for row in sentence_rows(60)))
    words = ["compress", "--model-name-or-path", "mine", "--unlabeled-file", "texts.txt", "--output-dir", "out", *words]
    words += ["--num-train-epochs", 1, "--num-samples", 4, "--runs", 2, "--lengths", 8, "--batch-sizes", 1]
    outcome = run_cli(*words, "--finetune-epochs", 1, "--knee")
    assert outcome.code == 0, outcome.err
    assert "disagreement" in outcome.out
    report = json.loads((tmp_path / "out" / "model" / "extraction.json").read_text())
    assert report["super_network"]["error"] < report["trivial"]["error"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
def test_compress_with_texts_without_labels_beside_rows(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows, texts = sentence_rows(60), [{"text": row["text"]} for row in sentence_rows(40, seed=1)]
    files = ["--train-file", write_rows(rows), "--unlabeled-file", write_rows(texts, "texts.jsonl")]
    words = ["compress", "--model-name-or-path", base_model_dir, *files, "--num-train-epochs", 1, "--num-samples", 4]
    words += ["--runs", 2, "--lengths", 8, "--batch-sizes", 1, "--finetune-epochs", 1, "--knee"]
    planned = run_cli(*words, "--dry-run", "--output-dir", "out")
    assert (
        "Training on 34 rows and 40 texts without labels, validating on 14; labels: 0, 1; 12 test rows" in planned.out
    )
    assert not (tmp_path / "out").exists()
    outcome = run_cli(*words, "--output-dir", "out")
    assert outcome.code == 0, outcome.err
    assert "Fine-tuning on the 34 rows with labels first; that model answers the 40 texts without." in outcome.out
    assert "disagreement" not in outcome.out  # errors are of the labels that were given
    report = json.loads((tmp_path / "out" / "model" / "extraction.json").read_text())
    assert report["finetuning"]["num_epochs"] == 1
    assert "texts without labels, trained on too" in (tmp_path / "out" / "report.html").read_text()
    logged = next(run for run in runs() if run.data.tags["stage"] == "train-supernet").inputs.dataset_inputs
    schemas = {of.tags[0].value: json.loads(of.dataset.schema)["mlflow_colspec"] for of in logged}
    names = {context: [column["name"] for column in columns] for context, columns in schemas.items()}
    assert names == {name: ["text", "label"] for name in ("train", "validation", "test")} | {"unlabeled": ["text"]}
    # Everything is known, until there are other texts: those are trained on, and whatever follows is made anew.
    again = run_cli(*words, "--output-dir", "again")
    assert again.out.count(": skipped, ") == 6, again.out
    write_rows(texts[1:], "texts.jsonl")
    other = run_cli(*words, "--output-dir", "other")
    assert other.out.count(": skipped, ") == 0, other.out
    # They are read by who learns from them alone.
    (tmp_path / "texts.jsonl").unlink()
    outcome = run_cli("search", "--supernet", "other/supernet", "--num-samples", 2, "--output-dir", "searched")
    assert outcome.code == 0, outcome.err
    extract = ["extract", "--search", "searched", "--index", 0]
    outcome = run_cli(*extract, "--finetune-epochs", 0, "--output-dir", "as cut")
    assert outcome.code == 0, outcome.err
    # A distillation learns from those that were trained on, and from no others.
    write_rows(texts, "texts.jsonl")
    outcome = run_cli(*extract, "--output-dir", "distilled")
    assert outcome.error_lines[0].startswith("Error: the rows must be those the super-network was trained on (digest ")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
def test_compress_a_student_of_another_model(
    run_cli: RunCli, base_model_dir: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """A bare encoder learns the answers of a fine-tuned one to texts without labels, the only labels that there are."""
    teacher = tiny_model()
    teacher.save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    (tmp_path / "texts.txt").write_text("\n".join(str(row["text"]) for row in sentence_rows(60)))
    words = ["compress", "--model-name-or-path", base_model_dir, "--teacher-model", "mine"]
    words += ["--unlabeled-file", "texts.txt", "--num-train-epochs", 3, "--num-samples", 4, "--runs", 2]
    words += ["--lengths", 8, "--batch-sizes", 1, "--finetune-epochs", 1, "--knee"]
    outcome = run_cli(*words, "--output-dir", "out")
    assert outcome.code == 0, outcome.err
    assert "Asking mine for its answers to 60 texts." in outcome.out
    assert "disagreement" in outcome.out
    record = json.loads((tmp_path / "out" / "supernet" / "super_network.json").read_text())
    assert record["teacher_model"] == "mine"
    assert record["epochs"][0]["sub_network_loss"] is None  # the student does not know the task before
    page = (tmp_path / "out" / "report.html").read_text()
    assert "--teacher-model" in page
    assert ">teacher</th>" in page
    assert "trained on too" not in page
    again = run_cli(*words, "--output-dir", "again")
    assert again.out.count(": skipped, ") == 6, again.out
    with torch.no_grad():
        teacher.classifier.weight.mul_(1.5)
    teacher.save_pretrained(tmp_path / "mine")
    other = run_cli(*words, "--output-dir", "other")
    assert other.out.count(": skipped, ") == 0, other.out


def test_standard_nas_takes_no_texts_without_labels(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows
) -> None:
    files = ["--train-file", write_rows(sentence_rows(60)), "--unlabeled-file"]
    files.append(write_rows([{"text": row["text"]} for row in sentence_rows(40, seed=1)], "texts.jsonl"))
    outcome = run_cli("nas", "--model-name-or-path", base_model_dir, *files, "--num-trials", 2, "--output-dir", "out")
    assert outcome.code == 1
    assert outcome.error_lines[0].startswith(
        "Error: --unlabeled-file must be left out where sub-networks are trained one by one, since no teacher answers"
    )


def test_compress_without_labels_needs_a_fine_tuned_model(
    run_cli: RunCli, base_model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(str(row["text"]) for row in sentence_rows(40)))
    words = ["--model-name-or-path", base_model_dir, "--unlabeled-file", "texts.txt", "--output-dir", "out"]
    outcome = run_cli("compress", *words)
    assert outcome.code == 1
    assert outcome.error_lines == [
        f"Error: the model that answers texts without labels must be fine-tuned, but {base_model_dir} lacks a "
        "task head. Name a fine-tuned one with --model-name-or-path, or give rows with labels: --train-file."
    ]
    mixed = run_cli("train-supernet", *words, "--label-column", "x")
    assert mixed.error_lines == [
        "Error: --unlabeled-file must be given with training rows, or without other rows and labels, but got it with "
        "--label-column alone. Give --train-file too, or drop one of them."
    ]


@pytest.mark.parametrize("command", ["compress", "train-supernet"])
def test_a_dry_run_tells_all_and_leaves_nothing(
    command: str, run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    write_rows(sentence_rows(80))
    (tmp_path / "project.yaml").write_text(f"model-name-or-path: {base_model_dir}\nnum-train-epochs: 2\nseed: 3\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    words = ["--config-file", "project.yaml", "--train-file", "train.jsonl", "--seed", 4, "--output-dir", "out/mine"]
    outcome = run_cli(command, *words, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not runs()
    lines = outcome.out.splitlines()
    assert lines[0] == "Note: the command line wins over project.yaml in --seed."
    assert {f"model-name-or-path: {base_model_dir}", "seed: 4", "train-file: train.jsonl", "metric: null"} <= {*lines}
    assert "Training on 45 rows, validating on 19; labels: 0, 1; 16 test rows" in lines
    assert any(line.startswith("2 epochs. Training in ") for line in lines)
    stages = ["super-network", *(["search", "extraction", "export", "benchmark"] if command == "compress" else [])]
    (estimate,) = [line for line in lines if line.startswith("Estimated from a few steps on this machine: ")]
    assert re.findall(r"([a-z-]+) about", estimate) == stages
    assert lines[-1] == f"Nothing is begun. Without --dry-run the results go to {tmp_path}/out/mine."


def test_a_dry_run_of_what_cannot_run(run_cli: RunCli, base_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(str(row["text"]) for row in sentence_rows(40)))
    before = sorted(tmp_path.rglob("*"))
    for words, message in {
        ("--unlabeled-file", "texts.txt"): "the model that answers texts without labels must be fine-tuned, but ",
        ("--unlabeled-file", "texts.txt", "--teacher-model", base_model_dir): "the teacher must be fine-tuned, but ",
        ("--train-file", "none.csv"): "the data file ",
        ("--output-dir", "texts.txt"): "--output-dir must be a directory, but ",
    }.items():
        outcome = run_cli("compress", "--model-name-or-path", base_model_dir, *words, "--dry-run")
        assert outcome.code == 1
        assert outcome.error_lines[0].startswith(f"Error: {message}"), outcome.err
        assert sorted(tmp_path.rglob("*")) == before
