"""Where models compute."""

import pytest
import torch

from compressor.device import pick_device


@pytest.mark.parametrize(("has_gpu", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(has_gpu: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert pick_device() == torch.device(kind)
