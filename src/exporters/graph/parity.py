"""Parity: an ONNX file gives the logits of its PyTorch model, over shapes and paddings and on real rows."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from compressor.data.batches import UNITS, Batch, compute_logits, inputs_of, select_units
from compressor.data.heads import form_of
from compressor.network.families import max_positions
from compressor.network.saving import require_parity
from exporters.graph.onnx_export import example_inputs
from exporters.graph.sessions import create_session, run_session

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_ONNX_DIFFERENCE = 1e-4
"""Between ONNX and PyTorch logits (fp32), relative to the largest logit of all shapes: one text alone may give 0."""


def check_onnx_parity(
    path: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batches: list[tuple[np.ndarray, Batch]],
) -> dict[str, float]:
    """The largest relative logit difference per shape, and on the real rows of `batches`.

    Batch sizes 1 and 3, lengths 1, 17 and the longest (at most 512), each unpadded and padded.

    Raises:
        ParityError: one of them exceeds `MAX_ONNX_DIFFERENCE`.
    """
    session = create_session(path, threads=torch.get_num_threads())
    cases: dict[str, list[tuple[np.ndarray, Batch]]] = {}
    for batch_size in (1, 3):
        for length in (1, 17, min(512, max_positions(model))):
            for padded in (False, True) if length > 1 else (False,):
                inputs = example_inputs(model, tokenizer, batch_size=batch_size, length=length)
                if padded:
                    inputs["attention_mask"][..., length // 2 :] = 0
                    inputs["input_ids"][..., length // 2 :] = tokenizer.pad_token_id or 0
                if form_of(model).answers_tokens:
                    inputs[UNITS] = inputs["attention_mask"].flatten().nonzero().flatten()
                name = f"batch {batch_size}, length {length}{', padded' if padded else ''}"
                cases[name] = [(np.arange(len(inputs.get(UNITS, inputs["input_ids"]))), inputs)]
    if batches:
        cases["real rows"] = batches
    expected = {name: _torch_logits(model, case) for name, case in cases.items()}
    scale = max(float(np.abs(logits).max()) for logits in expected.values())
    return {
        name: require_parity(
            expected[name], onnx_logits(session, case), f"ONNX and PyTorch ({name})", MAX_ONNX_DIFFERENCE, scale
        )
        for name, case in cases.items()
    }


def onnx_logits(session: object, batches: list[tuple[np.ndarray, Batch]]) -> np.ndarray:
    """The ONNX logits [units, outputs] of all batches, in the order of the rows."""
    order = np.concatenate([picked for picked, _ in batches])
    parts = []
    for _, batch in batches:
        logits = run_session(session, {name: values.cpu().numpy() for name, values in inputs_of(batch).items()})
        parts.append(select_units(torch.from_numpy(logits), batch).numpy())
    return np.asarray(np.concatenate(parts)[np.argsort(order)])


def _torch_logits(model: "PreTrainedModel", batches: list[tuple[np.ndarray, Batch]]) -> np.ndarray:
    moved = [(picked, {key: values.to(model.device) for key, values in batch.items()}) for picked, batch in batches]
    return compute_logits(model, moved)
