"""Where the rows of a task come from and how they are split: files, the Hub or the demo package."""

import reprlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from compressor.data.heads.answers import AGAINST_FULL_MODEL
from compressor.data.metrics import METRIC_NAMES
from compressor.data.tasks import TASKS, Columns, Task, get_task
from compressor.errors import OptionError, TaskDataError, shorten
from compressor.options import SEED, Limit, Problem, check_numbers, option

_ROWS = Limit(least=1, most=10**9, reason="beyond the number of rows all are used")


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where a task's rows come from and how they are split; travels between stages as JSON."""

    task_name: str = option(
        "demo",
        "Data set; fixes columns, metric and length. Your own files: 'custom', as with --train-file alone, "
        "'multi-label' for several labels a row, 'ner' for a label a word.",
        flags=("--task-name", "--dataset"),
        choices=tuple(TASKS),
    )
    train_file: str | None = option(None, "Training rows: CSV, TSV, JSONL or Parquet.", path=True)
    validation_file: str | None = option(
        None, "Rows the search sees. Without it 30 % of the training rows are held out.", path=True
    )
    test_file: str | None = option(
        None,
        "Rows looked at once, at the end. Without it 20 % of the training rows are held out first.",
        path=True,
    )
    unlabeled_file: str | None = option(
        None,
        "Texts without labels (also .txt, a text a line). With rows: more texts to train on, answered by a model "
        "fine-tuned on these. Alone: the error is disagreement with --model-name-or-path, which must be fine-tuned.",
        path=True,
    )
    answers_file: str | None = None
    """That model's answers, once there are any: written by `answer_texts`, beside the model that was made with them."""
    validation_pairs: str | None = option(
        None,
        "With --task-name embed: pairs to judge by, with columns sentence1, sentence2 and a score.",
        path=True,
    )
    reference_model: str | None = None
    """The frozen model whose outputs are learnt, where the task's head learns those."""
    dataset_name: str | None = option(None, "Any data set of the Hugging Face Hub, in place of files.")
    dataset_config_name: str | None = option(None, "Its configuration, where it has several.")
    text_columns: tuple[str, ...] = option(
        (),
        "Column with the text; give it twice (or with a comma) for pairs. Default: the task's.",
        flags=("--text-column",),
        repeated=True,
    )
    query_column: str | None = option(None, "Rerank: column with the query. Default: 'query'.")
    document_column: str | None = option(None, "Rerank: column with the document. Default: 'document'.")
    label_column: str | None = option(
        None,
        "Column with the label; with --task-name multi-label with its labels, or several with commas, a label "
        "each. Default: the task's, or 'label'.",
    )
    label_names_file: str | None = option(None, "Names of the labels 0, 1, …, a line each or a JSON list.", path=True)
    group_column: str | None = option(
        None, "Rerank: column that tells which rows are of one query. Default: the query's text."
    )
    metric: str | None = option(
        None, "Task metric; the error is 1 - metric. Default: the task's.", choices=METRIC_NAMES
    )
    regression: bool = option(False, "The label is a number to predict.")
    max_seq_length: int | None = option(
        None,
        "Longest text in tokens. Default: the task's.",
        limit=Limit(least=4, most=100_000, reason="no encoder has more positions"),
    )
    max_train_samples: int | None = option(None, "Use at most so many training rows.", limit=_ROWS)
    max_eval_samples: int | None = option(None, "Use at most so many validation and test rows.", limit=_ROWS)
    dataset_seed: int = option(0, "Seed of the splits.", limit=SEED)

    def __post_init__(self) -> None:
        # All that is wrong is gathered and said at once, together with the numbers, in `check_numbers`.
        wrong = []
        if self.dataset_name and (self.train_file or self.validation_file or self.test_file):
            wrong.append(
                Problem(option="--dataset-name", law="given without files", value="both", remedy="Drop one of them.")
            )
        labelled = ("validation_file", "test_file", "label_column")
        if self.has_no_labels and any(getattr(self, name) for name in labelled):
            given = next(name for name in labelled if getattr(self, name))
            wrong.append(
                Problem(
                    option="--unlabeled-file",
                    law="given with training rows, or without other rows and labels",
                    value=f"it with --{given.replace('_', '-')} alone",
                    remedy="Give --train-file too, or drop one of them.",
                )
            )
        if self.dataset_config_name and not self.dataset_name:
            wrong.append(
                Problem(
                    option="--dataset-config-name",
                    law="given with --dataset-name",
                    value=f"{self.dataset_config_name!r} alone",
                    remedy="Name the data set.",
                )
            )
        if self.validation_file and self.validation_pairs:
            wrong.append(
                Problem(
                    option="--validation-pairs",
                    law="given without --validation-file",
                    value="both",
                    remedy="Drop one of them.",
                )
            )
        check_numbers(self, wrong)

    @property
    def has_no_labels(self) -> bool:
        """Whether there are texts alone, and errors are disagreement with a full model's answers to them."""
        return self.unlabeled_file is not None and not (self.train_file or self.dataset_name)

    @property
    def task(self) -> Task:
        """The task with the user's own columns, metric and length."""
        return get_task(
            self.task_name,
            columns=Columns(
                texts=tuple(self.text_columns),
                label=self.label_column,
                query=self.query_column,
                document=self.document_column,
                group=self.group_column,
            ),
            metric=self.metric,
            scored_pairs=self.validation_pairs is not None,
            answered=self.has_no_labels,
            regression=self.regression,
            max_length=self.max_seq_length,
        )

    @property
    def meaning(self) -> tuple[str, ...]:
        """What an error on these rows is, in a line, where it is not what everybody takes it for."""
        return (AGAINST_FULL_MODEL,) if self.has_no_labels else ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "DataSource":
        """Return the source of a form made by `to_json`.

        Raises:
            TaskDataError: the form was made by something else.
        """
        try:
            # isinstance, since a dataclass checks no types; keys that it does not have are refused by its constructor
            # below.
            for name, content in value.items():
                if name in _KINDS and not isinstance(content, _KINDS[name]):
                    raise TypeError(f"{name} is {reprlib.repr(content)}")
            return cls(**{**value, "text_columns": tuple(map(str, value["text_columns"]))})
        except (TypeError, KeyError, AttributeError) as error:
            raise TaskDataError(
                f"the source of data in a file must have the fields of a source, but {shorten(error)}. "
                "Restore the file, or make it again."
            ) from None


_KINDS: dict[str, Any] = {**{one.name: one.type for one in fields(DataSource)}, "text_columns": list | tuple}
"""What the fields of a source are in JSON."""


def make_source(**fields: Any) -> DataSource:
    """Make the source of a user's own rows: the task is `custom` where files or a data set but no task is named.

    `fields` are those of `DataSource`; files may be relative to the working directory, or begin with `~`.

    Raises:
        OptionError: fields do not go together, or a number is out of its range.
    """
    source = DataSource(**fields)
    files = {name: getattr(source, name) for name in SOURCE_FILES}
    paths: dict[str, Any] = {
        name: str(find_path(str(file)).absolute()) if file else None for name, file in files.items()
    }
    # The default task is the demo's, which nobody means who gives a file.
    has_own_rows = bool(source.train_file or source.dataset_name or source.unlabeled_file)
    task_name = "custom" if has_own_rows and source.task_name == DataSource.task_name else source.task_name
    source = replace(source, task_name=task_name, **paths)
    if source.unlabeled_file and source.task.head.learns_reference:  # it needs no labels anyway
        if not source.has_no_labels:
            raise OptionError(
                f"--unlabeled-file must be given without other rows for --task-name {source.task_name}, which needs no "
                "labels anyway, but got both. Put all texts into --train-file."
            )
        return replace(source, train_file=source.unlabeled_file, unlabeled_file=None)
    return source


SOURCE_FILES = (
    "train_file",
    "validation_file",
    "test_file",
    "unlabeled_file",
    "answers_file",
    "label_names_file",
    "validation_pairs",
)
"""Fields of a source that are paths."""


def find_path(file: str) -> Path:
    """Return the path of a file that a user named, `~` being a home where there is one."""
    try:
        return Path(file).expanduser()
    except RuntimeError:  # no such user
        return Path(file)
