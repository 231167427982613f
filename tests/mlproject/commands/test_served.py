"""`evaluate` and `replay`: a served model on new rows and on recorded requests, beside another one, with a gate."""

import json
from pathlib import Path

import mlflow

from conftest import sentence_rows
from running import RunCli, runs


def test_a_registered_model_is_evaluated_gated_and_replayed(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["--precision", "fp32", "--register-as", "moods", "--alias", "champion", "--output-dir", "onnx"]
    assert run_cli("export", "--model", "net", *words).code == 0
    rows = sentence_rows(60, seed=5)
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["evaluate", "--model", "models:/moods@champion", "--data", "new.jsonl", "--baseline", "onnx"]
    outcome = run_cli(*words, "--max-error-increase", 0.2, "--max-error", 1, "--output-dir", "made")
    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    assert "Gate --max-error-increase 0.2: measured 0.0000, at most 0." in outcome.out
    written = json.loads((tmp_path / "made" / "evaluation.json").read_text())
    assert [written["comparison"][key] for key in ("difference", "mcnemar_p")] == [0, 1]
    assert outcome.last_line.startswith(f"Made the evaluation {tmp_path}/made. Next: mlflow server, then open http")

    client = mlflow.MlflowClient()
    found = {run.data.tags["stage"]: run for run in runs() if run.data.tags["stage"].startswith("evaluate")}
    run, baseline = found["evaluate"], found["evaluate-baseline"]
    assert run.data.metrics["accuracy_score"] == 1 - written["model"]["error"]
    assert run.data.metrics["error"] == written["model"]["error"]
    assert run.data.metrics["error_low"] < run.data.metrics["error_high"]
    assert run.data.metrics["difference"] == 0
    assert baseline.data.metrics["accuracy_score"] == run.data.metrics["accuracy_score"]
    assert baseline.data.tags["mlflow.parentRunId"] == run.info.run_id
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("new", written["data_digest"])
    assert json.loads(data.dataset.schema)["mlflow_colspec"][-1]["name"] == "label"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {
        "confusion_matrix.png",
        "evaluation.json",
        "answers.jsonl",
    }
    version = client.get_model_version_by_alias("moods", "champion")
    model = client.get_logged_model(mlflow.pyfunc.load_model("models:/moods@champion").model_id)
    (used,) = client.get_run(baseline.info.run_id).inputs.model_inputs
    assert used.model_id == model.model_id  # a directory's graph is found among the logged models
    linked = {m.key: m for m in model.metrics if m.dataset_digest == written["data_digest"]}
    assert linked["error"].value == written["model"]["error"]

    outcome = run_cli(*words, "--max-error", 0, "--output-dir", "failed")
    assert outcome.code == 1
    assert outcome.error_lines[0].startswith(
        "Error: models:/moods@champion must pass the gate, but it does not keep --max-error 0: measured 0."
    )
    assert "(95 % confidence, 60 rows). Keep the model that is served, or give more rows." in outcome.error_lines[0]
    (failed,) = (run for run in runs() if run.info.status == "FAILED")
    assert failed.data.tags["error"] == outcome.error_lines[0].removeprefix("Error: ")
    assert failed.data.metrics["accuracy_score"] == run.data.metrics["accuracy_score"]
    assert (tmp_path / "failed" / "evaluation.json").is_file()

    for name in ("onnx", model.name):  # the directory among the run's artifacts, and the logged model
        outcome = run_cli("evaluate", "--model", f"runs:/{version.run_id}/{name}", "--data", "new.jsonl")
        assert outcome.code == 0, outcome.err
    outcome = run_cli("evaluate", "--model", "models:/moods@nobody", "--data", "new.jsonl")
    assert outcome.error_lines[0].startswith("Error: models:/moods@nobody must be in MLflow at sqlite:///")
    graph = next(m for m in client.search_logged_models([run.info.experiment_id]) if m.name.endswith("-graph"))
    outcome = run_cli("evaluate", "--model", graph.model_uri, "--data", "new.jsonl")
    assert outcome.error_lines[0].startswith("Error: a served model must be made by compressor export, but models:/m-")

    (tmp_path / "requests.jsonl").write_text("".join(f"{json.dumps(row['text'])}\n" for row in rows[:30]))
    words = ["replay", "--champion", "models:/moods@champion", "--challenger", "onnx", "--requests", "requests.jsonl"]
    outcome = run_cli(*words, "--rate", 200, "--output-dir", "replayed")
    assert outcome.code == 0, outcome.err
    assert "Sending 30 requests to each model: about 0 s." in outcome.out
    assert "The models disagree on 0 of 30 rows: 0.00% (95 % 0.00% to 11.35%)." in outcome.out
    assert outcome.last_line == (f"Made the comparison {tmp_path}/replayed/replay.html. Next: open it in a browser")
    (replayed,) = (run for run in runs() if run.data.tags["stage"] == "replay")
    assert replayed.data.metrics["disagreement_high"] > replayed.data.metrics["disagreement"] == 0
    assert replayed.data.metrics["champion/p50_ms"] <= replayed.data.metrics["champion/p99_ms"]
    assert {file.path for file in client.list_artifacts(replayed.info.run_id)} >= {
        "replay.json",
        "replay.html",
        "disagreements.jsonl",
    }
    assert [m.model_id for m in client.get_run(replayed.info.run_id).inputs.model_inputs] == [model.model_id]
    outcome = run_cli(*words[:-1], "new.jsonl")
    assert outcome.error_lines[0].startswith(
        "Error: each line of new.jsonl must be a request of a model of kind single"
    )
