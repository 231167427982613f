"""Commands from written options: only what differs from the defaults, quoted for a shell."""

from dataclasses import asdict, replace
from pathlib import Path

from compressor.data.sources import DataSource
from compressor.extraction.record import ExtractionReport
from compressor.training.settings import TrainingSettings
from mlproject.reproduction import make_model, make_search
from mlproject.settings import NasOptions, SearchOptions

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "model"


def test_standard_nas_is_one_command() -> None:
    results = {
        "model_name_or_path": "my base",
        "source": DataSource(task_name="rte", max_train_samples=50).to_json(),
        "options": asdict(TrainingSettings(bf16=True)) | asdict(NasOptions(max_wallclock_time=60, num_workers=2)),
    }
    assert make_search(results, {}, "nas") == [
        "compressor nas --model-name-or-path 'my base' --task-name rte --max-train-samples 50 --bf16 true "
        "--max-wallclock-time 60 --num-workers 2 --output-dir nas"
    ]


def test_a_super_network_of_other_hands_needs_its_data_named() -> None:
    results = {
        "supernet": "/somewhere/classifier",
        "source": DataSource(task_name="custom", train_file="a b.csv", text_columns=("x", "y")).to_json(),
        "options": asdict(SearchOptions(objectives=("error", "macs"))),
    }
    assert make_search(results, {}, "search") == [
        "compressor search --supernet classifier --task-name custom --train-file 'a b.csv' --text-column x,y "
        "--objectives error,macs --output-dir search"
    ]


def test_a_sub_network_off_the_front_is_named_by_its_file() -> None:
    extraction = ExtractionReport.load(GOLDEN)
    extraction = replace(extraction, name="mine", finetuning=None)
    assert make_model(extraction, ["subnet-000"], "search", Path("/out/model")) == (
        "compressor extract --search search --config /out/model/sub_network.json --finetune-epochs 0 --output-dir model"
    )
