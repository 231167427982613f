"""The tasks: which columns hold the text, which metric counts, how long a text may be.

A task is one entry of `TASKS`. `custom`, `multi-label` and `ner` are the user's own files, whose columns are named on
the command line.
"""

from dataclasses import dataclass, replace

from compressor.data.heads.classification import CLASSIFICATION, CLASSIFICATION_OF_ANSWERS
from compressor.data.heads.embedding import EMBEDDING
from compressor.data.heads.head import Head
from compressor.data.heads.multi_label import MULTI_LABEL
from compressor.data.heads.multiple_choice import MULTIPLE_CHOICE
from compressor.data.heads.regression import REGRESSION
from compressor.data.heads.rerank import RERANK
from compressor.data.heads.token_classification import TOKEN_CLASSIFICATION
from compressor.data.metrics import METRIC_NAMES
from compressor.errors import TaskDataError


@dataclass(frozen=True, kw_only=True)
class Task:
    """The shape of a task's data and how its predictions are judged."""

    name: str
    head: Head = CLASSIFICATION
    """What is asked of a model, and how its answers are judged."""
    text_columns: tuple[str, ...]
    """One text or two; for multiple choice the stem (and the start of the endings)."""
    choice_columns: tuple[str, ...] = ()
    """Multiple choice: one column per ending."""
    label_column: str = "label"
    """The column; of several columns the names, with commas between them, where the head takes such."""
    group_column: str | None = None
    """Rerank: rows with the same value there are one query, and stay together where rows are split."""
    metric: str = "accuracy"
    """One of `METRIC_NAMES`; the error is 1 − metric."""
    max_length: int = 128
    """Tokens, special ones included; longer texts are cut."""
    label_names: tuple[str, ...] = ()
    """Names of the labels 0, 1, …, where the data set defines them."""
    max_train_rows: int | None = None
    max_validation_rows: int | None = None
    hub: tuple[str, str | None] | None = None
    """Data set and configuration on the Hugging Face Hub."""
    splits: tuple[str, str] = ("train", "validation")
    """Names of the training and the test split on the Hub."""
    reference: str | None = None
    """The frozen model whose outputs are learnt, where the head learns those."""
    prompt: str = ""
    """What stands before every text."""

    def __post_init__(self) -> None:
        if self.metric not in METRIC_NAMES:
            raise TaskDataError(
                f"the metric must be one of {', '.join(METRIC_NAMES)}, but got {self.metric!r}. Correct --metric."
            )
        # A metric that exists may still be of another head's predictions.
        fitting = [name for name in METRIC_NAMES if name in self.head.metrics]
        if self.metric not in fitting:
            raise TaskDataError(
                f"the metric of the task must be one of {', '.join(fitting)}, but got {self.metric!r}. "
                "Correct --metric."
            )
        if not 1 <= len(self.text_columns) <= 2:
            raise TaskDataError(
                f"a task must have one or two text columns, but got {len(self.text_columns)}. "
                "Name them with --text-column, once or twice."
            )
        # `columns` holds a name once for each part that it plays.
        doubled = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if doubled:
            raise TaskDataError(
                f"texts and label must be different columns, but {' and '.join(map(repr, doubled))} is given for two. "
                f"Correct {' or '.join(dict.fromkeys(option for _, option in self.named_columns))}."
            )

    @property
    def judged(self) -> str:
        """What an error is the mean over, in words: rows, or queries."""
        return "rows" if self.group_column is None else "queries"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the task reads."""
        return tuple(column for column, _ in self.named_columns)

    @property
    def named_columns(self) -> tuple[tuple[str, str], ...]:
        """Every column the task reads, texts first, with the option that names it."""
        of_texts = ("--query-column", "--document-column") if self.group_column else ("--text-column",) * 2
        return (
            *zip(self.text_columns, of_texts, strict=False),
            *((column, "--text-column") for column in self.choice_columns),
            *(() if self.head.learns_reference else ((c, "--label-column") for c in self.label_columns)),
            *((c, "--group-column") for c in (self.group_column,) if c is not None and c not in self.text_columns),
        )

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The column of the labels, or one for each label."""
        if not self.head.takes_label_columns:
            return (self.label_column,)
        return tuple(part.strip() for part in self.label_column.split(","))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of the rows, as a user names them; the task's own where nothing is named."""

    texts: tuple[str, ...] = ()
    label: str | None = None
    query: str | None = None
    """This and those below of a reranker alone, which has no `texts`."""
    document: str | None = None
    group: str | None = None
    """Default: the query's."""


def get_task(
    name: str,
    *,
    columns: Columns | None = None,
    metric: str | None = None,
    regression: bool = False,
    max_length: int | None = None,
    scored_pairs: bool = False,
    answered: bool = False,
) -> Task:
    """Return the task of that name, with the user's own columns, metric and length where given.

    Raises:
        TaskDataError: there is no such task, or the settings do not fit it.
    """
    if name not in TASKS:
        raise TaskDataError(f"the task must be one of {', '.join(TASKS)}, but got {name!r}. Correct --task-name.")
    if max_length is not None and max_length < 4:
        raise TaskDataError(f"--max-seq-length must be at least 4, but got {max_length}. Raise it.")
    # From here on each step may replace the task's head; the user's columns, metric and length come last.
    task = TASKS[name]
    if regression and task.head is not REGRESSION:
        if task.head is not CLASSIFICATION:
            raise TaskDataError(
                f"a {task.head.name.replace('_', '-')} task must have no --regression, but got it with {name}. Drop it."
            )
        # With the head the metric changes too: accuracy of real numbers means nothing.
        task = replace(task, head=REGRESSION, metric=REGRESSION.metrics[0])
    # Only where a full model has answered there are probabilities to be near to.
    if metric in CLASSIFICATION_OF_ANSWERS.metrics and answered and task.head is CLASSIFICATION:
        task = replace(task, head=CLASSIFICATION_OF_ANSWERS, metric=metric)
    columns = columns or Columns()
    task = _name_ranking(task, columns)
    if scored_pairs and not task.head.learns_reference:
        raise TaskDataError(
            f"--validation-pairs must be given with --task-name embed, but got it with {name}. Drop it."
        )
    # Cosine compares with the frozen model's outputs; with scored pairs their similarity is correlated with the scores.
    if task.head.learns_reference:
        fitting = task.head.metrics[1:] if scored_pairs else task.head.metrics[:1]
        if metric not in (None, *fitting):
            raise TaskDataError(
                f"the metric of sentence embeddings must be cosine, or with --validation-pairs spearman or pearson, "
                f"but got {metric!r}. Correct --metric."
            )
        task = replace(task, metric=fitting[0])
    return replace(
        task,
        text_columns=columns.texts or task.text_columns,
        label_column=columns.label or task.label_column,
        metric=metric or task.metric,
        max_length=max_length or task.max_length,
    )


def _name_ranking(task: Task, given: Columns) -> Task:
    """Return the task with the columns of a reranker that a user names.

    Raises:
        TaskDataError: it is none, or they are named otherwise.
    """
    # The columns of a query belong to rerankers alone; elsewhere `--text-column` names texts.
    if task.head is not RERANK:
        if any((given.query, given.document, given.group)):
            raise TaskDataError(
                "--query-column, --document-column and --group-column must be given with --task-name rerank, but got "
                f"one with --task-name {task.name}. Drop it or correct --task-name."
            )
        return task
    if given.texts:
        raise TaskDataError(
            "a rerank task must have its texts named by --query-column and --document-column, but got --text-column. "
            "Use these."
        )
    query, document = given.query or task.text_columns[0], given.document or task.text_columns[1]
    # Documents belong together by their query, unless another column says so.
    return replace(task, text_columns=(query, document), group_column=given.group or query)


_PAIR = ("sentence1", "sentence2")
_GLUE = "nyu-mll/glue"

_YES_NO = ("entailment", "not_entailment")
_FEELING = ("negative", "positive")
_BIG = 2048
"""Validation rows of the big tasks (Klein et al., TMLR 2024, appendix)."""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="demo",
            text_columns=("text",),
            label_names=_FEELING,
            max_length=64,
            max_train_rows=3000,
            max_validation_rows=1000,
        ),
        Task(name="custom", text_columns=("text",)),
        Task(
            name="rerank",
            head=RERANK,
            text_columns=("query", "document"),
            group_column="query",
            metric="ndcg_at_10",
            max_length=256,
        ),
        Task(
            name="multi-label",
            head=MULTI_LABEL,
            text_columns=("text",),
            label_column="labels",
            metric=MULTI_LABEL.metrics[0],
        ),
        Task(
            name="ner",
            head=TOKEN_CLASSIFICATION,
            text_columns=("tokens",),
            label_column="ner_tags",
            metric=TOKEN_CLASSIFICATION.metrics[0],
        ),
        Task(
            name="embed",
            head=EMBEDDING,
            text_columns=("text",),
            label_column="score",
            metric="cosine",
            max_validation_rows=_BIG,
        ),
        Task(name="rte", text_columns=_PAIR, label_names=_YES_NO, hub=(_GLUE, "rte")),
        Task(
            name="mrpc",
            text_columns=_PAIR,
            label_names=("not_equivalent", "equivalent"),
            metric="f1",
            hub=(_GLUE, "mrpc"),
        ),
        Task(name="stsb", head=REGRESSION, text_columns=_PAIR, metric="spearman", hub=(_GLUE, "stsb")),
        Task(
            name="cola",
            text_columns=("sentence",),
            label_names=("unacceptable", "acceptable"),
            metric="matthews_correlation",
            max_length=64,
            hub=(_GLUE, "cola"),
        ),
        Task(
            name="sst2",
            text_columns=("sentence",),
            label_names=_FEELING,
            max_length=64,
            max_validation_rows=_BIG,
            hub=(_GLUE, "sst2"),
        ),
        Task(
            name="qnli",
            text_columns=("question", "sentence"),
            label_names=_YES_NO,
            max_validation_rows=_BIG,
            hub=(_GLUE, "qnli"),
        ),
        Task(
            name="qqp",
            text_columns=("question1", "question2"),
            label_names=("not_duplicate", "duplicate"),
            metric="f1",
            max_validation_rows=_BIG,
            hub=(_GLUE, "qqp"),
        ),
        Task(
            name="mnli",
            text_columns=("premise", "hypothesis"),
            label_names=("entailment", "neutral", "contradiction"),
            max_validation_rows=_BIG,
            hub=(_GLUE, "mnli"),
            splits=("train", "validation_matched"),
        ),
        Task(
            name="imdb",
            text_columns=("text",),
            label_names=_FEELING,
            max_validation_rows=_BIG,
            hub=("stanfordnlp/imdb", None),
            splits=("train", "test"),
        ),
        Task(
            name="swag",
            head=MULTIPLE_CHOICE,
            text_columns=("sent1", "sent2"),
            choice_columns=("ending0", "ending1", "ending2", "ending3"),
            max_validation_rows=_BIG,
            hub=("allenai/swag", "regular"),
        ),
    )
}
