"""Running commands in the test's process: what tests of commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow

WriteRows = Callable[..., Path]
RunCli = Callable[..., "Outcome"]


class Outcome:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(("Error", "Traceback", "Warning"))]


def train_words(model: Path, file: Path) -> list[object]:
    return ["train-supernet", "--model_name_or_path", model, "--train-file", file, "--num_train_epochs", 1]


def runs() -> list[Any]:
    client = mlflow.MlflowClient()
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))
