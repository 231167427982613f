"""Law 6: commands that are killed at random moments end as if nothing had been; SIGTERM ends them as Ctrl-C does.

Each kind of kill falls a few times here; `python benchmarks/kill_commands.py` kills two hundred times.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from safetensors.torch import load_file

from compressor.evaluation.predictions import PREDICTIONS_FILE
from conftest import copy_database, sentence_rows

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import kill_commands

NUM_KILLS, NUM_EPOCHS = 4, 6
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


Progress = Callable[[Path], int]
"""How much work of a command is on disk in a folder."""


def lines(pattern: str) -> Progress:
    """The lines of some files."""
    return lambda folder: sum(len(path.read_bytes().splitlines()) for path in folder.glob(pattern))


def epochs(folder: Path) -> int:
    """Of a training, those that need not be trained again; all once it is through."""
    states = (folder / "net" / ".compressor" / "training").glob("epoch-*")
    done = [int(path.name.removeprefix("epoch-")) for path in states]
    return NUM_EPOCHS if (folder / "net" / "super_network.json").is_file() else max(done, default=0)


class Victim:
    """A command in a folder, with an MLflow database of its own, that can be killed."""

    def __init__(
        self, context: Any, words: list[object], folder: Path, progress: Progress, database: Path | None = None
    ) -> None:
        folder.mkdir()
        if database is not None:
            copy_database(database, folder)
        self.folder, self._context, self._progress = folder, context, progress
        self._arguments = ([str(word) for word in words], str(folder), f"sqlite:///{folder}/mlflow.db")

    def run(self, kill_at: int | None = None, later_s: float = 0.0) -> None:
        """Runs to the end, or is killed `later_s` after so much of its work is on disk."""
        process = self._context.Process(target=_command, args=self._arguments)
        process.start()
        while kill_at is not None and process.is_alive() and self._progress(self.folder) < kill_at:
            time.sleep(0.005)
        if kill_at is None:
            process.join()
            assert process.exitcode == 0, self.log[-3000:]
        else:
            time.sleep(later_s)
            process.kill()
            process.join()

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
def context(graphs: Path) -> Any:
    return kill_commands.start_server(graphs)


def kill_and_compare(
    context: Any, words: list[object], tmp_path: Path, progress: Progress, database: Path, num_kills: int = NUM_KILLS
) -> tuple[Victim, Victim]:
    """An undisturbed run and one that was killed again and again, early and late, before it came to its end.

    The killed one makes its MLflow database itself, and may be killed while it does.
    """
    whole = Victim(context, words, tmp_path / "whole", progress, database)
    killed = Victim(context, words, tmp_path / "killed", progress)
    whole.run()
    moments, most = random.Random(0), progress(whole.folder)
    for number in range(num_kills):
        kill_at = int((number + moments.random()) * most / num_kills)
        killed.run(kill_at, later_s=moments.uniform(0.0, 0.1))
        assert not killed.finished
    killed.run()
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


def test_training_goes_on(context: Any, base_model_dir: Path, migrated_database: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(150)))
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", rows, "--output-dir", "net"]
    words += ["--num-train-epochs", NUM_EPOCHS, "--per-device-train-batch-size", 8]
    whole, killed = kill_and_compare(context, words, tmp_path, epochs, migrated_database)
    expected, found = (load_file(victim.folder / "net" / "model.safetensors") for victim in (whole, killed))
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)
    one, other = (json.loads((v.folder / "net" / "super_network.json").read_text()) for v in (whole, killed))
    assert one | {"run_id": None} == other | {"run_id": None}
    configs = [(victim.folder / "net" / "config.json").read_text() for victim in (whole, killed)]
    assert configs[0] == configs[1]
    assert "layer_order" in configs[0]
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


def test_search_goes_on(context: Any, base_model_dir: Path, migrated_database: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(400)))
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", rows]
    words_of_training = [*words, "--output-dir", "net", "--num-train-epochs", 1]
    Victim(context, words_of_training, tmp_path / "training", epochs, migrated_database).run()
    words = ["search", "--supernet", tmp_path / "training" / "net", "--search-strategy", "morea"]
    words += ["--search-space", "medium", "--num-samples", 60, "--output-dir", "found"]
    whole, killed = kill_and_compare(context, words, tmp_path, lines("found/evaluations.jsonl"), migrated_database)
    expected, found = (without_times(v.folder / "found" / "search_results.json") for v in (whole, killed))
    assert found == expected
    told_before, told_now = (load_file(v.folder / "found" / PREDICTIONS_FILE) for v in (whole, killed))
    assert told_before.keys() == told_now.keys()
    assert all((told_before[name] == told_now[name]).all() for name in told_before)
    finished = [run for run in told(killed) if run[1] == "FINISHED"]
    assert finished == told(whole)


def test_standard_nas_goes_on(context: Any, base_model_dir: Path, migrated_database: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(200)))
    words = ["nas", "--model-name-or-path", base_model_dir, "--train-file", rows, "--output-dir", "found"]
    words += ["--num-trials", 2, "--num-train-epochs", 2]
    progress = lines("found/trials/*/reports.jsonl")  # a trial takes seconds to load its libraries: two kills
    whole, killed = kill_and_compare(context, words, tmp_path, progress, migrated_database, num_kills=2)
    expected, found = (without_times(v.folder / "found" / "search_results.json") for v in (whole, killed))
    assert found == expected
    finished = [run for run in told(killed) if run[1] == "FINISHED"]
    assert finished == told(whole)


@pytest.fixture(scope="module")
def base(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands below read."""
    made: Path = kill_commands.prepare(context, tmp_path_factory.mktemp("kills") / "base")
    return made


@pytest.mark.parametrize("name", ["extract", "extract-all", "export", "benchmark", "report", "compare", "compress"])
def test_every_command_goes_on_in_its_own_run(name: str, context: Any, base: Path, tmp_path: Path) -> None:
    counts = kill_commands.Counts()
    kill_commands.kill_command(context, name, base, tmp_path, 2, random.Random(0), counts)
    assert counts.found == []
    assert counts.kills > 0


@pytest.mark.parametrize(
    ("name", "moment", "kept"),
    [
        ("train-supernet", "out/checkpoint-epoch-1/config.json", None),
        ("search", "out/evaluations.jsonl", "search_results.json"),
        ("nas", "out/trials/1/trial.json", "search_results.json"),
        ("compress", "out/search/evaluations.jsonl", "search/evaluations.jsonl"),
        ("extract-all", "out/*/extraction.json", None),
    ],
)
def test_sigterm_ends_as_ctrl_c_does(
    name: str, moment: str, kept: str | None, context: Any, base: Path, tmp_path: Path
) -> None:
    words = [*kill_commands.COMMANDS[name].format(base=base).split(), "--output-dir", "out"]
    victim = kill_commands.Victim(context, words, tmp_path / "victim", base / "empty.db")
    lines = 2 if moment.endswith(".jsonl") else 1  # of a search whose first evaluation is cut short there is no result
    assert victim.terminate_at(moment, lines) == 143, victim.log[-3000:]
    assert victim.log.strip().splitlines()[-1] == "Error: stopped by SIGTERM; what was finished is kept."
    statuses = {run.info.run_name: run.info.status for run in victim.runs}
    assert statuses[name.removesuffix("-all")] == "KILLED"
    assert "RUNNING" not in statuses.values()
    assert victim.half_written == []
    assert victim.live_trials() == []
    assert kept is None or (victim.out / kept).is_file()
    assert victim.run() == 0, victim.log[-3000:]
    assert [run.info.status for run in victim.runs if "mlflow.parentRunId" not in run.data.tags] == ["FINISHED"]


def test_trials_of_a_killed_search_die_with_it(context: Any, base: Path, tmp_path: Path) -> None:
    words = [*kill_commands.COMMANDS["nas"].format(base=base).split(), "--output-dir", "out"]
    victim = kill_commands.Victim(context, words, tmp_path / "victim", base / "empty.db")
    victim.kill_at("out/trials/*/trial.json")  # while the trial is loading its libraries
    deadline = time.monotonic() + 60
    while victim.live_trials() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert victim.live_trials() == []
    assert not list(victim.out.glob("trials/*/reports.jsonl"))
