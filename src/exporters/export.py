"""Exporting a model to ONNX and OpenVINO: fp32 verified against PyTorch, smaller forms judged by what they cost."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

import compressor
from compressor.data.batches import EncodedRows, encode, evaluation_batches, inputs_of
from compressor.data.metrics import label_agreement
from compressor.data.rows import TaskData, in_order_of, pick_rows, require_same_rows
from compressor.data.tasks import Task
from compressor.digests import digest_files
from compressor.errors import CompressorError, ModelError
from compressor.evaluation.bounds import compare_with_base
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.score import score
from compressor.extraction.extract import Extraction
from compressor.files import new_directory, require_other_directory
from compressor.network.checkpoints import has_backend
from compressor.network.families import get_family, max_positions
from compressor.network.saving import require_error
from compressor.training.super_network import SuperNetwork
from exporters.export_record import ONNX_FILE, Export, JudgedForm, VerifiedForm
from exporters.graph.hub_layout import link_graphs, write_stock_config
from exporters.graph.onnx_export import export_onnx
from exporters.graph.openvino_ir import IR_FILE, UNREADABLE, computes_bf16, convert_ir, halve_ir, quantize_ir
from exporters.graph.parity import ExpectedLogits, check_parity, expect_logits, onnx_logits
from exporters.graph.quantization import (
    FP16_SUFFIX,
    INT8_SUFFIX,
    convert_fp16,
    quantize_int8,
)
from exporters.graph.sessions import create_session, files_of, graph_mb, require_provider
from exporters.opened_model import OpenedModel, open_model
from exporters.options import ExportOptions, Form, Precision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_LENGTHS = 1000
"""The most lengths of validation rows in a record."""
_BATCH_SIZE = 64
NUM_CALIBRATION_ROWS = 64
"""Training rows that tell the ranges of activations in static int8."""


def export_model(
    model: Path | str | Extraction | SuperNetwork | OpenedModel,
    data: TaskData | None,
    output_dir: Path | str,
    options: ExportOptions | None = None,
    **fields: Any,
) -> Export:
    """Export a model into a directory, which appears once all is verified and judged.

    fp32 is `model.onnx`, verified on many shapes and on all validation rows; the other forms are made from it. That of
    OpenVINO in fp32 is verified too, all in smaller precisions are judged by their validation error. Beside the graphs
    lie the tokenizer, a stock `config.json` and `export.json`.

    Args:
        model: what was extracted or trained, in memory or as its directory.
        data: the rows that the model was made with; None: loaded from where they were.
        output_dir: the directory to write.
        options: precisions, runtimes, and what they may cost (None: `ExportOptions()`).
        fields: those of `ExportOptions`, such as `max_int8_loss=0.02`, in place of `options`.

    Raises:
        ModelError: the directory holds no model that can be exported, or its tokenizer is not a fast one.
        TaskDataError: the rows are not those that the model was made with.
        ParityError: an fp32 form computes something else than PyTorch; nothing is written.
        OptionError: an option is out of its range.
        OutputError: the directory is the model's own.
    """
    options, output_dir = replace(options or ExportOptions(), **fields), Path(output_dir).expanduser().resolve()
    # Before the model is loaded: a provider that is not there needs no waiting.
    require_provider(options.provider, {"onnxruntime", *options.runtime})
    opened = model if isinstance(model, OpenedModel) else open_model(model)
    require_other_directory(output_dir, opened.path)
    require_servable_tokenizer(opened.tokenizer)
    data = opened.load_data() if data is None else in_order_of(data, opened.labels)
    require_same_rows(data, opened.data_digest, "the model was made with", "make the model again")
    validation = encode(data.validation, data.task, opened.tokenizer, max_positions(opened.model))
    with new_directory(output_dir, gone=_find_earlier_forms(output_dir)) as temporary:
        verified, smaller = _make_forms(temporary, opened, data, validation, options)
        made = Export(
            directory=output_dir,
            model=opened.path,
            task=data.task.name,
            portable=options.portable,
            provider=options.provider,
            params=sum(parameter.numel() for parameter in opened.model.parameters()),
            # Every n-th of the sorted lengths: a few numbers from which a benchmark draws texts as long as the real
            # ones.
            lengths=tuple(sorted(validation.lengths.tolist())[:: max(1, len(validation) // _MAX_LENGTHS)]),
            model_files=None if opened.path is None else digest_files(opened.path),
            data_digest=data.digest,
            fp32=verified["fp32"],
            openvino=verified.get("openvino-fp32"),
            smaller=smaller,
        )
        opened.tokenizer.save_pretrained(temporary)
        write_stock_config(temporary, opened.model, opened.labels)
        link_graphs(temporary, {name: form.file for name, form in made.accepted.items()})
        made.save(temporary)
    return made


def _find_earlier_forms(directory: Path) -> list[str]:
    """Return the files of the forms that an earlier export has left in a directory, beside which ours are to lie."""
    try:
        made = Export.load(directory)
    except (CompressorError, OSError):  # there is none, or what is broken says nothing
        return []
    return [file.name for form in made.forms for file in files_of(made.path(form))]


def require_servable_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise unless what is served, which has no transformers, can read a model's tokenizer.

    Raises:
        ModelError: it has no `tokenizer.json`.
    """
    if not has_backend(tokenizer):
        raise ModelError(
            f"a tokenizer must have a tokenizer.json to be served, but {type(tokenizer).__name__} has none. "
            "Save that of the base model as a fast tokenizer, and train again."
        )


def _make_forms(
    directory: Path, opened: OpenedModel, data: TaskData, validation: EncodedRows, options: ExportOptions
) -> tuple[dict[Form, VerifiedForm], dict[Form, JudgedForm]]:
    """Write all forms of a model into a directory; return those in fp32, verified, and the smaller ones, judged.

    Raises:
        ParityError: one in fp32 computes something else than PyTorch.
    """
    about = _metadata(opened, data.task, validation)
    graph = export_onnx(opened.model, opened.tokenizer, directory / ONNX_FILE, about, portable=options.portable)
    # PyTorch is asked once, for all runtimes.
    expected = expect_logits(opened.model, opened.tokenizer, evaluation_batches(validation, _BATCH_SIZE))
    fp32, logits = _verify(graph, expected, opened, data.task, validation, options.provider)
    verified: dict[Form, VerifiedForm] = {"fp32": fp32}
    smaller: dict[Form, JudgedForm] = {
        form: _make_smaller(graph, precision, data.task, validation, logits, options)
        for form, precision in options.smaller_in("onnxruntime")
    }
    if "openvino" in options.runtime:
        ir = _convert(graph, opened, about, portable=options.portable)
        verified["openvino-fp32"], _ = _verify(ir, expected, opened, data.task, validation)
        for form, precision in options.smaller_in("openvino"):
            file = ir.with_name(f"{ir.stem}.{precision}{ir.suffix}")
            if precision == "int8":
                quantize_ir(ir, file, _calibration_rows(data, opened))
            elif computes_bf16():
                halve_ir(ir, file)
            else:
                # On a CPU without bfloat16 it would compute in fp32: there would be nothing to judge.
                continue
            smaller[form] = _judge(file, data.task, validation, logits, options)
    return verified, smaller


def _convert(graph: Path, opened: OpenedModel, about: dict[str, Any], *, portable: bool) -> Path:
    """Write OpenVINO's fp32 form beside an ONNX graph, of which it is made unless OpenVINO cannot read it."""
    file = graph.with_name(IR_FILE)
    if portable or get_family(opened.model.config.model_type).fused not in UNREADABLE:
        return convert_ir(graph, file)
    # Of graphs with operators that OpenVINO misreads a portable one is made for it alone, and not kept.
    with tempfile.TemporaryDirectory(dir=graph.parent) as folder:
        readable = export_onnx(opened.model, opened.tokenizer, Path(folder) / ONNX_FILE, about, portable=True)
        return convert_ir(readable, file)


def _calibration_rows(data: TaskData, opened: OpenedModel) -> list[dict[str, np.ndarray]]:
    """Return some training rows as inputs, one at a time: calibration sees no row that anything is judged on."""
    drawn = np.random.default_rng([0, 7]).permutation(len(data.train))[:NUM_CALIBRATION_ROWS]
    task = replace(data.task, reference=None)  # nothing is learnt
    rows = encode(pick_rows(data.train, drawn), task, opened.tokenizer, max_positions(opened.model))
    batches = [inputs_of(batch) for _, batch in evaluation_batches(rows, 1)]
    return [{name: values.numpy() for name, values in batch.items()} for batch in batches]


def _metadata(opened: OpenedModel, task: Task, validation: EncodedRows) -> dict[str, Any]:
    """Return what an exported file says of itself."""
    return {
        "labels": list(opened.labels),
        "sub_network": opened.sub_network,
        "task": task.name,
        "max_length": min(task.max_length, max_positions(opened.model)),
        "head": task.head.name,
        "num_texts": len(task.text_columns),
        "metric": task.metric,
        "columns": {"text": task.text_columns, "label": task.label_column, "group": task.group_column},
        "prompt": task.prompt,
        "truncation_side": opened.tokenizer.truncation_side,  # tokenizer.json does not say it
        "pad_values": validation.pad_values,
        "versions": {
            "mlflow-compressor": compressor.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _verify(
    graph: Path,
    expected: ExpectedLogits,
    opened: OpenedModel,
    task: Task,
    validation: EncodedRows,
    provider: str = "cpu",
) -> tuple[VerifiedForm, np.ndarray]:
    """Return the fp32 form of a graph, and its logits [rows, classes] of the validation rows.

    Raises:
        ParityError: it computes something else than the model, or than what was measured of the model before.
    """
    differences = check_parity(graph, expected, provider)
    logits = onnx_logits(create_session(graph, 1, provider), evaluation_batches(validation, _BATCH_SIZE))
    found = score(task, logits, validation)
    before = opened.known_error
    error = Evaluator(opened.model, task, validation).evaluate().error if before is None else before
    # Law 4: the error that was searched, or measured after distillation, is the error that ships.
    require_error(error, found.error, logits, task, validation)
    form = VerifiedForm(
        file=graph.name, mb=graph_mb(graph), error=found.error, error_interval=found.interval, parity=differences
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
    # With int8 tables first: they are most of a small model's file.
    for tables in (True, False):
        quantize_int8(graph, file, tables=tables)
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
    smaller = onnx_logits(create_session(file, 1, options.provider), evaluation_batches(validation, rows))
    both = [task.head.judge(of, validation.reference) for of in (logits, smaller)]
    num_tries = _INT8_TRIES if is_int8 else 1
    losses = compare_with_base(
        task.metric, both[0], both[1:], validation.labels, validation.structure, num_candidates=num_tries
    )
    # As a member of the front is chosen (`choosing.judge`): by a bound, not by what was measured.
    (accepted,), (at_most,) = losses.holding(options.max_int8_loss, options.confidence)
    found, scale = score(task, smaller, validation), max(float(np.abs(logits).max()), 1e-6)
    return JudgedForm(
        file=file.name,
        mb=graph_mb(file),
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
