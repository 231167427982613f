"""Classification: its losses against their formulas, its ties by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from compressor.data.heads.classification import CLASSIFICATION

STUDENT = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -0.5]])
TEACHER = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.1, 3.0]])
LABELS = torch.tensor([2, 0])
NO_ROWS: Any = None
"""Ties are told by the logits alone."""


def test_distillation_is_the_formula() -> None:
    temperature = 3.0
    targets = torch.softmax(TEACHER / temperature, -1)
    soft = -(targets * torch.log_softmax(STUDENT / temperature, -1)).sum(-1).mean()
    hard = -torch.log_softmax(STUDENT, -1)[torch.arange(2), LABELS].mean()
    torch.testing.assert_close(CLASSIFICATION.loss(STUDENT, LABELS), hard)
    loss = CLASSIFICATION.distillation_loss(STUDENT, TEACHER, LABELS, temperature)
    torch.testing.assert_close(loss, temperature**2 * soft + hard)


def test_near_ties_give_slack() -> None:
    logits = np.array([[2.0, 0.0]] * 8 + [[1.0, 1.0], [1.0, 1.0001]])
    assert CLASSIFICATION.rounding_slack(logits[:8], "accuracy", NO_ROWS) == 1e-6
    assert CLASSIFICATION.rounding_slack(logits, "accuracy", NO_ROWS) == pytest.approx(1e-6 + 2 * 2 / 10)


def test_labels_are_renumbered() -> None:
    assert CLASSIFICATION.renumber(np.array([0, 1, 1]), np.array([2, 0]), 3).tolist() == [2, 0, 0]
