"""What a trial trains on: read from where the search read it, or where a cluster runs it, sent to it as files.

What is sent is the base model's own files and the training and validation rows as tokens, never the test rows.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.batches import EncodedParts, EncodedRows, encode
from compressor.data.heads import HEADS
from compressor.data.heads.classification import CLASSIFICATION_OF_ANSWERS
from compressor.data.loading import load_task_data
from compressor.data.metrics.ratios import Structure
from compressor.data.rows import TaskData, require_same_rows
from compressor.data.storage.tokens import open_column
from compressor.data.tasks import Task
from compressor.files import read_json
from compressor.network.families import max_positions
from compressor.network.loading import load_base_model, resolve_model
from compressor.standard_nas.record import BaseModel, TrialSpec
from compressor.standard_nas.trial_actor import INPUTS_DIR

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MODEL, _DATA_FILE, _PARTS = "model", "data.json", ("train", "validation")
_OTHER_WEIGHTS = {".bin", ".pt", ".pth", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".data", ".xml"}
"""Weights in forms that are not read here, and graphs."""


@dataclass(frozen=True, kw_only=True)
class TrialInputs:
    """What a trial trains on."""

    task: Task
    label_names: tuple[str, ...]
    data_digest: str
    base: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    train: EncodedRows
    validation: EncodedRows


def open_inputs(spec: TrialSpec, directory: Path) -> TrialInputs:
    """Return the inputs of the trials in a directory: those that were sent there, or those that the spec names.

    Raises:
        CompressorError: the model or the data cannot be used, or the rows are no longer those of the search.
    """
    # On a machine of a cluster all lies in the trial's own folder; a trial on this machine reads what the search has
    # read.
    sent = directory / INPUTS_DIR
    if sent.is_dir():
        return _open_sent(spec, sent)
    data = load_task_data(spec.source)
    # A search takes hours, in which a file may change: errors on other rows would not compare.
    require_same_rows(data, (spec.depends_on or {}).get("data_digest"), "the search began with", "search again")
    base, tokenizer = _load(spec, data.task, data.label_names, data.task.head.start(data))
    train, validation = (encode(r, data.task, tokenizer, max_positions(base)) for r in (data.train, data.validation))
    return TrialInputs(
        task=data.task,
        label_names=data.label_names,
        data_digest=data.digest,
        base=base,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
    )


def pack_inputs(base_model: BaseModel, data: TaskData, rows: EncodedParts) -> dict[str, np.ndarray]:
    """Return the same as files to be sent, by name: arrays where names end in `.npy`, else bytes."""
    folder = Path(resolve_model(base_model.name_or_path))
    # A name on the Hub: the search has loaded it, so its files are in the Hub's cache.
    if not folder.is_dir():
        from transformers.utils import cached_file

        folder = Path(str(cached_file(base_model.name_or_path, "config.json", local_files_only=True))).parent
    # The pooling of a sentence-transformers model lies in a folder of its own.
    files = [file for pattern in ("*", "*/config.json") for file in folder.glob(pattern) if file.is_file()]
    # Weights in formats that are not loaded, and hidden files, need not travel.
    packed: dict[str, np.ndarray] = {
        f"{_MODEL}/{file.relative_to(folder)}": np.fromfile(file, np.uint8)
        for file in files
        if file.suffix not in _OTHER_WEIGHTS and not file.name.startswith(".")
    }
    parts = {name: getattr(rows, name) for name in _PARTS}
    for name, part in parts.items():
        packed |= {f"{name}/{key}.npy": np.asarray(array) for key, array in _arrays_of(part).items()}
    # A head is a record of functions, which is no JSON: it travels by its name.
    task = {field.name: getattr(data.task, field.name) for field in fields(data.task) if field.name != "head"}
    start = data.task.head.start(data)
    described = {
        "start": None if start is None else start.tolist(),
        "task": task | {"head": data.task.head.name},
        "label_names": data.label_names,
        "data_digest": data.digest,
        "parts": {
            name: {key: getattr(part, key) for key in ("num_choices", "takes_choices", "pad_values")}
            for name, part in parts.items()
        },
    }
    return packed | {_DATA_FILE: np.frombuffer(json.dumps(described).encode(), np.uint8)}


def _open_sent(spec: TrialSpec, folder: Path) -> TrialInputs:
    described = read_json(folder / _DATA_FILE)
    task, label_names = _read_task(described["task"]), tuple(described["label_names"])
    # Loaded from what was sent, whatever the model is called where the search runs.
    here = replace(spec, base_model=replace(spec.base_model, name_or_path=str(folder / _MODEL)))
    start = None if described["start"] is None else np.array(described["start"])
    base, tokenizer = _load(here, task, label_names, start)
    train, validation = (_read_rows(folder / name, described["parts"][name]) for name in _PARTS)
    return TrialInputs(
        task=task,
        label_names=label_names,
        data_digest=described["data_digest"],
        base=base,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
    )


def _load(
    spec: TrialSpec, task: Task, label_names: tuple[str, ...], start: np.ndarray | None
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    seed = spec.settings.seed
    return load_base_model(task=task, label_names=label_names, seed=seed, start=start, **asdict(spec.base_model))


def _read_task(written: Mapping[str, Any]) -> Task:
    """Return the task that was written down; its head by name, and where two share one by the metric."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    heads = (*HEADS.values(), CLASSIFICATION_OF_ANSWERS)
    head = next(head for head in heads if head.name == values["head"] and values["metric"] in head.metrics)
    return Task(**values | {"head": head})


def _arrays_of(rows: EncodedRows) -> dict[str, np.ndarray]:
    """Return the arrays of tokenised rows by name, without what is None."""
    structure = {} if rows.structure is None else {"groups": rows.structure.groups, "tags": rows.structure.tags}
    others = {name: getattr(rows, name) for name in ("offsets", "labels", "units", "reference")}
    named = {f"column-{name}": values for name, values in rows.columns.items()} | others | structure
    return {name: values for name, values in named.items() if values is not None}


def _read_rows(folder: Path, described: Mapping[str, Any]) -> EncodedRows:
    """Return tokenised rows of their files; large ones stay on disk."""
    arrays: dict[str, Any] = {file.stem: open_column(file) for file in sorted(folder.glob("*.npy"))}
    columns = {name.removeprefix("column-"): arrays.pop(name) for name in list(arrays) if name.startswith("column-")}
    structure = {name: arrays.pop(name) for name in ("groups", "tags") if name in arrays}
    return EncodedRows(
        columns=columns, structure=Structure(**structure) if structure else None, **arrays, **dict(described)
    )
