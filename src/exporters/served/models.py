"""A served model as it is found: opened in this process, or at a server, and what it says of itself."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests

from compressor.data.heads import HEADS
from compressor.data.tasks import TASKS, Task
from compressor.errors import ModelError
from exporters.export_record import EXPORT_FILE, Export
from exporters.graph.sessions import create_session, files_of
from exporters.options import Form
from exporters.servable import make_model

_TIMEOUT_S = 60
"""After which a server is not waited for any more."""
_AT_ONCE = 1000
"""Rows of one request."""


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model that takes texts and answers, in this process or elsewhere."""

    name: str
    """What it was called by whoever named it."""
    kind: str
    """The kind of its rows: a key of `KINDS` in `exporters/servable.py`."""
    task: Task
    """With the columns and the metric that it was trained with."""
    labels: tuple[str, ...]
    """In the order of its outputs."""
    predict: Callable[[list[Any]], list[Any]]
    model_id: str | None = None
    """MLflow's, of the logged model."""
    files: tuple[Path, ...] = ()
    """The files of its graph, where it is a directory's."""

    def ask(self, requests: list[Any]) -> list[Any]:
        """Return an answer to each request."""
        starts = range(0, len(requests), _AT_ONCE)
        return [answer for start in starts for answer in self.predict(requests[start : start + _AT_ONCE])]


def served_files(export: Export, form: Form) -> dict[str, Path]:
    """Return the files of a form that `exporters/servable.py` opens, by what it calls them."""
    graph = dict(zip(("graph", "weights"), files_of(export.path(form)), strict=False))
    return {**graph, "tokenizer": export.directory / "tokenizer.json"}


def open_served(name: str, directory: Path) -> ServedModel:
    """Open the best form of an export, in this process, as MLflow serves it.

    Raises:
        ModelError: the directory is no export, or a file of it was changed.
        FileError: `export.json` is broken.
    """
    if not (directory / EXPORT_FILE).is_file():
        raise ModelError(
            f"a served model must be made by compressor export, but {directory} is not. Run it first, or give "
            "models:/NAME@alias."
        )
    export = Export.load(directory)
    files = served_files(export, export.best)
    # For its metadata alone: which task it is decides how it is opened.
    facts = create_session(files["graph"], 1, export.provider).get_modelmeta().custom_metadata_map
    task = _task_of(name, facts)
    kind = task.head.ask(task)[0]
    model = make_model({"kind": kind, "provider": export.provider})
    # Loaded as MLflow's server would do it, with the same class.
    model.load_context(SimpleNamespace(artifacts={key: str(path) for key, path in files.items()}))
    described = describe_served(name, kind, facts, model.predict)
    return replace(described, files=tuple(files_of(files["graph"])))


def open_http(url: str, like: ServedModel) -> ServedModel:
    """Return a model that a server answers for, such as `mlflow models serve`, of the same kind as another one."""
    session = requests.Session()

    def predict(rows: list[Any]) -> list[Any]:
        answer = session.post(f"{url.rstrip('/')}/invocations", json={"inputs": rows}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return list(answer.json()["predictions"])

    return replace(like, name=url, predict=predict, model_id=None, files=())


def describe_served(
    name: str,
    kind: str,
    facts: Mapping[str, str],
    predict: Callable[[list[Any]], list[Any]],
    model_id: str | None = None,
) -> ServedModel:
    """Return a served model with what its graph's metadata says of it.

    Raises:
        ModelError: the metadata is not that of an export.
    """
    labels = tuple(json.loads(facts.get("labels", "[]")))
    return ServedModel(
        name=name, kind=kind, task=_task_of(name, facts), labels=labels, predict=predict, model_id=model_id
    )


def _task_of(name: str, facts: Mapping[str, str]) -> Task:
    """Return the task that a graph's metadata tells; what older graphs do not say is as the task has it."""
    task = TASKS.get(facts.get("task", ""))
    # Graphs of older versions have no head; those of a regression say so in another way.
    head = HEADS.get(facts.get("head") or ("regression" if facts.get("regression") == "true" else "classification"))
    if task is None or head is None:
        raise ModelError(
            f"a served model must be made by compressor export, but {name} does not say its task. Export it again."
        )
    columns = json.loads(facts.get("columns", "{}"))
    metric = facts.get("metric", task.metric)
    count = int(facts.get("num_texts", "1"))
    texts = tuple(columns.get("text", task.text_columns))
    return replace(
        task,
        head=head,
        metric=metric if metric in head.metrics else head.metrics[0],
        # Two texts, where the columns name one: the second gets a name of its own.
        text_columns=texts if len(texts) == count else (*texts, "text_pair")[:count],
        label_column=columns.get("label", task.label_column),
        group_column=columns.get("group", task.group_column),
    )
