"""Metrics of groups against a second way: seqeval's rules word by word, scikit-learn, and rows left out one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, ndcg_score

from compressor.data.metrics import compute_error, error_interval, resampled_errors
from compressor.data.metrics.ratios import (
    RATIOS,
    Structure,
    are_relevances,
    can_be_ranked,
    find_entities,
    group_sums,
    mean_ratio,
    random_order_values,
    ranking_slack,
    ranking_values,
    ratio_effects,
    read_tags,
)
from compressor.evaluation.bounds import row_effects
from compressor.evaluation.comparison import compare_predictions

BIO = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
BIOES = ("S-LOC", "O", "B-LOC", "I-LOC", "E-LOC", "B-PER", "I-PER", "E-PER", "S-PER")


def entities_by_seqeval(names: list[str]) -> set[tuple[str, int, int]]:
    """`get_entities` of seqeval 1.2.2, whose rules are those of conlleval.pl: kind, first and last word."""
    found, begin, before, kind_before = set(), 0, "O", ""
    for place, name in enumerate([*names, "O"]):
        tag, kind = name[0], name.split("-", maxsplit=1)[-1] or "_"
        changed = kind != kind_before
        ends = before in "ES" or (before in "BI" and tag in "BSO") or (before not in "O." and changed)
        starts = tag in "BS" or (before in "ESO" and tag in "EI") or (tag not in "O." and changed)
        if ends and before != "O":
            found.add((kind_before, begin, place - 1))
        if starts:
            begin = place
        before, kind_before = tag, kind
    return found


@pytest.mark.parametrize("names", [BIO, BIOES])
def test_entities_are_seqeval_s(names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 12, size=300)
    groups, labels = np.repeat(np.arange(300), lengths), rng.integers(len(names), size=lengths.sum())
    first, last, kinds = find_entities(labels, Structure(groups=groups, tags=read_tags(names)))
    of_kind = ["LOC", "PER"]
    found = {(of_kind[kind], int(start), int(end)) for start, end, kind in zip(first, last, kinds, strict=True)}
    expected = set()
    for row, start in enumerate(np.cumsum(lengths) - lengths):
        words = [names[label] for label in labels[start : start + lengths[row]]]
        expected |= {(kind, begin + int(start), end + int(start)) for kind, begin, end in entities_by_seqeval(words)}
    assert found == expected
    assert len(found) > 300


def test_entity_f1_by_hand() -> None:
    """True: PER in Ann Lee, LOC in Rome | LOC in Nice. Told: PER in Ann alone, LOC in Rome | LOC in Nice, PER in x."""
    structure = Structure(groups=np.array([0, 0, 0, 1, 1]), tags=read_tags(BIO))
    true, told = np.array([3, 4, 1, 1, 0]), np.array([3, 0, 1, 1, 3])
    assert compute_error("entity_f1", told, true, structure) == pytest.approx(1 - 2 * 2 / (4 + 3))
    assert compute_error("accuracy", told, true, structure) == pytest.approx(2 / 5)
    assert compute_error("entity_f1", np.zeros(5, dtype=int), true, structure) == 1.0
    assert compute_error("entity_f1", true, true, structure) == 0.0


def test_an_entity_ends_with_its_row() -> None:
    tags = read_tags(BIO)
    labels = np.array([1, 2, 2, 2])
    for groups, count in (([0, 0, 0, 0], 1), ([0, 0, 1, 1], 2), ([5, 7, 9, 9], 3)):
        assert len(find_entities(labels, Structure(groups=np.array(groups), tags=tags))[0]) == count


def test_names_without_prefix_are_kinds() -> None:
    assert read_tags(["O", "NOUN", "B-x-y", "I-x-y", "x-ray"]).tolist() == [
        [-1, 0, 0],
        [0, 0, 0],
        [1, 1, 0],
        [1, 0, 0],
        [2, 0, 0],
    ]


def several_labels(num_rows: int = 400, num_labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = (rng.random((num_rows, num_labels)) < [0.5, 0.2, 0.1, 0.3]).astype(int)
    return labels, np.where(rng.random(labels.shape) < 0.2, 1 - labels, labels)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_several_labels_are_scikit_learn_s(average: str) -> None:
    labels, told = several_labels()
    assert compute_error(f"f1_{average}", told, labels) == pytest.approx(1 - f1_score(labels, told, average=average))


def test_a_label_that_nobody_names_says_nothing() -> None:
    labels, told = np.array([[1, 0], [1, 0]]), np.array([[1, 0], [0, 0]])
    assert compute_error("f1_macro", told, labels) == pytest.approx(1 - 2 / 3)
    assert compute_error("f1_macro", labels * 0, labels * 0) == 1.0


def some_words() -> tuple[np.ndarray, np.ndarray, Structure]:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(300), rng.integers(1, 12, size=300))
    labels = rng.integers(len(BIO), size=len(groups))
    told = np.where(rng.random(len(groups)) < 0.2, rng.integers(len(BIO), size=len(groups)), labels)
    return labels, told, Structure(groups=groups, tags=read_tags(BIO))


RANKINGS = ("ndcg_at_10", "mrr_at_10", "map")


def some_queries() -> tuple[np.ndarray, np.ndarray, Structure]:
    """300 queries whose rows are shuffled, with grades 0 to 3."""
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.repeat(np.arange(300), rng.integers(3, 25, size=300)))
    labels = rng.choice(4, size=len(groups), p=[0.6, 0.2, 0.1, 0.1])
    labels[np.unique(groups, return_index=True)[1]] = 2  # one relevant document at least
    return labels, labels + rng.normal(scale=2, size=len(groups)), Structure(groups=groups)


def by_others(metric: str, labels: np.ndarray, scores: np.ndarray) -> float:
    """The value of one query's ranking, by scikit-learn and in words."""
    if metric == "ndcg_at_10":
        return float(ndcg_score([labels], [scores], k=10))
    if metric == "map":
        return float(average_precision_score(labels > 0, scores))
    ranked = [label for _, label in sorted(zip(-scores, labels, strict=True))]
    return next((1 / rank for rank, label in enumerate(ranked[:10], start=1) if label > 0), 0.0)


@pytest.mark.parametrize("metric", RANKINGS)
def test_rankings_are_worth_what_others_say(metric: str) -> None:
    labels, scores, structure = some_queries()
    found = ranking_values(metric, labels, scores, structure, rounding=0)
    expected = [by_others(metric, labels[of], scores[of]) for of in (structure.groups == n for n in range(300))]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert compute_error(metric, scores, labels, structure) == pytest.approx(1 - np.mean(expected))
    assert compute_error(metric, scores, labels / 3, structure) == pytest.approx(1 - np.mean(expected))  # as it is read


@pytest.mark.parametrize("metric", RANKINGS)
def test_random_order_is_the_mean_of_orders(metric: str) -> None:
    labels, _, structure = some_queries()
    few = structure.groups < 6
    labels, structure = labels[few], Structure(groups=structure.groups[few])
    rng = np.random.default_rng(0)
    draws = [ranking_values(metric, labels, rng.random(len(labels)), structure, rounding=0) for _ in range(4000)]
    np.testing.assert_allclose(random_order_values(metric, labels, structure), np.mean(draws, axis=0), atol=0.015)


def test_rankings_by_hand() -> None:
    """Of one query: relevant at ranks 1 and 3; of another: none; of a third: equal scores, one of two relevant."""
    structure = Structure(groups=np.array([0, 0, 0, 1, 1, 2, 2]))
    labels, scores = np.array([1, 0, 2, 0, 0, 0, 1]), np.array([3.0, 2.0, 1.0, 5.0, 4.0, 7.0, 7.0 + 1e-6])
    ndcg = (1 + 2 / 2) / (2 + 1 / np.log2(3))
    for metric, values in {
        "ndcg_at_10": (ndcg, 1 / np.log2(3), 1.0),
        "mrr_at_10": (1.0, 0.5, 1.0),
        "map": ((1 + 2 / 3) / 2, 0.5, 1.0),
    }.items():
        found = ranking_values(metric, labels, scores, structure, rounding=1e-5)
        assert found == pytest.approx([values[0], np.nan, values[1]], nan_ok=True)
        best = ranking_values(metric, labels, scores, structure, rounding=1e-5, worst=False)
        assert best == pytest.approx([values[0], np.nan, values[2]], nan_ok=True)
        assert compute_error(metric, scores, labels, structure) == pytest.approx(1 - (values[0] + values[1]) / 2)
        assert ranking_slack(metric, labels, scores, structure) == pytest.approx(1e-6 + (values[2] - values[1]) / 2)
        assert can_be_ranked(metric, labels, structure).tolist() == [True, False, True]


def test_a_teacher_s_scores_are_gains_from_the_lowest_of_their_query() -> None:
    structure = Structure(groups=np.array([0, 0, 0, 1, 1]))
    labels, scores = np.array([-3.0, 4.0, 0.5, 9.0, 9.0]), np.array([1.0, 2.0, 3.0, 1.0, 0.0])
    assert not are_relevances(labels)
    assert are_relevances(np.array([0.0, 0.25, 1.0]))
    assert are_relevances(np.array([0, 4, 17]))
    found = ranking_values("ndcg_at_10", labels, scores, structure, rounding=0)
    assert found == pytest.approx([ndcg_score([[0, 7, 3.5]], [[1, 2, 3]]), np.nan], nan_ok=True)
    assert can_be_ranked("ndcg_at_10", labels, structure).tolist() == [True, False]


CASES: dict[str, Callable[[], Any]] = {
    "entity_f1": some_words,
    "accuracy": some_words,
    "f1_micro": lambda: (*several_labels(), None),
    "f1_macro": lambda: (*several_labels(), None),
    **dict.fromkeys(RANKINGS, some_queries),
}


def test_every_metric_of_groups_is_here() -> None:
    assert CASES.keys() == RATIOS.keys()


@pytest.mark.parametrize("metric", CASES)
def test_effects_are_what_leaving_a_group_out_changes(metric: str) -> None:
    labels, told, structure = CASES[metric]()
    sums = group_sums(metric, labels, told, structure)
    assert sums is not None
    effects, whole = ratio_effects(sums), mean_ratio(sums.sum(axis=0))
    np.testing.assert_allclose(row_effects(metric, told, labels, structure), -effects)
    assert effects.mean() == pytest.approx(0, abs=1e-12)
    without = np.array([mean_ratio(np.delete(sums, group, axis=0).sum(axis=0)) for group in range(len(sums))])
    np.testing.assert_allclose(effects, (len(sums) - 1) * (whole - without), atol=0.15)
    assert np.corrcoef(effects, whole - without)[0, 1] > 0.999


@pytest.mark.parametrize("metric", CASES)
def test_resamples_are_those_of_groups(metric: str) -> None:
    labels, told, structure = CASES[metric]()
    groups = np.arange(len(labels)) if structure is None else structure.groups
    found = resampled_errors(metric, [told, labels], labels, structure, 20)
    rng, expected = np.random.default_rng(0), []
    size = int(groups.max()) + 1
    for drawn in rng.integers(size, size=(20, size)):
        units = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        lengths = [np.count_nonzero(groups == group) for group in drawn]
        again = None
        if structure is not None:
            again = Structure(groups=np.repeat(np.arange(size), lengths), tags=structure.tags)
        expected.append(compute_error(metric, told[units], labels[units], again))
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    assert (found[1] == 0).all()
    low, high = error_interval(metric, told, labels, structure)
    assert low < compute_error(metric, told, labels, structure) < high
    comparison = compare_predictions(metric, labels, told, labels, structure)
    assert comparison.interval[0] > 0
    assert comparison.mcnemar_p is None


def test_draws_without_anything_to_find_are_left_out() -> None:
    labels = np.zeros((50, 2), dtype=int)
    labels[0, 0] = 1  # a third of the draws lacks it
    assert 400 < resampled_errors("f1_micro", [labels], labels).shape[1] < 800
    assert error_interval("f1_micro", labels, labels) == (0.0, 0.0)
