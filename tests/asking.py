"""Served models that answer what a test wants, and files of rows to ask them about."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from exporters.served.models import ServedModel, describe_served
from exporters.served.replay import BLOCKS, Replay, Timed

LABELS = ("bad", "so so", "good")


def answering(kind: str, head: str, *answers: Any, task: str = "custom", **facts: Any) -> ServedModel:
    """A model that gives these answers, one after the other, whatever it is asked."""
    given = iter(answers)
    about = {"task": task, "head": head, "labels": list(LABELS), **facts}
    written = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    return describe_served("a model", kind, written, lambda requests: [next(given) for _ in requests])


def label(name: str) -> Any:
    return SimpleNamespace(label=name, score=0.5, scores={})


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def timed_replay(champion: np.ndarray, challenger: np.ndarray) -> Replay:
    """A replay in which the models took so long (ms)."""
    models = {"champion": answering("single", "classification"), "challenger": answering("single", "classification")}
    blocks = np.arange(len(champion)) * BLOCKS // len(champion)
    timed = {
        role: Timed(answers=[], latency_ms=ms, service_ms=ms, blocks=blocks)
        for role, ms in (("champion", champion), ("challenger", challenger))
    }
    return Replay(file=Path("r.jsonl"), rate=10.0, timed=timed, num_rows=len(champion), disagreements=(), **models)
