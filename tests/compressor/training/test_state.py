"""Law 6 for training: whoever goes on after an epoch gets the weights of a training that was never interrupted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows
from compressor.data.tasks import TASKS
from compressor.digests import Inputs
from compressor.network.families import get_family, get_layer_order, get_member_order
from compressor.training.loop import create_optimizer, train_shared_weights
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport, TrainingState, TrainingStates
from compressor.training.strategies import SAMPLING_STRATEGIES
from conftest import HEADS, encoded_sentences, tiny_model

TASK = TASKS["custom"]
EPOCHS = 4


class KilledError(Exception):
    """Stands for the end of a process."""


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    return encoded_sentences(tokenizer, 40)


def train(
    rows: EncodedRows,
    strategy: str,
    states: TrainingStates | None = None,
    killed_after: int = 0,
    model_type: str = "bert",
    bf16: bool = False,
) -> tuple[dict[str, Tensor], list[EpochReport]]:
    """A process that trains; it ends before the state of epoch `killed_after` is kept."""
    model, settings = (
        tiny_model(model_type, num_labels=2),
        TrainingSettings(
            sampling_strategy=strategy,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
            bf16=bf16,
        ),
    )

    def on_epoch(report: EpochReport) -> None:
        if report.epoch == killed_after:
            raise KilledError

    reports = train_shared_weights(model, TASK, rows, rows, settings, on_epoch, states)
    orders = {"layer order": torch.tensor(get_layer_order(model))}
    orders |= {group.name: torch.tensor(get_member_order(model, group)) for group in get_family(model_type).groups}
    return model.state_dict() | orders, reports


@pytest.mark.parametrize("strategy", list(SAMPLING_STRATEGIES))
def test_weights_and_reports_are_those_of_one_process(strategy: str, rows: EncodedRows, tmp_path: Path) -> None:
    expected, expected_reports = train(rows, strategy)
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 0, "columns": ("text",)}))
    for epoch in (1, 2, 3):  # each epoch is begun twice
        with pytest.raises(KilledError):
            train(rows, strategy, states, killed_after=epoch)
        torch.manual_seed(epoch)
        np.random.default_rng(epoch).random()
        assert len(states.reports) == epoch - 1
        if epoch < 3:
            with pytest.raises(KilledError):
                train(rows, strategy, states, killed_after=epoch + 1)
    found, reports = train(rows, strategy, states)
    assert reports == expected_reports
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_order_of_heads_that_is_noted_goes_on_too(rows: EncodedRows, tmp_path: Path) -> None:
    """MPNet's heads cannot change places; after the second epoch their order is noted, and is there in the third."""
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 0}))
    expected, reports = train(rows, "auto", model_type="mpnet")
    assert sorted(expected["heads"][0].tolist()) == list(range(HEADS))
    with pytest.raises(KilledError):
        train(rows, "auto", states, killed_after=EPOCHS, model_type="mpnet")
    found, reports_found = train(rows, "auto", states, model_type="mpnet")
    assert reports_found == reports
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_one_state_is_kept_and_only_for_its_own_training(rows: EncodedRows, tmp_path: Path) -> None:
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 0}))
    train(rows, "standard", states)
    assert [path.name for path in states.directory.iterdir()] == [f"epoch-{EPOCHS}"]
    other = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 1}))
    assert (other.load(), other.reports) == (None, [])
    states.clear()
    assert not states.directory.exists()
    states.clear()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("state.json", lambda _: b""),
        ("state.json", lambda whole: whole[: len(whole) // 2]),
        ("state.json", lambda whole: whole.replace(b'"learning_rates"', b'"rates"')),
        ("state.json", lambda whole: whole.replace(b'"epoch": 1', b'"epoch": "one"')),
        ("state.json", lambda whole: b"[" + whole + b"]"),
        ("state.safetensors", lambda _: b""),
        ("state.safetensors", lambda whole: whole[:-9]),
        ("state.safetensors", None),
    ],
)
def test_a_damaged_state_is_told_and_the_training_begins_anew(
    file: str,
    damage: Callable[[bytes], bytes] | None,
    rows: EncodedRows,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 0}))
    with pytest.raises(KilledError):
        train(rows, "standard", states, killed_after=3)
    broken = states.directory / "epoch-2" / file
    if damage is None:
        broken.unlink()
    else:
        broken.write_bytes(damage(broken.read_bytes()))
    assert states.reports == []
    note = f"Note: the state of an interrupted training in {broken.parent} is damaged: the training begins anew.\n"
    assert capsys.readouterr().out == note
    assert states.load() is None
    assert capsys.readouterr().out == ""  # told once


def test_in_float16_the_scale_of_the_loss_goes_on(
    rows: EncodedRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.training.loop.half_type", lambda _: torch.float16)
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", partial(scaler, init_scale=2.0**5, growth_interval=7))
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={"seed": 0}))
    expected, reports = train(rows, "standard", bf16=True)
    with pytest.raises(KilledError):
        train(rows, "standard", states, killed_after=EPOCHS, bf16=True)
    state = states.load()
    assert state is not None
    assert (state.values.scaler["scale"], state.values.scaler["_growth_tracker"]) == (2.0**7, 1)  # after 15 steps
    found, reports_found = train(rows, "standard", states, bf16=True)
    assert reports_found == reports
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_gpu_s_random_state_is_put_back_on_another_one(
    rows: EncodedRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A training of the machine's fourth GPU resumes where there is one, or none."""
    model, put = tiny_model(num_labels=2), list[tuple[Tensor, torch.device]]()
    optimizer, schedule = create_optimizer(model, TrainingSettings(), 4)
    everything = (model, optimizer, schedule, {}, torch.amp.GradScaler(enabled=False))
    device = torch.device("cuda:3")
    monkeypatch.setattr(type(model), "device", property(lambda _: device))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda of: torch.tensor([of.index], dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, of: put.append((state, of)))
    states = TrainingStates(directory=tmp_path / "training", inputs=Inputs(values={}))
    states.save(TrainingState.capture([], *everything))
    for name in ("cuda:0", "cpu"):
        device, state = torch.device(name), states.load()
        assert state is not None
        state.restore(*everything)
    assert put == [(torch.tensor([3], dtype=torch.uint8), torch.device("cuda:0"))]
