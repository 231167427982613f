"""Measuring a latency table: graphs as they are exported, timed in turn by a clock that the graphs alone move on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.errors import ModelError
from compressor.evaluation.latency import Meters, Usage
from compressor.evaluation.latency_table import SERVED, LatencyKind
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS, HIDDEN, LAYERS, VOCABULARY, tiny_model
from exporters.graph.sessions import PROVIDERS
from exporters.timing import latency_table
from exporters.timing.latency_table import FORMS, measure_latency_table, open_part, time_runners
from exporters.timing.runners import Inputs, Runner, make_inputs, open_runner

KIND = LatencyKind(latency_of="onnx-fp32", threads=1, batch_size=2, length=8)


@pytest.fixture(autouse=True)
def _small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_table, "_CACHE_BYTES", 64)


class FakeMachine:
    """A clock that runs as long as the models compute."""

    def __init__(self) -> None:
        self.now, self.shapes = 0.0, set[tuple[int, ...]]()
        self.meters = Meters(clock=lambda: self.now, cpu_clock=lambda: self.now, usage=lambda: Usage(0, None))

    def runner(self, seconds: float) -> Runner:
        """A model that takes so long."""

        def run(inputs: Inputs) -> None:
            self.shapes.add(inputs["input_ids"].shape)
            self.now += seconds

        return Runner(
            run=run, input_names=("input_ids", "attention_mask"), takes_choices=False, vocab_size=10, max_positions=99
        )


def seconds_of(sub_network: SubNetwork) -> float:
    """A made-up time: layers cost by their members, the last one half as much."""
    counts = [(len(heads), len(units)) for heads, units in zip(sub_network.heads, sub_network.units, strict=True)]
    kept = [0.25 * bool(heads) + heads / 8 + 0.5 * bool(units) + units / 64 for heads, units in counts if heads + units]
    return 1e-3 * (1.0 + sum(kept[:-1]) + sum(kept[-1:]) / 2)


def test_what_graphs_take_is_what_the_table_says(
    monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast
) -> None:
    machine, exported = FakeMachine(), dict[Path, SubNetwork]()

    def export(_: Any, __: Any, sub_network: SubNetwork, path: Path, *, portable: bool) -> Path:
        assert not portable
        exported[path] = sub_network
        return path

    monkeypatch.setattr(latency_table, "_export", export)
    monkeypatch.setattr(latency_table, "open_runner", lambda path, *_: machine.runner(seconds_of(exported[path])))
    table = measure_latency_table(tiny_model(), tokenizer, KIND, meters=machine.meters)
    assert len(exported) == len(set(exported.values())) == 13
    assert machine.shapes == {(2, 8)}
    for one in (full_sub_network(DIMENSIONS), SubNetwork(((0, 1, 2),) * LAYERS, ((), (0, 1), (5,)))):
        assert table.predict(one) == pytest.approx(1e3 * seconds_of(one))
    assert table.check is not None
    assert table.check.error == pytest.approx(0)
    assert (table.kind, table.model_type, table.dimensions, table.waited) == (KIND, "bert", DIMENSIONS, 0.0)
    assert table.cpu


def test_long_rounds_are_few() -> None:
    machine, rounds = FakeMachine(), list[float]()
    for seconds, expected in ((0.1, 30), (2.0, 13), (20.0, 7)):
        rounds.clear()
        found = time_runners([machine.runner(seconds)], KIND, machine.meters, lambda: rounds.append(machine.now))
        assert len(rounds) == expected
        assert found.ms == (pytest.approx(1e3 * seconds),)


def test_wall_clock_times_are_taken_on_several_threads() -> None:
    machine = FakeMachine()
    meters = replace(machine.meters, cpu_clock=lambda: 2 * machine.now)
    times = [time_runners([machine.runner(0.5)], replace(KIND, threads=threads), meters).ms for threads in (1, 2)]
    assert times == [(pytest.approx(1000),), (pytest.approx(500),)]


def test_every_form_that_is_offered_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast
) -> None:
    """From the graph of a sub-network, whose embedding table is cut and whose answers are the model's."""
    assert tuple(FORMS) == SERVED
    monkeypatch.setattr(latency_table, "_NUM_TOKENS", 20)
    model, one = tiny_model(), SubNetwork(((0, 2), (), ()), ((1, 2, 3), (), ()))
    graph = latency_table._export(model, tokenizer, one, tmp_path / "one.onnx", portable=False)
    assert model.get_input_embeddings().weight.shape == (VOCABULARY, HIDDEN)
    inputs = {"input_ids": np.full((1, 6), 7), "attention_mask": np.ones((1, 6)), "token_type_ids": np.zeros((1, 6))}
    with torch.inference_mode():
        expected = slice_model(model, one)(**{k: torch.from_numpy(v).long() for k, v in inputs.items()}).logits
    for name, make in FORMS.items():
        runner = open_runner(make(graph), 1)
        assert runner.vocab_size == 20, name
        assert make_inputs(runner, [8, 8])["input_ids"].max() < 20
        found = runner.run({key: value.astype(np.int64) for key, value in inputs.items()})
        if name == "openvino-int8":  # calibrated on a few random tokens: it is made to be timed
            assert np.asarray(found).shape == expected.shape
            continue
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4 if name.endswith("fp32") else 0.3)
    irs = [f"one{precision}.{kind}" for precision in ("", ".bf16", ".int8") for kind in ("xml", "bin")]
    assert {path.name for path in tmp_path.iterdir()} == {"one.int8.onnx", "one.fp16.onnx", "one.onnx", *irs}


def test_openvino_gets_a_graph_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked = {}

    def export(_: Any, __: Any, ___: Any, path: Path, *, portable: bool) -> Path:
        asked[path.name] = portable
        return path

    monkeypatch.setattr(latency_table, "_export", export)
    monkeypatch.setattr(latency_table, "FORMS", dict.fromkeys(SERVED, lambda graph: graph))
    monkeypatch.setattr(latency_table, "open_runner", lambda path, *_: path)
    full = full_sub_network(DIMENSIONS)
    for family in ("bert", "modernbert"):
        for form in ("onnx-int8", "openvino-int8"):
            open_part(
                tiny_model(family), tokenizer, full, tmp_path / f"{family} {form}", replace(KIND, latency_of=form)
            )
    assert [name for name, portable in asked.items() if portable] == ["modernbert openvino-int8"]


def test_of_a_gpu_the_wall_clock_counts_and_its_provider_computes(
    monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast
) -> None:
    """A thread that waits for a GPU uses no processor time; where there is none, nothing is exported first."""
    machine, opened = FakeMachine(), set[tuple[int, str]]()
    meters = replace(machine.meters, cpu_clock=lambda: 0.0)
    kind = replace(KIND, latency_of="onnx-cuda-fp16")

    def export(_: Any, __: Any, sub_network: SubNetwork, path: Path, *, portable: bool) -> Path:
        path.with_suffix(".fp16.onnx").write_text("half")
        return path

    def open_fake(path: Path, threads: int, provider: str) -> Runner:
        assert path.read_text() == "half"
        opened.add((threads, provider))
        return machine.runner(0.5)

    monkeypatch.setattr(latency_table, "_export", export)
    monkeypatch.setattr(latency_table, "convert_fp16", lambda _, output: output)
    monkeypatch.setattr(latency_table, "open_runner", open_fake)
    with pytest.raises(ModelError, match="--latency-of onnx-cuda-fp16 must be given where ONNX Runtime has CUDA"):
        measure_latency_table(tiny_model(), tokenizer, kind, meters=meters)
    assert not opened
    monkeypatch.setattr(latency_table, "available_providers", lambda: list(PROVIDERS.values()))
    table = measure_latency_table(tiny_model(), tokenizer, kind, meters=meters)
    assert opened == {(1, "cuda")}
    assert table.predict(full_sub_network(DIMENSIONS)) == pytest.approx(500)
