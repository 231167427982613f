"""What every stage logs alike: the options it was given and the rows it used."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from compressor.data.heads.pooling import POOLING_FOLDER
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from mlproject.tracking.tracker import StageRun


def option_params(*options: Any) -> dict[str, Any]:
    """Return the fields of some option classes as MLflow parameters; what is not set is left out."""
    values = {field.name: getattr(option, field.name) for option in options for field in fields(option)}
    return {name: value for name, value in values.items() if value not in (None, ())}


def log_files(run: StageRun, directory: Path, folder: str | None = None) -> None:
    """Upload the files of a directory; of what is in folders below it the pooling of sentence embeddings alone."""
    for file in sorted(directory.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            run.log_artifact(file, folder)
    pooling = directory / POOLING_FOLDER / "config.json"
    if pooling.is_file():
        run.log_artifact(pooling, "/".join(filter(None, (folder, POOLING_FOLDER))))


def log_data(run: StageRun, data: TaskData, source: DataSource) -> None:
    """Log the three parts of the data with their content hashes, and the texts without labels, if there are any."""
    import pandas as pd

    named, of_words = [*data.task.text_columns, *data.task.choice_columns], data.task.head.labels_words
    # Where rows come from that no file of their own names.
    origin = source.train_file or source.unlabeled_file or source.dataset_name or source.task_name
    parts = data.parts if data.unlabeled is None else {**data.parts, "unlabeled": data.unlabeled}
    for name, rows in parts.items():
        # Words of a row are shown as one text.
        texts = [[" ".join(words)] for words in rows.texts] if of_words else list(rows.texts)
        width = len(texts[0])
        # Rows may have another number of texts than the task names columns; then texts are numbered.
        columns = named if len(named) == width else [f"text{place + 1}" for place in range(width)]
        # Labels that are lists become texts, which every schema of MLflow takes.
        labels = rows.labels if rows.labels.dtype != object and rows.labels.ndim == 1 else list(map(str, rows.labels))
        table = pd.DataFrame(texts, columns=columns)
        if name != "unlabeled":
            table = table.assign(label=labels)
        run.log_dataset(
            table,
            name=f"{source.task_name}-{name}",
            source=getattr(source, f"{name}_file") or origin,
            digest=rows.digest,
            context=name,
        )


def describe_rows(data: TaskData, what: str = "Training") -> str:
    """Return what is trained and validated on, and the first labels."""
    labels = f"; labels: {', '.join(data.label_names[:10])}" if data.label_names else ""
    more = "" if data.unlabeled is None else f" and {len(data.unlabeled):,} texts without labels"
    return f"{what} on {len(data.train):,} rows{more}, validating on {len(data.validation):,}{labels}"


def print_notes(notes: Iterable[str]) -> None:
    """Print what is odd about some data, a line each."""
    for note in notes:
        print(f"Note: {note}")
