"""Tokens and batches: nothing lost, nothing padded needlessly."""

import gc
import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import (
    EncodedRows,
    collate,
    encode,
    evaluation_batches,
    join_rows,
    kept_outputs,
    temporary_cache,
    training_batches,
)
from compressor.data.loading import load_task_data
from compressor.data.rows import Rows
from compressor.data.sources import make_source
from compressor.data.storage.texts import Texts
from compressor.data.tasks import TASKS
from conftest import WORDS, tiny_model
from memory_of_rows import READERS, write_rows


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


@pytest.mark.parametrize("task", ["custom", "swag", "ner", "qnli"])
def test_many_rows_are_the_rows_of_few(
    task: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenised a few at a time, and mapped, as a million are."""
    chosen = replace(TASKS[task], label_names=("O", "B-PER"))
    width = len(chosen.text_columns) + len(chosen.choice_columns)
    texts = tuple(tuple(f"w{row} w{column} x" for column in range(width)) for row in range(11))
    labels = np.arange(11) % 2
    if task == "ner":
        texts = tuple(tuple(WORDS[: 1 + row % 4]) for row in range(11))
        labels = np.empty(11, dtype=object)
        labels[:] = [tuple(place % 2 for place in range(len(words))) for words in texts]
    rows = Rows(texts=texts, labels=labels)
    few = encode(rows, chosen, tokenizer, 512)
    monkeypatch.setattr("compressor.data.batches._AT_ONCE", 4)
    monkeypatch.setattr("compressor.data.storage.tokens._MAPPED_FROM", 1)
    with temporary_cache():
        many = encode(replace(rows, texts=Texts.of(rows.texts)), chosen, tokenizer, 512)
        assert many.columns.keys() == few.columns.keys()
        assert all(isinstance(column.base, np.memmap) for column in many.columns.values())
        for name in ("offsets", "labels", "unit_bounds"):
            np.testing.assert_array_equal(getattr(many, name), getattr(few, name))
        pairs = zip(evaluation_batches(few, 3), evaluation_batches(many, 3), strict=True)
        for (places, batch), (same_places, same) in pairs:
            assert places.tolist() == same_places.tolist()
            assert {name: values.tolist() for name, values in batch.items()} == {
                name: values.tolist() for name, values in same.items()
            }
            assert all(values.dtype == torch.int64 for values in same.values())


@pytest.mark.parametrize("name", ["custom", "swag", "ner", "rerank"])
def test_joined_rows_are_those_of_both(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(3, 9, 12).tolist()
    width = {"swag": 6, "rerank": 2}.get(name, 1)
    texts = [tuple(" ".join(rng.choice(WORDS[:50], count)) for _ in range(width)) for count in counts]
    labels = np.arange(12) % 3
    if name == "ner":
        texts = [tuple(text.split()) for (text,) in texts]
        labels = np.empty(12, dtype=object)
        labels[:] = [tuple(range(len(words))) for words in texts]
    task = replace(TASKS[name], label_names=tuple("abcdefghi"))
    groups = np.arange(12) // 3 if name == "rerank" else None
    rows = Rows(texts=tuple(texts), labels=labels, groups=groups)
    whole = encode(rows, task, tokenizer, 512)
    first, second = (
        encode(
            Rows(texts=rows.texts[part], labels=labels[part], groups=None if groups is None else groups[part] % 3),
            task,
            tokenizer,
            512,
        )
        for part in (slice(9), slice(9, None))
    )
    found = join_rows(first, second)
    assert [len(first), len(second), len(found)] == [9, 3, 12]
    assert found.labels.tolist() == whole.labels.tolist()
    for (places, batch), (same, wanted) in zip(evaluation_batches(found, 5), evaluation_batches(whole, 5), strict=True):
        assert places.tolist() == same.tolist()
        assert {key: values.tolist() for key, values in batch.items()} == {k: v.tolist() for k, v in wanted.items()}
    if whole.structure is not None:
        assert found.structure is not None
        of_both = [len(np.unique(structure.groups)) for structure in (found.structure, whole.structure)]
        assert of_both[0] == of_both[1]


def test_tokenising_many_rows_shows_how_far_it_is(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(make_rows([1, 2, 3]), TASKS["custom"], tokenizer, 512)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("compressor.data.batches._SHOWN_FROM", 4)
    encode(make_rows([1, 2, 3, 4]), TASKS["custom"], tokenizer, 512)
    assert "tokens" in (shown := capsys.readouterr().err)
    assert "4/4" in shown


def test_damaged_tokens_are_made_again(tokenizer: PreTrainedTokenizerFast) -> None:
    rows, task = make_rows([3, 5]), TASKS["custom"]
    found = encode(rows, task, tokenizer, 512)
    (file,) = (Path(datasets.config.HF_DATASETS_CACHE) / "mlflow-compressor").glob("*/input_ids.npy")
    file.write_bytes(b"")
    assert encode(rows, task, tokenizer, 512).columns["input_ids"].tolist() == found.columns["input_ids"].tolist()


@pytest.mark.parametrize("gone", ["input_ids", "token_type_ids", "lengths"])
def test_tokens_of_a_cache_that_was_cleaned_in_part_are_made_again(
    gone: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Without its token types a row of two texts would be another one, and nobody would be told."""
    rows, task = make_rows([3, 5]), TASKS["custom"]
    found = encode(rows, task, tokenizer, 512)
    (file,) = (Path(datasets.config.HF_DATASETS_CACHE) / "mlflow-compressor").glob(f"*/{gone}.npy")
    file.unlink()
    again = encode(rows, task, tokenizer, 512)
    assert {name: values.tolist() for name, values in again.columns.items()} == {
        name: values.tolist() for name, values in found.columns.items()
    }
    assert again.lengths.tolist() == found.lengths.tolist()


def test_outputs_in_the_cache_that_are_damaged_are_computed_again(tokenizer: PreTrainedTokenizerFast) -> None:
    own, model = encode(make_rows([3, 5]), TASKS["custom"], tokenizer, 512), tiny_model()
    found = kept_outputs("a model", lambda: (model, own)).tolist()
    (file,) = (Path(datasets.config.HF_DATASETS_CACHE) / "mlflow-compressor").glob("*.npy")
    file.write_bytes(file.read_bytes()[:-4])
    assert kept_outputs("a model", lambda: (model, own)).tolist() == found


@pytest.mark.parametrize("reader", READERS)
def test_no_python_object_is_kept_for_a_row(
    reader: str, base_model_dir: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Whatever reads them and whatever head they are of; where words are labelled, one: the row's labels."""
    more = {"reference_model": str(base_model_dir)} if reader == "txt" else {}
    file = {"unlabeled_file" if reader == "txt" else "train_file": str(tmp_path / f"rows.{reader}")}
    source = make_source(task_name=READERS[reader], **file, **more)

    def count_blocks(num_rows: int) -> int:
        write_rows(tmp_path / f"rows.{reader}", num_rows, 12)
        gc.collect()
        before = sys.getallocatedblocks()
        data = load_task_data(source)
        parts = [encode(rows, replace(data.task, reference=None), tokenizer, 512) for rows in data.parts.values()]
        gc.collect()
        kept = sys.getallocatedblocks() - before
        assert sum(map(len, parts)) > 0
        return kept

    count_blocks(50)  # what is made once
    few, many = count_blocks(50), count_blocks(2050)
    assert round((many - few) / 2000) == (reader == "conll")  # what else the process allocates is far less
