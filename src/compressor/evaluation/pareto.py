"""Pareto fronts, hypervolumes and knees of objectives that are all minimised; the mathematics is `moocore`'s."""

from collections.abc import Sequence

import numpy as np


def find_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the non-dominated points [n, objectives] by the first objective; of equal ones the first.

    Points that are not finite are never on the front. An empty list gives an empty front.
    """
    from moocore import is_nondominated

    array = np.asarray(points, dtype=float)
    finite = np.flatnonzero(np.isfinite(array).all(axis=1)) if len(array) else np.zeros(0, dtype=int)
    if not len(finite):
        return []
    kept = finite[is_nondominated(array[finite], keep_weakly=False)]
    # Which of several equal points survives is moocore's affair; we promise the first.
    first = [int(np.flatnonzero((array == array[index]).all(axis=1))[0]) for index in kept]
    return sorted(first, key=lambda index: (*array[index].tolist(), index))


def compute_hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the area (volume) that the points dominate up to the reference point; points beyond it add nothing."""
    from moocore import hypervolume

    array = np.asarray(points, dtype=float).reshape(-1, len(reference))
    array = array[np.isfinite(array).all(axis=1)]
    return float(hypervolume(array, ref=list(reference))) if len(array) else 0.0


def attainment_surfaces(
    fronts: Sequence[Sequence[Sequence[float]]], percentiles: Sequence[float] = (0, 50, 100)
) -> list[list[tuple[float, ...]]]:
    """Return what several runs' fronts attain: for each percentile the surface that so many percent of them reach.

    0 is what at least one run reaches (the best), 50 what half of them reach, 100 what all reach (the worst); the
    empirical attainment function of Fonseca, Grunert da Fonseca and Paquete (EMO 2011). Each surface is a front, by its
    first objective.
    """
    from moocore import eaf

    points = np.concatenate([np.asarray(front, dtype=float) for front in fronts])
    sets = np.repeat(np.arange(1, len(fronts) + 1), [len(front) for front in fronts])
    found = eaf(points, sets, percentiles=list(percentiles))
    return [sorted(map(tuple, found[found[:, -1] == percentile, :-1].tolist())) for percentile in percentiles]


def find_knee(front: Sequence[Sequence[float]]) -> int:
    """Return the position in a two-objective front, by the first, farthest below the line between its ends (the knee).

    Both objectives are scaled to 0..1 between the ends, which are no knee themselves. With fewer than three points: the
    last one.
    """
    array = np.asarray(front, dtype=float)
    if len(array) < 3:
        return len(array) - 1
    span = np.ptp(array, axis=0)
    scaled = (array - array.min(axis=0)) / np.where(span > 0, span, 1.0)
    return 1 + int(np.argmin(scaled[1:-1].sum(axis=1)))
