"""Law 6: training, search and standard NAS that are killed at random moments end as if nothing had been."""

import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from safetensors.torch import load_file

from conftest import sentence_rows

NUM_KILLS = 10
LEAST_KILLS = 3
"""So often at least, where the command is through before it was killed ten times."""
TIMES = ("eval_seconds", "seconds")

pytestmark = pytest.mark.slow


def _command(words: list[str], folder: str, database: str) -> None:
    """A compressor process of its own; started by a server that has imported the libraries already."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = database
    log = Path("process.log").open("a")  # noqa: SIM115
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    import torch

    from mlproject.cli import main

    torch.set_num_threads(1)
    main(words)
    sys.exit(0)


class Victim:
    """A command in a folder, with an MLflow database of its own, that can be killed."""

    def __init__(self, context: Any, words: list[object], folder: Path) -> None:
        folder.mkdir()
        self.folder, self._context = folder, context
        self._arguments = ([str(word) for word in words], str(folder), f"sqlite:///{folder}/mlflow.db")

    def run(self, seconds: float | None = None) -> float:
        """Runs to the end, or until it is killed; how long that took."""
        process, start = self._context.Process(target=_command, args=self._arguments), time.perf_counter()
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        elif seconds is None:
            assert process.exitcode == 0, self.log[-3000:]
        return time.perf_counter() - start

    @property
    def log(self) -> str:
        """All that its processes have printed."""
        path = self.folder / "process.log"
        return path.read_text() if path.is_file() else ""

    @property
    def finished(self) -> bool:
        """Whether one of them came to its end."""
        return "Made " in self.log

    @property
    def runs(self) -> list[Any]:
        """All MLflow runs of the folder."""
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch", "transformers", "mlflow", "datasets", "syne_tune", "mlproject.cli"])
    yield server


def kill_and_compare(context: Any, words: list[object], tmp_path: Path, num_kills: int) -> tuple[Victim, Victim]:
    """An undisturbed run and one that was killed many times before it came to its end."""
    whole, moments = Victim(context, words, tmp_path / "whole"), random.Random(0)
    seconds = whole.run()
    for attempt in range(6):  # the machine may have become faster since
        killed, kills = Victim(context, words, tmp_path / f"killed-{attempt}"), 0
        while kills < num_kills and not killed.finished:
            killed.run(seconds * moments.uniform(0.2, 1.0))
            kills += not killed.finished
        if kills >= LEAST_KILLS:
            break
        seconds *= 0.6
    assert kills >= LEAST_KILLS
    if not killed.finished:
        killed.run()
    assert "Going on after " in killed.log or words[0] == "nas"  # whose trials say it in files of their own
    return whole, killed


def told(victim: Victim) -> list[Any]:
    """What MLflow knows of the runs of a folder, times left out; each metric with its whole history."""
    client = mlflow.MlflowClient(f"sqlite:///{victim.folder}/mlflow.db")
    runs = []
    for run in victim.runs:
        history = {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
            if key not in TIMES
        }
        params = {key: value for key, value in run.data.params.items() if "/" not in value}
        runs.append((run.info.run_name, run.info.status, params, history))
    return sorted(runs, key=lambda run: str(run[0]))


def test_training_goes_on(context: Any, base_model_dir: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(900)))
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", rows, "--output-dir", "net"]
    words += ["--num-train-epochs", 6, "--per-device-train-batch-size", 8]
    whole, killed = kill_and_compare(context, words, tmp_path, NUM_KILLS)
    expected, found = (load_file(victim.folder / "net" / "model.safetensors") for victim in (whole, killed))
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)
    one, other = (json.loads((v.folder / "net" / "super_network.json").read_text()) for v in (whole, killed))
    assert one | {"run_id": None} == other | {"run_id": None}
    assert {file.name for file in (killed.folder / "net").iterdir()} == {
        file.name for file in (whole.folder / "net").iterdir()
    }
    finished = [run for run in told(killed) if run[1] == "FINISHED"]
    assert finished == told(whole)


def without_times(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text())
    for entry in (results, *results["evaluations"]):
        for name in (*TIMES, "supernet", "supernet_run_id"):
            entry.pop(name, None)
    return results


def test_search_goes_on(context: Any, base_model_dir: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(900)))
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", rows]
    Victim(context, [*words, "--output-dir", "net", "--num-train-epochs", 1], tmp_path / "training").run()
    words = ["search", "--supernet", tmp_path / "training" / "net", "--search-strategy", "morea"]
    words += ["--search-space", "medium", "--num-samples", 300, "--output-dir", "found"]
    whole, killed = kill_and_compare(context, words, tmp_path, NUM_KILLS)
    expected, found = (without_times(v.folder / "found" / "search_results.json") for v in (whole, killed))
    assert found == expected
    finished = [run for run in told(killed) if run[1] == "FINISHED"]
    assert finished == told(whole)


def test_standard_nas_goes_on(context: Any, base_model_dir: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(200)))
    words = ["nas", "--model-name-or-path", base_model_dir, "--train-file", rows, "--output-dir", "found"]
    words += ["--num-trials", 3, "--num-train-epochs", 2]
    whole, killed = kill_and_compare(context, words, tmp_path, NUM_KILLS)
    expected, found = (without_times(v.folder / "found" / "search_results.json") for v in (whole, killed))
    assert found == expected
    finished = [run for run in told(killed) if run[1] == "FINISHED"]
    assert finished == told(whole)
