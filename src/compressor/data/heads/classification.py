"""One label of several per text or pair of texts: softmax over the outputs, cross-entropy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.data.heads.head import Head, ModelForm
from compressor.data.heads.texts import read_texts
from compressor.data.labels import check_classes, find_class_names, read_classes
from compressor.data.metrics import compute_error
from compressor.data.metrics.trivial import TrivialPredictor

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.data.batches import EncodedRows
    from compressor.data.rows import Rows, TaskData
    from compressor.data.tasks import Task

SEQUENCE_FORM = ModelForm(suffix="ForSequenceClassification", auto_class_name="AutoModelForSequenceClassification")


MULTI_LABEL_TYPE = "multi_label_classification"
"""What transformers calls the problem of a model that assigns several labels."""


def to_texts(rows: "Rows", task: "Task") -> tuple[list[str], list[str] | None]:
    """Return the first text of each row, and the second where there are pairs."""
    first = [row[0] for row in rows.texts]
    return first, [row[1] for row in rows.texts] if len(task.text_columns) == 2 else None


def renumber(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Return class indices i as order[i]."""
    return np.asarray(order[labels])


def name_outputs(config: Any, names: Sequence[str], problem_type: str | None) -> None:
    """Give a configuration one output per name."""
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    config.problem_type = problem_type


def describe_outputs(count: int) -> str:
    """Return a number of outputs, for messages."""
    return f"{count} output{'s' if count > 1 else ''}"


def loss(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Return mean cross-entropy of logits [units, classes]."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels)


def distillation_loss(student: "Tensor", teacher: "Tensor", labels: "Tensor", temperature: float) -> "Tensor":
    """Return T² · CE(student / T, softmax(teacher / T)) + CE(student, labels); the teacher's logits are detached."""
    from torch.nn.functional import cross_entropy, softmax

    # Gradients of the softened part shrink by 1 / T², which the factor T² makes good (Hinton et al., 2015).
    soft = cross_entropy(student / temperature, softmax(teacher.detach() / temperature, dim=-1))
    return temperature**2 * soft + loss(student, labels)


def predict(logits: np.ndarray) -> np.ndarray:
    """Return the best class of each row of logits [units, classes]."""
    return np.asarray(logits.argmax(axis=1))


def count_near_ties(logits: np.ndarray) -> int:
    """Return in how many rows of logits [units, classes] the two best lie closer than parity's rounding."""
    best, second = np.partition(logits, -2, axis=1)[:, [-1, -2]].T
    # twice 1e-4, what parity allows each of the two logits to move
    return int(np.count_nonzero(best - second < 2e-4 * max(float(np.abs(logits).max()), 1e-6)))


def rounding_slack(logits: np.ndarray, metric: str, rows: "EncodedRows") -> float:
    """Return rows whose two best classes lie closer than parity's rounding may fall either way."""
    # for F1 a row that flips is both a miss and a false alarm
    return 1e-6 + 2 * count_near_ties(logits) / len(logits)


def find_start(data: "TaskData") -> np.ndarray:
    """Return the logits whose softmax are the labels' shares of the training rows, [labels]; of equal ones 0."""
    return logits_of(data.train.labels, len(data.label_names))


def logits_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the logits of mean 0 whose softmax are the shares of class indices; each counts once more than it does."""
    logits = np.log(np.bincount(labels, minlength=count) + 1)
    return np.asarray(logits - logits.mean())


def find_trivial(data: "TaskData") -> TrivialPredictor:
    """Return for accuracy and macro F1 the majority class of the training rows, for F1 always the positive class.

    That is worth 2p / (1 + p) of F1 where a share p is positive. For Matthews any constant is worth nothing.
    """
    metric = data.task.metric
    # F1 counts true positives: always the negative class has none, whatever its share is.
    answer = 1 if metric == "f1" else int(np.bincount(data.train.labels).argmax())
    return TrivialPredictor(
        name=f"always {data.label_names[answer]!r}",
        error=_error_of_constant(metric, answer, data.validation.labels),
        test_error=_error_of_constant(metric, answer, data.test.labels),
    )


def _error_of_constant(metric: str, answer: int, labels: np.ndarray) -> float:
    """Return the error of one label for all rows; a constant's F1 is what it is here, not 0 as for a model."""
    # Precision p and recall 1 of the label that is always given: F1 = 2p / (1 + p).
    share = float(np.mean(labels == answer))
    if metric == "f1":
        return round(1 - 2 * share / (1 + share), 12)
    if metric == "f1_macro":
        # All other classes have an F1 of 0.
        return round(1 - 2 * share / (1 + share) / len(np.unique(np.append(labels, answer))), 12)
    return compute_error(metric, np.full(len(labels), answer), labels)


def ask(task: "Task", of_text: str = "single", of_pair: str = "pair") -> tuple[str, Any]:
    """Return a text, or a pair of texts, and the kind of either."""
    if len(task.text_columns) == 2:
        return of_pair, {"text": "A film to remember.", "text_pair": "The film is memorable."}
    return of_text, "A film to remember."


CLASSIFICATION = Head(
    name="classification",
    form=SEQUENCE_FORM,
    metrics=("accuracy", "f1", "f1_macro", "matthews_correlation"),
    pipeline_tag="text-classification",
    find_label_names=find_class_names,
    read_labels=read_classes,
    read_texts=read_texts,
    check_labels=check_classes,
    renumber=renumber,
    to_texts=to_texts,
    configure=lambda config, names: name_outputs(config, names, "single_label_classification"),
    fits=lambda config, names: config.num_labels >= len(names) and config.problem_type != MULTI_LABEL_TYPE,
    describe=lambda names: describe_outputs(len(names)),
    loss=loss,
    distillation_loss=distillation_loss,
    predict=predict,
    find_trivial=find_trivial,
    find_start=find_start,
    rounding_slack=rounding_slack,
    ask=ask,
)


def soft_loss(logits: "Tensor", reference: "Tensor") -> "Tensor":
    """Return mean Kullback-Leibler divergence of logits [units, classes] from a full model's."""
    from torch.nn.functional import kl_div, log_softmax

    # Logarithms of probabilities, [units, classes]; of tiny ones the probabilities themselves would be 0.
    ours, wanted = (log_softmax(outputs, dim=-1) for outputs in (logits, reference))
    return kl_div(ours, wanted, reduction="batchmean", log_target=True)


def soft_distillation_loss(student: "Tensor", teacher: "Tensor", reference: "Tensor", temperature: float) -> "Tensor":
    """Return T² · KL(student / T, reference / T) + KL(student, reference); a teacher in training only blurs these."""
    return temperature**2 * soft_loss(student / temperature, reference / temperature) + soft_loss(student, reference)


def draw_labels(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return logits sure of a label drawn by a full model's probabilities: its own give its loss no gradient."""
    # Gumbel-max: the argmax of logits plus Gumbel noise is a draw from their softmax.
    gumbel = rng.gumbel(size=reference.shape)
    drawn = np.zeros_like(reference)
    drawn[np.arange(len(reference)), (reference + gumbel).argmax(axis=1)] = _SURE
    return drawn


_SURE = 30.0
"""A logit above all others of 0 whose softmax is 1 up to rounding."""


def nearness(logits: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Return 1 − Jensen-Shannon distance (base 2) of the probabilities of logits to a full model's, [units]."""
    from scipy.spatial.distance import jensenshannon
    from scipy.special import softmax

    assert reference is not None
    both = (softmax(outputs.astype(np.float64), axis=1) for outputs in (logits, reference))
    # Of equal distributions rounding may leave less than 0 under the root: NaN, where the distance is 0.
    return np.asarray(1 - np.nan_to_num(jensenshannon(*both, base=2, axis=1)), dtype=np.float32)


def find_trivial_mean(data: "TaskData") -> TrivialPredictor:
    """Return the mean of a full model's probabilities of the validation rows, for every text."""
    from scipy.special import softmax

    references = [rows.reference for rows in (data.validation, data.test) if rows.reference is not None]
    # As logits, which `nearness` takes.
    mean = np.log(softmax(references[0], axis=1).mean(axis=0))
    error, test_error = (
        round(1 - float(nearness(np.broadcast_to(mean, each.shape), each).mean()), 12) for each in references
    )
    return TrivialPredictor(name="the mean answer for every text", error=error, test_error=test_error)


CLASSIFICATION_OF_ANSWERS = replace(
    CLASSIFICATION,
    metrics=("jensen_shannon",),
    loss=soft_loss,
    distillation_loss=soft_distillation_loss,
    sample=draw_labels,
    compare=nearness,
    find_trivial=find_trivial_mean,
    rounding_slack=lambda logits, metric, rows: 1e-3,  # the root in a distance near 0 makes much of rounding
)
"""The same model, judged by how near its probabilities are to a full model's."""
