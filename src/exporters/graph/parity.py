"""Parity: an exported graph gives the logits of its PyTorch model, over shapes and paddings and on real rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from compressor.data.batches import UNITS, Batch, compute_logits, inputs_of, select_units
from compressor.data.heads import form_of
from compressor.network.families import max_positions
from compressor.network.saving import require_parity
from exporters.graph.onnx_export import example_inputs
from exporters.graph.openvino_ir import IR_SUFFIX
from exporters.graph.sessions import create_session, run_session

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_ONNX_DIFFERENCE = 1e-4
"""Between a graph's and PyTorch's logits (fp32), relative to the largest logit of all shapes: one text alone may give
0."""


@dataclass(frozen=True, kw_only=True)
class ExpectedLogits:
    """What PyTorch answers, by kind of batch."""

    cases: Mapping[str, list[tuple[np.ndarray, Batch]]]
    logits: Mapping[str, np.ndarray]

    @property
    def scale(self) -> float:
        """The largest logit."""
        return max(float(np.abs(logits).max()) for logits in self.logits.values())


def check_onnx_parity(
    path: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batches: list[tuple[np.ndarray, Batch]],
) -> dict[str, float]:
    """Return the largest relative logit difference per shape, and on the real rows of `batches`; see `expect_logits`.

    Raises:
        ParityError: one of them exceeds `MAX_ONNX_DIFFERENCE`.
    """
    return check_parity(path, expect_logits(model, tokenizer, batches))


def expect_logits(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", batches: list[tuple[np.ndarray, Batch]]
) -> ExpectedLogits:
    """Return what PyTorch answers to made-up batches and to the real rows of `batches`.

    Batch sizes 1 and 3, lengths 1, 17 and the longest (at most 512), each unpadded and padded.
    """
    cases: dict[str, list[tuple[np.ndarray, Batch]]] = {}
    for batch_size in (1, 3):
        # Where graphs break: a single token, an odd length, and the end of the position table.
        for length in (1, 17, min(512, max_positions(model))):
            for padded in (False, True) if length > 1 else (False,):
                inputs = example_inputs(model, tokenizer, batch_size=batch_size, length=length)
                if padded:
                    # Half of it: enough that a graph which ignores the mask differs.
                    inputs["attention_mask"][..., length // 2 :] = 0
                    inputs["input_ids"][..., length // 2 :] = tokenizer.pad_token_id or 0
                if form_of(model).answers_tokens:
                    inputs[UNITS] = inputs["attention_mask"].flatten().nonzero().flatten()
                name = f"batch {batch_size}, length {length}{', padded' if padded else ''}"
                cases[name] = [(np.arange(len(inputs.get(UNITS, inputs["input_ids"]))), inputs)]
    if batches:
        cases["real rows"] = batches
    return ExpectedLogits(cases=cases, logits={name: _torch_logits(model, case) for name, case in cases.items()})


def check_parity(path: Path, expected: ExpectedLogits, provider: str = "cpu") -> dict[str, float]:
    """Return the largest relative logit difference of a graph (ONNX or IR) by kind of batch.

    Raises:
        ParityError: one of them exceeds `MAX_ONNX_DIFFERENCE`.
    """
    # On as many threads as PyTorch: nothing is timed here.
    session = create_session(path, torch.get_num_threads(), provider)
    what, scale = "OpenVINO" if path.suffix == IR_SUFFIX else "ONNX", expected.scale
    return {
        name: require_parity(
            logits,
            onnx_logits(session, expected.cases[name]),
            f"{what} and PyTorch ({name})",
            MAX_ONNX_DIFFERENCE,
            scale,
        )
        for name, logits in expected.logits.items()
    }


def onnx_logits(session: object, batches: list[tuple[np.ndarray, Batch]]) -> np.ndarray:
    """Return a session's logits [units, outputs] of all batches, in the order of the rows."""
    order = np.concatenate([picked for picked, _ in batches])
    parts = []
    for _, batch in batches:
        logits = run_session(session, {name: values.cpu().numpy() for name, values in inputs_of(batch).items()})
        parts.append(select_units(torch.from_numpy(logits), batch).numpy())
    return np.asarray(np.concatenate(parts)[np.argsort(order)])


def _torch_logits(model: "PreTrainedModel", batches: list[tuple[np.ndarray, Batch]]) -> np.ndarray:
    moved = [(picked, {key: values.to(model.device) for key, values in batch.items()}) for picked, batch in batches]
    return compute_logits(model, moved)
