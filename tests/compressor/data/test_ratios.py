"""Metrics of groups against a second way: seqeval's rules word by word, scikit-learn, and rows left out one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from compressor.data.metrics import compute_error, error_interval, resampled_errors
from compressor.data.ratios import RATIOS, Structure, find_entities, group_sums, mean_ratio, ratio_effects, read_tags
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


CASES: dict[str, Callable[[], Any]] = {
    "entity_f1": some_words,
    "accuracy": some_words,
    "f1_micro": lambda: (*several_labels(), None),
    "f1_macro": lambda: (*several_labels(), None),
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
