"""What a search can minimise."""

from dataclasses import replace

import pytest

from compressor.errors import SearchError
from compressor.evaluation.latency_table import LatencyKind
from compressor.evaluation.memory import count_live_bytes
from compressor.network.costs import create_cost_model
from compressor.network.sub_network import full_sub_network
from compressor.search.objectives import OBJECTIVES, PEAK_BATCH, Measurable, check_objectives, measure_costs
from conftest import DIMENSIONS, tiny_model


@pytest.mark.parametrize(
    "objectives", [("error",), ("error", "error"), ("error", "flops"), ("error", "params", "macs", "latency_ms")]
)
def test_wrong_objectives(objectives: tuple[str, ...]) -> None:
    with pytest.raises(SearchError, match=f"--objectives must be two or three of {', '.join(OBJECTIVES)}, but"):
        check_objectives(objectives)


def test_costs_of_the_super_network() -> None:
    """What is timed is left out where it is no objective; sizes follow from the parameters."""
    model, full = tiny_model(), full_sub_network(DIMENSIONS)
    of = Measurable(sub_network=full, cost_model=create_cost_model(model), dimensions=DIMENSIONS, length=8, model=model)
    costs = measure_costs(of, ("error", "params"))
    assert list(costs) == [name for name in OBJECTIVES if name not in ("error", "latency_ms")]
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert costs["size_mb"] == weights / 1e6
    assert costs["peak_mb"] == (weights + count_live_bytes(full, DIMENSIONS, PEAK_BATCH, 8)) / 1e6
    kind = LatencyKind(latency_of="pytorch", threads=1, batch_size=1, length=8)
    timed = measure_costs(replace(of, latency_kind=kind), ("error", "latency_ms"))
    assert timed.pop("latency_ms") > 0
    assert timed == costs


def test_numbers_are_shown_with_their_units() -> None:
    error, macs, size = (OBJECTIVES[name] for name in ("error", "macs", "size_mb"))
    assert (error.axis, error.column) == ("error (1 − metric), lower is better", "error")
    assert (macs.axis, macs.row, macs.column) == ("MACs per text (M), lower is better", "MACs per text (M)", "MACs (M)")
    assert (macs.show(1_234_500_000), macs.show(None)) == ("1,234.5", "")
    assert (macs.describe(2_500_000), size.describe(90.7)) == ("2.50 M MACs", "90.70 MB size")
