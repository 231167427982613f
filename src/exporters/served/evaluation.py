"""How good a served model is on new rows, and whether it may take the place of another one."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.metrics import compute_error, error_interval
from compressor.data.rows import Rows
from compressor.data.tasks import Task
from compressor.errors import ModelError
from compressor.evaluation.bounds import compare_with_base
from compressor.evaluation.comparison import Comparison, compare_predictions
from compressor.files import write_json, write_text
from compressor.records import FORMAT
from exporters.options import ColumnOptions, GateOptions
from exporters.served.models import ServedModel
from exporters.served.rows import Targets, predict_rows, read_labelled, targets_of

EVALUATION_FILE, ANSWERS_FILE = "evaluation.json", "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model's answers to the rows, and how wrong they are."""

    model: ServedModel
    predictions: np.ndarray
    """[units, …], labels numbered by the evaluated model."""
    error: float
    """1 − metric."""
    interval: tuple[float, float]
    """95 % interval of the error."""

    @property
    def metrics(self) -> dict[str, float]:
        """The error and its interval by name."""
        return {"error": self.error, "error_low": self.interval[0], "error_high": self.interval[1]}

    def to_json(self) -> dict[str, Any]:
        """Return what a file says of it."""
        return {"name": self.model.name, "model_id": self.model.model_id, **self.metrics}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A promise that was asked for, and what can be promised."""

    option: str
    metric: str
    """What is limited: the bound of an error, or of a difference."""
    limit: float
    value: float
    """Its bound: the true one is at most this, with the wanted confidence."""
    measured: float

    @property
    def passed(self) -> bool:
        """Whether the promise holds."""
        return self.value <= self.limit

    def describe(self) -> str:
        """Return what holds, in a clause."""
        return f"{self.option} {self.limit:g}: measured {self.measured:.4f}, at most {self.value:.4f}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What new rows say of a served model."""

    file: Path
    """The file of the rows."""
    task: Task
    """With the columns and the metric that were judged by."""
    rows: Rows
    targets: Targets
    judged: Judged
    baseline: Judged | None = None
    comparison: Comparison | None = None
    """With the baseline."""
    gates: tuple[Gate, ...] = ()
    confidence: float

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the evaluated model."""
        return self.judged.model.labels

    @property
    def models(self) -> dict[str, Judged]:
        """The evaluated model and the baseline by what files call them."""
        return {"answer": self.judged, **({} if self.baseline is None else {"baseline": self.baseline})}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: a model a row."""
        found = [
            [judged.model.name, f"{judged.error:.4f}", f"{judged.interval[0]:.4f}–{judged.interval[1]:.4f}"]
            for judged in self.models.values()
        ]
        return ["model", f"error (1 − {self.task.metric})", "95 %"], found

    @property
    def columns(self) -> dict[str, str]:
        """What `answers.jsonl` calls the label and each model's answers: other names than those of the texts."""
        texts = {*self.task.text_columns, *self.task.choice_columns}
        return {name: f"{name}_" if name in texts else name for name in ("label", *self.models)}

    def shown_rows(self) -> list[dict[str, Any]]:
        """Return the rows as people read them: texts, the label, and what each model answers."""
        columns = [*self.task.text_columns, *self.task.choice_columns]
        columns_of = {
            "label": self.targets.values,
            **{name: judged.predictions for name, judged in self.models.items()},
        }
        shown = {self.columns[name]: [self._show(value) for value in values] for name, values in columns_of.items()}
        texts = self.rows.texts
        # Labels of words come flat over all rows: those of row i stand from bounds[i] to bounds[i + 1].
        if self.task.head.labels_words:
            bounds = np.cumsum([0, *map(len, texts)])
            texts = tuple((" ".join(words),) for words in texts)
            for name, values in shown.items():
                shown[name] = [" ".join(map(str, values[start:end])) for start, end in pairwise(bounds)]
        return [
            {**dict(zip(columns, of_row, strict=True)), **{name: values[row] for name, values in shown.items()}}
            for row, of_row in enumerate(texts)
        ]

    def _show(self, value: Any) -> str | float:
        """Return a label by its name, several with commas; a value as a number."""
        if np.ndim(value):
            return ", ".join(name for name, has in zip(self.labels, value, strict=True) if has)
        if not np.issubdtype(np.asarray(value).dtype, np.integer):
            return float(value)
        return self.labels[int(value)] if self.labels and not self.task.choice_columns else str(int(value))

    def to_json(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`."""
        return {
            "format": FORMAT,
            "data": str(self.file),
            "data_digest": self.rows.digest,
            "rows": len(self.rows),
            "task": self.task.name,
            "metric": self.task.metric,
            "model": self.judged.to_json(),
            "baseline": None if self.baseline is None else self.baseline.to_json(),
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "confidence": self.confidence,
            "gates": [{**asdict(gate), "passed": gate.passed} for gate in self.gates],
        }

    def save(self, directory: Path) -> None:
        """Write `evaluation.json` and `answers.jsonl`, a row a line."""
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.shown_rows())
        write_text(directory / ANSWERS_FILE, "".join(lines))
        write_json(directory / EVALUATION_FILE, self.to_json())


def evaluate_served(
    model: ServedModel, file: Path, columns: ColumnOptions, options: GateOptions, baseline: ServedModel | None = None
) -> Evaluation:
    """Ask a served model, and a baseline, about the rows of a file, and judge the answers.

    Raises:
        TaskDataError: the rows cannot be read, or the model cannot be judged by them.
        ModelError: the baseline answers another question.
    """
    # Before a row is asked: answers of other kinds cannot be compared.
    if baseline is not None:
        require_comparable(model, baseline)
    rows, task = read_labelled(file, model, columns)
    targets = targets_of(rows, task, model.labels)
    judged = _judge(model, rows, task, targets, model.labels)
    base = None if baseline is None else _judge(baseline, rows, task, targets, model.labels)
    compared = None
    if base is not None:
        both = (base.predictions, judged.predictions)
        compared = compare_predictions(task.metric, *both, targets.values, targets.structure)
    return Evaluation(
        file=file,
        task=task,
        rows=rows,
        targets=targets,
        judged=judged,
        baseline=base,
        comparison=compared,
        gates=tuple(_gates(judged, base, targets, task.metric, options)),
        confidence=options.confidence,
    )


def require_comparable(model: ServedModel, other: ServedModel) -> None:
    """Raise unless two models answer the same question.

    Raises:
        ModelError: they have other labels, or other kinds of rows.
    """
    # Sorted: labels in another order are the same question; answers are compared by name.
    ours, theirs = ((each.kind, each.task.head.name, sorted(each.labels)) for each in (model, other))
    if ours != theirs:
        raise ModelError(
            f"two models that are compared must take the same rows and tell the same labels, but {model.name} is of "
            f"{_describe(model)} and {other.name} of {_describe(other)}. Name another model."
        )


def _describe(model: ServedModel) -> str:
    labels = f" with {', '.join(model.labels[:6])}" if model.labels else ""
    return f"{model.task.head.name.replace('_', ' ')} ({model.kind}){labels}"


def _judge(model: ServedModel, rows: Rows, task: Task, targets: Targets, labels: Sequence[str]) -> Judged:
    predictions = predict_rows(model, rows, task, labels)
    judged_by = (task.metric, predictions, targets.values, targets.structure)
    return Judged(
        model=model, predictions=predictions, error=compute_error(*judged_by), interval=error_interval(*judged_by)
    )


def _gates(judged: Judged, base: Judged | None, targets: Targets, metric: str, options: GateOptions) -> list[Gate]:
    """Return what was asked for, with the bounds that the rows allow."""
    gates, truth = [], (targets.values, targets.structure)
    if options.max_error is not None:
        # The upper end of a two-sided interval of 90 % is a one-sided bound of 95 %.
        bound = error_interval(metric, judged.predictions, *truth, level=2 * options.confidence - 1)[1]
        if bound <= judged.error < 1:
            # All resamples are alike, as those of a model without a mistake. Of rows that are not at hand they tell
            # nothing: what no row shows counts as it does where models are compared.
            alone = compare_with_base(metric, judged.predictions, [judged.predictions], *truth)
            bound = judged.error + float(alone.holding(0.0, options.confidence)[1][0])
        gates.append(
            Gate(
                option="--max-error",
                metric="error_at_most",
                limit=options.max_error,
                value=max(bound, judged.error),
                measured=judged.error,
            )
        )
    if options.max_error_increase is not None and base is not None:
        limit = options.max_error_increase
        increases = compare_with_base(metric, base.predictions, [judged.predictions], *truth)
        holds, bounds = increases.holding(limit, options.confidence)
        # Rounding must not let the bound and the verdict contradict each other; 3 is beyond every error, whose largest
        # is 2.
        value = min(float(bounds[0]), limit) if holds[0] else max(float(bounds[0]), float(np.nextafter(limit, 3)))
        gates.append(
            Gate(
                option="--max-error-increase",
                metric="error_increase_at_most",
                limit=limit,
                value=value,
                measured=judged.error - base.error,
            )
        )
    return gates
