"""Commands from written options: only what differs from the defaults, quoted for a shell."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compressor.data.sources import DataSource
from compressor.extraction.record import ExtractionReport
from compressor.search.options import NasOptions, SearchOptions
from compressor.search.record import SearchOrigin
from compressor.training.settings import TrainingSettings
from conftest import DIMENSIONS
from exporters.export_record import Export
from exporters.options import ExportOptions
from exporters.report.reproduction import make_export, make_model, make_search

COMMON: dict[str, Any] = {"data_digest": "0123456789abcdef", "dimensions": DIMENSIONS, "seconds": 1.0}

GOLDEN = Path(__file__).parents[2] / "golden" / "0.1.0" / "model"


def test_standard_nas_is_one_command() -> None:
    origin = SearchOrigin(
        model_name_or_path="my base",
        source=DataSource(task_name="rte", max_train_samples=50),
        options=asdict(TrainingSettings(bf16=True)) | asdict(NasOptions(max_wallclock_time=60, num_workers=2)),
        **COMMON,
    )
    assert make_search(origin, None, "nas") == [
        "compressor nas --model-name-or-path 'my base' --task-name rte --max-train-samples 50 "
        "--precision-training bf16 --max-wallclock-time 60 --num-workers 2 --output-dir nas"
    ]


def test_a_super_network_of_other_hands_needs_its_data_named() -> None:
    origin = SearchOrigin(
        supernet="/somewhere/classifier",
        source=DataSource(task_name="custom", train_file="a b.csv", text_columns=("x", "y")),
        options=asdict(SearchOptions(objectives=("error", "macs"))),
        **COMMON,
    )
    assert make_search(origin, None, "search") == [
        "compressor search --supernet classifier --task-name custom --train-file 'a b.csv' --text-column x,y "
        "--objectives error,macs --output-dir search"
    ]


def test_a_sub_network_off_the_front_is_named_by_its_file() -> None:
    extraction = ExtractionReport.load(GOLDEN)
    extraction = replace(extraction, name="mine", finetuning=None)
    assert make_model(extraction, ["subnet-000"], "search", Path("/out/model")) == (
        "compressor extract --search search --config /out/model/sub_network.json --finetune-epochs 0 --output-dir model"
    )


def test_what_a_command_makes_itself_is_no_option_of_it() -> None:
    source = DataSource(
        task_name="embed", train_file="texts.txt", reference_model="/home/me/base", answers_file="a.bin"
    )
    origin = SearchOrigin(supernet="/home/me/net", source=source, options=asdict(SearchOptions()), **COMMON)
    assert make_search(origin, None, "search") == [
        "compressor search --supernet net --task-name embed --train-file texts.txt --output-dir search"
    ]


def test_an_export_is_made_again_where_and_as_sure_as_it_was() -> None:
    export = Export.load(Path(__file__).parents[2] / "golden" / "0.2.0" / "onnx", ())
    usual = {name: replace(form, max_loss=ExportOptions().max_int8_loss) for name, form in export.smaller.items()}
    export = replace(export, smaller=usual)
    assert make_export(export, "model", "onnx") == "compressor export --model model --output-dir onnx"
    less = {name: replace(form, confidence=0.5, max_loss=0.02) for name, form in export.smaller.items()}
    assert make_export(replace(export, smaller=less), "model", "onnx") == (
        "compressor export --model model --max-int8-loss 0.02 --confidence 0.5 --output-dir onnx"
    )
    on_gpu = replace(export, provider="cuda", smaller={"fp16": export.smaller["int8"]})
    assert make_export(on_gpu, "model", "onnx") == ("compressor export --model model --provider cuda --output-dir onnx")
    plain = replace(on_gpu, smaller={})
    assert make_export(plain, "model", "onnx") == (
        "compressor export --model model --precision fp32 --provider cuda --output-dir onnx"
    )
