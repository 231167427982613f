"""ONNX export of a dense or sliced encoder: dynamic batch and length, inputs named as the tokenizer names them."""

import gc
import inspect
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor.data.heads import form_of
from compressor.files import new_files
from compressor.network.families import get_family, max_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OPSET = 20
"""With eager attention this opset needs no NaN guards."""
MAX_PROTO_BYTES = 2_000_000_000
"""What fits into one file."""


def export_onnx(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    path: Path,
    metadata: dict[str, Any] | None = None,
    *,
    portable: bool = False,
) -> Path:
    """Write `model` as ONNX to `path`: inputs [batch, length] ([batch, choices, length] for choices) → `logits`
    or, pooled within the graph, `sentence_embedding`.

    `metadata` goes into the file's metadata as JSON values. The graph uses ONNX Runtime's fused operators (`fused.py`)
    where the family has them, a `portable` one standard operators alone. Above 2 GB the weights lie beside the file,
    in `<name>.data`.
    """
    import onnx

    from exporters.graph.fused import ExportedModel

    longest = max_positions(model)
    # Not 1, which the exporter would take for a constant; 17 is no size of anything else in a model.
    inputs = example_inputs(model, tokenizer, batch_size=2, length=17)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=1, max=longest)
    axes = (batch, length) if inputs["input_ids"].ndim == 2 else (batch, torch.export.Dim("choices"), length)
    fused = get_family(model.config.model_type).fused and not portable
    with _eager_attention(model), torch.inference_mode(False), torch.no_grad(), _quiet(), _hurried():
        program = torch.onnx.export(
            ExportedModel(model, fused=bool(fused)),
            kwargs=inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[form_of(model).output_name],
            dynamic_shapes={name: dict(enumerate(axes)) for name in inputs},
        )
        assert program is not None
        if not fused:
            program.optimize()  # again: the first time leaves weights of two products to be transposed at run time
    proto = program.model_proto
    _forget_sources(proto)
    for key, value in {**(metadata or {}), "vocab_size": model.config.vocab_size, "max_positions": longest}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_files(path) as temporary:
        # protobuf's own limit is 2 GiB.
        large = proto.ByteSize() > MAX_PROTO_BYTES
        onnx.save_model(proto, temporary / path.name, save_as_external_data=large, location=f"{path.name}.data")
    return path


def _forget_sources(proto: Any) -> None:
    """Remove what the exporter notes of its own: stack traces with the paths of this machine's files."""
    for part in (proto.graph, *proto.functions):
        for entry in (part, *part.node, *part.value_info, *part.input, *part.output):
            for name in ("metadata_props", "doc_string"):
                if any(field.name == name for field in entry.DESCRIPTOR.fields):
                    entry.ClearField(name)


def example_inputs(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, batch_size: int, length: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return random inputs without padding, named and ordered as by the tokenizer; two for multiple choice."""
    shape = form_of(model).shape(batch_size, length)
    generator = torch.Generator().manual_seed(seed)
    # From 5 on: the first ids are padding and other special tokens in most vocabularies.
    ids = torch.randint(5, model.config.vocab_size, shape, generator=generator)
    inputs = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
    known = inspect.signature(model.forward).parameters  # DistilBERT has no token types, whatever its tokenizer says
    return {name: inputs[name] for name in tokenizer.model_input_names if name in inputs and name in known}


@contextmanager
def _eager_attention(model: "PreTrainedModel") -> Iterator[None]:
    before = model.config._attn_implementation
    # sdpa exports NaN guards, or an operator that fewer runtimes have; modules read this when they are called.
    model.config._attn_implementation = "eager"
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.config._attn_implementation = before
        model.train(was_training)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress and warns about its own internals."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _hurried() -> Iterator[None]:
    """Pause garbage collection, share the exporter's table of operators with the exports before, note no call stacks.

    The exporter makes many objects that stay, whose collection is a tenth of its time. The table is the same each time;
    making it anew, signatures included, is a third of the time of a small graph. What called each operator is a tenth
    more, and `_forget_sources` would remove it from the graph.
    """
    import torch.fx.config
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    was_enabled, config = gc.isenabled(), torch.fx.config
    noted_nothing = getattr(config, "do_not_emit_stack_traces", False)  # PyTorch 2.9 does not know it, nor mind
    gc.disable()
    config.do_not_emit_stack_traces = True
    # PyTorch's own, and so a class method: put back as it was.
    made = ONNXRegistry.__dict__["from_torchlib"]
    ONNXRegistry.from_torchlib = staticmethod(partial(_operators, made.__func__, ONNXRegistry))  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = made  # type: ignore[method-assign]
        config.do_not_emit_stack_traces = noted_nothing
        if was_enabled:
            gc.enable()


@cache
def _operators(make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what an ONNX operator is made of, for each of PyTorch's; made once."""
    return make(*args, **options)
