"""Finished stages: what each was given and where its results are, so that a pipeline need not do it again."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compressor.digests import Inputs, digest_code
from compressor.errors import FileError
from compressor.files import STATE_FOLDER, file_sha256, local_path, read_json, write_json
from compressor.records import parse_record

_RECORD = "stage.json"


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """What is noted of a finished stage."""

    stage: str
    inputs: dict[str, Any]
    """Their code among them."""


def stage_inputs(stage: str, *options: Any, budget: Collection[str] = (), **more: Any) -> Inputs:
    """Return all that a stage's results depend on: option classes, digests, and the code itself."""
    values = {key: value for option in options for key, value in asdict(option).items()} | more
    return Inputs(values={"stage": stage, **values}, budget=budget, code=code_digest())


def digest_given(file: str | None) -> str | None:
    """Return the digest of a file that an option names, if it does: its content counts, not its path."""
    return None if file is None else file_sha256(local_path(file))


def write_record(folder: Path, inputs: Inputs) -> None:
    """Note that the stage with these inputs is finished in a folder."""
    values = {**inputs.values, "code": inputs.code}
    (folder / STATE_FOLDER).mkdir(exist_ok=True)
    write_json(folder / STATE_FOLDER / _RECORD, {"stage": inputs.values["stage"], "inputs": values})


def forget_record(folder: Path) -> None:
    """Forget what is finished in a folder, before others write there: killed in between, it would be believed."""
    (folder / STATE_FOLDER / _RECORD).unlink(missing_ok=True)


def read_record(folder: Path, wanted: Inputs) -> Inputs | None:
    """Return the inputs of what is finished in a folder; None where it is not what is wanted, in whatever amount.

    A broken record counts as none: the stage is then made again.
    """
    try:
        record = parse_record(_Finished, read_json(folder / STATE_FOLDER / _RECORD))
    except (FileError, ValueError):
        return None
    code = record.inputs.pop("code", None)
    found = replace(wanted, values=record.inputs, code=code)
    return found if found.same_as(wanted) else None


def code_digest() -> str:
    """Return a content hash of the tool's own modules."""
    return digest_code("compressor", "exporters", "mlproject")
