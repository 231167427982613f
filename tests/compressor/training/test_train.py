"""Training as a whole: the best epoch is kept, in memory or in a directory, where an interrupted one resumes."""

import json
from pathlib import Path

import pytest
import torch

from compressor.data.sources import TaskData, load_data
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport
from compressor.training.super_network import load_super_network
from compressor.training.train import PreparedTraining, train_super_network
from conftest import sentence_rows

SETTINGS = TrainingSettings(num_train_epochs=3, learning_rate=5e-3, sampling_strategy="standard")


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    return load_data(file, text="text", label="label")


def test_in_memory_and_in_a_directory_the_same(base_model_dir: Path, data: TaskData, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    net = train_super_network(base_model_dir, data, SETTINGS)
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"cache"}  # of tokens
    assert net.record is not None
    assert [report.epoch for report in net.record.epochs] == [1, 2, 3]
    best = min(net.record.epochs, key=lambda report: (report.error, -report.epoch))
    assert net.record.best_epoch == best.epoch
    train_super_network(base_model_dir, data, SETTINGS, directory=tmp_path / "net")
    loaded = load_super_network(tmp_path / "net")
    assert loaded.record is not None
    assert (loaded.record.epochs, loaded.record.best_epoch) == (net.record.epochs, net.record.best_epoch)
    weights = loaded.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.model.state_dict().items())
    assert {path.name for path in (tmp_path / "net").glob("checkpoint-*")} == {f"checkpoint-epoch-{best.epoch}"}


def test_an_interrupted_training_resumes(base_model_dir: Path, data: TaskData, tmp_path: Path) -> None:
    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    expected = train_super_network(base_model_dir, data, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train_super_network(base_model_dir, data, SETTINGS, directory=tmp_path / "net", on_epoch=interrupt)
    started: list[PreparedTraining] = []
    seen: list[int] = []
    net = train_super_network(
        base_model_dir,
        data,
        SETTINGS,
        directory=tmp_path / "net",
        on_start=started.append,
        on_epoch=lambda report: seen.append(report.epoch),
    )
    assert started[0].net.record is not None
    assert [report.epoch for report in started[0].net.record.epochs] == [1]
    assert seen == [2, 3]
    assert net.record is not None
    assert expected.record is not None
    assert net.record.epochs == expected.record.epochs
