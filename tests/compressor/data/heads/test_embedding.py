"""Sentence embeddings: loss, similarities, neighbours by hand; rows of texts and of pairs; a model learns itself."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import encode, encode_parts, with_reference
from compressor.data.heads.embedding import EMBEDDING, find_trivial, predict, recall_of_neighbours, sample
from compressor.data.heads.pooling import write_pooling
from compressor.data.loading import load_data
from compressor.data.rows import TaskData
from compressor.errors import OptionError, TaskDataError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.loading import load_base_model
from conftest import sentence_rows

WriteRows = Callable[..., Path]


def pairs(count: int = 20) -> list[dict[str, object]]:
    rows = sentence_rows(2 * count, seed=5)
    return [
        {"sentence1": one["text"], "sentence2": other["text"], "score": float(one["label"] == other["label"]) + n / 100}
        for n, (one, other) in enumerate(zip(rows[::2], rows[1::2], strict=True))
    ]


def test_the_loss_is_a_share_of_the_squared_length() -> None:
    labels = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    outputs = torch.tensor([[3.0, 3.0], [3.0, 5.0]])
    # ((0 + 1) / 25 + (9 + 0) / 25) / 2
    assert float(EMBEDDING.loss(outputs, labels)) == pytest.approx(0.2)
    assert float(EMBEDDING.distillation_loss(outputs, outputs, labels, 2.0)) == pytest.approx(0.2)


def test_similarities_to_a_reference_or_within_pairs() -> None:
    outputs = np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [-1.0, 0.0]])
    assert predict(outputs) == pytest.approx([np.sqrt(0.5), 0.0])
    assert predict(outputs, outputs[[0, 0, 2, 0]]) == pytest.approx([1.0, np.sqrt(0.5), 1.0, -1.0])
    assert EMBEDDING.judge(outputs, None).dtype == np.float32


def test_neighbours_by_hand() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 5))
    assert recall_of_neighbours(3 * base, base) == {"recall@10 of neighbours": 1.0}
    found = recall_of_neighbours(rng.normal(size=(60, 5)), base)["recall@10 of neighbours"]
    assert 0.05 < found < 0.35  # 10 of 59 by chance
    few = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])  # the last one stands twice: three texts
    assert recall_of_neighbours(few, few) == {"recall@10 of neighbours": 1.0}
    assert recall_of_neighbours(few[:1], few[:1]) == {}


def test_labels_drawn_around_a_reference_differ_from_it() -> None:
    reference = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    drawn = sample(reference, np.random.default_rng(1))
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn, sample(reference, np.random.default_rng(1)))
    assert 0.5 < float((drawn - reference).std() / reference.std()) < 2


@pytest.fixture
def texts(write_rows: WriteRows, base_model_dir: Path) -> TaskData:
    path = write_rows([*sentence_rows(40), *sentence_rows(5)])
    return load_data(path, text="text", task_name="embed", reference_model=str(base_model_dir))


def test_every_text_counts_once(texts: TaskData, write_rows: WriteRows, base_model_dir: Path) -> None:
    assert sum(map(len, texts.parts.values())) == 40
    assert texts.task.metric == "cosine"
    path = write_rows(pairs(20), "both.jsonl")
    both = load_data(path, text=["sentence1", "sentence2"], task_name="embed", reference_model=str(base_model_dir))
    assert sum(map(len, both.parts.values())) == 40
    assert {len(row) for row in both.train.texts} == {1}


def test_a_model_learns_its_own_vectors(
    texts: TaskData, base_model_dir: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, _ = load_base_model(str(base_model_dir), texts.task, (), seed=0)
    parts = encode_parts(texts, tokenizer, 40)
    reference = parts.validation.reference
    assert reference is not None
    assert reference.shape == (len(parts.validation), 16)
    found = Evaluator(model, texts.task, parts.validation).evaluate()
    np.testing.assert_allclose(found.logits, reference, rtol=1e-4, atol=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert np.array_equal(parts.train.targets, parts.train.reference)
    again = encode(texts.validation, texts.task, tokenizer, 40)
    assert np.array_equal(again.reference, reference)  # from the cache
    trivial = find_trivial(with_reference(texts, parts.validation, parts.test))
    unit = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    assert trivial.error == pytest.approx(1 - np.linalg.norm(unit.mean(axis=0)))  # the mean of cosines to the mean


def test_vectors_that_are_pooled_otherwise_are_others(
    write_rows: WriteRows, base_model_dir: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """How a model pools lies beside its weights: what is kept of one must not be taken for the other's."""
    file, found = write_rows([{"text": row["text"]} for row in sentence_rows(30)]), []
    for mode in ("mean", "cls"):
        model = shutil.copytree(base_model_dir, tmp_path / mode)
        write_pooling(model, SimpleNamespace(hidden_size=16, sentence_embedding={"mode": mode}))
        data = load_data(file, text="text", task_name="embed", reference_model=str(model))
        found.append(encode(data.train, data.task, tokenizer, 40).reference)
    assert not np.array_equal(*found)


def test_pairs_are_judged_by_the_order_of_their_similarities(
    write_rows: WriteRows, base_model_dir: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    train, scored = write_rows(sentence_rows(20)), write_rows(pairs(), "pairs.jsonl")
    data = load_data(
        train, text="text", task_name="embed", reference_model=str(base_model_dir), validation_pairs=str(scored)
    )
    assert [len(rows) for rows in data.parts.values()] == [20, 12, 8]  # 40 % of the pairs are held out
    assert data.task.metric == "spearman"
    model, _ = load_base_model(str(base_model_dir), data.task, (), seed=0)
    rows = encode(data.validation, data.task, tokenizer, 40)
    assert rows.reference is None
    found = Evaluator(model, data.task, rows, batch_size=5).evaluate()
    assert found.logits.shape == (24, 16)
    alone = Evaluator(model, data.task, rows, batch_size=1).evaluate()
    np.testing.assert_allclose(found.logits, alone.logits, rtol=1e-4, atol=1e-5)
    assert find_trivial(data).error == 1.0


def test_what_does_not_fit(write_rows: WriteRows, base_model_dir: Path) -> None:
    train, scored = write_rows(sentence_rows(20)), write_rows(pairs(), "pairs.jsonl")
    same = write_rows([{**row, "score": 1.0} for row in pairs()], "same.jsonl")
    embed = {"task_name": "embed", "reference_model": str(base_model_dir)}
    with pytest.raises(TaskDataError, match="a model must be named whose outputs the task embed learns, but none is"):
        load_data(train, text="text", task_name="embed")
    with pytest.raises(TaskDataError, match="--validation-pairs must be given with --task-name embed"):
        load_data(train, text="text", label="label", validation_pairs=str(scored))
    with pytest.raises(OptionError, match="--validation-pairs must be given without --validation-file"):
        load_data(train, text="text", validation_pairs=str(scored), validation_file=str(same), **embed)
    with pytest.raises(TaskDataError, match="must be cosine, or with --validation-pairs spearman or pearson"):
        load_data(train, text="text", metric="spearman", **embed)
    with pytest.raises(TaskDataError, match="the scores of pairs must differ from pair to pair"):
        load_data(train, text="text", validation_pairs=str(same), **embed)
