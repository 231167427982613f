"""Losses of one update: on the labels, and by distillation from the super-network (Klein et al., TMLR 2024)."""

from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, softmax


def task_loss(logits: Tensor, labels: Tensor, regression: bool) -> Tensor:
    """Mean loss on the labels: cross-entropy of [batch, classes] logits, or squared error of [batch, 1] outputs."""
    if regression:
        return mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
    return cross_entropy(logits, labels)


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, regression: bool) -> Tensor:
    """T² · CE(student / T, softmax(teacher / T)) + CE(student, labels).

    For regression MSE to the teacher + MSE to the labels. The teacher's logits are detached.
    """
    teacher = teacher.detach()
    if regression:
        return mse_loss(student, teacher) + task_loss(student, labels, regression)
    soft = cross_entropy(student / temperature, softmax(teacher / temperature, dim=-1))
    return temperature**2 * soft + task_loss(student, labels, regression)
