"""A score per query and document, by which the documents of a query are ranked: a cross-encoder with one output.

Two heads; the labels of the training rows decide which. Relevances (grades 0, 1, …, divided by the highest, or values
in 0..1) are learnt by binary cross-entropy, as in Nogueira and Cho 2019; any other numbers are a teacher's scores and
learnt by squared error, as in Hofstätter et al. 2020. Rows with the same `group_column` are one query.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads import regression
from compressor.data.heads.classification import SEQUENCE_FORM, describe_outputs, name_outputs, to_texts
from compressor.data.heads.head import Head
from compressor.data.heads.multi_label import logits_of_shares, soft_binary_loss
from compressor.data.heads.texts import read_texts
from compressor.data.labels import read_values
from compressor.data.metrics.ratios import Structure, are_relevances, can_be_ranked, random_order_values, ranking_slack
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from compressor.data.batches import EncodedRows
    from compressor.data.rows import Rows, TaskData
    from compressor.data.tasks import Task

_ACTIVATIONS = "sentence_transformers"
"""The key of a configuration in which sentence-transformers' CrossEncoder looks for what to apply to the output."""


def read_relevances(table: "pd.DataFrame", task: "Task", label_names: Sequence[str], part: str) -> np.ndarray:
    """Return the labels of a part's rows (float32): grades as shares of the highest, any other numbers as they are.

    No metric changes by such a factor.

    Raises:
        TaskDataError: a label that is missing or no finite number.
    """
    values = read_values(table, task, label_names, part)
    return values / max(1.0, float(values.max())) if are_relevances(values) else values


def settle(table: "pd.DataFrame", task: "Task") -> Head:
    """Return the head for relevances, or that for a teacher's scores."""
    return RERANK if are_relevances(read_values(table, task, (), "train")) else RERANK_SCORES


def structure_of(rows: "Rows") -> Structure:
    """Return which rows are of one query."""
    assert rows.groups is not None
    return Structure(groups=rows.groups)


def check_labels(data: "TaskData") -> list[str]:
    """Return a line for queries without a relevant document, and for such that stand in two parts.

    Raises:
        TaskDataError: no query of a part has documents of different relevance.
    """
    found, metric, queries = [], data.task.metric, dict[str, set[str]]()
    for name, rows in data.parts.items():
        structure, count = structure_of(rows), rows.num_judged
        # A query whose documents are all as relevant as each other has no order to be judged by.
        if not can_be_ranked(metric, rows.labels, structure).any():
            raise TaskDataError(
                f"the {name} rows must hold queries with relevant documents and others, but of their {count:,} queries "
                f"({len(rows):,} rows) none can be ranked by {metric}. Check --group-column and --label-column."
            )
        # NaN stands for a query whose ranking has no value at all, as one without any relevant document.
        without = int(np.isnan(random_order_values(metric, rows.labels, structure)).sum())
        if without:
            found.append(f"{without:,} of {count:,} {name} queries have no relevant document and are left out.")
        # The query is the first text of each row; spaces are evened out, as another spelling is still the same query.
        queries[name] = {" ".join(texts[0].split()) for texts in rows.texts}
    for name, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        # Hold-outs keep groups whole; given files may share queries.
        shared = len(queries[name] & queries[other])
        if shared:
            found.append(
                f"{shared:,} of {len(queries[name]):,} {name} queries are {other} queries too: errors on them are too "
                "good."
            )
    return found


def configure(config: Any, name: str, problem_type: str, activation: str) -> None:
    """Give a configuration one output, and say what CrossEncoder applies to it."""
    name_outputs(config, [name], problem_type)
    setattr(config, _ACTIVATIONS, {"activation_fn": activation})


def loss(outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Return mean binary cross-entropy of outputs [units, 1] with relevances in 0..1."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(outputs.squeeze(-1), labels.to(outputs.dtype))


def distillation_loss(student: "Tensor", teacher: "Tensor", labels: "Tensor", temperature: float) -> "Tensor":
    """Return T² · BCE(student / T, σ(teacher / T)) + BCE(student, labels); the teacher is detached."""
    return soft_binary_loss(student, teacher, temperature) + loss(student, labels)


def find_start(data: "TaskData") -> np.ndarray:
    """Return the logit of the mean relevance of the training rows, [1]."""
    return logits_of_shares(data.train.labels[:, None])


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Return random order, whose expected value is a sum."""
    error, test_error = (
        round(1 - float(np.nanmean(random_order_values(data.task.metric, rows.labels, structure_of(rows)))), 12)
        for rows in (data.validation, data.test)
    )
    return TrivialPredictor(name="random order", error=error, test_error=test_error)


def rounding_slack(outputs: np.ndarray, metric: str, rows: "EncodedRows") -> float:
    """Return what the order of documents changes whose scores lie closer than parity's rounding."""
    assert rows.structure is not None
    return ranking_slack(metric, rows.labels, outputs[:, 0], rows.structure)


def ask(task: "Task") -> tuple[str, Any]:
    """Return a query and documents."""
    return "documents", {"query": "films about the sea", "documents": ["A storm on the ocean.", "A trial in Rome."]}


RERANK = Head(
    name="rerank",
    form=SEQUENCE_FORM,
    metrics=("ndcg_at_10", "mrr_at_10", "map"),
    pipeline_tag="text-ranking",
    settle=settle,
    find_label_names=lambda table, task: (),
    read_labels=read_relevances,
    read_texts=read_texts,
    check_labels=check_labels,
    renumber=lambda labels, order, count: labels,
    to_texts=to_texts,
    configure=lambda config, names: configure(
        config, "relevance", "multi_label_classification", "torch.nn.modules.activation.Sigmoid"
    ),
    fits=lambda config, names: config.num_labels == 1,
    describe=lambda names: describe_outputs(1),
    loss=loss,
    distillation_loss=distillation_loss,
    predict=regression.predict,
    find_trivial=find_trivial,
    find_start=find_start,
    rounding_slack=rounding_slack,
    keeps_length=True,
    ask=ask,
)

RERANK_SCORES = replace(
    RERANK,
    name="rerank_scores",
    configure=lambda config, names: configure(config, "score", "regression", "torch.nn.modules.linear.Identity"),
    loss=regression.loss,
    distillation_loss=regression.distillation_loss,
    find_start=regression.find_start,
)
