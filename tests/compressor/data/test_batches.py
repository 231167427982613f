"""Tokens and batches: nothing lost, nothing padded in vain."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, collate, encode, evaluation_batches, training_batches
from compressor.data.sources import Rows
from compressor.data.tasks import TASKS
from conftest import WORDS


def make_rows(lengths: list[int]) -> Rows:
    texts = tuple((" ".join(WORDS[i % 50] for i in range(length)),) for length in lengths)
    return Rows(texts=texts, labels=np.arange(len(lengths)))


@pytest.fixture
def encoded(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    lengths = np.random.default_rng(0).integers(1, 30, 101).tolist()
    return encode(make_rows(lengths), TASKS["custom"], tokenizer, 512)


def test_tokens_are_the_tokenizer_s(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = make_rows([3, 1, 200])
    batch = collate(encode(rows, TASKS["custom"], tokenizer, 512), np.array([2, 0, 1]))
    texts = [rows.texts[i][0] for i in (2, 0, 1)]
    expected = tokenizer(texts, truncation=True, max_length=128, padding=True, return_tensors="pt")
    assert set(batch) == set(expected)
    for name, values in batch.items():
        assert values.tolist() == expected[name].tolist()


def test_choices_get_an_axis(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = Rows(texts=(("w1", "w2", "w3", "w4 w5", "w6", "w7"),) * 2, labels=np.array([0, 1]))
    encoded = encode(rows, TASKS["swag"], tokenizer, 512)
    batch = collate(encoded, np.array([1]))
    assert batch["input_ids"].shape == (1, 4, 7)  # [CLS] w1 [SEP] w2 w4 w5 [SEP]
    second = tokenizer("w1", "w2 w4 w5")
    assert batch["input_ids"][0, 1].tolist() == second["input_ids"]
    assert batch["token_type_ids"][0, 1].tolist() == second["token_type_ids"]
    assert encoded.lengths.tolist() == [7, 7]


def test_evaluation_sees_each_row_once_by_length(encoded: EncodedRows) -> None:
    batches = evaluation_batches(encoded, 16)
    assert sorted(np.concatenate([picked for picked, _ in batches]).tolist()) == list(range(101))
    widths = [batch["input_ids"].shape[1] for _, batch in batches]
    assert widths == sorted(widths)
    for picked, batch in batches:
        assert batch["input_ids"].shape[1] == encoded.lengths[picked].max()


def test_evaluation_batches_cost_least(tokenizer: PreTrainedTokenizerFast) -> None:
    """No other way to cut the rows, tried out one by one, costs less in padded tokens and calls."""
    lengths = [3, 3, 4, 30, 31, 90, 92, 126, 126]
    encoded = encode(make_rows(lengths), TASKS["custom"], tokenizer, 512)
    tokens = sorted(encoded.lengths.tolist())
    ways = [
        [tokens[start:end] for start, end in pairwise((0, *cuts, len(tokens)))]
        for number in range(len(tokens))
        for cuts in combinations(range(1, len(tokens)), number)
    ]
    least = min(sum(len(rows) * rows[-1] + 64 for rows in way) for way in ways if max(map(len, way)) <= 3)
    batches = [batch["input_ids"] for _, batch in evaluation_batches(encoded, 3)]
    assert sum(batch.numel() + 64 for batch in batches) == least
    assert max(len(batch) for batch in batches) <= 3
    assert len(batches) < len(lengths)


def test_evaluation_of_no_rows_has_no_batches(encoded: EncodedRows) -> None:
    assert evaluation_batches(encoded, 4, np.array([], dtype=np.int64)) == []


def test_training_sees_each_row_once_in_seeded_order(encoded: EncodedRows) -> None:
    def epoch(seed: int) -> list[list[int]]:
        return [picked.tolist() for picked, _ in training_batches(encoded, 8, np.random.default_rng(seed))]

    first = epoch(0)
    assert sorted(row for picked in first for row in picked) == list(range(101))
    assert first == epoch(0) != epoch(1)


def test_training_wastes_little(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(
        make_rows(np.random.default_rng(1).integers(1, 100, 800).tolist()), TASKS["custom"], tokenizer, 512
    )
    tokens = sum(
        int(batch["attention_mask"].sum()) for _, batch in training_batches(encoded, 8, np.random.default_rng(0))
    )
    cells = sum(batch["input_ids"].numel() for _, batch in training_batches(encoded, 8, np.random.default_rng(0)))
    assert tokens / cells > 0.95


def test_tokens_are_cached_per_rows_tokenizer_and_length(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = type(tokenizer).__call__
    monkeypatch.setattr(type(tokenizer), "__call__", lambda self, *a, **k: calls.append(1) or original(self, *a, **k))
    rows = make_rows([3, 5])
    for _ in range(2):
        encode(rows, TASKS["custom"], tokenizer, 512)
    assert len(calls) == 1
    encode(rows, TASKS["custom"], tokenizer, 4)
    encode(make_rows([3, 6]), TASKS["custom"], tokenizer, 512)
    assert len(calls) == 3
