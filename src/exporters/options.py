"""The options of exporting and timing, checked when they are made. Light, so that `--help` answers at once."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from compressor.evaluation.bounds import CONFIDENCE
from compressor.limits import LIMITS, Problem, check_numbers, show
from exporters.graph.openvino_ir import INSTALL, missing_packages

Precision = Literal["fp32", "int8", "fp16", "bf16"]
Unnamed = Literal["?"]
"""In place of the precision of a graph whose name does not tell it."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Runtime = Literal["onnxruntime", "openvino"]
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

    precision: tuple[Precision, ...] = ("fp32", "int8", "bf16")
    """Of `PRECISIONS`, as far as a runtime has them; fp32 is always made."""
    runtime: tuple[Runtime, ...] = ("onnxruntime",)
    """Of `RUNTIMES`; the fp32 graph of ONNX Runtime is always made."""
    portable: bool = False
    """Standard ONNX operators alone."""
    max_int8_loss: float = 0.01
    """By how much the true error of int8 may exceed that of fp32, with `confidence`."""
    confidence: float = CONFIDENCE
    """That int8 loses no more."""

    def __post_init__(self) -> None:
        check_numbers(self, ("max_int8_loss", "confidence"), self._problems())

    @property
    def forms(self) -> tuple[Form, ...]:
        """What is made, fp32 first."""
        return list_forms(self.runtime, self.precision)

    def smaller_in(self, runtime: Runtime) -> list[tuple[Form, Precision]]:
        """Return what is made for a runtime in smaller precisions than fp32, with the precision."""
        pairs = [(form, FORMS[form]) for form in self.forms]
        return [(form, precision) for form, (of, precision) in pairs if of == runtime and precision != "fp32"]

    def _problems(self) -> list[Problem]:
        """What is wrong besides numbers beyond their limits."""
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
"""Of a timed batch."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is timed."""

    batch_sizes: tuple[int, ...] = (1, 8)
    lengths: tuple[int, ...] = (32, 128)
    """Tokens per text."""
    threads: int = 1
    runs: int = 30
    """Of each model and kind of batch."""
    provider: Literal["cpu", "cuda"] = "cpu"
    """Where the models compute."""

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
            if len(set(values)) != max(1, len(values))
        ]
        largest, longest = max(self.batch_sizes, default=0), max(self.lengths, default=0)
        fine = largest <= LIMITS["batch_sizes"].most and longest <= LIMITS["lengths"].most
        if fine and largest * longest > MAX_TOKENS:
            wrong.append(
                Problem(
                    option="the largest of --batch-sizes times the longest of --lengths",
                    law=f"at most {MAX_TOKENS:,} tokens",
                    value=f"{largest} times {longest}",
                    remedy="Lower one of them.",
                )
            )
        check_numbers(self, ("batch_sizes", "lengths", "threads", "runs"), wrong)


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """How rows are read and judged where that is not as in training."""

    text_columns: tuple[str, ...] = ()
    query_column: str | None = None
    document_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """How requests are sent again."""

    rate: float = 20.0
    """Requests a second, to one model at a time."""

    def __post_init__(self) -> None:
        check_numbers(self, ("rate",))


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What is asked of a model's error on new rows."""

    baseline: str | None = None
    """The model that it is compared with."""
    max_error: float | None = None
    """How large its true error may be, with `confidence`."""
    max_error_increase: float | None = None
    """By how much its true error may exceed the baseline's, with `confidence`."""
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        alone = Problem(
            option="--max-error-increase",
            law="given with --baseline",
            value="it alone",
            remedy="Name the model to compare with.",
        )
        wrong = [alone] if self.max_error_increase is not None and self.baseline is None else []
        check_numbers(self, ("max_error", "max_error_increase", "confidence"), wrong)
