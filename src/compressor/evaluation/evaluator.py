"""Evaluating the super-network or one of its sub-networks on encoded rows, without needless padding."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.batches import EncodedRows, compute_logits, evaluation_picks, iterate_batches
from compressor.data.metrics import compute_error
from compressor.data.tasks import Task
from compressor.device import Pieces, to_device
from compressor.network.execution import activate
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KEPT = 1 << 25
"""Tokens, padded, of batches that are kept: 270 MB for each input of a model."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one evaluation found."""

    error: float
    """1 − metric."""
    seconds: float
    logits: np.ndarray
    """In the order of the rows: [units, outputs]."""


class Evaluator:
    """Evaluates sub-networks of one model on the same rows.

    The rows are batched once and moved to the device once, or where there are very many each time again.
    """

    def __init__(self, model: "PreTrainedModel", task: Task, rows: EncodedRows, batch_size: int = 64) -> None:
        self.model, self.task, self.rows, self._pieces = model, task, rows, Pieces()
        self._picks, lengths = evaluation_picks(rows, batch_size), rows.lengths
        # Sorted by length: the last row of a batch is its longest, to which the others are padded.
        padded = sum(len(picked) * rows.num_choices * int(lengths[picked[-1]]) for picked in self._picks)
        self._kept = (
            None
            if padded > _KEPT
            else [(places, to_device(batch, model.device)) for places, batch in iterate_batches(rows, self._picks)]
        )

    def evaluate(self, sub_network: SubNetwork | None = None) -> Evaluation:
        """Return error and logits of a sub-network, or of the model as it stands."""
        start, rows = time.perf_counter(), self.rows
        logits = self.compute_logits(sub_network)
        predictions = self.task.head.judge(logits, rows.reference)
        error = compute_error(self.task.metric, predictions, rows.labels, rows.structure)
        return Evaluation(error=error, seconds=time.perf_counter() - start, logits=logits)

    def compute_logits(self, sub_network: SubNetwork | None = None) -> np.ndarray:
        """Return logits [units, outputs] of a sub-network, or of the model as it stands, in the order of the rows."""
        with activate(self.model, sub_network) if sub_network is not None else nullcontext():
            return compute_logits(self.model, self._kept or iterate_batches(self.rows, self._picks), self._pieces)
