"""A forecast scales with the work and leaves the model as it was."""

import itertools

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows
from compressor.data.tasks import TASKS
from compressor.training.forecast import forecast, format_duration
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import SAMPLING_STRATEGIES
from conftest import encoded_sentences, tiny_model


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    return encoded_sentences(tokenizer, 40)


def test_steps_and_rows_are_multiplied_out(rows: EncodedRows) -> None:
    ticks = itertools.count(step=10.0)  # each look at the clock finds 10 s gone by
    settings = TrainingSettings(per_device_train_batch_size=8, per_device_eval_batch_size=10, num_train_epochs=3)
    found = forecast(tiny_model(num_labels=2), TASKS["custom"], rows, rows, settings, lambda: next(ticks))
    assert found.training_s == 10 / 5 * 15  # five steps in 10 s; 5 steps an epoch
    assert found.epoch_s == 10 * 5
    assert found.row_s == 10 / 10
    assert found.token_s * 30 > found.row_s > found.token_s
    assert found.evaluation_s == pytest.approx(found.row_s * 40 * found.share)
    assert 0 < found.evaluation_s < 40  # one batch of ten in 10 s, four batches, for the whole super-network


@pytest.mark.parametrize("strategy", list(SAMPLING_STRATEGIES))
def test_nothing_changes(strategy: str, rows: EncodedRows) -> None:
    model = tiny_model(num_labels=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    forecast(model, TASKS["custom"], rows, rows, TrainingSettings(sampling_strategy=strategy))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "about 1 s"), (40, "about 40 s"), (230, "about 4 min"), (9000, "about 2.5 h")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
