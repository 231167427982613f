"""What options may be: every limit holds at its ends, and nothing beyond them gets through."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compressor.cluster.options import TrialsOnCluster
from compressor.data.sources import DataSource
from compressor.errors import OptionError
from compressor.extraction.options import ExtractionOptions
from compressor.options import (
    Limit,
    check_numbers,
    check_value,
    find_limits,
    find_options,
    limited,
    option,
    option_like,
)
from compressor.search.objectives import cost_names
from compressor.search.options import (
    Choice,
    LatencyOptions,
    NasOptions,
    SearchOptions,
    require_reachable,
)
from compressor.training.settings import TrainingSettings
from exporters.options import BenchmarkOptions, ExportOptions, GateOptions, ReplayOptions
from mlproject.tracking.registration import LoggedExportOptions

CLASSES = (
    DataSource,
    TrainingSettings,
    SearchOptions,
    NasOptions,
    Choice,
    ExtractionOptions,
    LoggedExportOptions,
    BenchmarkOptions,
    GateOptions,
    ReplayOptions,
    TrialsOnCluster,
)
FIELDS = [(cls, name) for cls in CLASSES for name in find_limits(cls)]


def make(cls: Any, name: str, value: Any) -> Any:
    timed = issubclass(cls, LatencyOptions) and name in find_options(LatencyOptions)
    more: dict[str, Any] = {"objectives": ("error", "latency_ms")} if timed else {}
    if cls is GateOptions:
        more = {"baseline": "another model"}
    if cls is TrialsOnCluster:
        more = {"ray": "local"}
    return cls(**{name: (value,) if name in ("batch_sizes", "lengths") else value}, **more)


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_ends_are_taken_and_nothing_beyond(cls: Any, name: str) -> None:
    limit = find_limits(cls)[name]
    whole = isinstance(limit.least, int) and not limit.above
    step = 1 if whole else 1e-3
    for fine in (limit.least + (step if limit.above else 0), limit.most):
        if (cls, name, fine) != (TrainingSettings, "num_random_sub_nets", 0):  # its strategy wants one
            make(cls, name, fine)
    flag = f"--{name.replace('_', '-')}"
    for wrong in (limit.least - step, *([limit.least] if limit.above else []), -(10**30), -math.inf):
        with pytest.raises(OptionError, match=rf"^{flag} must be (at least|above) \S+, but got .*\. Raise it\.$"):
            make(cls, name, wrong)
    for wrong in (limit.most * 2, 10**30, 10**400, 10**5000, math.inf):
        with pytest.raises(OptionError, match=rf"^{flag} must be at most \S+, but got .*\. Lower it\.$") as raised:
            make(cls, name, wrong)
        assert len(str(raised.value)) < 200
    with pytest.raises(OptionError, match=f"^{flag} must be a number, but got nan. Correct it.$"):
        make(cls, name, math.nan)


def test_one_number_is_checked_as_its_field() -> None:
    assert check_value(ExtractionOptions, "finetune_epochs", 0) == 0
    with pytest.raises(OptionError, match="^--finetune-epochs must be at least 0, but got -1. Raise it.$"):
        check_value(ExtractionOptions, "finetune_epochs", -1)


def test_every_number_of_the_command_line_has_a_limit() -> None:
    import click

    from mlproject.cli import cli

    numbers = {
        option.name
        for command in cli.commands.values()
        for option in command.params
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    }
    assert numbers - {name for _, name in FIELDS} == set()


def test_all_wrong_ones_are_told_at_once() -> None:
    limit = Limit(least=0, most=9, reason="a digit")

    @dataclass(frozen=True)
    class Options:
        seed: int = limited(-1, limit)
        runs: int | None = limited(None, limit)
        lengths: tuple[int, ...] = limited((8, 10, -1), limit)

    with pytest.raises(OptionError) as raised:
        check_numbers(Options())
    assert str(raised.value) == (
        "--seed must be at least 0, but got -1; --lengths must be at most 9, but got 10. Correct the options."
    )
    assert [problem.option for problem in raised.value.problems] == ["--seed", "--lengths"]


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (
            LoggedExportOptions,
            {"alias": "champion"},
            "--alias must be given with --register-as, but got 'champion' alone.",
        ),
        (
            ExportOptions,
            {"precision": ("fp32", "fp32")},
            "--precision must be of fp32, int8, fp16, bf16, each once, but got",
        ),
        (ExportOptions, {"precision": ()}, "--precision must be of fp32, int8, fp16, bf16, each once, but got ''."),
        (BenchmarkOptions, {"batch_sizes": ()}, "--batch-sizes must be different numbers, but got . Write them as 1,8"),
        (BenchmarkOptions, {"lengths": (8, 8)}, "--lengths must be different numbers, but got 8,8."),
        (
            BenchmarkOptions,
            {"batch_sizes": (1, 1024), "lengths": (2048,)},
            "the largest of --batch-sizes times the longest of --lengths must be at most 1,048,576 tokens, but got "
            "1024 times 2048. Lower one of them.",
        ),
        (
            GateOptions,
            {"max_error_increase": 0.1},
            "--max-error-increase must be given with --baseline, but got it alo",
        ),
        (DataSource, {"dataset_name": "x", "train_file": "y"}, "--dataset-name must be given without files, but got"),
        (DataSource, {"dataset_config_name": "x"}, "--dataset-config-name must be given with --dataset-name, but got"),
        (Choice, {"tiers": ("x" * 51,)}, "--tiers must be different names of letters and digits, up to 50"),
        (Choice, {"tiers": ("x=2e12",)}, "--tiers must be names alone, or each with its most parameters, above 0"),
        (
            NasOptions,
            {"objectives": ("error", "latency_ms"), "latency_of": "pytorch"},
            "--latency-of of compressor nas must be one of onnx-fp32, onnx-int8, openvino-fp32, "
            "openvino-bf16, openvino-int8, onnx-cuda-fp32, onnx-cuda-fp16, but got pytorch: trials that run side "
            "by side would time each other. Choose another, or use compressor search.",
        ),
        (
            SearchOptions,
            {"objectives": ("error", "latency_ms"), "latency_of": "tflite"},
            "--latency-of must be one of onnx-fp32, onnx-int8, openvino-fp32, openvino-bf16, openvino-int8, "
            "onnx-cuda-fp32, onnx-cuda-fp16, pytorch, but got 'tflite'. Choose one of them.",
        ),
        (
            SearchOptions,
            {"latency_of": "onnx-int8", "threads": 1},
            "--latency-of must be given with the objective latency_ms, but got --objectives error,params. Add "
            "--objectives error,latency_ms.",
        ),
        (
            TrialsOnCluster,
            {"gpus_per_trial": 0.5},
            "--gpus-per-trial must be given with --ray, but got it alone. Add --ray, or drop it.",
        ),
        (NasOptions, {"length": 128}, "--length must be given with the objective latency_ms, but got --objectives"),
        *(
            (
                Choice,
                {"max_cost": cost},
                f"--max-cost must be one of {', '.join(cost_names())} and a nu",
            )
            for cost in (("error", 1.0), ("size", 1.0), ("macs", 0.0), ("macs", -1.0), ("macs", math.nan))
        ),
    ],
)
def test_options_that_do_not_fit_together(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as raised:
        cls(**values)
    assert str(raised.value).startswith(message)


def test_a_choice_that_no_search_can_meet() -> None:
    require_reachable(Choice(index=2), ("error", "params"), 3)
    with pytest.raises(OptionError, match=r"^--index must be below --num-samples, 3, but got 3\. Lower it"):
        require_reachable(Choice(index=3), ("error", "params"), 3)
    with pytest.raises(
        OptionError, match=r"^--max-latency-ms must be given with the objective latency_ms, but got --o"
    ):
        require_reachable(Choice(max_latency_ms=3.0), ("error", "params"), 3)
    require_reachable(Choice(max_cost=("latency_ms", 3.0)), ("error", "latency_ms"), 3)
    require_reachable(Choice(max_cost=("size_mb", 3.0)), ("error", "params"), 3)
    with pytest.raises(OptionError, match=r"^--max-cost must be given with the objective latency_ms, but got --objec"):
        require_reachable(Choice(max_cost=("latency_ms", 3.0)), ("error", "params"), 3)


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| `(--[\w-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", page, flags=re.M)
    assert len(rows) == len(set(rows))
    assert set(rows) == {
        (
            f"--{name.replace('_', '-')}",
            f"above {limit.least:,}" if limit.above else f"{limit.least:,}",
            "the CPU cores" if name == "threads" else f"{limit.most:,}",
            limit.reason,
        )
        for cls in CLASSES
        for name, limit in find_limits(cls).items()
    }


def test_an_option_is_written_once() -> None:
    """Where two classes have the same option, the second refers to the first, in all or but for what it changes."""

    @dataclass(frozen=True, kw_only=True)
    class First:
        size: int = option(3, "How large.", limit=Limit(least=1, most=5, reason="so many fit"))

    @dataclass(frozen=True, kw_only=True)
    class Second:
        size: int = option_like(First, "size", default=4, help="How large it is.")

    assert (First().size, Second().size) == (3, 4)
    assert find_limits(First) == find_limits(Second)
    assert (find_options(First)["size"].help, find_options(Second)["size"].help) == ("How large.", "How large it is.")
    shared = ("seed", "search_space", "objectives", "confidence", "per_device_eval_batch_size", "max_error_increase")
    for name in shared:
        limits = [find_limits(cls).get(name) for cls in CLASSES if name in cls.__dataclass_fields__]
        assert len(limits) > 1 and limits.count(limits[0]) == len(limits)
