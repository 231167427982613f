"""Losses against their formulas."""

import pytest
import torch

from compressor.training.losses import distillation_loss, task_loss

STUDENT = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -0.5]])
TEACHER = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.1, 3.0]])
LABELS = torch.tensor([2, 0])


def test_distillation_is_the_formula() -> None:
    temperature = 3.0
    targets = torch.softmax(TEACHER / temperature, -1)
    soft = -(targets * torch.log_softmax(STUDENT / temperature, -1)).sum(-1).mean()
    hard = -torch.log_softmax(STUDENT, -1)[torch.arange(2), LABELS].mean()
    loss = distillation_loss(STUDENT, TEACHER, LABELS, temperature, regression=False)
    torch.testing.assert_close(loss, temperature**2 * soft + hard)


def test_regression_adds_two_squared_errors() -> None:
    student, teacher, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [3.0]]), torch.tensor([0.0, 5.0])
    # ((1-2)^2 + 0)/2 + ((1-0)^2 + (3-5)^2)/2 = 0.5 + 2.5
    assert float(distillation_loss(student, teacher, labels, 1.0, regression=True)) == pytest.approx(3.0)
    assert float(task_loss(student, labels, regression=True)) == pytest.approx(2.5)


@pytest.mark.parametrize("regression", [False, True])
def test_the_teacher_gets_no_gradient(regression: bool) -> None:
    student = torch.zeros(2, 1 if regression else 3, requires_grad=True)
    teacher = torch.ones_like(student, requires_grad=True)
    labels = torch.tensor([0.5, 1.0]) if regression else LABELS
    distillation_loss(student, teacher, labels, 2.0, regression).backward()
    assert teacher.grad is None
    assert student.grad is not None
