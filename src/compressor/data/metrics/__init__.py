"""Task metrics by scikit-learn and SciPy. The error that is minimised is 1 − metric.

The bootstrap asks for a thousand values at once, which a thousand calls of these libraries take seconds for: most
metrics have a second form for it.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from compressor.data.metrics.ratios import RATIOS, Structure, group_sums, mean_ratio
from compressor.errors import TaskDataError

SIMILARITIES = ("cosine", "jensen_shannon")
"""Metrics that are the mean of predictions: each says how near an output is to the one that is to be met."""
_DRAWN_AT_ONCE = 500_000
"""Rows of resamples that are held in memory together."""


def compute_error(
    metric: str, predictions: np.ndarray, labels: np.ndarray, structure: Structure | None = None
) -> float:
    """Return 1 − metric, where a metric that is undefined (as of a constant prediction) counts as 0.

    Args:
        metric: one of `METRIC_NAMES`.
        predictions: predicted class indices or values, shape [units], or 0 and 1 for each label, shape [rows, labels].
        labels: the true ones, of the same shape.
        structure: how units hang together, if they do.

    Raises:
        TaskDataError: there is no such metric.
    """
    if metric not in METRIC_NAMES:
        raise TaskDataError(
            f"the metric must be one of {', '.join(METRIC_NAMES)}, but got {metric!r}. Correct --metric."
        )
    sums = group_sums(metric, labels, predictions, structure)
    if sums is not None:
        return float(_to_errors(mean_ratio(sums.sum(axis=0))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn of undefined values, which are dealt with here
        value = METRICS[metric](labels, predictions)
    return round(1.0 - (value if np.isfinite(value) else 0.0), 12)  # 0.199, not 0.19899999999999995


def label_agreement(predictions: np.ndarray, others: np.ndarray) -> float | None:
    """Return share of units to which two models give the same label or labels; None where predictions are values."""
    if not are_labels(predictions):
        return None
    return float((predictions == others).reshape(len(predictions), -1).all(axis=1).mean())


def are_labels(predictions: np.ndarray) -> bool:
    """Return whether predictions are labels, which are right or wrong, and not values."""
    return bool(np.issubdtype(predictions.dtype, np.integer))


def error_interval(
    metric: str,
    predictions: np.ndarray,
    labels: np.ndarray,
    structure: Structure | None = None,
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
) -> tuple[float, float]:
    """Return interval of an error from the rows it was measured on: Wilson's for accuracy, else a percentile bootstrap.

    Where units hang together, groups of them are drawn.
    The bootstrap's resamples are always the same ones (seed 0). Those that leave the metric undefined, such as one
    without any positive row, say nothing of the model and are left out.
    """
    # Wilson's holds where the bootstrap fails: of few rows, or of none wrong, whose resamples all have error 0.
    if metric == "accuracy" and structure is None:
        return share_interval(int(np.sum(predictions != labels)), len(labels), level)
    errors = resampled_errors(metric, [predictions], labels, structure, num_resamples)[0]
    if len(errors) == 0:  # of so few rows nothing can be estimated
        return 0.0, max(1.0, compute_error(metric, predictions, labels, structure))
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a share, of which `count` of `total` were seen."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def resampled_errors(
    metric: str,
    models: Sequence[np.ndarray],
    labels: np.ndarray,
    structure: Structure | None = None,
    num_resamples: int = 1000,
) -> np.ndarray:
    """Return errors [models, resamples] of models' predictions [rows] on the same rows drawn with replacement (seed 0).

    Where units hang together, groups of them are drawn. Resamples that leave the metric of a model undefined that is
    defined on all rows are left out.
    """
    sums = [group_sums(metric, labels, model, structure) for model in models]
    if not any(each is None for each in sums):
        return _resampled_ratios(np.stack([each for each in sums if each is not None]), num_resamples)
    # Blocks change no result: one generator draws the same numbers, in however many calls.
    rng, size, found = np.random.default_rng(0), max(1, _DRAWN_AT_ONCE // len(labels)), []
    defined = [place for place, model in enumerate(models) if is_defined(metric, model, labels)]
    for first in range(0, num_resamples, size):
        rows = rng.integers(len(labels), size=(min(size, num_resamples - first), len(labels)))
        defined_for_all = np.all([is_defined(metric, models[place][rows], labels[rows]) for place in defined], axis=0)
        rows = rows[np.broadcast_to(defined_for_all, len(rows))]
        found.append([_errors(metric, model[rows], labels[rows]) for model in models])
    return np.concatenate(found, axis=1)


def _resampled_ratios(sums: np.ndarray, num_resamples: int) -> np.ndarray:
    """Return `resampled_errors` of models from their groups' sums [models, groups, ratios, 2]."""
    rng, num_groups = np.random.default_rng(0), sums.shape[1]
    # A resample is how often each group is drawn: [resamples, groups] counts times the groups' sums.
    drawn = rng.integers(num_groups, size=(num_resamples, num_groups))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=num_groups)
    # r resamples, g groups, m models, k ratios, t numerator and denominator.
    values = mean_ratio(np.einsum("rg,mgkt->mrkt", counts, sums, optimize=True))
    defined = np.isfinite(mean_ratio(sums.sum(axis=1)))
    # The same resamples are left out for all models: differences are of pairs on equal rows.
    return _to_errors(values[:, np.isfinite(values[defined]).all(axis=0)])


def _to_errors(values: np.ndarray) -> np.ndarray:
    """Return 1 − value, where an undefined value counts as 0."""
    return np.asarray(np.round(1.0 - np.where(np.isfinite(values), values, 0.0), 12))


def is_defined(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether a metric says anything of rows [..., rows]: correlations and those of labels need two of each."""
    different = (np.ptp(labels, axis=-1) > 0) & (np.ptp(predictions, axis=-1) > 0)
    return np.asarray(different | (metric in ("accuracy", *SIMILARITIES)))


def _errors(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return `compute_error` of each of many resamples [resamples, rows]."""
    if metric not in _OF_RESAMPLES:
        return np.array([compute_error(metric, *drawn) for drawn in zip(predictions, labels, strict=True)])
    with np.errstate(divide="ignore", invalid="ignore"):
        values = _OF_RESAMPLES[metric](labels, predictions)
    return _to_errors(values)


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


def _mean_similarity(labels: np.ndarray, predictions: np.ndarray) -> float:  # noqa: ARG001
    """Return the mean of similarities to outputs that are to be met."""
    return float(predictions.mean(dtype=np.float64))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": partial(_f1, average="binary"),
    "f1_macro": partial(_f1, average="macro"),
    "matthews_correlation": _matthews,
    "pearson": partial(_correlation, function="pearsonr"),
    "spearman": partial(_correlation, function="spearmanr"),
    **dict.fromkeys(SIMILARITIES, _mean_similarity),
}
"""Functions of labels and predictions [rows]."""
METRIC_NAMES = tuple(dict.fromkeys((*METRICS, *RATIOS)))
"""All metrics; some are of other shapes, in `ratios.py`."""


def _counts(values: np.ndarray, num_classes: int, among: np.ndarray | None = None) -> np.ndarray:
    """Return how often each class is in each resample [resamples, classes], of values [resamples, rows]."""
    # One bincount for all resamples: each has its own range of classes.
    places = values + num_classes * np.arange(len(values))[:, None]
    places = places.ravel() if among is None else places[among]
    return np.bincount(places, minlength=len(values) * num_classes).reshape(-1, num_classes)


def _class_counts(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per class and resample [resamples, classes]: right predictions, predictions, labels."""
    labels, predictions = labels.astype(np.int64), predictions.astype(np.int64)
    num_classes = max(2, int(max(labels.max(initial=0), predictions.max(initial=0))) + 1)
    right = _counts(labels, num_classes, among=labels == predictions)
    return right, _counts(predictions, num_classes), _counts(labels, num_classes)


def _accuracies(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return np.asarray((labels == predictions).mean(axis=1))


def _f1s(labels: np.ndarray, predictions: np.ndarray, average: str) -> np.ndarray:
    right, predicted, true = _class_counts(labels, predictions)
    values = np.where(predicted + true > 0, 2 * right / (predicted + true), np.nan)
    mean = values[:, 1] if average == "binary" else np.nanmean(values, axis=1)
    return np.where(np.ptp(predictions, axis=1) > 0, mean, 0.0)


def _matthews_many(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return Matthews' coefficients of any number of classes (Gorodkin, 2004)."""
    right, predicted, true = (counts.astype(np.float64) for counts in _class_counts(labels, predictions))
    rows = labels.shape[1]
    agreement = rows * right.sum(axis=1) - (predicted * true).sum(axis=1)
    spreads = [rows**2 - (counts**2).sum(axis=1) for counts in (predicted, true)]
    return np.asarray(agreement / np.sqrt(spreads[0] * spreads[1]))


def _correlations(labels: np.ndarray, predictions: np.ndarray, ranked: bool) -> np.ndarray:
    # constant up to rounding: as in `_correlation`
    rounding = 1e-5 * np.maximum(1.0, np.abs(predictions).max(axis=1))
    constant = (np.ptp(predictions, axis=1) <= rounding) | (np.ptp(labels, axis=1) == 0)
    if ranked:
        from scipy.stats import rankdata

        labels, predictions = (rankdata(values, axis=1) for values in (labels, predictions))
    a, b = (v - v.mean(axis=1, dtype=np.float64, keepdims=True) for v in (labels, predictions))
    values = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(constant, 0.0, np.clip(values, -1.0, 1.0))


_OF_RESAMPLES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracies,
    "f1": partial(_f1s, average="binary"),
    "f1_macro": partial(_f1s, average="macro"),
    "matthews_correlation": _matthews_many,
    "pearson": partial(_correlations, ranked=False),
    "spearman": partial(_correlations, ranked=True),
    **dict.fromkeys(
        SIMILARITIES,
        lambda labels, predictions: np.asarray(predictions.mean(axis=1, dtype=np.float64)),  # noqa: ARG005
    ),
}
"""Values [resamples] of `METRICS` for labels and predictions [resamples, rows]; a metric may lack this form."""
