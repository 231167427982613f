"""The settings of a training: their limits, and what follows from the number of rows."""

import pytest

from compressor.errors import OptionError, StrategyError
from compressor.training.settings import TrainingSettings


def test_wrong_settings_are_named_all_at_once() -> None:
    with pytest.raises(OptionError) as raised:
        TrainingSettings(temperature=0.0, num_train_epochs=0)
    assert str(raised.value) == (
        "--temperature must be above 0, but got 0.0; --num-train-epochs must be at least 1, but got 0. "
        "Correct the options."
    )
    with pytest.raises(StrategyError, match="--num-random-sub-nets must be at least 1"):
        TrainingSettings(num_random_sub_nets=0)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"),
    [(100_000, 32, 3), (3_000, 32, 3), (1_500, 32, 6), (100, 32, 9), (1, 8, 9), (0, 8, 9)],
)
def test_few_rows_are_seen_more_often(rows: int, batch_size: int, epochs: int) -> None:
    settings = TrainingSettings(per_device_train_batch_size=batch_size)
    assert settings.for_rows(rows).epochs == epochs
    assert settings.for_rows(rows).for_rows(100_000).epochs == epochs
    assert TrainingSettings(num_train_epochs=2).for_rows(rows).epochs == 2
