"""The laws on a GPU: shared = sliced, errors as on the CPU, one training step, half precision, memory that is full.

They are skipped where PyTorch finds no CUDA device; each path is also tested on CPUs beside its module.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import get_available_providers
from transformers import PreTrainedTokenizerFast

import compressor
from compressor.data.batches import compute_logits, encode, evaluation_batches
from compressor.data.tasks import TASKS
from compressor.device import chosen_device
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.latency_table import ON_GPU, LatencyKind
from compressor.extraction.repair import measure_moments, repair
from compressor.network.execution import activate
from compressor.network.families import ENCODER_FAMILIES, get_dimensions
from compressor.network.saving import load_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.training.importance import order_layers, score_importance
from compressor.training.loop import train_shared_weights
from compressor.training.settings import TrainingSettings
from conftest import TASK_HEADS, answers, encoded_sentences, sentence_rows, tiny_batch, tiny_model
from exporters import export_model, measure_latency_table

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device"),
]
GPU = torch.device("cuda")
TASK = TASKS["custom"]
KEPT = SubNetwork(heads=((0, 3), (), (2,)), units=((), (1, 2, 20), tuple(range(3, 9))))


def require_near(first: torch.Tensor, second: torch.Tensor, most: float = 1e-5) -> None:
    assert first.shape == second.shape
    assert float((first.cpu() - second.cpu()).abs().max()) <= most * float(second.abs().max())


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_shared_is_sliced_and_as_on_the_cpu(model_type: str, task_head: str) -> None:
    model = tiny_model(model_type, task_head)
    batch = tiny_batch(model, length=17)
    with torch.inference_mode():
        with activate(model, KEPT):
            on_cpu = answers(model, batch)
        model.to(GPU)
        batch = {name: values.to(GPU) for name, values in batch.items()}
        with activate(model, KEPT):
            shared = answers(model, batch)
        require_near(answers(slice_model(model, KEPT), batch), shared)
    require_near(shared, on_cpu)


def test_errors_are_those_of_the_cpu(tokenizer: PreTrainedTokenizerFast) -> None:
    model, rows = tiny_model(num_labels=2), encoded_sentences(tokenizer, 60)
    on_cpu = Evaluator(model, TASK, rows).evaluate(KEPT)
    on_gpu = Evaluator(model.to(GPU), TASK, rows).evaluate(KEPT)
    assert on_gpu.error == on_cpu.error
    np.testing.assert_allclose(on_gpu.logits, on_cpu.logits, atol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_training_is_that_of_the_cpu(half: bool, tokenizer: PreTrainedTokenizerFast) -> None:
    rows, found = encoded_sentences(tokenizer, 40), []
    settings = TrainingSettings(num_train_epochs=1, per_device_train_batch_size=8, learning_rate=1e-3, bf16=half)
    for device, of in ((torch.device("cpu"), replace(settings, bf16=False)), (GPU, settings)):
        model = tiny_model(num_labels=2)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        (report,) = train_shared_weights(model.to(device), TASK, rows, rows, of, lambda _: None)
        found.append((report.loss, model.cpu().state_dict()))
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02 if half else 1e-3)
    for name, values in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], values, atol=5e-3 if half else 5e-4, rtol=0)


def test_scores_orders_and_moments_are_those_of_the_cpu(tokenizer: PreTrainedTokenizerFast) -> None:
    rows, model = encoded_sentences(tokenizer, 60), tiny_model(num_labels=2)
    scores, order, moments = (
        score_importance(model, TASK, rows),
        order_layers(model, TASK, rows),
        measure_moments(model, rows),
    )
    repaired = repair(slice_model(model, KEPT), model, KEPT, moments)
    model.to(GPU)
    on_gpu = score_importance(model, TASK, rows)
    np.testing.assert_allclose(on_gpu.heads, scores.heads, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(on_gpu.units, scores.units, rtol=1e-2, atol=1e-6)
    assert order_layers(model, TASK, rows) == order
    again = repair(slice_model(model, KEPT), model, KEPT, measure_moments(model, rows))
    batch = tiny_batch(model)
    with torch.inference_mode():
        expected = answers(repaired, batch)
        require_near(answers(again.to(GPU), {name: values.to(GPU) for name, values in batch.items()}), expected, 1e-3)


def test_a_batch_that_is_too_large_is_halved(
    tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    """With as much memory as a batch of a few texts takes, and no more."""
    model, rows = tiny_model(num_labels=2).to(GPU), encoded_sentences(tokenizer, 4000)
    expected = compute_logits(model, evaluation_batches(rows, 64))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    used = torch.cuda.memory_reserved(GPU)
    try:
        torch.cuda.set_per_process_memory_fraction((used + 4e6) / total, GPU)
        found = compute_logits(model, evaluation_batches(rows, 4000))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "rows do not fit into the memory of the device at once" in capsys.readouterr().out


def test_the_whole_way_computes_there(base_model_dir: Path, tmp_path: Path) -> None:
    """Trained, searched, extracted on the GPU; the model that is saved answers on the CPU as it was judged."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in sentence_rows(120)))
    with chosen_device(GPU.type):
        data = compressor.load_data(file)
        net = compressor.train_super_network(base_model_dir, data, TrainingSettings(num_train_epochs=1))
        assert net.model.device.type == GPU.type
        result = compressor.search_sub_networks(net, data, num_samples=6)
        extraction = compressor.extract_sub_network(net, result.front[0], data, finetune_epochs=1)
        assert export_model(net, data, tmp_path / "onnx").accepted  # from where the search has left it
    saved = load_sliced_model(extraction.save(tmp_path / "model"))
    rows = encode(data.validation, data.task, saved.tokenizer, 40)
    assert Evaluator(saved.model, data.task, rows).evaluate().error == pytest.approx(extraction.report.error, abs=0.03)


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in get_available_providers(), reason="ONNX Runtime has no CUDA provider"
)
@pytest.mark.parametrize("latency_of", ON_GPU)
def test_latencies_are_of_what_is_served_there(latency_of: str, tokenizer: PreTrainedTokenizerFast) -> None:
    kind = LatencyKind(latency_of=latency_of, threads=1, batch_size=2, length=16)
    model = tiny_model()
    table = measure_latency_table(model.to(GPU), tokenizer, kind)
    full = full_sub_network(get_dimensions(model))
    assert 0 < table.predict(KEPT) <= table.predict(full)
