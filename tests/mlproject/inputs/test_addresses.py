"""Directories, runs and registered models by address."""

from pathlib import Path

import mlflow
import pytest

from compressor.errors import ModelError
from mlproject.inputs.addresses import MODEL_DIR, SEARCHED, SUPER_NETWORK, TIMED, locate
from mlproject.tracking.delivery import TrackingError


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_uri: str) -> str:
    """A run with a super-network, two models and nothing else."""
    monkeypatch.chdir(tmp_path)
    for folder, files in (
        ("supernet", ("config.json", "super_network.json")),
        ("a/model", ("config.json",)),
        ("b/model", ("config.json",)),
    ):
        (tmp_path / "made" / folder).mkdir(parents=True)
        for name in files:
            (tmp_path / "made" / folder / name).write_text("{}")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "made"))
    return str(run.info.run_id)


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("net", *SUPER_NETWORK) == tmp_path / "net"


def test_a_run_is_searched_for_what_is_wanted(run_id: str) -> None:
    for address in (f"runs:/{run_id}", f"runs:/{run_id}/supernet"):
        found = locate(address, *SUPER_NETWORK)
        assert (found.name, (found / "super_network.json").is_file()) == ("supernet", True)
    assert locate(f"runs:/{run_id}/b", *MODEL_DIR).parts[-2:] == ("b", "model")


def test_several_of_a_kind_are_named(run_id: str) -> None:
    with pytest.raises(ModelError) as raised:
        locate(f"runs:/{run_id}/", "latency.json", "nothing", *MODEL_DIR[:0], "*odel")
    assert str(raised.value) == (
        f"runs:/{run_id}/ must hold one model, but holds a/model, b/model. Add one of them to the address."
    )


def test_what_is_not_there_is_said(run_id: str) -> None:
    with pytest.raises(ModelError) as raised:
        locate(f"runs:/{run_id}/a", *SEARCHED)
    assert str(raised.value) == (
        f"runs:/{run_id}/a must hold search_results.json, but does not. Give the address of the run that made it, such "
        "as runs:/<id>/supernet, runs:/<id>/model or runs:/<id>/onnx."
    )
    with pytest.raises(
        TrackingError, match=r"^models:/none@champion must be in MLflow at sqlite:.*but it cannot be had"
    ):
        locate("models:/none@champion", *TIMED)


def test_an_export_s_config_makes_no_model_of_it(tmp_path: Path, mlflow_uri: str) -> None:
    (tmp_path / "made" / "onnx").mkdir(parents=True)
    for name in ("config.json", "export.json"):
        (tmp_path / "made" / "onnx" / name).write_text("{}")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "made"))
    assert locate(f"runs:/{run.info.run_id}", *TIMED).name == "onnx"
    with pytest.raises(ModelError, match=r"must hold config\.json, but does not"):
        locate(f"runs:/{run.info.run_id}", *MODEL_DIR)
