"""How much worse candidates may be than a base model, from all their predictions of the same validation rows.

The measured error of the best of sixty is a lucky one, so a promise such as "at most 0.015 worse" is kept by a bound
that holds for all candidates at once: the paired difference of the errors plus so many standard errors that the largest
deviation among the candidates stays below it with the wanted confidence. That number comes from multiplier resamples of
the rows (Chernozhukov, Chetverikov and Kato, Annals of Statistics 2013), in which neighbours on the front that are
wrong on the same rows count for little more than one; candidates that are clearly worse do not count (Hansen, JBES
2005), and those that are clearly good enough are settled first (Romano and Wolf, Econometrica 2005).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compressor.data.metrics import SIMILARITIES, are_labels, compute_error
from compressor.data.metrics.ratios import RANKINGS, Structure, group_sums, ratio_effects

CONFIDENCE = 0.95
"""That what is promised of an error holds."""
_NUM_RESAMPLES = 1000
"""Resamples of the multiplier bootstrap: a quantile of 95 % is then one of 94.3 to 95.7 % (one standard deviation)."""


_ONE_PLACE = 0.5
"""What a query's MRR loses as its only relevant document falls from the first place to the second: a ranking changes by
places, also where that of no query at hand does."""


@dataclass(frozen=True, kw_only=True)
class ErrorIncreases:
    """By how much the errors of candidates exceed a base's on the same rows."""

    values: np.ndarray
    """Candidate's error − base's error, shape [candidates]."""
    effects: np.ndarray
    """What each row adds to each difference, mean 0, shape [candidates, rows]."""
    steps: np.ndarray
    """The size of one row's effect where there is one, shape [candidates]: 1 where a row is right or wrong."""
    num_candidates: int
    """Among how many one was picked: also those whose predictions are not known."""

    def holding(self, limit: float, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Return whose true increases are at most `limit`, and upper bounds of all increases, [candidates] each.

        The chance that any of those that hold is truly above the limit is at most 1 − `confidence`, up to the normal
        approximation. A bound is at most `limit` just where the candidate holds.
        """
        from scipy.stats import norm

        # Bonferroni for those whose predictions are not known: these candidates get their share of the allowed chance.
        level = 1 - (1 - confidence) * min(len(self.values) / max(self.num_candidates, 1), 1.0)
        num_rows = self.effects.shape[1]
        scores = self._scores(limit)
        # Hansen's threshold √(2 log log n): whoever is that far above the limit almost surely is above it, and does not
        # count.
        left = scores > -math.sqrt(2 * math.log(max(math.log(num_rows), math.e)))
        deviations = self._deviations(left)
        holds = np.zeros(len(scores), dtype=bool)
        critical = np.full(len(scores), norm.ppf(level))
        while left.any():
            # Never below what one candidate alone would need: resamples of few rows may scatter too little.
            needed = max(float(np.quantile(deviations[:, left].max(axis=1), level)), float(norm.ppf(level)))
            # Step-down: those that hold keep the value that they passed; for the others the maximum is over fewer.
            critical[~holds] = needed
            passed = left & (scores > needed)
            if not passed.any():
                break
            holds |= passed
            left &= ~passed
        return holds, self.values + self._margins(critical)

    def _scores(self, limit: float) -> np.ndarray:
        """Return how many standard errors each increase lies below the limit.

        At the limit a candidate differs from the base on some rows, although none of those at hand may show it: hence
        the second term, without which few rows would look like certainty.
        """
        room = limit - self.values
        variances = (self.effects**2).mean(axis=1) + np.maximum(room, 0) * self.steps
        errors = np.sqrt(variances / self.effects.shape[1])
        return np.asarray(np.divide(room, errors, out=np.where(room > 0, np.inf, -np.inf), where=errors > 0))

    def _margins(self, critical: np.ndarray) -> np.ndarray:
        """Return the room above each increase at which its score is the critical one."""
        # Solves score(limit) = critical for the room r: r² = share · (variance + r · step), the positive root.
        share = critical**2 / self.effects.shape[1]
        step = share * self.steps
        return np.asarray((step + np.sqrt(step**2 + 4 * share * (self.effects**2).mean(axis=1))) / 2)

    def _deviations(self, wanted: np.ndarray) -> np.ndarray:
        """Return resampled increases in standard errors, [resamples, candidates]; 0 for those that are not wanted."""
        found = np.zeros((_NUM_RESAMPLES, len(wanted)))
        if wanted.any():
            effects = self.effects[wanted]
            scale = np.sqrt((effects**2).sum(axis=1))
            # Float32 halves 1,000 resamples × rows; a quantile of them needs no more digits.
            scaled = (effects / np.where(scale > 0, scale, 1.0)[:, None]).astype(np.float32)
            found[:, wanted] = _multipliers(effects.shape[1]) @ scaled.T
        return found


@lru_cache(maxsize=1)
def _multipliers(num_rows: int) -> np.ndarray:
    """Return what the rows weigh in each resample, beyond 1: always the same draws, shape [resamples, rows]."""
    draws: np.ndarray = np.random.default_rng(0).standard_normal((_NUM_RESAMPLES, num_rows), dtype=np.float32)
    return draws


def compare_with_base(
    metric: str,
    base: np.ndarray,
    candidates: Sequence[np.ndarray],
    labels: np.ndarray,
    structure: Structure | None = None,
    *,
    num_candidates: int | None = None,
) -> ErrorIncreases:
    """Return the increases of candidates' errors over a base's, all from predictions of the same rows.

    Where units hang together, their groups stand in the place of rows.

    `num_candidates` says among how many one is picked, where the predictions of some are not known.
    """
    base_error = compute_error(metric, base, labels, structure)
    base_effects = row_effects(metric, base, labels, structure)
    values = np.asarray([compute_error(metric, other, labels, structure) - base_error for other in candidates])
    effects = np.asarray([row_effects(metric, other, labels, structure) - base_effects for other in candidates])
    effects = effects.reshape(len(values), len(base_effects))
    squares = (effects**2).mean(axis=1)
    # The size of a typical effect, weighted by what it adds to the variance: E|x|³ / E x². Exactly 1 where effects are
    # 0, ±1.
    cubes = (np.abs(effects) ** 3).mean(axis=1)
    steps = np.divide(cubes, squares, out=np.zeros(len(values)), where=squares > 0)
    if are_labels(base):
        steps = np.maximum(steps, 1.0)  # a label is right or wrong, also where no row at hand differs
    if metric == "spearman":
        steps = np.where(squares > 0, steps, 1.0)  # likewise where no two rows change their ranks, unlike equal values
    sums = group_sums(metric, labels, base, structure) if metric in RANKINGS else None
    if sums is not None:
        # Queries without a relevant document count for nothing, and each of the others for the more.
        steps = np.maximum(steps, _ONE_PLACE / max(float(sums[:, 0, 1].mean()), 1 / len(sums)))
    return ErrorIncreases(
        values=values, effects=effects, steps=steps, num_candidates=max(len(values), num_candidates or 0)
    )


def row_effects(
    metric: str, predictions: np.ndarray, labels: np.ndarray, structure: Structure | None = None
) -> np.ndarray:
    """Return what each row (or group of units) adds to a model's error: its influence function, shape [rows], mean 0.

    The variance of an error measured on n rows is that of its effects divided by n; a pair's difference has the
    difference of effects. All 0 where the metric is undefined, as of a constant prediction.
    """
    # Metrics that are ratios of sums over groups have a closed form; the error is 1 − metric, hence the sign.
    sums = group_sums(metric, labels, predictions, structure)
    if sums is not None:
        return -ratio_effects(sums)
    if metric == "accuracy":
        wrong = predictions != labels
        return np.asarray(wrong - wrong.mean())
    # Predictions are similarities of rows already: the metric is their mean, and an effect the distance from it.
    if metric in SIMILARITIES:
        return np.asarray(predictions.mean() - predictions)
    # As in `compute_error`: a constant counts as 0, which no row changes.
    if min(np.ptp(predictions), np.ptp(labels)) == 0:
        return np.zeros(len(labels))
    effects = _correlation_effects(metric, predictions, labels) if metric in _CORRELATIONS else None
    if effects is None:
        effects = _label_effects(metric, predictions, labels)
    return np.asarray(effects.mean() - effects)


_CORRELATIONS = ("pearson", "spearman")


def _label_effects(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's effect on a metric of labels: its gradient in the shares of hits, predictions and labels."""
    classes, (true, guess) = _joint_classes(labels, predictions)
    count, num_rows = len(classes), len(labels)
    hit = true == guess
    hits = np.bincount(true[hit], minlength=count) / num_rows
    trues, guesses = np.bincount(true, minlength=count) / num_rows, np.bincount(guess, minlength=count) / num_rows
    if metric == "matthews_correlation":
        free_guess, free_true = 1 - (guesses**2).sum(), 1 - (trues**2).sum()
        scale = math.sqrt(free_guess * free_true)
        value = (hits.sum() - (guesses * trues).sum()) / scale
        by_hit = np.full(count, 1 / scale)
        # Matthews R = (Σ hit − Σ guess·true) / √((1 − Σ guess²)(1 − Σ true²)), differentiated by the shares of each
        # class.
        by_guess = -trues / scale + value * guesses / free_guess
        by_true = -guesses / scale + value * trues / free_true
    else:
        both = trues + guesses
        weight = (classes == 1).astype(float) if metric == "f1" else np.full(count, 1 / count)
        # F1 of a class = 2 · hit / (true + guess), differentiated likewise.
        by_hit = weight * 2 / both
        by_guess = by_true = -weight * 2 * hits / both**2
    return np.asarray(np.where(hit, by_hit[true], 0.0) + by_guess[guess] + by_true[true])


def _joint_classes(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur, and labels and predictions [2, rows] as places among them."""
    classes, places = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    return classes, places.reshape(2, -1)


def _correlation_effects(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's effect on a correlation; of ranks (Croux and Dehon 2010) a row moves the others' too."""
    from scipy.stats import rankdata

    pairs = np.stack([predictions, labels]).astype(float)
    if metric == "spearman":
        pairs = np.stack([rankdata(values) for values in pairs]) / len(labels)
    x, y = pairs - pairs.mean(axis=1, keepdims=True)
    scale = math.sqrt((x**2).mean() * (y**2).mean())
    value = float((x * y).mean() / scale)
    if metric == "pearson":
        # Influence of Pearson's r on standardised values: xy − r (x² + y²) / 2 (Devlin, Gnanadesikan and Kettenring
        # 1975).
        return np.asarray(x * y / scale - value / 2 * (x**2 / (x**2).mean() + y**2 / (y**2).mean()))
    return np.asarray((x * y + _mean_above(predictions, y) + _mean_above(labels, x)) / scale)


def _mean_above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return per row the mean over all rows of the weight of those with a larger value, and half of the equal ones."""
    distinct, places = np.unique(values, return_inverse=True)
    totals = np.bincount(places, weights=weights, minlength=len(distinct))
    # Sorted by value: what lies behind in the sum is above; O(n log n) instead of all pairs.
    above = totals.sum() - np.cumsum(totals) + totals / 2
    return np.asarray(above[places] / len(values))
