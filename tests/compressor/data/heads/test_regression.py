"""Regression: its losses by hand."""

import pytest
import torch

from compressor.data.heads.regression import REGRESSION


def test_distillation_adds_two_squared_errors() -> None:
    student, teacher, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [3.0]]), torch.tensor([0.0, 5.0])
    # ((1-2)^2 + 0)/2 + ((1-0)^2 + (3-5)^2)/2 = 0.5 + 2.5
    assert float(REGRESSION.distillation_loss(student, teacher, labels, 1.0)) == pytest.approx(3.0)
    assert float(REGRESSION.loss(student, labels)) == pytest.approx(2.5)
