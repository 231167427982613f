"""The table at the end of `compress`: a row of the summary for each timed model, a column for each graph."""

from dataclasses import replace
from pathlib import Path

from compressor.data.metrics.trivial import TrivialPredictor
from compressor.extraction.record import ExtractionReport
from compressor.search.record import SearchResult
from exporters.report.front import chosen_table
from exporters.report.summary import Summary, summarise
from samples import sample_benchmark, sample_export, sample_latency, sample_model, sample_variant
from test_golden import copy_golden


def summary(tmp_path: Path) -> Summary:
    exports = {role: sample_export(tmp_path / role, None) for role in ("dense", "pruned")}
    models = {
        "dense": sample_model(exports["dense"].path(), role="dense"),
        "pruned": sample_model(exports["pruned"].path(), role="pruned", mb=3.0),
        "pruned-int8": sample_model(exports["pruned"].path("int8"), "int8", role="pruned", mb=1.0),
        "dense-pytorch": sample_model(tmp_path / "net", role="dense", runtime="pytorch"),
    }
    rows = [sample_latency(name, batch_size, length) for batch_size, length in ((1, 8), (1, "real")) for name in models]
    extraction = replace(
        ExtractionReport.load(copy_golden("0.2.0", tmp_path / "golden") / "model"),
        super_network=sample_variant(0.2, 1_000_000),
        extracted=sample_variant(0.35, 500_000),
    )
    return summarise({"pruned": extraction}, exports, sample_benchmark(models, rows))


def test_the_file_has_the_keys_that_it_always_had(tmp_path: Path) -> None:
    found = summary(tmp_path).to_json()
    assert list(found) == ["dense", "pruned", "pruned-int8", "dense-pytorch"]
    assert found["pruned"] == {
        "error": 0.35,
        "test_error": 0.36,
        "params": 500_000,
        "relative_params": 0.5,
        "relative_encoder_params": 0.5,
        "file_mb": 3.0,
        "p50_ms_b1_l8": 2.0,
        "p50_ms_b1_lreal": 2.0,
        "speedup_b1_l8": 2.0,
        "speedup_b1_lreal": 2.0,
    }
    assert (found["pruned-int8"]["error"], found["pruned-int8"]["test_error"]) == (0.36, None)  # as it was judged
    assert found["dense-pytorch"]["error"] == 0.2


def test_the_table_shows_graphs_and_the_trivial_predictor(tmp_path: Path) -> None:
    trivial = TrivialPredictor(name="always yes", error=0.48, test_error=0.47)
    header, rows = summary(tmp_path).table(trivial)
    assert header == ["", "dense", "pruned", "pruned-int8", "always yes"]
    assert rows == [
        ["error (validation)", "0.2000", "0.3500", "0.3600", "0.4800"],
        ["error (test)", "0.2100", "0.3600", "", "0.4700"],
        ["parameters (M)", "1.00", "0.50", "0.50", ""],
        ["share of the encoder", "100.0%", "50.0%", "50.0%", ""],
        ["file (MB)", "4.00", "3.00", "1.00", ""],
        ["p50 (ms), batch 1, length 8", "2.00", "2.00", "2.00", ""],
        ["p50 (ms), batch 1, length real", "2.00", "2.00", "2.00", ""],
        ["speed-up, batch 1, length 8", "2.00", "2.00", "2.00", ""],
        ["speed-up, batch 1, length real", "2.00", "2.00", "2.00", ""],
    ]
    assert summary(tmp_path / "again").table(None)[0] == header[:-1]


def test_the_change_in_a_sentence(tmp_path: Path) -> None:
    assert summary(tmp_path).describe_change() == ("0.2000 → 0.3500 error, 4.00 → 3.00 MB, 2.00 → 2.00 ms p50")


def test_the_front_shows_what_became_of_the_chosen_member(tmp_path: Path) -> None:
    golden, compared = copy_golden("0.2.0", tmp_path / "again"), summary(tmp_path)
    result, extraction = SearchResult.load(golden / "search"), ExtractionReport.load(golden / "model")
    header, rows = chosen_table(result, compared, extraction, 2)
    assert header == ["", "index", "error (95 %)", "params (M)", "of encoder", "MACs (M)", "MB", "p50 ms"]
    assert [row[:2] for row in rows] == [
        ["dense", ""],
        ["subnet-005 ← chosen", "0"],
        ["subnet-002", "1"],
        ["subnet-005, extracted", ""],
        ["always '1'", ""],
    ]
    assert [row[-2:] for row in rows] == [["4.0", "2.00"], ["", ""], ["", ""], ["3.0", "2.00"], ["", ""]]
    assert rows[-1][2] == f"{result.trivial.error:.4f}" if result.trivial else False
