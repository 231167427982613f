"""Costs by hand. That they are what is counted in the sliced model is a law (`test_laws.py`)."""

import pytest

from compressor.network.costs import BlockCosts, CostModel, create_cost_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS, tiny_model

HEAD = BlockCosts(params=4 + 8, member_params=3 * (4 * 2 + 2) + 2 * 4, member_macs=(0, 4 * 4 * 2, 2 * 2))
UNIT = BlockCosts(params=4 + 8, member_params=4 + 1 + 4, member_macs=(0, 2 * 4, 0))
MODEL = CostModel(
    blocks={"heads": (HEAD,) * 2, "units": (UNIT,) * 2},
    params_outside=100,
    macs_per_token_outside=3,
    macs_per_text_outside=20,
    full=SubNetwork(heads=((0, 1), (0, 1)), units=((0, 1, 2), (0, 1, 2))),
)
KEPT = SubNetwork(heads=((1,), ()), units=((0, 2), ()))


def test_by_hand() -> None:
    """Attention: 3·(4·2 + 2) of Q, K, V, 2·4 + 4 of the output, 2·4 of the norm; units: 4·2 + 2, 2·4 + 4, 2·4."""
    costs = MODEL.costs(KEPT)
    assert costs.encoder_params == (30 + 12 + 8) + (10 + 12 + 8)
    full = 2 * ((3 * (4 * 4 + 4) + (4 * 4 + 4) + 8) + ((4 * 3 + 3) + (3 * 4 + 4) + 8))
    assert MODEL.encoder_params(MODEL.full) == full
    assert (costs.params, costs.relative_params) == (180, 180 / (full + 100))
    assert costs.relative_encoder_params == 80 / full
    assert MODEL.macs(KEPT, 5) == 5 * 3 + 20 + (4 * 5 * 4 * 2 + 2 * 5 * 5 * 2) + 2 * 5 * 4 * 2


def test_the_full_sub_network_is_all_there_is() -> None:
    model = tiny_model()
    costs = create_cost_model(model).costs(full_sub_network(DIMENSIONS))
    assert costs.params == sum(p.numel() for p in model.parameters())
    assert (costs.relative_params, costs.relative_encoder_params) == (1.0, 1.0)


@pytest.mark.parametrize("length", [1, 64])
def test_nothing_kept_costs_what_is_outside(length: int) -> None:
    nothing = SubNetwork(heads=((), ()), units=((), ()))
    assert (MODEL.costs(nothing).params, MODEL.encoder_params(nothing)) == (100, 0)
    assert MODEL.macs(nothing, length) == 3 * length + 20
