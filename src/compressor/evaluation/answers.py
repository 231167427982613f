"""Texts without labels, answered by a fine-tuned model: its outputs stand for labels from there on.

The model is asked once, before anything is trained, and its outputs are kept beside what is made with them.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.batches import encode
from compressor.data.heads import form_of, head_of_config
from compressor.data.heads.answers import ANSWERS_FILE, ANSWERS_FOLDER, Answers, Asked, read_answers, write_answers
from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.heads.regression import REGRESSION
from compressor.data.metrics import are_labels
from compressor.data.sources import DataSource, TaskData, load_texts, make_source, with_answers
from compressor.device import pick_device
from compressor.errors import ModelError, TaskDataError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import max_positions
from compressor.network.loading import digest_model, load_fine_tuned_model

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
    return answer_source(source, str(model), directory=None if directory is None else Path(directory))


def answer_source(
    source: DataSource,
    name_or_path: str,
    *,
    directory: Path | None,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
) -> TaskData:
    """The same for a source that names a file of texts; answers to the same question that are there are taken.

    Raises:
        ModelError: the model is not fine-tuned, or its head is for another task.
        TaskDataError: a file, a column or a row that cannot be used, or all answers are the same.
    """
    load_texts(source)  # before a model is loaded
    model, tokenizer = load_fine_tuned_model(
        name_or_path, attn_implementation=attn_implementation, trust_remote_code=trust_remote_code
    )
    return answer_with(model, tokenizer, source, name=name_or_path, directory=directory)


def answer_with(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    source: DataSource,
    *,
    name: str,
    directory: Path | None,
) -> TaskData:
    """The same with a model that is loaded; `name` is its directory, or its name on the Hub.

    Raises:
        ModelError: its head is for another task.
        TaskDataError: a file, a column or a row that cannot be used, or all answers are the same.
    """
    source = _fit_to_head(source, model, name)
    data = load_texts(source)
    asked = Asked(model=digest_model(name), texts=data.digest, max_length=data.task.max_length)
    folder = None if directory is None else directory.expanduser().absolute() / ANSWERS_FOLDER
    answers = None if folder is None else _find_answers(folder, asked)
    if answers is None:
        answers = _ask(model, tokenizer, data, name, asked)
        if folder is not None:
            write_answers(folder, answers)
    if folder is not None:
        data = replace(data, source=replace(source, answers_file=str(folder / ANSWERS_FILE)))
    return with_answers(data, answers)


def _fit_to_head(source: DataSource, model: "PreTrainedModel", name: str) -> DataSource:
    """The source with the task that a model's head is for, where the user has named none.

    Raises:
        ModelError: the head is for another task than the source's.
    """
    task, fits = source.task, True
    if source.task_name == "custom":  # the user has named no task
        head = head_of_config(model.config)
        source = replace(source, regression=head is REGRESSION) if head in (CLASSIFICATION, REGRESSION) else source
        task, fits = source.task, source.task.head is head
    form = form_of(model)
    if not fits or task.head.form != form or not task.head.fits(model.config, task.label_names or _names(model)):
        raise ModelError(
            f"the full model must have a head for the task {task.name} ({task.head.name}), but {name} has "
            f"{form.describe(model.config)}. Name its task with --task-name."
        )
    return source


def _names(model: "PreTrainedModel") -> tuple[str, ...]:
    """The labels of a model in the order of its outputs."""
    return tuple(str(model.config.id2label[place]) for place in range(model.config.num_labels))


def _find_answers(folder: Path, asked: Asked) -> Answers | None:
    """The answers in a folder, if they are to the same question."""
    try:
        found = read_answers(folder / ANSWERS_FILE)
    except TaskDataError:
        return None
    return found if found.asked == asked else None


def _ask(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", data: TaskData, name: str, asked: Asked
) -> Answers:
    """Ask a model all texts."""
    task, outputs, was_on = data.task, {}, model.device
    model.to(pick_device())
    print(f"Asking {name} for its answers to {sum(map(len, data.parts.values())):,} texts.")
    for part, rows in data.parts.items():
        encoded = encode(rows, task, tokenizer, max_positions(model))
        outputs[part] = Evaluator(model, task, encoded).evaluate().logits
    model.to(was_on)
    told = task.choice_columns or _names(model)
    names = told if are_labels(task.head.predict(outputs["train"])) else ()
    return Answers(full_model=name, asked=asked, label_names=names, outputs=outputs)
