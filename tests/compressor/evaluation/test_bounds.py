"""Bounds of error increases: influences against the jackknife, margins by hand, the promise in simulated draws."""

import numpy as np
import pytest

from choice_promise import SimulatedSearch
from compressor.data.metrics import METRICS, compute_error
from compressor.data.metrics.ratios import RANKINGS, Structure
from compressor.evaluation.bounds import ErrorIncreases, compare_with_base, row_effects

RNG = np.random.default_rng(0)
LABELS = (RNG.random(500) < 0.3).astype(int)
GUESSES = np.where(RNG.random(500) < 0.2, 1 - LABELS, LABELS)


@pytest.mark.parametrize("metric", METRICS)
def test_effects_are_those_of_leaving_a_row_out(metric: str) -> None:
    labels, guesses = LABELS, GUESSES
    if metric in ("pearson", "spearman"):
        labels = RNG.normal(size=500)
        guesses = labels + RNG.normal(size=500)
    effects, whole = row_effects(metric, guesses, labels), compute_error(metric, guesses, labels)
    without = [compute_error(metric, np.delete(guesses, row), np.delete(labels, row)) for row in range(0, 500, 5)]
    jackknife = 499 * (whole - np.asarray(without))
    assert effects.mean() == pytest.approx(0, abs=1e-12)
    assert effects[::5] - effects[0] == pytest.approx(jackknife - jackknife[0], rel=0.03, abs=0.03 * effects.std())


@pytest.mark.parametrize("metric", METRICS)
def test_a_constant_prediction_has_no_effects_but_of_accuracy(metric: str) -> None:
    effects = row_effects(metric, np.ones(500, dtype=int), LABELS)
    assert effects.any() == (metric == "accuracy")


def test_one_candidate_has_the_bound_of_a_score_interval() -> None:
    """20 of 1,000 rows newly wrong and 10 newly right: d = 0.01, v = 0.03 − d², and d + x with x² = z² (v + x) / n."""
    labels = np.zeros(1000, dtype=int)
    base, other = labels.copy(), labels.copy()
    base[:10], other[10:30] = 1, 1
    holds, bounds = compare_with_base("accuracy", base, [other], labels).holding(0.02, 0.95)
    share = 1.6449**2 / 1000
    by_hand = 0.01 + (share + np.sqrt(share**2 + 4 * share * (0.03 - 0.01**2))) / 2
    assert bounds == pytest.approx([by_hand], rel=0.06)  # the quantile of 1,000 resamples is not quite 1.6449
    assert not holds[0]
    assert compare_with_base("accuracy", base, [other], labels).holding(0.03, 0.95)[0][0]


def test_few_rows_without_a_difference_are_no_certainty() -> None:
    """The rule of three: of n rows none differs, yet up to about 3 in n may (2.7 by this bound)."""
    labels = np.zeros(200, dtype=int)
    increases = compare_with_base("accuracy", labels, [labels], labels)
    _, bounds = increases.holding(0.01, 0.95)
    assert bounds == pytest.approx([2.7 / 200], rel=0.05)
    values = np.linspace(0, 1, 400)
    assert compare_with_base("pearson", values, [values], values).holding(0.01, 0.95)[0].all()
    for rows in (5, 100, 400):  # whose ranks are the same, but not their values
        holds, _ = compare_with_base("spearman", values[:rows], [values[:rows] ** 3], values[:rows]).holding(0.01, 0.95)
        assert holds[0] == (rows == 400)


@pytest.mark.parametrize("metric", RANKINGS)
def test_few_queries_that_are_ranked_alike_are_no_certainty(metric: str) -> None:
    """A ranking changes by places: of 20 queries none need show it, and of half of these nothing can."""

    def bound(num_queries: int, num_counted: int) -> float:
        structure = Structure(groups=np.repeat(np.arange(num_queries), 4))
        labels, scores = np.zeros((num_queries, 4)), np.tile([4.0, 3, 2, 1], num_queries)
        labels[:num_counted, 0] = 1
        increases = compare_with_base(metric, scores, [1.1 * scores], labels.ravel(), structure)
        holds, bounds = increases.holding(0.015, 0.95)
        assert holds[0] == (bounds[0] <= 0.015)
        return float(bounds[0])

    assert bound(20, 20) == pytest.approx(0.5 * 2.7 / 20, rel=0.05)
    assert bound(20, 10) == pytest.approx(bound(10, 10))
    assert bound(100, 100) < 0.015 < bound(80, 80)


def test_more_candidates_need_more_and_neighbours_count_for_less() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(1000, dtype=int)
    strangers = [(rng.random(1000) < 0.05).astype(int) for _ in range(40)]
    twins = [strangers[0] for _ in range(40)]

    def bound(others: list[np.ndarray], num_candidates: int | None = None) -> float:
        found = compare_with_base("accuracy", labels, others, labels, num_candidates=num_candidates)
        return float(found.holding(0.05, 0.95)[1][0])

    assert bound(twins) == pytest.approx(bound(strangers[:1]))
    assert bound(strangers) > bound(strangers[:1]) + 0.005
    assert bound(strangers[:1], num_candidates=40) == pytest.approx(bound(strangers), abs=0.004)


def test_a_bound_is_within_the_limit_where_the_candidate_holds() -> None:
    for seed in range(20):
        search = SimulatedSearch.draw(800, 30, np.random.default_rng(seed))
        for limit in (0.0, 0.015, 0.05):
            holds, bounds = search.increases.holding(limit, 0.9)
            assert (holds == (bounds < limit)).all()


def test_sure_means_later() -> None:
    search = SimulatedSearch.draw(2000, 60, np.random.default_rng(3))
    counts = [search.increases.holding(0.03, confidence)[0].sum() for confidence in (0.5, 0.8, 0.95, 0.999)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


@pytest.mark.parametrize("num_rows", [200, 700, 2000, 5000])
@pytest.mark.parametrize("kind", ["steep", "flat", "just above"])
def test_the_promise_is_kept(kind: str, num_rows: int) -> None:
    """60 candidates with known true errors: the smallest that holds is truly above the limit in at most 5 % of draws.

    Of a front that lies just above the limit as a whole, where luck has 60 tries, too.
    """
    rng, broken, draws = np.random.default_rng(num_rows), 0, 40
    for _ in range(draws):
        search = SimulatedSearch.draw(num_rows, 60, rng, kind)
        chosen = search.choose(0.015, 0.95)
        broken += chosen is not None and search.losses[chosen] > 0.015
    assert broken <= 0.05 * draws


def test_without_any_candidate() -> None:
    none = ErrorIncreases(values=np.zeros(0), effects=np.zeros((0, 10)), steps=np.zeros(0), num_candidates=0)
    holds, bounds = none.holding(0.01, 0.95)
    assert len(holds) == len(bounds) == 0
