"""Tokenised rows and batches without padding waste: like lengths go together, a batch is padded to its longest row."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compressor.data.sources import Rows, TaskData
from compressor.data.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Tensor]
"""Model inputs by name: [batch, length], or [batch, choices, length] for multiple choice."""

_POOL = 50
"""Training sorts pools of so many batches by length: little padding, and still shuffled."""


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Tokenised rows, ragged: text i holds tokens offsets[i] … offsets[i + 1] of each column."""

    columns: dict[str, np.ndarray]
    """Token columns end to end (`input_ids`, and `token_type_ids` where the tokenizer makes them), int64."""
    offsets: np.ndarray
    labels: np.ndarray
    num_choices: int
    """Texts per row: 1, or the number of endings for multiple choice."""
    multiple_choice: bool
    pad_values: dict[str, int]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row; for multiple choice of its longest text."""
        lengths: np.ndarray = np.diff(self.offsets).reshape(len(self), self.num_choices).max(axis=1)
        return lengths

    @property
    def median_length(self) -> int:
        """Tokens of the median row."""
        return int(np.median(self.lengths))


def encode(rows: Rows, task: Task, tokenizer: "PreTrainedTokenizerBase", max_positions: int) -> EncodedRows:
    """The rows as tokens, cut at the task's maximal length or at what the model has positions for.

    The tokens are kept in the cache of `datasets`, keyed by rows, tokenizer and length.
    """
    from datasets import Dataset
    from datasets.config import HF_DATASETS_CACHE

    max_length = min(task.max_length, max_positions)
    first, second = _text_pairs(rows, task)
    key = hashlib.sha256(
        f"{rows.digest} {_fingerprint(tokenizer)} {max_length} {task.multiple_choice}".encode()
    ).hexdigest()[:32]
    cache_dir = Path(HF_DATASETS_CACHE) / "mlflow-compressor"
    cache_dir.mkdir(parents=True, exist_ok=True)
    texts = {"first": first} if second is None else {"first": first, "second": second}

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        with _same_afterwards(tokenizer):
            tokens = tokenizer(*(batch[name] for name in texts), truncation=True, max_length=max_length)
        return {name: tokens[name] for name in ("input_ids", "token_type_ids") if name in tokens}

    dataset = Dataset.from_dict(texts).map(
        tokenize,
        batched=True,
        remove_columns=list(texts),
        cache_file_name=str(cache_dir / f"{key}.arrow"),
        new_fingerprint=key,
    )
    columns = {name: [np.asarray(tokens) for tokens in dataset.with_format("numpy")[name]] for name in dataset.features}
    lengths = [len(tokens) for tokens in columns["input_ids"]]
    return EncodedRows(
        columns={name: np.concatenate(values).astype(np.int64) for name, values in columns.items()},
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        labels=rows.labels,
        num_choices=max(1, len(task.choice_columns)),
        multiple_choice=task.multiple_choice,
        pad_values={"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id},
    )


@dataclass(frozen=True, kw_only=True)
class EncodedParts:
    """Tokenised rows of a task in their three parts."""

    train: EncodedRows
    validation: EncodedRows
    test: EncodedRows


def encode_parts(data: TaskData, tokenizer: "PreTrainedTokenizerBase", max_positions: int) -> EncodedParts:
    """The rows of a task as tokens; see `encode`."""
    train, validation, test = (encode(rows, data.task, tokenizer, max_positions) for rows in data.parts.values())
    return EncodedParts(train=train, validation=validation, test=test)


def collate(rows: EncodedRows, picked: np.ndarray) -> Batch:
    """The picked rows as tensors padded to the longest of them, with an `attention_mask`."""
    texts = (np.asarray(picked)[:, None] * rows.num_choices + np.arange(rows.num_choices)).ravel()
    starts, lengths = rows.offsets[texts], np.diff(rows.offsets)[texts]
    width = int(lengths.max())
    mask = np.arange(width) < lengths[:, None]
    shape = (len(picked), rows.num_choices, width) if rows.multiple_choice else (len(picked), width)
    batch = {"attention_mask": torch.from_numpy(mask.astype(np.int64)).reshape(shape)}
    positions = np.where(mask, starts[:, None] + np.arange(width), 0)
    for name, values in rows.columns.items():
        tokens = np.where(mask, values[positions], rows.pad_values[name])
        batch[name] = torch.from_numpy(tokens).reshape(shape)
    return batch


def evaluation_batches(
    rows: EncodedRows, batch_size: int, picked: np.ndarray | None = None
) -> list[tuple[np.ndarray, Batch]]:
    """All rows (or those picked) once, shortest first, as (row indices, inputs)."""
    order = np.argsort(rows.lengths, kind="stable")
    if picked is not None:
        order = order[np.isin(order, picked)]
    picks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [(picked, collate(rows, picked)) for picked in picks]


def training_batches(
    rows: EncodedRows, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Batch]]:
    """One epoch as (row indices, inputs): every row once, like lengths together, in an order drawn from `rng`."""
    order, lengths = rng.permutation(len(rows)), rows.lengths
    picks: list[np.ndarray] = []
    for start in range(0, len(order), batch_size * _POOL):
        pool = order[start : start + batch_size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        picks += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    for position in rng.permutation(len(picks)):
        yield picks[position], collate(rows, picks[position])


def _text_pairs(rows: Rows, task: Task) -> tuple[list[str], list[str] | None]:
    if task.multiple_choice:
        stems = len(task.text_columns)
        first = [row[0] for row in rows.texts for _ in row[stems:]]
        second = [" ".join((*row[1:stems], ending)) for row in rows.texts for ending in row[stems:]]
        return first, second
    first = [row[0] for row in rows.texts]
    return first, [row[1] for row in rows.texts] if len(task.text_columns) == 2 else None


@contextmanager
def _same_afterwards(tokenizer: "PreTrainedTokenizerBase") -> Iterator[None]:
    """The tokenizer as before: it is saved alike, whether its rows' tokens were in the cache or not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = backend.truncation if backend is not None else None
    yield
    if backend is not None:
        backend.no_truncation() if before is None else backend.enable_truncation(**before)


def _fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """A content hash of the tokenizer, whatever directory it was loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        text = repr(sorted(tokenizer.get_vocab().items()))
    else:  # truncation and padding are states of the last call, not of the tokenizer
        state = json.loads(backend.to_str())
        text = json.dumps({name: value for name, value in state.items() if name not in ("truncation", "padding")})
    settings = [type(tokenizer).__name__, tokenizer.model_input_names, tokenizer.truncation_side]
    return hashlib.sha256(f"{settings} {text}".encode()).hexdigest()
