"""Whether two served models answer a row alike: by what their answers say, not by their scores."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

APART = 0.1
"""A share of the spread (standard deviation) of the first model's values: from here on two values disagree."""
NEAR = 0.99
"""Cosine of two vectors from which on they agree."""


def find_different(kind: str, answers: Sequence[Any], others: Sequence[Any]) -> np.ndarray:
    """Return which answers of two models disagree, [rows]: other labels or spans, or another first document.

    Values disagree from a tenth of the spread of the first model's on, vectors below a cosine of 0.99. Answers are as
    JSON has them.
    """
    if kind == "embed":
        return np.asarray([not _cosine(one, other) >= NEAR for one, other in zip(answers, others, strict=True)])
    # By the scores: a label of several may be called like that too.
    if kind in ("single", "pair") and all(set(answer["scores"]) == {"value"} for answer in answers):
        values, theirs = (np.asarray([answer["score"] for answer in each]) for each in (answers, others))
        # 1e-6: where all values are the same, rounding is no disagreement. NaN, as of a form that overflows, agrees
        # with nothing.
        return np.asarray(~(np.abs(values - theirs) <= max(APART * float(values.std()), 1e-6)))
    tell = TOLD[kind]
    return np.asarray([tell(one) != tell(other) for one, other in zip(answers, others, strict=True)])


TOLD: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("single", "pair", "choices"), lambda answer: answer["label"]),
    **dict.fromkeys(("labels", "pair_labels"), lambda answer: set(answer["labels"])),
    "tokens": lambda answer: {(span["start"], span["end"], span["label"]) for span in answer["spans"]},
    "documents": lambda answer: [document["index"] for document in answer["documents"][:1]],
}
"""What two answers must have alike, by the kind of rows."""


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    size = math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / size if size else 1.0
