"""Metrics that are ratios of sums: each group of units adds to a numerator and to a denominator.

F1 is 2 · hits / (predicted + true), so a resample of the groups, or the effect of one of them, needs their sums alone.
A metric over several ratios, such as an F1 for each label, is their mean; a ratio that no group adds to is left out.
A metric of rankings is the mean over queries, the ratio of two sums to which each query adds its value and 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Structure:
    """How units hang together that are not judged one by one."""

    groups: np.ndarray
    """The group of each unit, such as the row of a word or the query of a document: [units]. The words of a row stand
    together."""
    tags: np.ndarray | None = None
    """What each label says of an entity [labels, 3]: kind (-1 outside), whether it begins, whether it ends there."""


def group_sums(
    metric: str, labels: np.ndarray, predictions: np.ndarray, structure: Structure | None
) -> np.ndarray | None:
    """Return what each group adds to numerators and denominators [groups, ratios, 2]; None for other metrics."""
    if metric not in RATIOS or (structure is None and labels.ndim == 1):
        return None
    return RATIOS[metric](labels, predictions, structure)


def mean_ratio(sums: np.ndarray) -> np.ndarray:
    """Return value of a metric [...] of sums over all groups [..., ratios, 2]; NaN where none adds to a denominator."""
    counted = sums[..., 1] > 0
    ratios = np.divide(sums[..., 0], sums[..., 1], out=np.zeros(counted.shape), where=counted)
    totals, counts = ratios.sum(axis=-1), counted.sum(axis=-1)
    return np.asarray(np.divide(totals, counts, out=np.full(np.shape(totals), np.nan), where=counts > 0))


def ratio_effects(sums: np.ndarray) -> np.ndarray:
    """Return each group's effect on the value [groups], mean 0: the metric's influence function."""
    means = sums.mean(axis=0)
    counted = means[:, 1] > 0
    if not counted.any():
        return np.zeros(len(sums))
    sums, means = sums[:, counted], means[counted]
    ratios = means[:, 0] / means[:, 1]
    # Linearisation of a ratio of means: (x - r · y) / E[y] (delta method).
    return np.asarray(((sums[..., 0] - ratios * sums[..., 1]) / means[:, 1]).mean(axis=1))


def read_tags(names: Sequence[str]) -> np.ndarray:
    """Return what labels such as `B-PER`, `I-PER`, `O` say of entities, [labels, 3].

    `B` begins one, `S` and `U` are a whole one, `E` and `L` end one. `I`, `E` and `L` continue where one of their kind
    stands before, else they begin one. A name of another form is a kind: neighbours that share it are one entity.
    """
    kinds: dict[str, int] = {}
    tags = []
    for name in names:
        prefix, dash, kind = name.partition("-")
        # A label such as `LOC` or `geo-political`: the whole name is the kind.
        if not dash or prefix not in _PREFIXES:
            prefix, kind = "I", name
        number = -1 if name == OUTSIDE else kinds.setdefault(kind, len(kinds))
        tags.append([number, int(prefix in _BEGINNING), int(prefix in _ENDING)])
    return np.asarray(tags, dtype=np.int64).reshape(-1, 3)


OUTSIDE = "O"
"""The label of what belongs to no entity."""


def find_outside(names: Sequence[str]) -> int:
    """Return the index of that label; of the first one where there is none."""
    return names.index(OUTSIDE) if OUTSIDE in names else 0


_PREFIXES, _BEGINNING, _ENDING = "BIELSU", "BSU", "ELSU"


def find_entities(labels: np.ndarray, structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entities in labels [units]: first unit, last unit and kind of each, as conlleval and seqeval count."""
    assert structure.tags is not None
    kinds, groups = structure.tags[:, 0].astype(np.int32)[labels], structure.groups
    begins, ends = ((structure.tags[:, place] > 0)[labels] for place in (1, 2))
    inside = kinds >= 0
    continues = np.zeros(len(labels), dtype=bool)
    continues[1:] = (kinds[1:] == kinds[:-1]) & (groups[1:] == groups[:-1])
    # A word continues an entity where the one before is of the same kind and row, and neither begins nor ended there.
    continues[1:] &= inside[1:] & ~begins[1:] & ~ends[:-1]
    first = np.flatnonzero(inside & ~continues)
    last = np.flatnonzero(inside & ~np.append(continues[1:], False))
    return first, last, kinds[first]


def _entity_sums(labels: np.ndarray, predictions: np.ndarray, structure: Structure | None) -> np.ndarray:
    """Return per group twice the entities that are right, and the predicted and true ones together."""
    assert structure is not None
    found, true = (np.stack(find_entities(values, structure), axis=1) for values in (predictions, labels))
    places, num_groups = _places(structure)
    # No two entities begin at one word, so matching by the first word is enough before last word and kind are compared.
    hits, of_found, of_true = np.intersect1d(found[:, 0], true[:, 0], assume_unique=True, return_indices=True)
    hits = hits[(found[of_found] == true[of_true]).all(axis=1)]
    of_hits, *of_both = (np.bincount(places[first], minlength=num_groups) for first in (hits, found[:, 0], true[:, 0]))
    return np.stack([2 * of_hits, of_both[0] + of_both[1]], axis=-1)[:, None].astype(float)


def _hit_sums(labels: np.ndarray, predictions: np.ndarray, structure: Structure | None) -> np.ndarray:
    """Return per group the units that are right, and all."""
    assert structure is not None
    places, num_groups = _places(structure)
    hits = np.bincount(places, weights=labels == predictions, minlength=num_groups)
    return np.stack([hits, np.bincount(places, minlength=num_groups)], axis=-1)[:, None]


def _label_sums(labels: np.ndarray, predictions: np.ndarray, structure: Structure | None) -> np.ndarray:
    """Return per row and label [rows, labels] twice a hit, and what is predicted and true together."""
    return np.stack([2 * (labels & predictions), labels + predictions], axis=-1).astype(float)


def _pooled_sums(labels: np.ndarray, predictions: np.ndarray, structure: Structure | None) -> np.ndarray:
    """Return per row the same of all labels together."""
    return np.asarray(_label_sums(labels, predictions, structure).sum(axis=1, keepdims=True))


def _places(structure: Structure) -> tuple[np.ndarray, int]:
    """Return the place of each unit's group among the groups there are, and how many these are."""
    groups, places = np.unique(structure.groups, return_inverse=True)
    return places.reshape(-1), len(groups)


CUT_OFF = 10
"""Documents of a query that nDCG and MRR look at."""


def are_relevances(labels: np.ndarray) -> bool:
    """Return whether labels grade relevance: 0, 1, …, or values in 0..1. Else they are bare scores."""
    return bool(labels.min() >= 0 and (labels.max() <= 1 or (labels == np.floor(labels)).all()))


def ranking_values(
    metric: str, labels: np.ndarray, scores: np.ndarray, structure: Structure, *, rounding: float, worst: bool = True
) -> np.ndarray:
    """Return the value of each query's ranking by scores [units], [queries]; NaN without a relevant document.

    A document is relevant where its label is above 0, and a label is a gain of nDCG (Järvelin and Kekäläinen 2002) as
    it is; bare scores are gains from the lowest of their query on. Neighbours that differ by at most `rounding` are
    equal: they stand in the worst order, or in the best.
    """
    places, num_queries = _places(structure)
    gains = _gains(metric, labels, places, num_queries)
    # lexsort's last key is the first: by query, then by falling score.
    by_score = np.lexsort((-scores, places))
    # Steps number the groups of equal scores, so that within one the order is by gain: worst or best.
    apart = (-np.diff(scores[by_score]) > rounding) | (np.diff(places[by_score]) > 0)
    steps = np.empty(len(scores), dtype=np.int64)
    steps[by_score] = np.concatenate([[0], np.cumsum(apart)])
    order = np.lexsort((gains if worst else -gains, steps))
    queries, found = places[order], gains[order]
    # Sorted by query: the first place of each one's query.
    starts = np.searchsorted(queries, queries)
    ranks = np.arange(1, len(queries) + 1) - starts
    if metric == "ndcg_at_10":
        weights = np.where(ranks <= CUT_OFF, 1 / np.log2(ranks + 1), 0.0)
        values = np.bincount(queries, weights * found)
        best = np.bincount(queries, weights * gains[np.lexsort((-gains, places))])
    else:
        totals = np.cumsum(found)
        # Relevant documents up to here of this query: the running total less what came before the query.
        hits, best = totals - (totals - found)[starts], np.bincount(queries, found)
        if metric == "mrr_at_10":
            values, best = np.bincount(queries, found * (hits == 1) * (ranks <= CUT_OFF) / ranks), np.minimum(best, 1)
        else:
            values = np.bincount(queries, found * hits / ranks)
    return np.asarray(np.divide(values, best, out=np.full(num_queries, np.nan), where=best > 0))


def random_order_values(metric: str, labels: np.ndarray, structure: Structure) -> np.ndarray:
    """Return the expected `ranking_values` of documents in random order, [queries]."""
    places, num_queries = _places(structure)
    gains = _gains(metric, labels, places, num_queries)
    found = []
    by_query = gains[np.argsort(places, kind="stable")]
    for of_query in np.split(by_query, np.cumsum(np.bincount(places))[:-1]):
        count, ranks = len(of_query), np.arange(1, len(of_query) + 1)
        relevant = np.count_nonzero(of_query)
        if relevant == 0:
            found.append(np.nan)
        elif metric == "ndcg_at_10":
            weights = np.where(ranks <= CUT_OFF, 1 / np.log2(ranks + 1), 0.0)
            # Each place has the mean gain in expectation; the ideal order does not depend on chance.
            found.append(of_query.mean() * weights.sum() / (weights * np.sort(of_query)[::-1]).sum())
        elif metric == "mrr_at_10":
            # The first relevant one at rank r: the other relevant ones lie among the count - r places behind it.
            first = [comb(count - int(rank), relevant - 1) / comb(count, relevant) for rank in ranks]
            found.append(float((first / ranks)[:CUT_OFF].sum()))
        else:
            # Average precision: given a relevant document at rank r, so many of the others are expected before it.
            others_before = (relevant - 1) * (ranks - 1) / max(count - 1, 1)
            found.append(float(((1 + others_before) / ranks).mean()))
    return np.asarray(found)


def can_be_ranked(metric: str, labels: np.ndarray, structure: Structure) -> np.ndarray:
    """Return whether it matters to a metric how the documents of each query stand, [queries]."""
    equal = np.zeros(len(labels))
    low, high = (ranking_values(metric, labels, equal, structure, rounding=0, worst=worst) for worst in (True, False))
    return np.asarray(low < high)


def ranking_slack(metric: str, labels: np.ndarray, scores: np.ndarray, structure: Structure) -> float:
    """Return by how much a metric can change as scores closer than parity's rounding change places."""
    # 2e-4: parity allows each of two scores to move by 1e-4 of the largest
    scale = float(np.abs(scores).max())
    low, high = (
        ranking_values(metric, labels, scores, structure, rounding=2e-4 * scale + _rounding(scores), worst=worst)
        for worst in (True, False)
    )
    return 1e-6 + float(np.nanmean(high - low))


def _gains(metric: str, labels: np.ndarray, places: np.ndarray, num_queries: int) -> np.ndarray:
    labels = labels.astype(np.float64)
    if metric != "ndcg_at_10":
        return (labels > 0).astype(np.float64)
    if are_relevances(labels):
        return labels
    lowest = np.full(num_queries, np.inf)
    np.minimum.at(lowest, places, labels)
    return np.asarray(labels - lowest[places])


def _rounding(scores: np.ndarray) -> float:
    """Return scores as near as this are equal: a model that ignores its input is constant up to rounding."""
    return 1e-5 * max(1.0, float(np.abs(scores).max()))


def _ranking_sums(labels: np.ndarray, scores: np.ndarray, structure: Structure | None, metric: str) -> np.ndarray:
    """Return per query its value and 1, or twice 0 where it has no relevant document."""
    assert structure is not None
    values = ranking_values(metric, labels, scores, structure, rounding=_rounding(scores))
    return np.stack([np.nan_to_num(values), np.isfinite(values)], axis=-1)[:, None]


RANKINGS = ("ndcg_at_10", "mrr_at_10", "map")
"""Those of the order of a query's documents."""
RATIOS: dict[str, Callable[[np.ndarray, np.ndarray, Structure | None], np.ndarray]] = {
    "entity_f1": _entity_sums,
    "accuracy": _hit_sums,
    "f1_micro": _pooled_sums,
    "f1_macro": _label_sums,
    **{name: partial(_ranking_sums, metric=name) for name in RANKINGS},
}
"""Sums [groups, ratios, 2] of labels and predictions: indices or values [units] with a structure, or else 0 and 1
[rows, labels]."""
