"""What a benchmark says of noise, on the terminal and in the report; files of before say nothing of it."""

from dataclasses import replace
from pathlib import Path

from exporters.benchmark_record import Benchmark
from exporters.timing.latency import Noise
from mlproject.benchmark_stage import noise_note
from samples import sample_benchmark, sample_latency, sample_model

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
    assert noise_note(benchmark(NOISE)) == (
        "2 of 6 rows are noisy though timed 3 times: this process waited for up to 64% of its time, ratios differed by "
        "up to 20% between blocks of rounds, it was put aside 104 times a second, the load average went from 6.0 to "
        "6.2. Their milliseconds are those of a busy machine, their ratios known no closer than their intervals. Time "
        "them when nothing else runs."
    )
    unknown = replace(NOISE, waited=None, load_average=((), ()), passes=1)
    assert (noise_note(benchmark(unknown)) or "").startswith(
        "2 of 6 rows are noisy: ratios differed by up to 20% between blocks of rounds, it was put aside 104 times a "
        "second. Their"
    )


def test_a_quiet_benchmark_and_one_of_an_older_version_say_nothing() -> None:
    assert noise_note(benchmark(replace(NOISE, noisy=0))) is None
    assert noise_note(benchmark(None)) is None
