"""The page of a family: one table of error, size and latency, of what was run so far."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.errors import OutputError
from compressor.extraction.family import Family
from compressor.extraction.record import ExtractionReport
from conftest import write_search
from exporters.report.family import family_table, read_family, write_family_report
from exporters.report.inputs import ReportFolders
from mlproject.inputs.models import find_super_network
from samples import sample_benchmark, sample_export, sample_latency, sample_model
from test_golden import copy_golden

POINTS = [(0.2, 1000), (0.25, 700), (0.3, 900), (0.4, 500)]
PARAMS = {"small": 500, "large": 700}
EVALUATED = {"small": 3, "large": 1}


@pytest.fixture
def folders(tmp_path: Path) -> ReportFolders:
    """Two members of a search, exported and timed beside the super-network."""
    search = write_search(tmp_path / "search", POINTS)
    golden = ExtractionReport.load(copy_golden("0.2.0", tmp_path / "golden") / "model")
    models, latencies = {"dense": sample_model(tmp_path / "dense" / "model.onnx", role="dense", mb=9.0)}, []
    for name, params in PARAMS.items():
        place = EVALUATED[name]
        chosen = replace(golden.chosen, name=f"subnet-{place:03d}", index=None)
        extracted = replace(golden.extracted, params=params, error=0.35)
        report = replace(golden, name=chosen.name, chosen=chosen, extracted=extracted, error=0.35)
        (tmp_path / "tiers" / name).mkdir(parents=True)
        report.save(tmp_path / "tiers" / name)
        export = sample_export(tmp_path / "onnx" / name, tmp_path / "tiers" / name, params)
        export.save()
        models |= {name: sample_model(export.path(), role=name)}
        models |= {f"{name}-int8": sample_model(export.path("int8"), "int8", role=name)}
    for place, model in enumerate(models):
        latencies.append(sample_latency(model, p50_ms=10.0 - place, p99_ms=20.0 - place))
    for directory in ("tiers", "onnx"):
        Family(members=("small", "large"), champion="large", tiers=("small", "large")).save(tmp_path / directory)
    return ReportFolders(
        search=search,
        model=tmp_path / "tiers",
        onnx=tmp_path / "onnx",
        benchmark=sample_benchmark(models, latencies).save(tmp_path / "times").parent,
    )


def test_the_table_is_error_size_and_latency_of_what_is_served(folders: ReportFolders) -> None:
    header, rows = family_table(read_family(folders, find_super_network))
    assert header[1:3] + header[5:] == ["error (95 %)", "test error", "variant", "MB", "p50 ms", "p99 ms"]
    by_name = {row[0]: row for row in rows}
    assert by_name["super-network"][5:] == ["ONNX fp32", "9.0", "10.00", "20.00"]
    assert by_name["small"][1] == "0.3600 (0.300–0.400)"  # of int8, which is served
    assert by_name["small"][5:] == ["ONNX int8", "1.0", "8.00", "18.00"]
    assert by_name["large ← champion"][5:] == ["ONNX int8", "1.0", "6.00", "16.00"]


def test_what_was_not_run_has_no_column(folders: ReportFolders) -> None:
    header, rows = family_table(read_family(replace(folders, onnx=None, benchmark=None), find_super_network))
    assert len(header) == 5
    assert {len(row) for row in rows} == {5}
    header, _ = family_table(read_family(replace(folders, benchmark=None), find_super_network))
    assert header[5:] == ["variant", "MB"]


def test_the_page_stands_alone(folders: ReportFolders, tmp_path: Path) -> None:
    page = write_family_report(tmp_path / "page" / "report.html", read_family(folders, find_super_network)).read_text()
    for line in (
        "compressor extract --search search --tiers small,large",
        "compressor export --model tiers --register-as NAME",
        "compressor export --model tiers --",
    ):
        assert line in re.sub("</?span>", "", page)
    assert "large ← champion" in page
    assert "small: subnet-003, as extracted" in page
    assert "http" not in page.replace("http-equiv", "")
    figures = {path.name for path in (tmp_path / "page" / "figures").iterdir()}
    assert {"pareto_front.png", "errors.png", "latency.png", "kept_heads.png"} <= figures


def test_members_must_be_of_the_search(folders: ReportFolders, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    sample_export(tmp_path / "other" / "small", None, 400).save()
    with pytest.raises(OutputError, match="--onnx must be exported from --model, but"):
        read_family(replace(folders, onnx=tmp_path / "other"), find_super_network)
