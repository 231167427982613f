"""Fronts, hypervolumes and knees: against a slow second way, closed forms and degenerate input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.evaluation.pareto import (
    GrowingFront,
    attainment_surfaces,
    compute_hypervolume,
    find_front,
    find_knee,
)

coordinates = st.integers(0, 8).map(float) | st.sampled_from([float("inf"), float("nan")])
point_lists = st.lists(st.tuples(coordinates, coordinates), max_size=25)


def slow_front(points: list[tuple[float, float]]) -> set[int]:
    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    finite = [i for i, point in enumerate(points) if np.isfinite(point).all()]
    return {
        i
        for i in finite
        if not any(dominates(points[j], points[i]) for j in finite)
        and not any(points[j] == points[i] for j in finite if j < i)
    }


@given(point_lists)
def test_front_the_slow_way(points: list[tuple[float, float]]) -> None:
    front = find_front(points)
    assert set(front) == slow_front(points)
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


@given(point_lists)
def test_hypervolume_is_the_front_s(points: list[tuple[float, float]]) -> None:
    whole = compute_hypervolume(points, (5.0, 5.0))
    assert compute_hypervolume([points[i] for i in find_front(points)], (5.0, 5.0)) == pytest.approx(whole)
    # On an integer grid the area is the number of dominated unit squares.
    finite = [point for point in points if np.isfinite(point).all()]
    squares = sum(any(x >= a and y >= b for a, b in finite) for x in range(5) for y in range(5))
    assert whole == pytest.approx(squares)


@pytest.mark.parametrize("num_objectives", [2, 3])
@given(data=st.data())
def test_a_front_grows_to_that_of_all_points(num_objectives: int, data: st.DataObject) -> None:
    """After each of them: the same members in the same order, and no volume is lost with the others."""
    points = data.draw(st.lists(st.tuples(*[coordinates] * num_objectives), max_size=25))
    front = GrowingFront(num_objectives)
    for count, point in enumerate(points, start=1):
        before = front.indices
        assert front.add(point) == (find_front(points[:count]) != before)
        assert front.indices == find_front(points[:count])
        assert front.points.tolist() == [list(points[index]) for index in front.indices]
    reference = [5.0] * num_objectives
    assert compute_hypervolume(front.points, reference) == pytest.approx(compute_hypervolume(points, reference))


def test_hypervolume_of_known_points() -> None:
    # (0.2, 0.6) and (0.5, 0.3): 0.8*0.4 + 0.5*0.7 - 0.5*0.4 = 0.47
    assert compute_hypervolume([(0.2, 0.6), (0.5, 0.3)], (1.0, 1.0)) == pytest.approx(0.47)
    assert compute_hypervolume([], (1.0, 1.0)) == 0.0
    assert compute_hypervolume([(1.2, 0.1)], (1.0, 1.0)) == 0.0


def test_no_points() -> None:
    assert find_front([]) == []
    assert find_front([(float("nan"), 1.0)]) == []


def test_knee_lies_farthest_below_the_line() -> None:
    assert find_knee([(0.1, 1.0), (0.15, 0.4), (0.3, 0.3), (0.5, 0.0)]) == 1
    assert find_knee([(0.1, 1.0), (0.12, 0.95), (0.2, 0.2), (0.5, 0.1)]) == 2


def test_the_ends_are_no_knee() -> None:
    assert find_knee([(0.0, 1.0), (0.9, 0.9), (1.0, 0.0)]) == 1
    assert find_knee([(0.0, 1.0), (1.0, 0.0)]) == 1
    assert find_knee([(0.5, 0.5)]) == 0


def test_attainment_surfaces_by_hand() -> None:
    """One run reaches (1, 3) and (3, 1), one (2, 2), one (4, 4): two of three reach (2, 3) and (3, 2), all (4, 4)."""
    runs = [[(1.0, 3.0), (3.0, 1.0)], [(2.0, 2.0)], [(4.0, 4.0)]]
    best, median, worst = attainment_surfaces(runs)
    assert best == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert median == [(2.0, 3.0), (3.0, 2.0)]
    assert worst == [(4.0, 4.0)]


def test_a_single_run_attains_its_front() -> None:
    assert attainment_surfaces([[(0.1, 1.0), (0.4, 0.5)]]) == [[(0.1, 1.0), (0.4, 0.5)]] * 3
