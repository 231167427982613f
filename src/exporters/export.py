"""Exporting a model to ONNX: fp32 verified against PyTorch, smaller precisions judged by the error that they cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import compressor
from compressor.data.batches import EncodedRows, encode, evaluation_batches
from compressor.data.metrics import label_agreement
from compressor.data.sources import TaskData, in_order_of, require_same_rows
from compressor.data.tasks import Task
from compressor.digests import digest_files
from compressor.evaluation.bounds import compare_with_base
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.score import score
from compressor.extraction.extract import Extraction
from compressor.files import new_directory, require_other_directory
from compressor.network.families import max_positions
from compressor.network.saving import require_error
from compressor.training.super_network import SuperNetwork
from exporters.export_record import ONNX_FILE, Export, JudgedForm, VerifiedForm
from exporters.graph.hub_layout import link_graphs, write_stock_config
from exporters.graph.onnx_export import export_onnx
from exporters.graph.parity import check_onnx_parity, onnx_logits
from exporters.graph.quantization import (
    FP16_SUFFIX,
    INT8_SUFFIX,
    convert_fp16,
    needs_reduced_range,
    quantize_int8,
)
from exporters.graph.sessions import create_session
from exporters.opened_model import OpenedModel, open_model
from exporters.options import ExportOptions, Precision

_MAX_LENGTHS = 1000
"""Of validation rows in a record."""
_BATCH_SIZE = 64


def export_model(
    model: Path | str | Extraction | SuperNetwork | OpenedModel,
    data: TaskData | None,
    output_dir: Path | str,
    options: ExportOptions | None = None,
    **fields: Any,
) -> Export:
    """Export a model into a directory, which appears once all is verified and judged.

    fp32 is `model.onnx`, verified on many shapes and on all validation rows; int8 and fp16 are made from it and judged
    by their validation error. Beside the graphs lie the tokenizer, a stock `config.json` and `export.json`.

    Args:
        model: what was extracted or trained, in memory or as its directory.
        data: the rows that the model was made with; None: loaded from where they were.
        output_dir: the directory to write.
        options: precisions, and what they may cost (None: `ExportOptions()`).
        fields: those of `ExportOptions`, such as `max_int8_loss=0.02`, in place of `options`.

    Raises:
        ModelError: the directory holds no model that can be exported.
        TaskDataError: the rows are not those that the model was made with.
        ParityError: the fp32 graph computes something else than PyTorch; nothing is written.
        OptionError: an option is out of its range.
        OutputError: the directory is the model's own.
    """
    options, output_dir = replace(options or ExportOptions(), **fields), Path(output_dir).expanduser().resolve()
    opened = model if isinstance(model, OpenedModel) else open_model(model)
    require_other_directory(output_dir, opened.path)
    data = opened.load_data() if data is None else in_order_of(data, opened.labels)
    require_same_rows(data, opened.data_digest, "the model was made with", "make the model again")
    validation = encode(data.validation, data.task, opened.tokenizer, max_positions(opened.model))
    with new_directory(output_dir) as temporary:
        about = _metadata(opened, data.task, validation)
        graph = export_onnx(opened.model, opened.tokenizer, temporary / ONNX_FILE, about, portable=options.portable)
        fp32, logits = _verify(graph, opened, data.task, validation)
        smaller: dict[Precision, JudgedForm] = {
            precision: _make_smaller(graph, precision, data.task, validation, logits, options)
            for precision in options.precision
            if precision != "fp32"
        }
        made = Export(
            directory=output_dir,
            model=opened.path,
            task=data.task.name,
            portable=options.portable,
            params=sum(parameter.numel() for parameter in opened.model.parameters()),
            lengths=tuple(sorted(validation.lengths.tolist())[:: max(1, len(validation) // _MAX_LENGTHS)]),
            model_files=None if opened.path is None else digest_files(opened.path),
            data_digest=data.digest,
            fp32=fp32,
            smaller=smaller,
        )
        opened.tokenizer.save_pretrained(temporary)
        write_stock_config(temporary, opened.model, opened.labels)
        link_graphs(temporary, {precision: form.file for precision, form in made.accepted.items()})
        made.save(temporary)
    return made


def _metadata(opened: OpenedModel, task: Task, validation: EncodedRows) -> dict[str, Any]:
    """Return what an exported file says of itself."""
    return {
        "labels": list(opened.labels),
        "sub_network": opened.sub_network,
        "task": task.name,
        "max_length": min(task.max_length, max_positions(opened.model)),
        "head": task.head.name,
        "num_texts": len(task.text_columns),
        "prompt": task.prompt,
        "pad_values": validation.pad_values,
        "versions": {
            "mlflow-compressor": compressor.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _verify(graph: Path, opened: OpenedModel, task: Task, validation: EncodedRows) -> tuple[VerifiedForm, np.ndarray]:
    """Return the fp32 form of a graph, and its logits [rows, classes] of the validation rows.

    Raises:
        ParityError: it computes something else than the model, or than what was measured of the model before.
    """
    batches = evaluation_batches(validation, _BATCH_SIZE)
    differences = check_onnx_parity(graph, opened.model, opened.tokenizer, batches)
    logits = onnx_logits(create_session(graph, threads=1), batches)
    found = score(task, logits, validation)
    before = opened.known_error
    expected = Evaluator(opened.model, task, validation).evaluate().error if before is None else before
    require_error(expected, found.error, logits, task, validation)
    form = VerifiedForm(
        file=graph.name, mb=_graph_mb(graph), error=found.error, error_interval=found.interval, parity=differences
    )
    return form, logits


def _make_smaller(
    graph: Path, precision: Precision, task: Task, validation: EncodedRows, logits: np.ndarray, options: ExportOptions
) -> JudgedForm:
    """Write the int8 or fp16 form of an fp32 graph beside it; return it, judged against the fp32 `logits`.

    Where int8 embedding tables cost too much, they stay fp32.
    """
    if precision == "fp16":
        file = convert_fp16(graph, graph.with_name(graph.stem + FP16_SUFFIX))
        return _judge(file, task, validation, logits, options)
    file = graph.with_name(graph.stem + INT8_SUFFIX)
    form = None
    for tables in (True, False):
        quantize_int8(graph, file, reduce_range=needs_reduced_range(), tables=tables)
        form = _judge(file, task, validation, logits, options, int8_embeddings=tables)
        if form.accepted:
            break
    assert form is not None
    return form


_INT8_TRIES = 2
"""With and without int8 embedding tables: the first that loses little enough is taken, so the bound holds for both."""


def _judge(
    file: Path,
    task: Task,
    validation: EncodedRows,
    logits: np.ndarray,
    options: ExportOptions,
    int8_embeddings: bool | None = None,
) -> JudgedForm:
    """Return a smaller form, compared with the fp32 `logits` of the validation rows, and whether it is accepted.

    It is where it surely loses no more error than is allowed: by a bound over all tries, as a member is chosen.
    """
    is_int8 = int8_embeddings is not None
    rows = 1 if is_int8 else _BATCH_SIZE  # as it is served: int8 answers depend on their batch
    smaller = onnx_logits(create_session(file, threads=1), evaluation_batches(validation, rows))
    both = [task.head.judge(of, validation.reference) for of in (logits, smaller)]
    num_tries = _INT8_TRIES if is_int8 else 1
    losses = compare_with_base(
        task.metric, both[0], both[1:], validation.labels, validation.structure, num_candidates=num_tries
    )
    (accepted,), (at_most,) = losses.holding(options.max_int8_loss, options.confidence)
    found, scale = score(task, smaller, validation), max(float(np.abs(logits).max()), 1e-6)
    return JudgedForm(
        file=file.name,
        mb=_graph_mb(file),
        error=found.error,
        error_interval=found.interval,
        loss=float(losses.values[0]),
        loss_at_most=float(at_most),
        confidence=options.confidence,
        max_loss=options.max_int8_loss,
        accepted=bool(accepted),
        label_agreement=label_agreement(*both),
        difference=float(np.abs(smaller - logits).max()) / scale,
        int8_embeddings=int8_embeddings,
    )


def _graph_mb(graph: Path) -> float:
    """Return the size of a graph in megabytes, with its weights where they lie beside it."""
    weights = graph.with_name(f"{graph.name}.data")
    return (graph.stat().st_size + (weights.stat().st_size if weights.is_file() else 0)) / 1e6
