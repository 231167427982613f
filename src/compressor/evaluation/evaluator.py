"""Evaluating the super-network or one of its sub-networks on encoded rows, with nothing padded or computed in vain."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressor.data.batches import EncodedRows, compute_logits, evaluation_batches
from compressor.data.metrics import compute_error
from compressor.data.tasks import Task
from compressor.network.execution import activate
from compressor.network.sub_network import SubNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one evaluation found."""

    error: float
    """1 − metric."""
    seconds: float
    logits: np.ndarray
    """In the order of the rows: [units, outputs]."""


class Evaluator:
    """Evaluates sub-networks of one model on the same rows; the rows are batched once and moved to the device once."""

    def __init__(self, model: "PreTrainedModel", task: Task, rows: EncodedRows, batch_size: int = 64) -> None:
        self.model, self.task, self.rows = model, task, rows
        self._batches = [
            (picked, {name: values.to(model.device) for name, values in batch.items()})
            for picked, batch in evaluation_batches(rows, batch_size)
        ]

    def evaluate(self, sub_network: SubNetwork | None = None) -> Evaluation:
        """Error and logits of a sub-network, or of the model as it stands."""
        start, rows = time.perf_counter(), self.rows
        logits = self.compute_logits(sub_network)
        predictions = self.task.head.judge(logits, rows.reference)
        error = compute_error(self.task.metric, predictions, rows.labels, rows.structure)
        return Evaluation(error=error, seconds=time.perf_counter() - start, logits=logits)

    def compute_logits(self, sub_network: SubNetwork | None = None) -> np.ndarray:
        """Logits [units, outputs] of a sub-network, or of the model as it stands, in the order of the rows."""
        with activate(self.model, sub_network) if sub_network is not None else nullcontext():
            return compute_logits(self.model, self._batches)
