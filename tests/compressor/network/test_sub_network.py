"""`SubNetwork`: its written form, its hash and its checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import SubNetworkError
from compressor.network.sub_network import (
    SubNetwork,
    first_members,
    from_ranges,
    full_sub_network,
    keep_layers,
    to_ranges,
)
from conftest import DIMENSIONS

index_sets = st.lists(st.integers(0, 3), unique=True).map(lambda kept: tuple(sorted(kept)))
sub_networks = st.builds(SubNetwork, heads=st.tuples(*[index_sets] * 3), units=st.tuples(*[index_sets] * 3))


@given(st.sets(st.integers(0, 200)))
def test_ranges_round_trip(indices: set[int]) -> None:
    kept = tuple(sorted(indices))
    assert from_ranges(to_ranges(kept)) == kept


@given(st.integers(0, 5000))
def test_the_first_members_are_shared(count: int) -> None:
    assert first_members(count) == tuple(range(count))
    assert first_members(count) is first_members(count)
    assert first_members(1001)[999] is first_members(1000)[-1]  # the numbers in them too


def test_ranges_join_neighbours() -> None:
    assert to_ranges((0, 1, 2, 3, 7, 9, 10)) == "0-3,7,9-10"
    assert to_ranges(()) == ""


@given(sub_networks)
def test_written_form_round_trips(sub_network: SubNetwork) -> None:
    read = SubNetwork.from_json(sub_network.to_json(DIMENSIONS), DIMENSIONS)
    assert read == sub_network
    assert read.hash == sub_network.hash


@given(sub_networks, sub_networks)
def test_hash_tells_sub_networks_apart(first: SubNetwork, second: SubNetwork) -> None:
    assert (first.hash == second.hash) == (first == second)


def test_layers_alone_are_kept() -> None:
    full = full_sub_network(DIMENSIONS)
    assert keep_layers(full, range(DIMENSIONS.num_layers)) == full
    one = keep_layers(full, [1])
    assert one.heads == ((), full.heads[1], *[()] * (DIMENSIONS.num_layers - 2))
    assert one.units == ((), full.units[1], *[()] * (DIMENSIONS.num_layers - 2))


def test_counts_of_the_full_sub_network() -> None:
    full = full_sub_network(DIMENSIONS)
    assert (full.num_layers, full.num_heads, full.num_units) == (3, 12, 72)


def test_wrong_indices_are_named_all_at_once() -> None:
    with pytest.raises(SubNetworkError) as raised:
        SubNetwork(heads=((0, 4, 5), (), ()), units=((), (), (24,))).check(DIMENSIONS)
    assert str(raised.value) == (
        "heads of layer 0 must lie in 0..3, but got [4, 5]; units of layer 2 must lie in 0..23, but got [24]. "
        'This sub-network was made for another encoder (see "dimensions").'
    )


def test_wrong_number_of_layers() -> None:
    with pytest.raises(SubNetworkError, match="must name 3 layers, but got 1"):
        SubNetwork(heads=((0,),), units=((0,),)).check(DIMENSIONS)


@pytest.mark.parametrize("kept", [(1, 0), (2, 2), (-1,)])
def test_indices_must_ascend(kept: tuple[int, ...]) -> None:
    with pytest.raises(SubNetworkError, match="must be different, ascending and not negative"):
        SubNetwork(heads=(kept,), units=((),))


def test_file_for_another_encoder() -> None:
    written = full_sub_network(DIMENSIONS).to_json(DIMENSIONS)
    written["dimensions"]["num_layers"] = 12
    with pytest.raises(SubNetworkError, match="must be made for an encoder of the sizes"):
        SubNetwork.from_json(written, DIMENSIONS)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"heads": []},
        {"heads": ["0"], "units": [3]},
        {"heads": ["1-"], "units": ["0"]},
        {"heads": ["5-3"] * 3, "units": ["0"] * 3},
    ],
)
def test_broken_files(value: object) -> None:
    with pytest.raises(SubNetworkError):
        SubNetwork.from_json(value, DIMENSIONS)


def test_a_changed_file_is_noticed() -> None:
    written = full_sub_network(DIMENSIONS).to_json(DIMENSIONS)
    written["heads"][0] = "0-1"
    with pytest.raises(SubNetworkError, match="must have the hash of its content"):
        SubNetwork.from_json(written, DIMENSIONS)


def test_absurd_ranges_are_refused_before_they_are_expanded() -> None:
    with pytest.raises(SubNetworkError, match="index ranges must look like"):
        from_ranges("0-99999999999")
