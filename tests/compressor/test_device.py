"""Where models compute: one rule, for this process and those that it starts."""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from compressor.data.batches import compute_logits
from compressor.data.heads.classification import CLASSIFICATION
from compressor.device import AUTO, chosen_device, is_device, pick_device
from compressor.errors import OptionError
from compressor.files import module_environment
from compressor.training.loop import run_updates
from compressor.training.settings import TrainingSettings
from compressor.training.strategies import Update
from conftest import tiny_batch, tiny_model


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
