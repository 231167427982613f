"""Distil, then choose: members of a front are distilled for an epoch each, and ranked by what comes out.

Ranks change by that: the shared weights of a small, deep sub-network may gain several points of error where those of a
larger one gain nothing. What was chosen by the errors of the search competes with others of its front here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.batches import EncodedRows
from compressor.evaluation.bounds import compare_with_base
from compressor.extraction.record import Candidate, Parity, Repair
from compressor.search.choosing import Chosen, Judgement, Rivals, describe_confidence
from compressor.training.loop import Distillation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRIED_EPOCHS = 1
"""Epochs that each candidate is distilled for; the one that is taken goes on from there, with a schedule of its own."""


@dataclass(kw_only=True)
class Started:
    """A sub-network that was cut out, verified and repaired, and perhaps distilled."""

    chosen: Chosen
    model: "PreTrainedModel"
    parity: Parity
    model_mb: float
    """Of its weights on disk."""
    repaired: Repair | None
    distilled: Distillation | None = None
    """None as long as it was not."""

    @property
    def error(self) -> float:
        """Validation error of the model as it is now."""
        if self.distilled is not None:
            return self.distilled.error
        repaired = self.repaired
        return repaired.error_after if repaired is not None and repaired.kept else self.parity.error_loaded


def rank(
    tried: Sequence[Started],
    rivals: Rivals,
    base: np.ndarray,
    predictions: Sequence[np.ndarray],
    metric: str,
    rows: EncodedRows,
) -> tuple[Started, tuple[Candidate, ...]]:
    """Return the one that is taken, and what came of all, the first being the one that was chosen by the search.

    `base` is what the super-network predicts for the validation `rows`, `predictions` what the candidates do, [units]
    each.
    """
    # The candidates are new models, so they come on top of all that the search has evaluated.
    number = rivals.num_tried + len(tried)
    # The same rows for all: increases are of pairs, and the bounds grow with the number of models that were tried.
    increases = compare_with_base(metric, base, predictions, rows.labels, rows.structure, num_candidates=number)
    # Without a limit nothing has to hold; bounds are shown all the same, those of a test for an increase of 0.
    holds, bounds = increases.holding(0.0 if rivals.limit is None else rivals.limit, rivals.confidence)
    judgements = [
        Judgement(increase=float(value), at_most=float(bound), holds=bool(holding))
        for value, bound, holding in zip(increases.values, bounds, holds, strict=True)
    ]
    best = _pick(tried, judgements, rivals)
    candidates = tuple(
        Candidate(
            name=one.chosen.name,
            relative_encoder_params=_share(one),
            error_searched=one.parity.error_searched,
            error_distilled=one.error,
            at_most=judgement.bound,
            holds=None if rivals.limit is None else judgement.holds,
        )
        for one, judgement in zip(tried, judgements, strict=True)
    )
    taken, first = tried[best], tried[0]
    # The search's choice stays, and with it the reason as it was written.
    if best == 0:
        return taken, candidates
    return replace(taken, chosen=_tell(taken, first, rivals, judgements[best])), candidates


def _pick(tried: Sequence[Started], judgements: Sequence[Judgement], rivals: Rivals) -> int:
    """Return the place of the one that is taken: the smallest that holds, or the one of the smallest error."""
    if rivals.limit is None:
        # A cost was limited, and all of them keep it: the smallest error wins, of equal ones the smaller model.
        return min(range(len(tried)), key=lambda place: (tried[place].error, _share(tried[place])))
    # The one that was chosen stays where no other one holds: what was promised of it was promised as it was cut.
    holding = [place for place in range(1, len(tried)) if judgements[place].holds]
    return min(holding, key=lambda place: (_share(tried[place]), judgements[place].increase), default=0)


def _share(one: Started) -> float:
    evaluation = one.chosen.evaluation
    assert evaluation is not None  # rivals, and who has any, were evaluated by a search
    return evaluation.relative_encoder_params


def _tell(taken: Started, first: Started, rivals: Rivals, judgement: Judgement) -> Chosen:
    """Return a rival that is taken, with why."""
    if rivals.limit is None:
        reason = f"of the smallest error once distilled (measured {judgement.increase:+.4f} against the super-network)"
    else:
        reason = (
            f"at most {rivals.limit:g} worse than the super-network {describe_confidence(rivals.confidence)} "
            f"once distilled, as far as the validation rows can tell ({judgement})"
        )
    reason += f"; before it was {first.chosen.name}, with {_share(first):.1%} of the encoder."
    return replace(taken.chosen, reason=reason, holds=rivals.limit is not None)
