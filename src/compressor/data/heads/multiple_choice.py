"""One ending of several per stem: an output per choice, softmax over them, cross-entropy."""

from typing import TYPE_CHECKING, Any

from compressor.data.heads.classification import distillation_loss, loss, predict, rounding_slack
from compressor.data.heads.head import Head, ModelForm
from compressor.data.heads.texts import read_texts
from compressor.data.labels import check_classes, read_numbered_classes
from compressor.data.metrics.trivial import TrivialPredictor

if TYPE_CHECKING:
    from compressor.data.rows import Rows, TaskData
    from compressor.data.tasks import Task


def to_texts(rows: "Rows", task: "Task") -> tuple[list[str], list[str] | None]:
    """Return the stem of each ending, and how every ending begins with the ending itself."""
    stems = len(task.text_columns)
    # A pair for each ending, [rows · choices]: the first text is repeated beside all endings of its row.
    first = [row[0] for row in rows.texts for _ in row[stems:]]
    second = [" ".join((*row[1:stems], ending)) for row in rows.texts for ending in row[stems:]]
    return first, second


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Return a choice at random."""
    chance = round(1 - 1 / len(data.task.choice_columns), 12)
    return TrivialPredictor(name="at random", error=chance, test_error=chance)


def ask(task: "Task") -> tuple[str, Any]:
    """Return a text, how every ending begins, and the endings."""
    return "choices", {"text": "The door opens.", "start": "She", "choices": ["walks in.", "is a door."]}


MULTIPLE_CHOICE = Head(
    name="multiple_choice",
    form=ModelForm(
        suffix="ForMultipleChoice",
        auto_class_name="AutoModelForMultipleChoice",
        takes_choices=True,
        names_outputs=False,
    ),
    metrics=("accuracy",),
    pipeline_tag=None,
    find_label_names=lambda table, task: task.choice_columns,
    read_labels=read_numbered_classes,
    read_texts=read_texts,
    check_labels=check_classes,
    renumber=lambda labels, order, count: labels,
    to_texts=to_texts,
    configure=lambda config, names: None,
    fits=lambda config, names: True,
    describe=lambda names: "multiple choice",
    loss=loss,
    distillation_loss=distillation_loss,
    predict=predict,
    find_trivial=find_trivial,
    rounding_slack=rounding_slack,
    ask=ask,
)
