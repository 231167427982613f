"""Paired comparisons: a difference that is there is found, one that is not is not."""

import numpy as np
import pytest
from scipy.stats import binomtest

from compressor.evaluation.comparison import compare_predictions

LABELS = np.random.default_rng(0).integers(2, size=400)


def flipped(share: float, seed: int) -> np.ndarray:
    wrong = np.random.default_rng(seed).random(len(LABELS)) < share
    return np.where(wrong, 1 - LABELS, LABELS)


def test_the_same_predictions_do_not_differ() -> None:
    comparison = compare_predictions("accuracy", flipped(0.2, 1), flipped(0.2, 1), LABELS)
    assert comparison.difference == 0.0
    assert comparison.interval == (0.0, 0.0)
    assert comparison.mcnemar_p == 1.0


def test_a_worse_model_is_told() -> None:
    comparison = compare_predictions("accuracy", flipped(0.1, 1), flipped(0.3, 2), LABELS)
    assert comparison.difference == pytest.approx(comparison.error - comparison.base_error)
    assert 0 < comparison.interval[0] < comparison.difference < comparison.interval[1]
    assert comparison.mcnemar_p is not None
    assert comparison.mcnemar_p < 0.001


def test_mcnemar_counts_the_rows_that_one_alone_gets_right() -> None:
    labels = np.zeros(20, dtype=int)
    base, other = labels.copy(), labels.copy()
    base[:2] = 1  # wrong in base alone
    other[5:12] = 1  # wrong in the other alone
    other[15], base[15] = 1, 1  # wrong in both: does not count
    comparison = compare_predictions("accuracy", base, other, labels)
    assert comparison.mcnemar_p == pytest.approx(binomtest(2, 9).pvalue)


def test_the_bootstrap_is_paired() -> None:
    """Models that are wrong on the same rows differ with certainty, however small the rows are."""
    base = flipped(0.3, 1)
    other = base.copy()
    right = np.flatnonzero(base == LABELS)[:8]
    other[right] = 1 - LABELS[right]
    comparison = compare_predictions("accuracy", base, other, LABELS)
    assert comparison.interval[0] > 0
    assert comparison.interval[1] < 0.04


def test_regression_has_no_mcnemar() -> None:
    values = np.linspace(0, 1, 50)
    noise = np.random.default_rng(1).normal(size=50)
    comparison = compare_predictions("spearman", values, values + noise, values)
    assert comparison.base_error == 0.0
    assert comparison.difference > 0
    assert comparison.mcnemar_p is None
