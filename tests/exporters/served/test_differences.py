"""What counts as a disagreement, for every kind of answer."""

from typing import Any

import pytest

from exporters.servable import KINDS
from exporters.served.differences import find_different


def spans(*found: tuple[int, int, str]) -> dict[str, Any]:
    return {"spans": [{"start": start, "end": end, "label": label, "score": 0.5} for start, end, label in found]}


def ranking(*places: int) -> dict[str, Any]:
    return {"documents": [{"index": index, "document": "w", "score": 1.0} for index in places]}


LABEL = {"label": "bad", "score": 0.9, "scores": {}}
ANSWERS: dict[str, tuple[Any, Any, Any]] = {
    "single": (LABEL, LABEL | {"score": 0.1}, LABEL | {"label": "good"}),
    "pair": (LABEL, LABEL | {"score": 0.1}, LABEL | {"label": "good"}),
    "choices": (LABEL, LABEL | {"score": 0.1}, LABEL | {"label": "1"}),
    "labels": ({"labels": ["a", "b"]}, {"labels": ["b", "a"]}, {"labels": ["a"]}),
    "pair_labels": ({"labels": ["a", "b"]}, {"labels": ["b", "a"]}, {"labels": []}),
    "tokens": (spans((0, 2, "PER")), spans((0, 2, "PER")), spans((0, 3, "PER"))),
    "documents": (ranking(1, 0, 2), ranking(1, 2, 0), ranking(0, 1, 2)),
    "embed": ([1.0, 0.0], [2.0, 0.1], [1.0, 1.0]),
}
"""Of each kind: an answer, one that says the same, and one that does not."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_alike_and_what_is_not(kind: str) -> None:
    answer, alike, other = ANSWERS[kind]
    assert find_different(kind, [answer, answer], [alike, other]).tolist() == [False, True]


def test_values_are_apart_by_a_tenth_of_their_spread() -> None:
    values = [0.0, 10.0, 0.0, 10.0]  # a standard deviation of 5

    def tell(value: float) -> dict[str, Any]:
        return {"label": "value", "score": value, "scores": {"value": value}}

    answers = [tell(value) for value in values]
    others = [tell(value + step) for value, step in zip(values, (0.4, -0.4, 0.6, 0), strict=True)]
    assert find_different("single", answers, others).tolist() == [False, False, True, False]


def test_a_label_may_be_called_value() -> None:
    one = {"label": "value", "score": 0.9, "scores": {"value": 0.9, "price": 0.1}}
    same = {"label": "value", "score": 0.6, "scores": {"value": 0.6, "price": 0.4}}
    other = {"label": "price", "score": 0.9, "scores": {"value": 0.1, "price": 0.9}}
    assert find_different("single", [one, one], [same, other]).tolist() == [False, True]


def test_empty_rankings_and_vectors_of_nothing_are_alike() -> None:
    assert not find_different("documents", [ranking()], [ranking()]).any()
    assert not find_different("embed", [[0.0, 0.0]], [[0.0, 0.0]]).any()


def test_what_is_no_number_agrees_with_nothing() -> None:
    def tell(value: float) -> dict[str, Any]:
        return {"label": "value", "score": value, "scores": {"value": value}}

    nan = float("nan")
    assert find_different("single", [tell(0.0), tell(1.0)], [tell(nan), tell(1.0)]).tolist() == [True, False]
    assert find_different("embed", [[1.0, 0.0]], [[nan, nan]]).tolist() == [True]
