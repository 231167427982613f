"""Metrics: values worked out by hand, and constant predictions as the worst."""

import numpy as np
import pytest

from compressor.data import metrics
from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.heads.regression import REGRESSION
from compressor.data.metrics import METRICS, SIMILARITIES, compute_error, error_interval, is_defined, resampled_errors
from compressor.errors import TaskDataError
from compressor.evaluation.comparison import compare_predictions

LABELS = np.array([0, 1, 1, 1])


def test_by_hand() -> None:
    predictions = np.array([0, 1, 1, 0])  # TP 2, FP 0, FN 1, TN 1
    assert compute_error("accuracy", predictions, LABELS) == pytest.approx(0.25)
    assert compute_error("f1", predictions, LABELS) == pytest.approx(1 - 4 / 5)
    # MCC = (2*1 - 0*1) / sqrt(2 * 3 * 1 * 2)
    assert compute_error("matthews_correlation", predictions, LABELS) == pytest.approx(1 - 2 / np.sqrt(12))
    assert compute_error("spearman", np.array([1.0, 2, 3]), np.array([10.0, 20, 25])) == pytest.approx(0.0)
    assert compute_error("pearson", np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(2.0)


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric not in ("accuracy", *SIMILARITIES)])
def test_a_constant_prediction_is_worth_nothing(metric: str) -> None:
    assert compute_error(metric, np.ones(4), LABELS.astype(float)) == 1.0


def test_predictions_of_logits() -> None:
    logits = np.array([[0.1, 0.9], [3.0, -1.0]])
    assert CLASSIFICATION.predict(logits).tolist() == [1, 0]
    assert REGRESSION.predict(logits[:, :1]).tolist() == [0.1, 3.0]


def test_unknown_metric() -> None:
    with pytest.raises(TaskDataError, match="must be one of accuracy, f1, .*, but got 'auc'"):
        compute_error("auc", LABELS, LABELS)


def test_constant_up_to_rounding_is_constant() -> None:
    predictions = 0.4 + 1e-8 * np.arange(4)
    assert compute_error("spearman", predictions.astype(np.float32), np.arange(4.0)) == 1.0


def test_intervals() -> None:
    predictions, labels = np.array([1] * 80 + [0] * 20), np.ones(100, dtype=int)
    # Wilson's interval of 20 in 100, z = 1.96: (0.2 + z²/200 ± z·sqrt(0.16/100 + z²/40000)) / (1 + z²/100)
    assert error_interval("accuracy", predictions, labels) == pytest.approx((0.1334, 0.2888), abs=1e-4)
    rng = np.random.default_rng(1)
    truth, guess = rng.integers(2, size=300), rng.integers(2, size=300)
    low, high = error_interval("f1", guess, truth)
    assert low < compute_error("f1", guess, truth) < high
    assert error_interval("f1", guess, truth) == (low, high)


def test_an_interval_does_not_jump_where_a_draw_has_no_positive_row() -> None:
    labels = np.array([1, 1] + [0] * 98)
    predictions = labels.copy()
    predictions[50] = 1  # F1 0.8, an error of 0.2; a seventh of the draws has neither of the two positive rows
    low, high = error_interval("f1", predictions, labels)
    assert low <= compute_error("f1", predictions, labels) < high < 0.9
    assert error_interval("f1", np.zeros(100, dtype=int), labels) == (1.0, 1.0)
    assert error_interval("f1", labels[2:], labels[2:]) == (1.0, 1.0)


def test_a_comparison_does_not_jump_either() -> None:
    labels = np.array([1, 1] + [0] * 98)
    other = labels.copy()
    other[50] = 1
    assert compare_predictions("f1", labels, other, labels).interval[1] < 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("labels", ["many", "few", "one"])
def test_resamples_are_those_of_single_calls(metric: str, labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries, called for one resample after the other, say the same; also where resamples come in blocks."""
    rng, rows = np.random.default_rng(2), 31
    if metric in ("pearson", "spearman"):
        truth = {"many": rng.random(rows), "few": np.eye(rows)[0], "one": np.ones(rows)}[labels]
        models = [truth + rng.normal(size=rows), np.round(truth + rng.normal(size=rows)), -truth]
    else:
        classes = 2 if metric == "f1" else 4
        truth = {"many": rng.integers(classes, size=rows), "few": np.eye(rows)[0], "one": np.ones(rows)}[labels]
        truth = truth.astype(np.int64)
        models = [rng.integers(classes, size=rows), np.where(rng.random(rows) < 0.2, 0, truth), truth]
    draw = np.random.default_rng(0)
    expected = []
    for _ in range(60):
        drawn = draw.integers(rows, size=rows)
        if all(is_defined(metric, m[drawn], truth[drawn]) for m in models if is_defined(metric, m, truth)):
            expected.append([compute_error(metric, model[drawn], truth[drawn]) for model in models])
    monkeypatch.setattr(metrics, "_DRAWN_AT_ONCE", 7 * rows + 1)
    found = resampled_errors(metric, models, truth, num_resamples=60)
    assert np.abs(found.T - np.array(expected)).max() < 2e-12
