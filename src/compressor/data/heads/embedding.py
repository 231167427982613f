"""A vector per text. Nobody has labels for vectors: sub-networks learn those of the full network, from texts alone.

The full network is frozen as it was before training (`Task.reference`). Answers are judged by the similarity of texts
whose similarity people have scored, where there are such pairs, else by how near vectors are to the full network's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads.head import Head, ModelForm
from compressor.data.heads.texts import read_texts
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.errors import TaskDataError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from compressor.data.rows import Rows, TaskData
    from compressor.data.tasks import Task

EMBEDDING_FORM = ModelForm(suffix="Model", auto_class_name="AutoModel", names_outputs=False, pools_tokens=True)
_NEIGHBOURS = 10
_AT_ONCE = 10_000
"""Vectors that are float64 at the same time."""
_MOST_COMPARED = 2000
"""Texts among which neighbours are looked for."""


def to_texts(rows: "Rows", task: "Task") -> tuple[list[str], list[str] | None]:
    """Return every text of every row with the model's prompt before it; nothing is paired."""
    return [task.prompt + text for row in rows.texts for text in row], None


def read_labels(table: "pd.DataFrame", task: "Task", names: Sequence[str], part: str) -> np.ndarray:
    """Return the similarity to the full network's vector that is wanted of each text: 1."""
    return np.ones(len(table), dtype=np.float32)


def check_labels(data: "TaskData") -> list[str]:
    """Raise unless the scores of pairs differ.

    Raises:
        TaskDataError: those of a part are all the same.
    """
    # Rows of two texts are pairs with scores; those of single texts have 1 everywhere, as `read_labels` says.
    constant = [name for name, rows in data.parts.items() if len(rows.texts[0]) == 2 and np.ptp(rows.labels) == 0]
    if constant:
        raise TaskDataError(
            f"the scores of pairs must differ from pair to pair, but are all the same in the {' and '.join(constant)} "
            "rows. Check --label-column, or give more pairs."
        )
    return []


def loss(outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Return the mean squared distance of vectors to those to learn, each as a share of the latter's squared length.

    Of vectors of length 1 it is twice the cosine distance.
    """
    return ((outputs - labels).square().sum(-1) / labels.square().sum(-1).clamp(min=1e-9)).mean()  # a vector of zeros


def distillation_loss(student: "Tensor", teacher: "Tensor", labels: "Tensor", temperature: float) -> "Tensor":
    """Return the same: the labels are the frozen full network's vectors, which a teacher in training only blurs."""
    return loss(student, labels)


def sample(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return vectors drawn around the full network's: its own give its loss no gradient."""
    noise = rng.normal(scale=max(float(reference.std()), 1e-6), size=reference.shape)
    return (reference + noise).astype(reference.dtype)


def predict(outputs: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Return cosine similarities [units]: of vectors to the full network's, or without these of pairs of neighbours."""
    # Pairs come as neighbours: `to_texts` gives every text of every row.
    first, second = (outputs[::2], outputs[1::2]) if reference is None else (outputs, reference)
    # Block by block, since each is widened to float64 for its products.
    blocks = [slice(start, start + _AT_ONCE) for start in range(0, max(len(first), 1), _AT_ONCE)]
    similarities = np.concatenate([(_unit(first[rows]) * _unit(second[rows])).sum(axis=1) for rows in blocks])
    # A cosine of equal vectors may come out as little more than 1.
    return np.asarray(np.clip(similarities, -1.0, 1.0).astype(np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Return the mean of the full network's vectors for every text; for pairs the same similarity for all."""
    # One number a row: scores of pairs. Vectors to learn have two axes.
    if data.validation.labels.ndim == 1:
        return TrivialPredictor(name="the same similarity for all", error=1.0, test_error=1.0)
    # The mean direction, [1, hidden]: of all constant vectors the one with the largest mean cosine.
    center = _unit(_unit(data.validation.labels).mean(axis=0, keepdims=True))
    errors = [round(1 - float((_unit(rows.labels) @ center[0]).mean()), 12) for rows in (data.validation, data.test)]
    return TrivialPredictor(name="the mean vector for every text", error=errors[0], test_error=errors[1])


def recall_of_neighbours(outputs: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Return the share of each text's ten nearest by base vectors that are among its ten nearest by the outputs.

    Texts that stand twice count once, and of very many only the first are compared.
    """
    # A text that stands twice would be its own nearest neighbour.
    _, places = np.unique(base.round(6), axis=0, return_index=True)
    places = np.sort(places)[:_MOST_COMPARED]
    count = min(_NEIGHBOURS, len(places) - 1)
    if count < 1:
        return {}
    near, near_base = (_nearest(_unit(vectors[places]), count) for vectors in (outputs, base))
    hits = [len(np.intersect1d(*both)) for both in zip(near, near_base, strict=True)]
    return {f"recall@{_NEIGHBOURS} of neighbours": float(np.mean(hits)) / count}


def _nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest other rows of each row [rows, count], in no order."""
    # [texts, texts]; of unit vectors the products are cosines. No text is its own neighbour.
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    # Which are the nearest, not their order: that takes linear time a row, sorting would not.
    return np.argpartition(-similarities, count - 1, axis=1)[:, :count]


def ask(task: "Task") -> tuple[str, Any]:
    """Return a text."""
    return "embed", "A film to remember."


EMBEDDING = Head(
    name="embedding",
    form=EMBEDDING_FORM,
    metrics=("cosine", "spearman", "pearson"),
    pipeline_tag="sentence-similarity",
    find_label_names=lambda table, task: (),
    read_texts=read_texts,
    read_labels=read_labels,
    check_labels=check_labels,
    renumber=lambda labels, order, count: labels,
    to_texts=to_texts,
    learns_reference=True,
    configure=lambda config, names: None,
    fits=lambda config, names: True,
    describe=lambda names: "sentence embeddings",
    loss=loss,
    distillation_loss=distillation_loss,
    sample=sample,
    predict=lambda outputs: predict(outputs),
    compare=predict,
    report=recall_of_neighbours,
    find_trivial=find_trivial,
    rounding_slack=lambda outputs, metric, rows: 1e-3,  # a correlation moves as neighbours in rank change places
    ask=ask,
)
