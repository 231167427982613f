"""bfloat16 is taken where the processor has it and a few steps are faster; a training goes on as it began."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, encode
from compressor.data.loading import load_data
from compressor.data.rows import TaskData
from compressor.data.tasks import TASKS
from compressor.evaluation.evaluator import Evaluator
from compressor.training import precision, train
from compressor.training.precision import Precision, decide_precision
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport
from compressor.training.train import PreparedTraining, train_super_network
from conftest import encoded_sentences, sentence_rows, tiny_model
from short_memory import short_memory

TASK = TASKS["custom"]
AUTO = TrainingSettings(num_train_epochs=2, per_device_train_batch_size=8, learning_rate=5e-3)


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    return encoded_sentences(tokenizer, 20)


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has bfloat16, and trainings that are long enough."""
    monkeypatch.setattr(precision, "has_bf16", lambda _: True)
    monkeypatch.setattr(precision, "_MIN_OPERATIONS", 0)


def no_clock() -> float:
    raise AssertionError("nothing is to be measured")


class Clock:
    """A clock by which steps take so many seconds."""

    def __init__(self, fp32_s: float, bf16_s: float) -> None:
        self.looks, self._ticks = 0, self._tick(fp32_s, bf16_s)

    def __call__(self) -> float:
        self.looks += 1
        return next(self._ticks)

    @staticmethod
    def _tick(*steps: float) -> Iterator[float]:
        now = 0.0
        yield now
        while True:
            for seconds in steps:
                yield now
                now += seconds
                yield now
            yield now


@pytest.mark.parametrize("bf16", [True, False])
def test_what_is_asked_for_is_taken(bf16: bool, rows: EncodedRows, able: None) -> None:
    settings = TrainingSettings(bf16=bf16)
    assert decide_precision(tiny_model(num_labels=2), TASK, rows, settings, no_clock) == Precision(
        bf16=bf16, reason="as asked"
    )


def test_without_bfloat16_in_the_processor_it_is_fp32(
    rows: EncodedRows, able: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: False)
    found = decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, no_clock)
    assert found.describe() == "Training in fp32: this processor does not multiply in bfloat16."


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_a_cpu_needs_one_of_two_instructions(avx512: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision.has_bf16(torch.device("cpu")) == (avx512 or amx)


def test_a_short_training_is_not_measured(rows: EncodedRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: True)
    found = decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, no_clock)
    assert not found.bf16
    assert found.reason == "it is too short to measure whether bfloat16 would be faster"


@pytest.mark.parametrize(
    ("bf16_s", "said"),
    [
        (0.04, "Training in bfloat16: a step takes 0.40 of its time in fp32."),
        (0.089, "Training in bfloat16: a step takes 0.89 of its time in fp32."),
        (0.095, "Training in fp32: a step in bfloat16 takes 0.95 of its time."),
        (0.3, "Training in fp32: a step in bfloat16 takes 3.00 of its time."),
    ],
)
def test_the_faster_is_taken(bf16_s: float, said: str, rows: EncodedRows, able: None) -> None:
    clock = Clock(0.1, bf16_s)
    assert decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, clock).describe() == said
    assert clock.looks == 1 + 3 * 5  # three steps of each


def test_long_steps_are_taken_once(rows: EncodedRows, able: None) -> None:
    clock = Clock(3.0, 1.0)
    assert decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, clock).bf16
    assert clock.looks == 1 + 5


def test_of_a_large_batch_a_part_is_measured(rows: EncodedRows, able: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def step(model: object, batch: dict[str, torch.Tensor], *_: object) -> torch.Tensor:
        sizes.append(len(batch["input_ids"]))
        return torch.zeros(1)

    monkeypatch.setattr(precision, "run_updates", step)
    decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, Clock(0.1, 0.1))
    monkeypatch.setattr(precision, "_MAX_OPERATIONS", 1)
    decide_precision(tiny_model(num_labels=2), TASK, rows, AUTO, Clock(0.1, 0.1))
    assert sizes == [8] * 6 + [1] * 6


def test_measuring_changes_nothing(rows: EncodedRows, able: None) -> None:
    model = tiny_model(num_labels=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    decide_precision(model, TASK, rows, AUTO)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(60)))
    return load_data(file, text="text", label="label")


@pytest.mark.parametrize("begun", [True, False])
def test_what_goes_on_computes_as_it_began(
    begun: bool, base_model_dir: Path, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(bf16: bool) -> None:
        monkeypatch.setattr(train, "decide_precision", lambda *_: Precision(bf16=bf16, reason="as the test says"))

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    started: list[PreparedTraining] = []
    folder = tmp_path / "net"
    decide(begun)
    expected = train_super_network(base_model_dir, data, AUTO)
    with pytest.raises(KeyboardInterrupt):
        train_super_network(base_model_dir, data, AUTO, directory=folder, on_epoch=interrupt)
    decide(not begun)
    net = train_super_network(base_model_dir, data, AUTO, directory=folder, on_start=started.append)
    assert started[0].precision == Precision(bf16=begun, reason="as it was begun")
    assert started[0].settings.bf16 is begun
    assert net.record is not None
    assert expected.record is not None
    assert (net.record.settings, net.record.epochs) == (expected.record.settings, expected.record.epochs)
    weights = expected.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.model.state_dict().items())


def test_bfloat16_trains_and_fp32_evaluates(base_model_dir: Path, data: TaskData) -> None:
    in_bf16, in_fp32 = (
        train_super_network(base_model_dir, data, TrainingSettings(num_train_epochs=1, bf16=bf16))
        for bf16 in (True, False)
    )
    weights = in_fp32.model.state_dict()
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in in_bf16.model.state_dict().items())
    assert {tensor.dtype for tensor in in_bf16.model.state_dict().values()} == {torch.float32}
    assert in_bf16.record is not None
    seen: list[torch.dtype] = []
    hook = in_bf16.model.bert.encoder.layer[0].register_forward_hook(lambda *parts: seen.append(parts[2].dtype))
    rows = encode(data.validation, data.task, in_bf16.tokenizer, 40)
    assert Evaluator(in_bf16.model, data.task, rows).evaluate().error == in_bf16.record.error
    hook.remove()
    assert set(seen) == {torch.float32}


@pytest.fixture
def older_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands for a GPU that has float16 alone."""
    for module in ("loop", "precision"):
        monkeypatch.setattr(f"compressor.training.{module}.half_type", lambda _: torch.float16)


def test_a_gpu_without_bfloat16_trains_in_float16(
    base_model_dir: Path, data: TaskData, older_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, scales = list[torch.dtype](), list[float]()
    autocast, step = torch.autocast, torch.amp.GradScaler.step
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: seen.append(dtype) or autocast(kind, dtype))
    monkeypatch.setattr(
        torch.amp.GradScaler, "step", lambda self, *a: scales.append(self.get_scale()) or step(self, *a)
    )
    in_fp16, in_fp32 = (
        train_super_network(base_model_dir, data, TrainingSettings(num_train_epochs=1, bf16=half))
        for half in (True, False)
    )
    assert set(seen) == {torch.float16}
    assert set(scales) >= {2.0**16, 1.0}
    assert in_fp16.record is not None
    assert in_fp32.record is not None
    assert in_fp16.record.epochs[0].loss == pytest.approx(in_fp32.record.epochs[0].loss, rel=0.05)
    weights = in_fp32.model.state_dict()
    for name, tensor in in_fp16.model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], atol=5e-3, rtol=0)


def test_it_is_said_what_is_computed_in(rows: EncodedRows, able: None, older_gpu: None) -> None:
    asked = precision.decide_precision(tiny_model(), TASK, rows, TrainingSettings(bf16=True))
    assert asked.describe() == "Training in float16: as asked."


def test_measuring_needs_no_more_memory_than_training(
    rows: EncodedRows, able: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_MIN_OPERATIONS", 0)
    model = tiny_model(num_labels=2)
    with short_memory(model, 3) as sizes:
        precision.decide_precision(model, TASK, rows, TrainingSettings())
    assert set(sizes) <= {1, 2, 3}
    assert "do not fit into the memory of the device at once" in capsys.readouterr().out
    assert all(parameter.grad is None for parameter in model.parameters())
