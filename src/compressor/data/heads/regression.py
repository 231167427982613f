"""A number per text or pair of texts: one output, squared error."""

from typing import TYPE_CHECKING

import numpy as np

from compressor.data.heads.classification import SEQUENCE_FORM, ask, describe_outputs, name_outputs, to_texts
from compressor.data.heads.head import Head
from compressor.data.heads.texts import read_texts
from compressor.data.labels import check_values, read_values
from compressor.data.metrics.trivial import TrivialPredictor

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.data.rows import TaskData


def loss(outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Return mean squared error of outputs [units, 1]."""
    from torch.nn.functional import mse_loss

    # [units, 1] to [units]: else the difference to the labels would broadcast to [units, units].
    return mse_loss(outputs.squeeze(-1), labels.to(outputs.dtype))


def distillation_loss(student: "Tensor", teacher: "Tensor", labels: "Tensor", temperature: float) -> "Tensor":
    """Return MSE to the teacher, which is detached, + MSE to the labels."""
    from torch.nn.functional import mse_loss

    return mse_loss(student, teacher.detach()) + loss(student, labels)


def predict(outputs: np.ndarray) -> np.ndarray:
    """Return the values of outputs [units, 1]."""
    return outputs[:, 0]


def find_start(data: "TaskData") -> np.ndarray:
    """Return the mean label of the training rows, [1], which a short training would take long to find."""
    return np.array([data.train.labels.mean()])


REGRESSION = Head(
    name="regression",
    form=SEQUENCE_FORM,
    metrics=("spearman", "pearson"),
    pipeline_tag="text-classification",
    find_label_names=lambda table, task: (),
    read_labels=read_values,
    read_texts=read_texts,
    check_labels=check_values,
    renumber=lambda labels, order, count: labels,
    to_texts=to_texts,
    configure=lambda config, names: name_outputs(config, ["value"], "regression"),
    fits=lambda config, names: config.num_labels == 1,
    describe=lambda names: describe_outputs(1),
    loss=loss,
    distillation_loss=distillation_loss,
    predict=predict,
    find_trivial=lambda data: TrivialPredictor(name="always the mean", error=1.0, test_error=1.0),
    find_start=find_start,
    rounding_slack=lambda outputs, metric, rows: 1e-3,  # a correlation moves as neighbours in rank change places
    ask=ask,
)
