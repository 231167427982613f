"""The evaluator: rows in their order whatever the batches, sub-networks by shared weights, the model as it was."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, iterate_batches
from compressor.data.metrics import compute_error
from compressor.data.tasks import TASKS
from compressor.errors import DeviceError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import LAYERS, VOCABULARY, encoded_sentences, tiny_model
from short_memory import short_memory

TASK = TASKS["custom"]
KEPT = SubNetwork(heads=((1, 3),) * LAYERS, units=((0, 5, 7),) * LAYERS)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_logits_are_in_the_order_of_the_rows(batch_size: int, tokenizer: PreTrainedTokenizerFast) -> None:
    rows, model = encoded_sentences(tokenizer, 20), tiny_model()
    found = Evaluator(model, TASK, rows, batch_size).evaluate()
    for row in range(len(rows)):
        tokens = rows.columns["input_ids"][rows.offsets[row] : rows.offsets[row + 1]]
        with torch.inference_mode():
            alone = model(input_ids=torch.from_numpy(tokens)[None]).logits[0]
        np.testing.assert_allclose(found.logits[row], alone, atol=1e-5)
    assert found.error == compute_error(TASK.metric, TASK.head.predict(found.logits), rows.labels)
    assert found.seconds > 0


def test_a_sub_network_is_evaluated_by_the_shared_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    rows, model = encoded_sentences(tokenizer, 20), tiny_model()
    evaluator = Evaluator(model, TASK, rows)
    whole, kept = evaluator.evaluate().logits, evaluator.evaluate(KEPT).logits
    np.testing.assert_allclose(kept, Evaluator(slice_model(model, KEPT), TASK, rows).evaluate().logits, atol=1e-5)
    assert np.abs(kept - whole).max() > 1e-3
    assert np.array_equal(evaluator.evaluate().logits, whole)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_is_put_back(training: bool, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model().train(training)
    evaluator = Evaluator(model, TASK, encoded_sentences(tokenizer, 6))
    assert np.array_equal(evaluator.evaluate().logits, evaluator.evaluate().logits)
    assert model.training is training


def test_very_many_rows_are_batched_each_time_again(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, model = encoded_sentences(tokenizer, 20), tiny_model()
    kept = Evaluator(model, TASK, rows, 3).evaluate()
    monkeypatch.setattr("compressor.evaluation.evaluator._KEPT", 0)
    made: list[int] = []
    monkeypatch.setattr(
        "compressor.evaluation.evaluator.iterate_batches",
        lambda *arguments: made.append(1) or iterate_batches(*arguments),
    )
    evaluator = Evaluator(model, TASK, rows, 3)
    assert made == []
    for count in (1, 2):
        assert np.array_equal(evaluator.evaluate().logits, kept.logits)
        assert len(made) == count


@pytest.mark.parametrize("task_head", ["classification", "multiple_choice", "token_classification", "embedding"])
def test_a_batch_that_does_not_fit_is_cut(
    task_head: str, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    model, rng = tiny_model(task_head=task_head), np.random.default_rng(0)
    choices = 2 if task_head == "multiple_choice" else 1
    lengths = rng.integers(3, 9, size=20 * choices)
    words = np.flatnonzero(rng.random(lengths.sum()) < 0.4) if task_head == "token_classification" else None
    rows = EncodedRows(
        columns={"input_ids": rng.integers(5, VOCABULARY, size=lengths.sum())},
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        labels=np.zeros(20 if words is None else len(words), dtype=np.int64),
        num_choices=choices,
        takes_choices=choices > 1,
        pad_values={"input_ids": 1},
        units=words,
    )
    whole = Evaluator(model, TASK, rows, 16).compute_logits()
    evaluator = Evaluator(model, TASK, rows, 16)
    with short_memory(model, 3) as sizes:
        np.testing.assert_allclose(evaluator.compute_logits(), whole, atol=1e-5)
        first = list(sizes)
        again = evaluator.compute_logits(KEPT)
    np.testing.assert_allclose(again, Evaluator(model, TASK, rows, 16).compute_logits(KEPT), atol=1e-5)
    assert max(first) <= 3
    assert sum(first) >= 20
    shown = capsys.readouterr().out
    assert "do not fit into the memory of the device at once: from here on at most" in shown


def test_one_row_that_does_not_fit_is_told(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model().train()
    evaluator = Evaluator(model, TASK, encoded_sentences(tokenizer, 6))
    with short_memory(model, 0), pytest.raises(DeviceError, match="one row must fit into the memory of the device"):
        evaluator.evaluate()
    assert model.training
