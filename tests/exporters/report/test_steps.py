"""The table of steps: what sub-network, vocabulary, precision and runtime brought."""

from dataclasses import replace
from pathlib import Path

from compressor.extraction.record import ExtractionReport, Vocabulary
from exporters.export_record import JudgedForm
from exporters.report.steps import list_steps, table_of_steps
from samples import sample_benchmark, sample_export, sample_latency, sample_model, sample_variant
from test_golden import copy_golden

VOCABULARY = Vocabulary(
    tokens_before=30_000,
    tokens_after=10_000,
    changed_texts=0.1,
    test_error_before=0.35,
    test_error_after=0.36,
    min_count=1,
    extra=0,
    file=None,
)


def rows_of(tmp_path: Path, vocabulary: Vocabulary | None, *, accepted: bool = True) -> list[list[str]]:
    exports = {role: sample_export(tmp_path / role, None) for role in ("dense", "pruned")}
    pruned = exports["pruned"]
    int8 = replace(pruned.smaller["int8"], accepted=accepted, mb=0.5)
    faster = JudgedForm(**{**vars(int8), "file": "model.int8.xml", "mb": 0.6, "accepted": True})
    exports["pruned"] = replace(pruned, smaller={"int8": int8, "openvino-int8": faster})
    times = {"dense": 4.0, "pruned": 2.0, "pruned-int8": 1.0, "pruned-openvino": 0.5}
    models = {
        "dense": sample_model(exports["dense"].path(), role="dense"),
        "pruned": sample_model(exports["pruned"].path(), role="pruned"),
        "pruned-int8": sample_model(exports["pruned"].path("int8"), "int8", role="pruned"),
        "pruned-openvino": sample_model(tmp_path / "model.int8.xml", "int8", role="pruned", runtime="openvino"),
    }
    if not accepted:
        del models["pruned-int8"]
    rows = [
        replace(sample_latency(name, batch, length), p50_ms=times[name] * batch, ratio=times[name] / 4)
        for batch, length in ((8, 128), (1, "real"), (1, 32), (1, 128))
        for name in models
    ]
    report = replace(
        ExtractionReport.load(copy_golden("0.2.0", tmp_path / "golden") / "model"),
        super_network=replace(sample_variant(0.2, 1_000_000), encoder_params=600_000),
        extracted=replace(sample_variant(0.34, 500_000), encoder_params=300_000),
        vocabulary=vocabulary,
    )
    header, cells = table_of_steps(list_steps(report, exports, sample_benchmark(models, rows)))
    assert header[4:] == ["MB", "of dense", "p50 ms, 1 × 128", "speed-up"]
    return cells


def test_each_step_follows_the_one_before(tmp_path: Path) -> None:
    example = sample_export(tmp_path / "example", None)
    dense = pruned = example.fp32.mb
    int8 = [f"{example.smaller['int8'].error:.4f}", ""]
    with_whole_vocabulary = pruned + (400_000 - 200_000) * 4 / 1e6
    assert rows_of(tmp_path, VOCABULARY) == [
        ["dense", "ONNX fp32", "0.2000", "0.2100", f"{dense:.1f}", "1.00", "4.00", "1.00 ×"],
        [
            "sub-network",
            "50.0% of the encoder",
            *("0.3400", "0.3500", f"{with_whole_vocabulary:.1f}", f"{with_whole_vocabulary / dense:.2f}"),
            *("2.00", "2.00 ×"),
        ],
        [
            "vocabulary",
            "10,000 of 30,000 tokens",
            *("0.3400", "0.3600", f"{pruned:.1f}", f"{pruned / dense:.2f}", "2.00", "2.00 ×"),
        ],
        ["precision", "ONNX int8", *int8, "0.5", f"{0.5 / dense:.2f}", "1.00", "4.00 ×"],
        ["runtime", "OpenVINO int8", *int8, "0.6", f"{0.6 / dense:.2f}", "0.50", "8.00 ×"],
    ]


def test_a_refused_precision_is_not_timed(tmp_path: Path) -> None:
    steps = rows_of(tmp_path, None, accepted=False)
    assert [row[0] for row in steps] == ["dense", "sub-network", "precision", "runtime"]
    assert steps[2][1] == "ONNX int8, refused"
    assert steps[2][6:] == ["", ""]
