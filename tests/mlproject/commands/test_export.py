"""`export`: registered models, the gate of int8, and registrations that fail or are killed."""

import ast
import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from exporters.graph.openvino_ir import missing_packages
from mlproject.inputs.addresses import TIMED, locate
from mlproject.tracking.registration import LoggedExportOptions
from running import RunCli, runs


def _require_small_image(uri: str, folder: Path) -> None:
    """The Dockerfile that MLflow writes for a served model installs what its code imports, and nothing besides."""
    from click.testing import CliRunner
    from mlflow.models import cli as mlflow_models

    words = ["generate-dockerfile", "-m", uri, "-d", str(folder)]
    done = CliRunner().invoke(mlflow_models.commands, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = (folder / "Dockerfile").read_text()
    assert f"FROM python:{platform.python_version()}-slim\n" in text
    assert f"RUN pip install mlflow=={metadata.version('mlflow')}\n" in text
    assert "COPY model_dir /opt/ml/model\n" in text
    assert """ENTRYPOINT ["python", "-c", "from mlflow.models import container as C; C._serve('local')"]""" in text
    files = {str(path.relative_to(folder / "model_dir")) for path in folder.glob("model_dir/**/*") if path.is_file()}
    code = ast.parse((folder / "model_dir" / "servable.py").read_text())
    imported = {alias.name for node in ast.walk(code) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(code) if isinstance(node, ast.ImportFrom)}
    needed = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"openvino"}
    required = (folder / "model_dir" / "requirements.txt").read_text().split()
    assert sorted(required) == sorted(f"{name}=={metadata.version(name)}" for name in needed)
    assert {"mlflow", "onnxruntime", "tokenizers"} <= needed
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        assert name in files
        assert not re.search("torch|transformers|datasets", (folder / "model_dir" / name).read_text())


def test_a_registered_model_serves_and_one_that_loses_too_much_is_not_int8(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow.MlflowClient()
    field = LoggedExportOptions.__dataclass_fields__["max_int8_loss"]
    without_limit = {"option": field.metadata["option"]}  # -1 is a gate that nothing passes
    monkeypatch.setattr(field, "metadata", without_limit)
    for loss, precision in ((1, "int8"), (-1, "fp32")):
        words = ["--max-int8-loss", loss, "--register-as", "moods", "--alias", "champion"]
        outcome = run_cli("export", "--model", "net", "--output-dir", f"onnx-{precision}", *words)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/moods@champion" in outcome.out
        assert ("Note: int8 may lose more than --max-int8-loss" in outcome.out) == (loss == -1)
        served = mlflow.pyfunc.load_model("models:/moods@champion")
        assert served.metadata.metadata["precision"] == precision
        assert served.predict(["w1 w5", ""])[0].label in ("0", "1")
        flavor = served.metadata.flavors["python_function"]
        uris = [artifact["uri"] for artifact in flavor["artifacts"].values()]
        assert not any(Path(path).is_absolute() for path in [flavor["model_code_path"], *uris])
    versions = client.search_model_versions("name='moods'")
    assert [int(v.version) for v in versions] == [2, 1]
    for version, precision in zip(versions, ("fp32", "int8"), strict=True):
        form = json.loads((tmp_path / f"onnx-{precision}" / "export.json").read_text())["forms"][precision]
        assert f"error (1 − accuracy) **{form['error']:.4f}** (95 % " in version.description
        assert f"{precision} ONNX, {form['mb']:.1f} MB, " in version.description
        assert (version.tags["precision"], version.tags["task"]) == (precision, "custom")
        assert version.tags["error"] == f"{form['error']:.4g}"
        assert {"mb", "params", "metric"} <= version.tags.keys()
    _require_small_image("models:/moods@champion", tmp_path / "image")
    run = next(run for run in runs() if run.data.tags["stage"] == "export")
    assert {model.name for model in run.outputs and client.search_logged_models([run.info.experiment_id])} == {
        "super-network-pytorch",
        "super-network-int8",
        "super-network-fp32",
        "super-network-graph",
    }
    found = client.search_logged_models([run.info.experiment_id])
    first = next(model for model in found if model.name == "super-network-int8").source_run_id
    logged = {model.name: model for model in found if model.source_run_id == first}
    forms = json.loads((tmp_path / "onnx-int8" / "export.json").read_text())["forms"]
    for name, precision in (("super-network-fp32", "fp32"), ("super-network-int8", "int8")):
        told = {m.key: m.value for m in logged[name].metrics if m.key in ("error", "mb")}
        assert len([m for m in logged[name].metrics if m.key in ("error", "mb")]) == 2
        assert told == pytest.approx({key: forms[precision][key] for key in ("error", "mb")}, abs=6e-4)
    second = {model.name: model for model in found if model.source_run_id == run.info.run_id}
    alike = [{m.key: m.value for m in second[f"super-network-{form}"].metrics} for form in ("fp32", "graph")]
    assert alike[0] == alike[1] and {"error", "mb"} <= alike[0].keys()  # no row of the table is empty
    graph = mlflow.pyfunc.load_model(logged["super-network-fp32"].model_uri)
    for shape in ((1, 5), (3, 17)):  # it was logged with one text of 8 tokens
        ids = np.full(shape, 7)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        assert graph.predict(given)["logits"].shape == (shape[0], 2)
    outcome = run_cli("export", "--model", "net", "--alias", "champion")
    assert outcome.error_lines[0].startswith(
        "Error: --alias must be given with --register-as, but got 'champion' alone"
    )
    outcome = run_cli("export", "--model", "net", "--precision", "int4")
    assert outcome.error_lines[0].startswith(
        "Error: --precision must be of fp32, int8, fp16, bf16, each once, but got 'int4'"
    )


def test_a_model_for_openvino_is_served_and_timed_by_its_address(run_cli: RunCli, trained: Path) -> None:
    if missing_packages():
        pytest.skip("the extra openvino is not installed")
    words = ["--runtime", "openvino", "--precision", "int8", "--max-int8-loss", 1, "--register-as", "moods"]
    outcome = run_cli("export", "--model", "net", *words, "--output-dir", "made")
    assert outcome.code == 0, outcome.err
    assert re.search(r"made/openvino_model.xml \(.* MB\): OpenVINO = PyTorch within \S+ on 11 checks", outcome.out)
    assert "openvino-int8: openvino_model.int8.xml (" in outcome.out
    served = mlflow.pyfunc.load_model("models:/moods/1")
    told = served.metadata.metadata
    assert (told["runtime"], told["precision"]) == ("openvino", "int8")
    assert served.predict(["w1 w5", ""])[0].label in ("0", "1")
    needed = Path(mlflow.pyfunc.get_model_dependencies("models:/moods/1")).read_text()
    assert [line.partition("==")[0] for line in needed.split()] == [
        "openvino",
        "mlflow",
        "tokenizers",
        "numpy",
        "pydantic",
    ]
    (version,) = mlflow.MlflowClient().search_model_versions("name='moods'")
    assert "int8 OpenVINO, " in version.description
    assert locate("models:/moods/1", *TIMED).name == "openvino_model.int8.xml"
    run = next(run for run in runs() if run.data.tags["stage"] == "export")
    assert (run.data.params["runtime"], run.data.params["precision"]) == ("openvino", "int8")
    assert {"onnx_openvino-int8/error", "onnx_openvino-fp32/parity", "onnx/parity"} <= run.data.metrics.keys()


def test_an_export_that_is_killed_registers_its_model_once(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["export", "--model", "net", "--precision", "fp32", "--register-as", "moods", "--output-dir", "onnx"]
    assert run_cli(*words).code == 0
    entries, delivered = (tmp_path / "onnx" / ".compressor" / name for name in ("entries.jsonl", "delivered.jsonl"))
    told = entries.read_text().splitlines(keepends=True)
    served = next(number for number, line in enumerate(told) if json.loads(line)["kind"] == "served_model")
    marks = delivered.read_text().splitlines(keepends=True)
    for known in (len(told) - 1, served):  # killed before its end; while MLflow made the version
        entries.write_text("".join(told[: max(known, served + 1)]))
        delivered.write_text("".join(marks[:known]))
        outcome = run_cli(*words)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/" in outcome.out
    assert len(mlflow.MlflowClient().search_model_versions("name = 'moods'")) == 1
    logged = mlflow.search_logged_models(experiment_ids=[runs()[0].info.experiment_id], output_format="list")
    assert sorted(model.name for model in logged) == [
        "super-network-fp32", "super-network-graph", "super-network-pytorch",
    ]  # fmt: skip
    assert [run.info.status for run in runs() if run.data.tags["stage"] == "export"] == ["FINISHED"]


def test_a_refused_registration_fails_and_keeps_the_files(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise mlflow.MlflowException("no permission.")

    words = ["export", "--model", "net", "--precision", "fp32", "--register-as", "moods", "--alias", "champion"]
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", refuse)
        outcome = run_cli(*words, "--output-dir", "onnx")
    assert outcome.code == 1
    assert outcome.error_lines[-1] == (
        "Error: the model must be registered as 'moods', but MLflow refuses: no permission. All files are kept in "
        f"{tmp_path}/onnx; once the reason is gone give the same command again, or export the model with another "
        "--register-as."
    )
    assert (tmp_path / "onnx" / "model.onnx").is_file()
    run = next(run for run in runs() if run.data.tags["stage"] == "export")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", outcome.error_lines[-1].removeprefix("Error: "))
    outcome = run_cli(*words, "--output-dir", "onnx")  # in the same run
    assert outcome.code == 0, outcome.err
    assert mlflow.MlflowClient().get_run(run.info.run_id).info.status == "FINISHED"
    assert mlflow.MlflowClient().get_model_version_by_alias("moods", "champion")
    outcome = run_cli("export", "--model", "net", "--register-as", "a/b", "--alias", "v1")
    assert outcome.error_lines[0].startswith(
        "Error: --register-as must be a name that MLflow takes (Invalid model name"
    )
