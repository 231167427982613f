"""The arithmetic of the estimate that `compress` gives at its start."""

from dataclasses import replace

import pytest

from compressor.training.forecast import Forecast
from exporters.forecast import Plan, Sizes, describe_stages, forecast_stages

EXPECTED = Forecast(training_s=100.0, evaluation_s=2.0, share=0.5, row_s=0.01, token_s=0.001, epoch_s=20.0)
PLAN = Plan(
    num_samples=60,
    finetune_epochs=3,
    num_candidates=0,
    num_precisions=2,
    batch_sizes=(1, 8),
    lengths=(32, 1000),
    runs=7,
)
SIZES = Sizes(
    params=20_000_000, train_rows=1000, validation_rows=400, test_rows=300, mean_length=36.0, max_positions=132
)


def test_each_stage_is_worked_out() -> None:
    seconds = forecast_stages(EXPECTED, PLAN, SIZES)
    assert list(seconds) == ["super-network", "search", "extraction", "export", "benchmark"]
    assert (seconds["super-network"], seconds["search"]) == (100.0, 120.0)
    # the super-network over 1,000 + 400 + 300 rows and 256 for the repair: 19.56 s; the sub-network, half as large,
    # five times over 400 rows and once over 300, 11.5 s, and three epochs of 20 s with an evaluation of 2 s, 36 s
    # (0.5 × (0.01 × 2,300 + 3 × (20 + 4)) = 47.5)
    assert seconds["extraction"] == pytest.approx(19.56 + 47.5)
    # two graphs of 5 + (0.05 + 0.1) × 20 s; 400 rows by one and a half models, in PyTorch and two precisions; logging
    assert seconds["export"] == pytest.approx(2 * 8.0 + 4.0 * 1.5 * 3 + 10.0)
    # (1 + 8) × (32 + 132 + 36) tokens of 1 ms by 1.5 models in three forms, 7 + 3 times; six processes of 4 s
    assert seconds["benchmark"] == pytest.approx(10 * 9 * 200 * 0.001 * 1.5 * 3 + 24.0)


def test_candidates_are_judged_and_distilled_for_an_epoch() -> None:
    more = forecast_stages(EXPECTED, replace(PLAN, num_candidates=2), SIZES)
    # two more of half the size, each five times over 400 rows, and an epoch of 20 s with an evaluation
    expected = forecast_stages(EXPECTED, PLAN, SIZES)["extraction"] + 2 * 0.5 * (5 * 4.0 + 24.0)
    assert more["extraction"] == pytest.approx(expected)
    without = replace(PLAN, num_candidates=2, finetune_epochs=0)
    assert forecast_stages(EXPECTED, without, SIZES) == forecast_stages(
        EXPECTED, replace(PLAN, finetune_epochs=0), SIZES
    )


def test_less_to_do_takes_less() -> None:
    whole = forecast_stages(EXPECTED, PLAN, SIZES)
    less = {
        "super-network": forecast_stages(EXPECTED, PLAN, SIZES, left=0.25),
        "extraction": forecast_stages(EXPECTED, Plan(**{**vars(PLAN), "finetune_epochs": 0}), SIZES),
        "export": forecast_stages(EXPECTED, Plan(**{**vars(PLAN), "num_precisions": 1}), SIZES),
        "benchmark": forecast_stages(EXPECTED, Plan(**{**vars(PLAN), "runs": 1}), SIZES),
    }
    assert less["super-network"]["super-network"] == 25.0
    assert all(seconds[stage] < whole[stage] for stage, seconds in less.items())


def test_it_is_said_to_be_an_estimate() -> None:
    assert describe_stages({"super-network": 40.0}) == (
        "Estimated from a few steps on this machine: super-network about 40 s."
    )
    assert describe_stages(forecast_stages(EXPECTED, PLAN, SIZES)) == (
        "Estimated from a few steps on this machine: super-network about 2 min, search about 2 min, extraction about "
        "67 s, export about 44 s, benchmark about 2 min; about 7 min in all."
    )
