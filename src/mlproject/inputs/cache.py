"""Finished stages: what each was given and where its results are, so that a pipeline need not do it again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from compressor.errors import FileError
from compressor.files import STATE_FOLDER, file_sha256, read_json, write_json
from compressor.records import parse_record

_RECORD = "stage.json"


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """What is noted of a finished stage."""

    stage: str
    inputs: dict[str, Any]


def stage_inputs(*options: Any, **more: Any) -> dict[str, Any]:
    """All that a stage's results depend on: option classes, digests, and the code itself."""
    inputs = {key: value for option in options for key, value in asdict(option).items()} | more
    return dict(json.loads(json.dumps(inputs, default=str))) | {"code": code_digest()}


def fingerprint(stage: str, inputs: dict[str, Any], budget: str | None = None) -> str:
    """A hash of a stage's inputs, without the one (`budget`) that says how much of the same is wanted."""
    kept = {key: value for key, value in inputs.items() if key != budget}
    return hashlib.sha256(json.dumps([stage, kept], sort_keys=True).encode()).hexdigest()[:16]


def write_record(folder: Path, stage: str, inputs: dict[str, Any]) -> None:
    """Notes that a stage with these inputs is finished in a folder."""
    (folder / STATE_FOLDER).mkdir(exist_ok=True)
    write_json(folder / STATE_FOLDER / _RECORD, {"stage": stage, "inputs": inputs})


def read_record(folder: Path, stage: str) -> dict[str, Any] | None:
    """The inputs of the stage that is finished in a folder; None where it is not that stage, or not finished.

    A broken record counts as none: the stage is then made again.
    """
    path = folder / STATE_FOLDER / _RECORD
    try:
        record = parse_record(_Finished, read_json(path))
    except (FileError, ValueError):
        return None
    return record.inputs if record.stage == stage else None


@cache
def code_digest() -> str:
    """A content hash of the tool's own modules: other code may give other results."""
    source = Path(__file__).parents[1]
    files = sorted(
        file for package in ("compressor", "exporters", "mlproject") for file in source.joinpath(package).rglob("*.py")
    )
    return hashlib.sha256(" ".join(map(file_sha256, files)).encode()).hexdigest()[:16]
