"""The pictures of a benchmark are charts, as all others are."""

from pathlib import Path

from exporters.figures import error_chart
from samples import sample_benchmark, sample_latency, sample_model


def test_error_against_latency_at_the_smallest_batch_and_the_longest_length() -> None:
    models = {
        "dense": sample_model(Path("model.onnx")),
        "dense int8": sample_model(Path("model.int8.onnx"), "int8", error=None, error_interval=None),
    }
    slower = [sample_latency("dense", batch_size=4, p50_ms=9.0), sample_latency("dense", length=4, p50_ms=1.0)]
    latencies = [sample_latency("dense", p50_ms=3.0), sample_latency("dense int8"), *slower]
    latencies.append(sample_latency("dense", length="rows", p50_ms=8.0))
    chart = error_chart(sample_benchmark(models, latencies))
    base, int8 = chart.series
    assert (base.name, base.shape) == ("dense (onnxruntime, fp32, base)", "star")
    assert [(mark.point, mark.low, mark.high) for mark in base.marks] == [((3.0, 0.3), 0.2, 0.4)]
    assert (int8.name, int8.shape) == ("dense int8 (onnxruntime, int8, error not known)", "square")
    assert [(mark.point, mark.low) for mark in int8.marks] == [((2.0, 0.0), None)]
    assert chart.x_label == "median latency in ms (batch 1, 8 tokens), lower is better"
    assert chart.alt == "dense, 3.00 ms, error 0.3000; dense int8, 2.00 ms, error not known."
