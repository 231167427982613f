"""`latency.json`: what it may hold, and what is read off it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import FileError
from exporters.benchmark_record import LATENCY_FILE, Benchmark
from exporters.timing.latency import Noise
from samples import sample_benchmark, sample_latency, sample_model
from test_golden import VERSIONS, copy_golden

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The directory as each earlier version wrote it."""
    return copy_golden(request.param, tmp_path) / "benchmark"


def test_what_was_saved_is_loaded(folder: Path) -> None:
    benchmark = Benchmark.load(folder)
    assert list(benchmark.models) == ["onnx", "onnx-int8", "model-pytorch"]
    assert benchmark.models["onnx"].path == folder.parent / "onnx" / "model.onnx"
    assert benchmark.environment.torch == "2.13.0+cpu"
    benchmark.save(folder)
    assert Benchmark.load(folder) == benchmark
    assert json.loads((folder / LATENCY_FILE).read_text())["models"]["onnx"]["path"] == "../onnx/model.onnx"
    assert len((folder / "latency.csv").read_text().splitlines()) == 1 + len(benchmark.latencies)


def test_rows_by_model_and_by_batch(folder: Path) -> None:
    benchmark = Benchmark.load(folder)
    assert benchmark.base == "onnx"
    assert benchmark.shapes == [(1, 8), (1, "real"), (8, 8), (8, "real")]
    assert benchmark.first_shape == (1, 8)
    assert [row.shape for row in benchmark.of_model("onnx-int8")] == benchmark.shapes
    assert {name: row.model for name, row in benchmark.at((8, "real")).items()} == {
        name: name for name in benchmark.models
    }
    assert benchmark.at((2, 8)) == {}


def test_roles_of_models(folder: Path) -> None:
    benchmark = Benchmark.load(folder)
    assert [benchmark.role_of(name) for name in benchmark.models] == ["onnx", "onnx", "model"]
    assert (benchmark.find("onnx"), benchmark.find("onnx", "int8")) == ("onnx", "onnx-int8")
    assert (benchmark.find("onnx", "fp16"), benchmark.find("model")) == (None, None)
    assert benchmark.role_at(folder.parent / "onnx") == "onnx"
    assert benchmark.role_at(folder.parent / "elsewhere") is None
    given = {name: replace(model, role="pruned") for name, model in benchmark.models.items()}
    assert replace(benchmark, models=given).role_of("onnx-int8") == "pruned"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        *(
            (lambda b, name=name: b["environment"].update({name: 3}), f"environment.{name} is 3")
            for name in ("cpu", "python", "torch", "onnxruntime")
        ),
        (lambda b: b["environment"].pop("torch"), "environment lacks 'torch'"),
        (lambda b: b["environment"].update(threads=-1), "environment.threads is -1"),
        (lambda b: b["options"].update(runs="2"), 'options.runs is "2"'),
        (lambda b: b["options"].update(provider="tpu"), 'options.provider is "tpu"'),
        (lambda b: b["options"].pop("lengths"), "options lacks 'lengths'"),
        (lambda b: b["options"].update(runs=0), "--runs must be at least 1, but got 0. Raise it"),
        (lambda b: b["models"]["onnx"].update(precision="int4"), 'models.onnx.precision is "int4"'),
        (lambda b: b["models"]["onnx"].update(runtime=None), "models.onnx.runtime is null"),
        (lambda b: b["models"]["onnx"].update(role=1), "models.onnx.role is 1"),
        (lambda b: b["models"]["onnx"].update(mb=None), "models.onnx.mb is null"),
        (lambda b: b["models"]["onnx"].update(error_interval=[-3, 1]), "models.onnx.error_interval is [-3, 1]"),
        (lambda b: b["latencies"][1].update(noisy="a bit"), 'latencies[1].noisy is "a bit"'),
        (lambda b: b["latencies"][1].update(length="long"), 'latencies[1].length is "long"'),
        (lambda b: b["latencies"][1].update(waited=7), "latencies[1].waited is 7"),
        (lambda b: b["latencies"][0].pop("ratio"), "latencies[0] lacks 'ratio'"),
        (lambda b: b["latencies"][0].update(p50_ms=0), "latencies[0].p50_ms is 0"),
        (lambda b: b.update(noise={"noisy": 1}), "noise lacks 'waited'"),
    ],
)
def test_a_broken_file_is_refused(edit: Change, problem: str, folder: Path) -> None:
    file = folder / LATENCY_FILE
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    with pytest.raises(FileError) as raised:
        Benchmark.load(folder)
    assert str(raised.value) == (
        f"the file {file} must be as it was written, but {problem}. "
        "Restore it, or time again with compressor benchmark."
    )


@pytest.mark.parametrize("edit", [lambda b: b["models"].pop("onnx"), lambda b: b["latencies"].clear()])
def test_each_model_has_latencies(edit: Change, folder: Path) -> None:
    file = folder / LATENCY_FILE
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    with pytest.raises(FileError, match="must hold latencies of each of its models, but does not. Restore it, or"):
        Benchmark.load(folder)


# What is shown of it

NOISE = Noise(
    noisy=2,
    waited=0.64,
    block_spread=0.2,
    switches_per_second=104.4,
    load_average=((6.0, 6.9, 5.8), (6.2, 6.7, 5.9)),
    passes=3,
)


def benchmark(noise: Noise | None) -> Benchmark:
    """A benchmark of six rows."""
    rows = [sample_latency("onnx", batch_size) for batch_size in range(1, 7)]
    return sample_benchmark({"onnx": sample_model(Path("model.onnx"))}, rows, noise=noise)


def test_a_noisy_benchmark_says_what_was_seen() -> None:
    assert benchmark(NOISE).noise_note() == (
        "2 of 6 rows are noisy though timed 3 times: this process waited for up to 64% of its time, ratios differed by "
        "up to 20% between blocks of rounds, it was put aside 104 times a second, the load average went from 6.0 to "
        "6.2. Their milliseconds are those of a busy machine, their ratios known no closer than their intervals. Time "
        "them when nothing else runs."
    )
    unknown = replace(NOISE, waited=None, load_average=((), ()), passes=1)
    assert (benchmark(unknown).noise_note() or "").startswith(
        "2 of 6 rows are noisy: ratios differed by up to 20% between blocks of rounds, it was put aside 104 times a "
        "second. Their"
    )


def test_a_quiet_benchmark_and_one_of_an_older_version_say_nothing() -> None:
    assert benchmark(replace(NOISE, noisy=0)).noise_note() is None
    assert benchmark(None).noise_note() is None


def test_tables_of_latencies_and_models() -> None:
    models = {"dense": sample_model(Path("model.onnx")), "other": sample_model(Path("other.onnx"), "?", error=None)}
    rows = [sample_latency(name, size, noisy=size == 2) for size in (2, 1) for name in models]
    found = sample_benchmark(models, rows)
    header, cells = found.latency_table()
    assert header == ["model", "batch", "length", "p50 ms", "p90 ms", "p99 ms", "rows/s", "of dense's p50 (95 %)"]
    assert cells[1] == ["other", "1", "8", "2.00", "3.00", "4.00", "500", "0.50 (0.40–0.60)"]
    assert [row[0:2] + row[-1:] for row in cells[2:]] == [
        ["dense", "2", "0.50 (0.40–0.60) noisy"],
        ["other", "2", "0.50 (0.40–0.60) noisy"],
    ]
    assert found.model_table()[1] == [
        ["dense", "onnxruntime", "fp32", "0.3000", "4.0", "0.10", "100"],
        ["other", "onnxruntime", "?", "", "4.0", "0.10", "100"],
    ]
