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
    # moocore would choose among equal points itself; all are kept here, so that the first one stays.
    kept = finite[is_nondominated(array[finite], keep_weakly=True)]
    first: dict[tuple[float, ...], int] = {}
    for index in kept.tolist():
        first.setdefault(tuple(array[index].tolist()), index)
    return [first[point] for point in sorted(first)]


class GrowingFront:
    """The front of points that come one by one: each is compared with the front alone, however many there were."""

    def __init__(self, num_objectives: int) -> None:
        self.points = np.empty((0, num_objectives))
        """The front [members, objectives], by the first objective."""
        self._numbers = np.empty(0, dtype=np.int64)
        self._count = 0

    @property
    def indices(self) -> list[int]:
        """Which of all points its members are, counted from 0: what `find_front` says of all of them."""
        numbers: list[int] = self._numbers.tolist()
        return numbers

    def add(self, point: Sequence[float]) -> bool:
        """Take one more point [objectives]; return whether it changes the front."""
        number, values = self._count, np.asarray(point, dtype=float)
        self._count += 1
        # `<=` in all objectives: an equal point is dominated too, so that the first of equals stays.
        if not np.isfinite(values).all() or (self.points <= values).all(axis=1).any():
            return False
        dominated = (values <= self.points).all(axis=1)
        points, numbers = self.points[~dominated], self._numbers[~dominated]
        place = int(np.searchsorted(points[:, 0], values[0]))
        # Of points with the same first objective the second decides the order, as `find_front` sorts them.
        while place < len(points) and points[place].tolist() < values.tolist():
            place += 1
        self.points, self._numbers = np.insert(points, place, values, axis=0), np.insert(numbers, place, number)
        return True


def compute_hypervolume(points: Sequence[Sequence[float]] | np.ndarray, reference: Sequence[float]) -> float:
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
    # After scaling the line between the ends is x + y = 1: the farthest below it has the smallest sum.
    return 1 + int(np.argmin(scaled[1:-1].sum(axis=1)))
