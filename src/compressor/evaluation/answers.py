"""Texts without labels, answered by a fine-tuned model: its outputs stand for labels from there on.

The model is asked once, before anything is trained, and its outputs are kept beside what is made with them.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compressor.data.batches import EncodedRows, encode, kept_outputs
from compressor.data.heads import form_of, head_of_config
from compressor.data.heads.answers import ANSWERS_FILE, ANSWERS_FOLDER, Answers, Asked, read_answers, write_answers
from compressor.data.heads.head import Head
from compressor.data.heads.regression import REGRESSION
from compressor.data.heads.rerank import RERANK
from compressor.data.labels import positions_among, require_two_of_f1
from compressor.data.loading import load_task_data, load_texts, with_answers
from compressor.data.metrics import are_labels
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource, make_source
from compressor.data.tasks import Task
from compressor.device import pick_device
from compressor.errors import ModelError, TaskDataError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import max_positions
from compressor.network.loading import digest_model, find_config, load_fine_tuned_model, require_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer_texts(
    model: str | Path,
    unlabeled_file: str | Path,
    *,
    text: str | tuple[str, ...] = (),
    directory: str | Path | None = None,
    **fields: Any,
) -> TaskData:
    """Load texts without labels, with a fine-tuned model's answers in place of labels.

    `model` is a directory or a name on the Hub; `unlabeled_file` a table, or a .txt file with a text a line; `text` the
    column of the texts, or two of them. Errors of all that is made with these rows are disagreement with that model,
    not with the truth. A super-network is to be trained from the same model. The answers are written into `directory`,
    if one is given: what is to be saved and opened again needs that. `fields` are the other fields of `DataSource`.

    Raises:
        ModelError: the model is not fine-tuned, or its head is for another task.
        TaskDataError: a file, a column or a row that cannot be used, or all answers are the same.
    """
    columns = (text,) if isinstance(text, str) else tuple(text)
    source = make_source(unlabeled_file=str(unlabeled_file), text_columns=columns, **fields)
    if source.unlabeled_file is None:  # the task's head needs no labels
        return load_task_data(replace(source, reference_model=source.reference_model or str(model)))
    return answer_source(source, str(model), directory=None if directory is None else Path(directory))


def answer_source(
    source: DataSource,
    name_or_path: str,
    *,
    directory: Path | None,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    option: str = "--model-name-or-path",
) -> TaskData:
    """Return the same for a source that names a file of texts; answers to the same question that are there are taken.

    Errors name the `option` by which the model was.

    Raises:
        ModelError: the model is not fine-tuned, or its head is for another task.
        TaskDataError: a file, a column or a row that cannot be used, or all answers are the same.
    """
    data = load_texts(fit_to_model(source, name_or_path, trust_remote_code=trust_remote_code))
    model, tokenizer = load_fine_tuned_model(
        name_or_path, attn_implementation=attn_implementation, trust_remote_code=trust_remote_code, option=option
    )
    return answer_with(model, tokenizer, data, name=name_or_path, directory=directory)


def answer_with(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    data: TaskData,
    *,
    name: str,
    directory: Path | None,
) -> TaskData:
    """Return the same with the texts of `load_texts` and a model; `name` is its directory, or its name on the Hub.

    Raises:
        ModelError: its head is for another task.
        TaskDataError: all answers are the same.
    """
    _require_head(data.task, model, name)
    require_two_of_f1(data.task, _names(model), "the full model has")  # before it is asked, which may take long
    asked = Asked(model=digest_model(name), texts=data.digest, max_length=data.task.max_length)
    folder = None if directory is None else directory.expanduser().absolute() / ANSWERS_FOLDER
    answers = None if folder is None else _find_answers(folder, asked)
    # The model is asked before anything else is begun, and once: its answers are the labels of all that follows.
    if answers is None:
        answers = _ask(model, tokenizer, data, name, asked)
        if folder is not None:
            write_answers(folder, answers)
    if folder is not None:
        data = replace(data, source=replace(data.source, answers_file=str(folder / ANSWERS_FILE)))
    return with_answers(data, answers)


def ask_teacher(
    name_or_path: str, data: TaskData, num_units: np.ndarray, *, trust_remote_code: bool = False
) -> np.ndarray:
    """Return a fine-tuned model's outputs of the training rows [units, outputs], in the order of the data's labels.

    Labels are matched by name; rows without labels come behind the others. The model reads the rows with its own
    tokenizer, and must find as many units in each as its student does: `num_units` [rows]. Its outputs are kept in the
    cache: another seed, or a training that resumes, does not ask again.

    Raises:
        ModelError: it is not fine-tuned, its head is for another task, or it reads other words.
        TaskDataError: a label of the data is none of its labels.
    """
    model, tokenizer = load_fine_tuned_model(
        name_or_path, trust_remote_code=trust_remote_code, option="--teacher-model"
    )
    head, names = data.task.head, data.label_names
    remedy = "Name one that was fine-tuned on the same labels."
    require_head(model, data.task, names, who="the teacher", name=name_or_path, remedy=remedy)
    order: list[int] | slice = slice(None)
    if names and head.form.names_outputs:
        order = positions_among(names, _names(model), defined=names == data.task.label_names)

    parts = [rows for rows in (data.train, data.unlabeled) if rows is not None]
    encoded = [encode(rows, data.task, tokenizer, max_positions(model)) for rows in parts]
    require_same_units(np.concatenate([np.diff(rows.unit_bounds) for rows in encoded]), num_units, name_or_path)

    def ask(rows: EncodedRows) -> "tuple[PreTrainedModel, EncodedRows]":
        print(f"Asking {name_or_path} for its answers to {len(rows):,} texts.")
        return model.to(pick_device()), rows

    # Of a model on the Hub the digest is its name, which may come to stand for another one.
    of = f"{digest_model(name_or_path)} {getattr(model.config, '_commit_hash', None)} {data.task.max_length}"
    outputs = np.concatenate(
        [
            kept_outputs(f"teacher {of} {head.name} {data.task.prompt} {part.digest}", partial(ask, rows))
            for part, rows in zip(parts, encoded, strict=True)
        ]
    )
    return np.ascontiguousarray(outputs[:, order])


def require_same_units(of_teacher: np.ndarray, of_student: np.ndarray, teacher: str) -> None:
    """Raise unless a teacher answers what its student is asked: as many units of each row, [rows].

    Raises:
        ModelError: its tokenizer cuts texts elsewhere.
    """
    if other := int((of_teacher != of_student).sum()):
        raise ModelError(
            f"the teacher must read the words that its student reads, but {teacher} cuts {other:,} of "
            f"{len(of_student):,} texts elsewhere. Give a larger --max-seq-length or shorter texts, or a teacher with "
            "its student's tokenizer."
        )


def label_answered(rows: EncodedRows, num_labelled: int, outputs: np.ndarray, head: Head) -> EncodedRows:
    """Return rows with labels made of a model's outputs [units, …]; the first `num_labelled` keep theirs."""
    start, labels = int(rows.unit_bounds[num_labelled]), rows.labels.copy()
    answered = torch.from_numpy(outputs[start:])
    # Relevances are in 0..1, and outputs come before the sigmoid that belongs to them.
    labels[start:] = answered[:, 0].sigmoid() if head is RERANK else head.predict(answered.numpy())
    return replace(rows, labels=labels)


def fit_to_model(source: DataSource, name_or_path: str, *, trust_remote_code: bool = False) -> DataSource:
    """Return the source with the task of a model's head, where the user has named none; see `fit_to_config`."""
    if source.task_name != "custom":
        return source
    config = find_config(name_or_path, trust_remote_code=trust_remote_code)
    return source if config is None else fit_to_config(source, config)


def fit_to_config(source: DataSource, config: Any) -> DataSource:
    """Return the source with the task of a model with this configuration, where the user has named none.

    A reranker's head is also that of a regression, and a bare encoder has none: such tasks have to be named.
    """
    if source.task_name != "custom":
        return source
    head = head_of_config(config)
    return replace(source, task_name=_TASKS.get(head.name, source.task_name), regression=head is REGRESSION)


_TASKS = {"multi_label": "multi-label", "token_classification": "ner"}
"""The tasks of users' own texts by the names of the heads that make them."""


def _require_head(task: Task, model: "PreTrainedModel", name: str) -> None:
    """Raise unless a model has a head for a task.

    Raises:
        ModelError: it has another one.
    """
    form, head = form_of(model), task.head
    told_apart = task.name != "custom" or head.name == head_of_config(model.config).name
    if not told_apart or head.form != form or not head.fits(model.config, task.label_names or _names(model)):
        raise ModelError(
            f"the full model must have a head for the task {task.name} ({head.name}), but {name} has "
            f"{form.describe(model.config)}. Name its task with --task-name."
        )


def _names(model: "PreTrainedModel") -> tuple[str, ...]:
    """Return the labels of a model in the order of its outputs."""
    return tuple(str(model.config.id2label[place]) for place in range(model.config.num_labels))


def _find_answers(folder: Path, asked: Asked) -> Answers | None:
    """Return the answers in a folder, if they are to the same question."""
    try:
        found = read_answers(folder / ANSWERS_FILE)
    except TaskDataError:
        return None
    return found if found.asked == asked else None


def _ask(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", data: TaskData, name: str, asked: Asked
) -> Answers:
    """Ask a model all texts."""
    task, outputs, words, was_on = data.task, {}, {}, model.device
    model.to(pick_device())
    print(f"Asking {name} for its answers to {sum(map(len, data.parts.values())):,} texts.")
    for part, rows in data.parts.items():
        encoded = encode(rows, task, tokenizer, max_positions(model))
        outputs[part] = Evaluator(model, task, encoded).compute_logits()
        if encoded.units is not None and encoded.structure is not None:  # labels are numbers of words so far
            words[part] = np.stack([encoded.structure.groups, encoded.labels], axis=1)
    model.to(was_on)
    labels = task.choice_columns or _names(model)
    names = labels if are_labels(task.head.predict(outputs["train"])) else ()
    return Answers(full_model=name, asked=asked, label_names=names, outputs=outputs, words=words or None)
