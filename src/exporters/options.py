"""The options of exporting and timing, checked when they are made. Light, so that `--help` answers at once."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from compressor.data.sources import DataSource
from compressor.options import Limit, Problem, check_numbers, find_limits, option, option_like, show
from compressor.search.options import ERRORS, THREADS, Choice
from exporters.graph.openvino_ir import INSTALL, missing_packages

Precision = Literal["fp32", "int8", "fp16", "bf16"]
Unnamed = Literal["?"]
"""In place of the precision of a graph whose name does not tell it."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Runtime = Literal["onnxruntime", "openvino"]
Provider = Literal["cpu", "cuda"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
RUNTIME_NAMES: dict[Runtime, str] = {"onnxruntime": "ONNX", "openvino": "OpenVINO"}
"""What people call their files."""
Form = Literal["fp32", "int8", "fp16", "openvino-fp32", "openvino-int8", "openvino-bf16"]
FORMS: dict[Form, tuple[Runtime, Precision]] = {
    "fp32": ("onnxruntime", "fp32"),
    "int8": ("onnxruntime", "int8"),
    "fp16": ("onnxruntime", "fp16"),
    "openvino-fp32": ("openvino", "fp32"),
    "openvino-int8": ("openvino", "int8"),
    "openvino-bf16": ("openvino", "bf16"),
}
"""What a model can be exported as: the runtime that computes it, and its precision there."""


def list_forms(runtimes: Collection[str], precisions: Collection[str]) -> tuple[Form, ...]:
    """Return the forms of these precisions that these runtimes have, and fp32, first of all in ONNX."""
    return tuple(
        form
        for form, (runtime, precision) in FORMS.items()
        if form == "fp32" or (runtime in runtimes and (precision == "fp32" or precision in precisions))
    )


def find_form(runtime: str, precision: str) -> Form | None:
    """Return the form of a precision in a runtime; None where there is none."""
    return next((form for form, pair in FORMS.items() if pair == (runtime, precision)), None)


def describe_form(form: Form) -> str:
    """Return a form as people call it: OpenVINO int8."""
    runtime, precision = FORMS[form]
    return f"{RUNTIME_NAMES[runtime]} {precision}"


def installed_runtimes() -> tuple[Runtime, ...]:
    """Return the runtimes that a model can be exported for here."""
    return tuple(runtime for runtime in RUNTIMES if runtime != "openvino" or not missing_packages())


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """In which precisions a model is exported, and how much error a smaller one may cost."""

    precision: tuple[Precision, ...] = option(
        ("fp32", "int8", "bf16"),
        f"Precisions of the exported variants: {', '.join(PRECISIONS)}. fp32 is always made; ONNX Runtime has no bf16, "
        "OpenVINO no fp16.",
    )
    runtime: tuple[Runtime, ...] = option(
        ("onnxruntime",),
        "What the model is exported for: onnxruntime, openvino, or both with a comma; auto: openvino too where it "
        "is installed. fp32 in ONNX is always made.",
    )
    portable: bool = option(False, "Standard ONNX operators alone; a little slower.")
    provider: Literal["cpu", "cuda"] = option(
        "cpu",
        "Where ONNX Runtime verifies, judges and serves the model: on the CPU, or with onnxruntime-gpu on a GPU, in "
        "fp32 and fp16.",
    )
    max_int8_loss: float = option(
        0.01,
        "By how much a smaller precision may raise the true error, as sure as --confidence says.",
        limit=Limit(least=0, most=2, reason=ERRORS),
    )
    confidence: float = option_like(Choice, "confidence")

    def __post_init__(self) -> None:
        check_numbers(self, self._problems())

    @property
    def forms(self) -> tuple[Form, ...]:
        """What is made, fp32 first; for a GPU fp16 in place of int8 and bf16, which it has no kernels for."""
        if self.provider == "cuda":
            return ("fp32",) if set(self.precision) <= {"fp32"} else ("fp32", "fp16")
        return list_forms(self.runtime, self.precision)

    def smaller_in(self, runtime: Runtime) -> list[tuple[Form, Precision]]:
        """Return what is made for a runtime in smaller precisions than fp32, with the precision."""
        pairs = [(form, FORMS[form]) for form in self.forms]
        return [(form, precision) for form, (of, precision) in pairs if of == runtime and precision != "fp32"]

    def _problems(self) -> list[Problem]:
        """Return what is wrong besides numbers beyond their limits."""
        lists: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
            "--precision": (self.precision, PRECISIONS, "fp32,int8"),
            "--runtime": (self.runtime, RUNTIMES, "onnxruntime,openvino"),
        }
        problems = [
            Problem(
                option=option,
                law=f"of {', '.join(known)}, each once",
                value=repr(",".join(given)[:100]),
                remedy=f"Write it as {example}.",
            )
            for option, (given, known, example) in lists.items()
            # Unknown ones, doubled ones, or an empty list, which `max` makes unequal too.
            if not set(given) <= set(known) or len(set(given)) != max(1, len(given))
        ]
        if "openvino" in self.runtime and (missing := missing_packages()):
            problems.append(
                Problem(
                    option="--runtime",
                    law="of what is installed",
                    value=f"openvino without the package{'s'[: len(missing) - 1]} {' and '.join(missing)}",
                    remedy=f"{INSTALL}.",
                )
            )
        return problems


MAX_TOKENS = 2**20
"""The most tokens of a timed batch."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is timed."""

    batch_sizes: tuple[int, ...] = option(
        (1, 8),
        "Batch sizes to time.",
        limit=Limit(least=1, most=1024, reason="all rows of a batch are in memory at once"),
    )
    lengths: tuple[int, ...] = option(
        (32, 128),
        "Tokens per text to time.",
        limit=Limit(least=1, most=100_000, reason="tokens; cut to what the models take"),
    )
    threads: int = option(1, "Threads of what is timed.", limit=THREADS)
    runs: int = option(
        30,
        "Timed runs of each model and shape.",
        limit=Limit(least=1, most=10_000, reason="each shape and model is timed so often"),
    )
    provider: Literal["cpu", "cuda"] = option("cpu", "Where ONNX Runtime and PyTorch compute.")

    def __post_init__(self) -> None:
        given = {"--batch-sizes": self.batch_sizes, "--lengths": self.lengths}
        wrong = [
            Problem(
                option=option,
                law="different numbers",
                value=",".join(map(show, values)),
                remedy="Write them as 1,8.",
            )
            for option, values in given.items()
            # Doubled numbers, or none at all.
            if len(set(values)) != max(1, len(values))
        ]
        largest, longest = max(self.batch_sizes, default=0), max(self.lengths, default=0)
        limits = find_limits(BenchmarkOptions)
        fine = largest <= limits["batch_sizes"].most and longest <= limits["lengths"].most
        # Only where each is within its own limit: one error for one mistake.
        if fine and largest * longest > MAX_TOKENS:
            wrong.append(
                Problem(
                    option="the largest of --batch-sizes times the longest of --lengths",
                    law=f"at most {MAX_TOKENS:,} tokens",
                    value=f"{largest} times {longest}",
                    remedy="Lower one of them.",
                )
            )
        check_numbers(self, wrong)


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """How rows are read and judged where that is not as in training."""

    text_columns: tuple[str, ...] = option_like(DataSource, "text_columns")
    query_column: str | None = option_like(DataSource, "query_column")
    document_column: str | None = option_like(DataSource, "document_column")
    label_column: str | None = option_like(DataSource, "label_column")
    group_column: str | None = option_like(DataSource, "group_column")
    metric: str | None = option_like(DataSource, "metric")


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """How requests are sent again."""

    rate: float = option(
        20.0,
        "Requests a second, to one model at a time; each is sent when it is due, whether or not earlier ones are "
        "answered.",
        limit=Limit(least=0, above=True, most=100_000, reason="requests a second; no CPU answers as many"),
    )

    def __post_init__(self) -> None:
        check_numbers(self)


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What is asked of a model's error on new rows."""

    baseline: str | None = option(None, "Another served model, asked about the same rows and compared.", path=True)
    max_error: float | None = option(
        None,
        "Fail unless the true error is at most this, as sure as --confidence says.",
        limit=Limit(least=0, most=2, reason=ERRORS),
    )
    max_error_increase: float | None = option_like(
        Choice,
        "max_error_increase",
        help="Fail unless the true error is at most so far above the baseline's, as sure as --confidence says.",
    )
    confidence: float = option_like(
        Choice, "confidence", help="Of what the gate promises, from 0.5 (as measured) to below 1."
    )

    def __post_init__(self) -> None:
        alone = Problem(
            option="--max-error-increase",
            law="given with --baseline",
            value="it alone",
            remedy="Name the model to compare with.",
        )
        wrong = [alone] if self.max_error_increase is not None and self.baseline is None else []
        check_numbers(self, wrong)
