"""A device whose memory is full: a model that fails on batches of more than so many texts, as PyTorch does on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel


@contextmanager
def short_memory(model: PreTrainedModel, most: int, *, every: int = 1) -> Iterator[list[int]]:
    """While it lasts every n-th batch of more than `most` texts fails; gives the sizes of all batches that do not."""
    sizes, too_large = list[int](), list[int]()

    def check(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        size = len(named["input_ids"])
        if size > most:
            too_large.append(size)
            if len(too_large) % every == 0:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        sizes.append(size)

    hook = model.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield sizes
    finally:
        hook.remove()
