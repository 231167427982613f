"""Whether two models differ on the same rows: the paired bootstrap of their errors' difference, and McNemar's test."""

from dataclasses import dataclass

import numpy as np

from compressor.data.metrics import are_labels, compute_error, resampled_errors
from compressor.data.metrics.ratios import Structure
from compressor.records import Errors, Interval, Share


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Errors of a base model and of another one on the same rows."""

    base_error: Errors
    error: Errors
    difference: float
    """`error` − `base_error`: positive where the other model is worse."""
    interval: Interval
    """Of the difference, 95 %: percentiles over resampled rows, the same rows for both models. Draws that leave the
    metric undefined, such as those of one label alone, are left out."""
    mcnemar_p: Share | None
    """The exact two-sided p of McNemar's test that both are wrong equally often; None for values, and where the
    units of a row hang together."""

    def describe(self) -> str:
        """Return the verdict in a line, without a full stop."""
        low, high = self.interval
        p_value = "" if self.mcnemar_p is None else f", McNemar's p {self.mcnemar_p:.2g}"
        return (
            f"error {self.base_error:.4f} → {self.error:.4f}, difference {self.difference:+.4f} "
            f"(95 % {low:+.4f} to {high:+.4f}{p_value})"
        )


def compare_predictions(
    metric: str,
    base: np.ndarray,
    other: np.ndarray,
    labels: np.ndarray,
    structure: Structure | None = None,
    *,
    num_resamples: int = 1000,
) -> Comparison:
    """Return the comparison of two models' predictions under a task metric; its resamples are always the same."""
    from scipy.stats import binomtest

    errors = tuple(compute_error(metric, model, labels, structure) for model in (base, other))
    of_base, of_other = resampled_errors(metric, [base, other], labels, structure, num_resamples)
    low, high = np.quantile(of_other - of_base, [0.025, 0.975]) if len(of_base) else (-1.0, 1.0)  # 95 %
    only_base, only_other = (
        int(np.sum((base == labels) & (other != labels))),
        int(np.sum((base != labels) & (other == labels))),
    )
    discordant = only_base + only_other
    # Rows on which both are right or both wrong tell nothing of the difference.
    p_value = float(binomtest(only_base, discordant).pvalue) if discordant else 1.0
    return Comparison(
        base_error=errors[0],
        error=errors[1],
        difference=round(errors[1] - errors[0], 12),
        interval=(float(low), float(high)),
        mcnemar_p=p_value if are_labels(base) and base.ndim == 1 and structure is None else None,
    )
