"""Commands on a tiny encoder: one trained and searched super-network, made once and copied for each test."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from conftest import copy_database, sentence_rows
from mlproject.cli import main
from running import Outcome, RunCli, train_words


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], mlflow_uri: str, quick_exports: None) -> RunCli:
    """Runs a command in the test's folder, with its own MLflow database."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, base_model_dir: Path, migrated_database: Path) -> Path:
    """A folder with rows, a tiny super-network trained by the command, a search of it, and the database of both."""
    import datasets.config

    folder = tmp_path_factory.mktemp("made-once")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        uri = copy_database(migrated_database, folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        main([str(word) for word in [*train_words(base_model_dir, folder / "train.jsonl"), "--output-dir", "net"]])
        shutil.copyfile("mlflow.db", "trained.db")
        main(["search", "--supernet", "net", "--num-samples", "3", "--output-dir", "search"])
    return folder


def _bring(source: Path, database: str, folder: Path, *names: str) -> None:
    """Copies what was made once into a test's folder, where the files then say that it was made."""
    copy_database(source / database, folder)
    for name in ("train.jsonl", *names):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
        else:
            shutil.copytree(source / name, folder / name)
            for file in (folder / name).glob("*.json"):
                file.write_text(file.read_text().replace(str(source), str(folder)))


@pytest.fixture
def trained(run_cli: RunCli, made_once: Path, tmp_path: Path) -> Path:
    """The super-network `net`, trained by the command."""
    _bring(made_once, "trained.db", tmp_path, "net")
    return tmp_path / "net"


@pytest.fixture
def searched(trained: Path, made_once: Path, tmp_path: Path) -> Path:
    """The search `search` of three sub-networks of `net`, made by the command."""
    _bring(made_once, "mlflow.db", tmp_path, "search")
    return tmp_path / "search"
