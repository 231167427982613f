"""Task metrics by scikit-learn and SciPy. The error that is minimised is 1 − metric."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from compressor.errors import TaskDataError


def compute_error(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """1 − metric, where a metric that is undefined (as of a constant prediction) counts as 0.

    Args:
        metric: a key of `METRICS`.
        predictions: predicted class indices or regression values, shape [rows].
        labels: true class indices or values, shape [rows].

    Raises:
        TaskDataError: there is no such metric.
    """
    if metric not in METRICS:
        raise TaskDataError(f"the metric must be one of {', '.join(METRICS)}, but got {metric!r}. Correct --metric.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn of undefined values, which are dealt with here
        value = METRICS[metric](labels, predictions)
    return round(1.0 - (value if np.isfinite(value) else 0.0), 12)  # 0.199, not 0.19899999999999995


def predict(logits: np.ndarray, regression: bool) -> np.ndarray:
    """Predictions of logits [rows, classes]: the best class, or the value itself for regression."""
    return logits[:, 0] if regression else logits.argmax(axis=1)


def label_agreement(logits: np.ndarray, others: np.ndarray) -> float | None:
    """The share of rows to which two models' logits [rows, classes] give the same label; None for values [rows, 1]."""
    return None if logits.shape[1] == 1 else float((logits.argmax(axis=1) == others.argmax(axis=1)).mean())


def error_interval(
    metric: str, predictions: np.ndarray, labels: np.ndarray, *, level: float = 0.95, num_resamples: int = 1000
) -> tuple[float, float]:
    """The interval of an error from the rows it was measured on: Wilson's for accuracy, else a percentile bootstrap.

    The bootstrap's resamples are always the same ones (seed 0). Those that leave the metric undefined, such as one
    without any positive row, say nothing of the model and are left out.
    """
    if metric == "accuracy":
        from scipy.stats import binomtest

        wrong = int(np.sum(predictions != labels))
        interval = binomtest(wrong, len(labels)).proportion_ci(confidence_level=level, method="wilson")
        return float(interval.low), float(interval.high)
    rng, errors = np.random.default_rng(0), []
    undefined = not is_defined(metric, predictions, labels)
    for _ in range(num_resamples):
        rows = rng.integers(len(labels), size=len(labels))
        if undefined or is_defined(metric, predictions[rows], labels[rows]):
            errors.append(compute_error(metric, predictions[rows], labels[rows]))
    if not errors:  # of so few rows nothing can be told
        return 0.0, max(1.0, compute_error(metric, predictions, labels))
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def is_defined(metric: str, predictions: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a metric says anything of these rows: all but accuracy need two different labels and predictions."""
    return metric == "accuracy" or bool(np.ptp(labels) > 0 and np.ptp(predictions) > 0)


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.mean(labels == predictions))


def _f1(labels: np.ndarray, predictions: np.ndarray, average: str) -> float:
    from sklearn.metrics import f1_score

    if len(np.unique(predictions)) < 2:
        return 0.0  # a constant prediction knows nothing, though its F1 need not be 0
    return float(f1_score(labels, predictions, average=average, zero_division=0.0))


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _correlation(labels: np.ndarray, predictions: np.ndarray, function: str) -> float:
    from scipy import stats

    # A model that ignores its input is constant up to rounding, which differs between batch shapes.
    rounding = 1e-5 * max(1.0, float(np.abs(predictions).max()))
    if len(predictions) < 2 or np.ptp(predictions) <= rounding or np.ptp(labels) == 0:
        return 0.0
    return float(getattr(stats, function)(predictions, labels).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": partial(_f1, average="binary"),
    "f1_macro": partial(_f1, average="macro"),
    "matthews_correlation": _matthews,
    "pearson": partial(_correlation, function="pearsonr"),
    "spearman": partial(_correlation, function="spearmanr"),
}
