"""The options of exporting and timing, checked when they are made. Light, so that `--help` answers at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from compressor.evaluation.bounds import CONFIDENCE
from compressor.limits import LIMITS, Problem, check_numbers, show

Precision = Literal["fp32", "int8", "fp16"]
Unnamed = Literal["?"]
"""In place of the precision of a graph whose name does not tell it."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """In which precisions a model is exported, and how much error a smaller one may cost."""

    precision: tuple[Precision, ...] = ("fp32", "int8")
    """Of `PRECISIONS`; fp32 is always made."""
    portable: bool = False
    """Standard ONNX operators alone."""
    max_int8_loss: float = 0.01
    """By how much the true error of int8 may exceed that of fp32, with `confidence`."""
    confidence: float = CONFIDENCE
    """That int8 loses no more."""

    def __post_init__(self) -> None:
        check_numbers(self, ("max_int8_loss", "confidence"), self._problems())

    def _problems(self) -> list[Problem]:
        """What is wrong besides numbers beyond their limits."""
        if set(self.precision) <= set(PRECISIONS) and len(set(self.precision)) == max(1, len(self.precision)):
            return []
        return [
            Problem(
                option="--precision",
                law=f"of {', '.join(PRECISIONS)}, each once",
                value=repr(",".join(self.precision)[:100]),
                remedy="Write it as fp32,int8.",
            )
        ]


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
