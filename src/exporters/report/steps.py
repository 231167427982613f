"""What each step to the served model brought: sub-network, vocabulary, precision and runtime, one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compressor.data.heads.answers import name_error
from compressor.extraction.record import ExtractionReport
from exporters.benchmark_record import Benchmark
from exporters.export_record import FASTEST_FIRST, Export, JudgedForm
from exporters.options import FORMS, Form, describe_form
from exporters.timing.latency import Latency

_BYTES = 4
"""Bytes of a parameter in fp32."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The model after a step."""

    name: str
    """Which step it was."""
    made: str
    """What came of it, in a few words."""
    error: float
    """1 − metric on the validation rows."""
    test_error: float | None
    """The same on the test rows; None for smaller precisions, of which only the validation error was looked at."""
    mb: float
    """Size of the graph in megabytes, weights included."""
    latency: Latency | None
    """None where it was refused, and so not timed."""


def list_steps(extraction: ExtractionReport, exports: Mapping[str, Export], benchmark: Benchmark) -> list[Step]:
    """Return the steps from the dense super-network in ONNX fp32 to the fastest forms of what was extracted.

    The vocabulary takes no time: the sub-network with its whole vocabulary was not timed by itself.
    """
    full, small, export = extraction.super_network, extraction.extracted, exports["pruned"]
    assert full is not None  # `compress` has trained it
    dense, pruned = _time(benchmark, "dense", "fp32"), _time(benchmark, "pruned", "fp32")
    steps = [
        Step(
            name="dense",
            made="ONNX fp32",
            error=full.error,
            test_error=full.test_error,
            mb=exports["dense"].fp32.mb,
            latency=dense,
        )
    ]
    vocabulary, share = extraction.vocabulary, f"{small.relative_encoder_params:.1%} of the encoder"
    # Outside of the encoder nothing else is cut.
    tokens_gone = (full.params - full.encoder_params) - (small.params - small.encoder_params)
    steps.append(
        Step(
            name="sub-network",
            made=share,
            error=small.error,
            test_error=small.test_error if vocabulary is None else vocabulary.test_error_before,
            # The graph with the whole vocabulary was never written: what went with the tokens is added, four bytes
            # each.
            mb=export.fp32.mb + (0 if vocabulary is None else tokens_gone * _BYTES / 1e6),
            latency=pruned,
        )
    )
    if vocabulary is not None:
        made = f"{vocabulary.tokens_after:,} of {vocabulary.tokens_before:,} tokens"
        steps.append(
            Step(
                name="vocabulary",
                made=made,
                error=small.error,
                test_error=vocabulary.test_error_after,
                mb=export.fp32.mb,
                latency=pruned,
            )
        )
    return [*steps, *_list_forms(export, benchmark, small.test_error)]


def _list_forms(export: Export, benchmark: Benchmark, test_error: float | None) -> Iterator[Step]:
    """Yield the fastest form in a smaller precision for ONNX Runtime, then the fastest one for OpenVINO.

    A form that may lose too much stands there only where its runtime has no other.
    """
    for name, runtime in (("precision", "onnxruntime"), ("runtime", "openvino")):
        known = [
            form for form in FASTEST_FIRST if FORMS[form][0] == runtime and form != "fp32" and form in export.forms
        ]
        if not known:
            continue
        # The fastest of those that may be served; where all were refused, the fastest of them, marked so.
        form = next((form for form in known if form in export.accepted), known[0])
        made = export.forms[form]
        yield Step(
            name=name,
            made=describe_form(form) + ("" if form in export.accepted else ", refused"),
            error=made.error,
            test_error=None if isinstance(made, JudgedForm) else test_error,
            mb=made.mb,
            latency=_time(benchmark, "pruned", form),
        )


def _time(benchmark: Benchmark, role: str, form: Form) -> Latency | None:
    """Return the latency of a form at the smallest batch of the longest texts; None where it was not timed."""
    name = benchmark.find(role, form)
    rows = [] if name is None else [row for row in benchmark.of_model(name) if isinstance(row.length, int)]
    return min(rows, key=lambda row: (row.batch_size, -int(row.length)), default=None)


def table_of_steps(steps: list[Step], *, against_full_model: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with a row for each step; errors `against_full_model` are disagreement."""
    first = steps[0]
    shape = "" if first.latency is None else f", {first.latency.batch_size} × {first.latency.length}"
    header = ["step", "", *(name_error(label, against_full_model) for label in ("error", "test error"))]
    return [*header, "MB", "of dense", f"p50 ms{shape}", "speed-up"], [
        [
            step.name,
            step.made,
            f"{step.error:.4f}",
            "" if step.test_error is None else f"{step.test_error:.4f}",
            f"{step.mb:.1f}",
            f"{step.mb / first.mb:.2f}",
            "" if step.latency is None else f"{step.latency.p50_ms:.2f}",
            "" if step.latency is None else f"{1 / step.latency.ratio:.2f} ×",
        ]
        for step in steps
    ]
