"""A latency table: parts that were put in come out again, and a sub-network's latency is their sum."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from compressor.errors import FileError, SearchError
from compressor.evaluation.latency_table import (
    TABLE_FILE,
    BlockTimes,
    LatencyKind,
    LatencyTable,
    LayerTimes,
    TableCheck,
    open_latency_table,
    solve_latency_table,
    sub_network_to_check,
    sub_networks_to_time,
)
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import create_search_space
from conftest import DIMENSIONS, tiny_model

KIND = LatencyKind(latency_of="onnx-fp32", threads=1, batch_size=1, length=16)
TABLE = LatencyTable(
    kind=KIND,
    model_type="bert",
    dimensions=DIMENSIONS,
    rest_ms=0.5,
    shared_ms=4.0,
    layer=LayerTimes(
        attention=BlockTimes(members=(1, 2, 4), ms=(0.25, 0.375, 1.0)),
        feed_forward=BlockTimes(members=(1, 12, 24), ms=(0.125, 0.5, 2.0)),
    ),
    last_layer=LayerTimes(
        attention=BlockTimes(members=(1, 4), ms=(0.0625, 0.5)),
        feed_forward=BlockTimes(members=(1, 24), ms=(0.03125, 0.25)),
    ),
)


def keeping(*counts: tuple[int, int]) -> SubNetwork:
    """The sub-network whose layers keep so many heads and units."""
    return SubNetwork(*(tuple(tuple(range(count)) for count in one) for one in zip(*counts, strict=True)))


def solve(dimensions: EncoderDimensions, table: LatencyTable, noise: float = 0.0) -> LatencyTable:
    """The table that is solved from times which another one tells."""
    rng = np.random.default_rng(0)
    timed = [
        (one, table.predict(one) * float(np.exp(noise * rng.normal()))) for one in sub_networks_to_time(dimensions)
    ]
    return solve_latency_table(KIND, "bert", dimensions, timed)


def test_a_latency_is_the_sum_of_its_parts() -> None:
    assert TABLE.predict(keeping((4, 24), (0, 0), (2, 12))) == 4.5 + 1.0 + 2.0 + TABLE.last_layer.of(2, 12)
    assert TABLE.predict(keeping((4, 0), (0, 12), (4, 24))) == 4.5 + 1.0 + 0.5 + 0.5 + 0.25
    assert TABLE.predict(keeping((1, 1), (0, 0), (0, 0))) == 4.5 + 0.0625 + 0.03125  # the only layer is the last one
    assert TABLE.predict(keeping((0, 24), (0, 0), (0, 24))) == 0.5 + 2.0 + 0.25  # nothing that attention blocks share
    assert TABLE.predict(keeping((0, 0), (0, 0), (0, 0))) == 0.5


def test_sizes_that_were_timed_are_exact_and_others_lie_between() -> None:
    block = TABLE.layer.attention
    assert [block.at(size) for size in block.members] == list(block.ms)
    assert block.at(3) == (0.375 + 1.0) / 2
    assert block.at(0) == 0.0


def test_the_parts_that_were_put_in_are_solved_for() -> None:
    found = solve(DIMENSIONS, TABLE)
    assert (found.rest_ms, found.shared_ms) == (pytest.approx(TABLE.rest_ms), pytest.approx(TABLE.shared_ms))
    for name in ("layer", "last_layer"):
        for block in ("attention", "feed_forward"):
            before, after = (getattr(getattr(table, name), block) for table in (TABLE, found))
            assert after.members == before.members
            assert after.ms == pytest.approx(before.ms), (name, block)
    assert found.predict(sub_network_to_check(DIMENSIONS)) == pytest.approx(
        TABLE.predict(sub_network_to_check(DIMENSIONS))
    )


@pytest.mark.parametrize("seed", range(3))
def test_noise_makes_nothing_faster_by_keeping_more(seed: int) -> None:
    found, rng = solve(DIMENSIONS, TABLE, noise=0.2), np.random.default_rng(seed)
    for _ in range(50):
        one = create_search_space("large", DIMENSIONS).draw(rng)
        layer = int(rng.integers(DIMENSIONS.num_layers))
        heads, units = list(one.heads), list(one.units)
        if not heads[layer] and not units[layer]:
            continue  # a new layer may come after the last one, which then is another
        heads[layer] = tuple(range(max(1, min(len(heads[layer]) + 1, DIMENSIONS.num_heads))))
        units[layer] = tuple(range(max(1, min(len(units[layer]) + 5, DIMENSIONS.num_units))))
        more = SubNetwork(tuple(heads), tuple(units))
        assert found.predict(more) >= found.predict(one) >= found.rest_ms >= 0


@pytest.mark.parametrize(("num_layers", "num_heads", "num_units"), [(1, 4, 24), (2, 1, 1), (12, 2, 3)])
def test_encoders_of_any_size(num_layers: int, num_heads: int, num_units: int) -> None:
    """The times of the super-network and of what is checked come out as they were put in."""
    dimensions = replace(DIMENSIONS, num_layers=num_layers, num_heads=num_heads, num_units=num_units)
    known = replace(TABLE, dimensions=dimensions)
    found = solve(dimensions, known)
    graphs = [*sub_networks_to_time(dimensions), sub_network_to_check(dimensions)]
    assert all(one.check(dimensions) and one.num_layers <= min(4, num_layers) for one in graphs)
    for one in (graphs[0], full_sub_network(dimensions)):
        assert found.predict(one) == pytest.approx(known.predict(one))


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = replace(TABLE, check=TableCheck(timed_ms=2.0, predicted_ms=1.9), cpu="a CPU", waited=0.25)
    assert LatencyTable.load(told.save(tmp_path / TABLE_FILE)) == told
    assert told.describe() == (
        "latency_ms is predicted from timed parts: onnx-fp32, 1 thread, 1 text of 16 tokens; a graph that was not used "
        "for it took 2 ms, predicted 1.9 (-5.0%)."
    )
    value = json.loads((tmp_path / TABLE_FILE).read_text())
    value["layer"]["attention"]["members"] = [2, 1, 4]
    (tmp_path / TABLE_FILE).write_text(json.dumps(value))
    with pytest.raises(FileError, match=r"must be as it was written, .*Delete it, and it is measured again\."):
        LatencyTable.load(tmp_path / TABLE_FILE)


def test_a_search_that_goes_on_hears_of_the_same_times(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model, asked = tiny_model(), list[LatencyKind]()

    def measure(_: object, __: object, kind: LatencyKind) -> LatencyTable:
        asked.append(kind)
        return replace(TABLE, kind=kind, rest_ms=float(len(asked)))

    def open_table(resume: bool, kind: LatencyKind = KIND) -> float:
        return open_latency_table(tmp_path, kind, model, tokenizer, DIMENSIONS, measure, resume=resume).rest_ms

    assert [open_table(resume=True), open_table(resume=True), open_table(resume=False)] == [1.0, 1.0, 2.0]
    assert LatencyTable.load(tmp_path / TABLE_FILE).rest_ms == 2.0
    other = replace(KIND, length=8)
    assert [open_table(resume=True, kind=other), open_table(resume=True, kind=other)] == [3.0, 3.0]
    assert asked == [KIND, KIND, other]
    with pytest.raises(SearchError, match=r"^a search by latency_ms of onnx-fp32 must be given how a latency table is"):
        open_latency_table(None, KIND, model, tokenizer, DIMENSIONS, None, resume=False)
