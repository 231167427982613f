"""Where models compute: one rule, for this process and those that it starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

import gpu
from compressor.data.batches import compute_logits
from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.loading import load_data
from compressor.data.rows import Rows, TaskData
from compressor.data.tasks import TASKS
from compressor.device import (
    AUTO,
    Pieces,
    chosen_device,
    fork_random_state,
    half_type,
    is_device,
    is_out_of_memory,
    may_take_any_gpu,
    pick_device,
    to_device,
)
from compressor.errors import DeviceError, OptionError, spelled_as_flags
from compressor.files import module_environment
from compressor.training.loop import run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Update
from conftest import sentence_rows, tiny_batch, tiny_model
from running import WriteRows

NO_ROWS = Rows(texts=(), labels=np.zeros(0))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes PyTorch say that it finds so many GPUs."""

    def set_count(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return set_count


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (1, None, "cuda"),
        (0, None, "cpu"),
        (2, AUTO, "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
        (0, "cpu", "cpu"),
        (2, "", "cuda"),
    ],
)
def test_the_gpu_is_taken_where_there_is_one_and_no_other_is_chosen(
    count: int, name: str | None, device: str, gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(count)
    monkeypatch.delenv("COMPRESSOR_DEVICE", raising=False)
    if name is not None:
        monkeypatch.setenv("COMPRESSOR_DEVICE", name)
    assert pick_device() == torch.device(device)


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (2, "cuda:2"), (1, "gpu")])
def test_what_is_not_there_is_refused(count: int, name: str, gpus: Callable[[int], None]) -> None:
    gpus(count)
    with chosen_device(name), pytest.raises(OptionError) as raised:
        pick_device()
    assert str(raised.value) == (
        f"--device must be one that PyTorch finds on this machine, cpu or one of {count} GPUs, but got {name!r}. "
        "Take auto."
    )


@pytest.mark.parametrize(("name", "used"), [("cpu", []), ("cuda", [0]), ("cuda:1", [1])])
def test_the_random_state_of_the_gpu_that_computes_is_put_back_and_of_no_other(
    name: str, used: list[int], gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    gpus(2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: asked.append(devices) or nullcontext())
    with chosen_device(name), fork_random_state():
        assert asked == [used]


def test_pytorch_s_random_state_is_put_back() -> None:
    before = torch.get_rng_state()
    with fork_random_state():
        torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_that_was_chosen_is_that_of_all_trials() -> None:
    chosen = {}
    for name in ("auto", "cuda", "cuda:1", "cpu"):
        with chosen_device(name):
            chosen[name] = may_take_any_gpu()
    assert chosen == {"auto": True, "cuda": True, "cuda:1": False, "cpu": False}


def test_names() -> None:
    assert all(map(is_device, ("auto", "cpu", "cuda", "cuda:0", "cuda:15")))
    assert not any(map(is_device, ("", "gpu", "cuda:", "cuda:x", "cpu:0", "cuda:1000", "CUDA")))


def test_processes_compute_where_the_one_that_started_them_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSOR_DEVICE", "auto")
    code = "import os; print(os.environ['COMPRESSOR_DEVICE'])"
    with chosen_device("cpu"), chosen_device("cuda:1"):
        found = subprocess.check_output([sys.executable, "-c", code], env=module_environment(), text=True)
    assert found == "cuda:1\n"
    assert os.environ["COMPRESSOR_DEVICE"] == "auto"


def test_batches_are_brought_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `meta` stands for a GPU; a batch begins on the CPU."""
    seen: list[str] = []

    def answer(_: object, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.extend(values.device.type for values in batch.values())
        return torch.zeros(3, 2, requires_grad=torch.is_grad_enabled())

    monkeypatch.setattr("compressor.data.batches.outputs_of", answer)
    monkeypatch.setattr("compressor.training.loop.outputs_of", answer)
    batch, model = tiny_batch(tiny_model()), tiny_model().to("meta")
    assert compute_logits(model, [(np.arange(3), batch)]).shape == (3, 2)
    run_updates(model, batch, torch.tensor([0, 1, 1]), [Update(None)], TrainingSettings(), CLASSIFICATION)
    assert set(seen) == {"meta"}
    assert len(seen) == 2 * len(batch)


def test_a_gpu_is_sent_pinned_memory_and_the_processor_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append(("pinned",)) or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: calls.append((*a, k)) or self)
    batch, gpu = {"input_ids": torch.ones(2, 3), "attention_mask": torch.ones(2, 3)}, torch.device("cuda:1")
    assert to_device(batch, gpu).keys() == batch.keys()
    assert calls == [("pinned",), (gpu, {"non_blocking": True})] * 2
    calls.clear()
    to_device(batch, torch.device("cpu"))
    assert calls == [(torch.device("cpu"), {})] * 2


@pytest.mark.parametrize(
    ("device", "supported", "dtype"),
    [("cpu", False, torch.bfloat16), ("cuda", True, torch.bfloat16), ("cuda:1", False, torch.float16)],
)
def test_a_gpu_without_bfloat16_has_float16(
    device: str, supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", lambda asking: asked.append(asking) or nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert half_type(torch.device(device)) is dtype
    assert asked == [torch.device(device)] * (device != "cpu")


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (FULL, True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA out of memory"), False),
    ],
)
def test_full_memory_is_told_from_other_errors(error: Exception, is_full: bool) -> None:
    assert is_out_of_memory(error) is is_full


def test_pieces_are_doubled_until_one_fits(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def compute(num_pieces: int) -> str:
        asked.append(num_pieces)
        if num_pieces < 4:
            raise FULL
        return "done"

    pieces = Pieces()
    assert pieces.run(compute, 7, lambda: asked.append("undone")) == "done"
    assert asked == [1, "undone", 2, "undone", 4]
    assert capsys.readouterr().out.splitlines() == [
        f"Note: 7 rows do not fit into the memory of the device at once: from here on at most {rows} are computed at a "
        "time. The results are the same up to rounding."
        for rows in (4, 2)
    ]
    assert pieces.run(compute, 7) == "done"
    assert asked[-1] == 4
    assert len(asked) == 6


def test_a_row_that_does_not_fit_is_an_error() -> None:
    asked: list[int] = []

    def compute(num_pieces: int) -> None:
        asked.append(num_pieces)
        raise FULL

    with pytest.raises(DeviceError) as raised:
        Pieces().run(compute, 3)
    assert asked == [1, 2, 3]
    with spelled_as_flags():
        assert str(raised.value) == (
            "one row must fit into the memory of the device, but it does not: CUDA out of memory. Tried to allocate "
            "20.00 MiB. Lower --max-seq-length, take a smaller model or --device cpu."
        )


def test_other_errors_are_passed_on() -> None:
    def compute(num_pieces: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        Pieces().run(compute, 3)


def test_the_benchmark_of_gpus_says_where_there_is_none(
    gpus: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    gpus(0)
    data = TaskData(task=TASKS["custom"], train=NO_ROWS, validation=NO_ROWS, test=NO_ROWS, label_names=())
    found = gpu.compare(data, model_name_or_path="demo")
    assert found == {"benchmark": "gpu", "model": "demo", "torch": torch.__version__, "gpu": None}
    assert capsys.readouterr().out == f"PyTorch {torch.__version__} finds no CUDA device: nothing is measured.\n"


@pytest.mark.slow
def test_the_benchmark_of_gpus_measures_each_device(base_model_dir: Path, write_rows: WriteRows) -> None:
    data = load_data(write_rows(sentence_rows(200)))
    found = gpu.measure(torch.device("cpu"), data, str(base_model_dir), steps=1, sub_networks=1, runs=1)
    names = {f"training rows/s, {kind}" for kind in ("fp32", "bfloat16")} | {"search rows/s"}
    names |= {f"{form} {count}×128, ms" for form in ("onnx fp32", "pytorch fp32") for count in (1, 8)}
    assert found.keys() == names
    assert all(value > 0 for value in found.values())
