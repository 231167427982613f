"""Importance: scores against gates that are really there, dead ones last, and an order that changes no output."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compressor.data.batches import EncodedRows, collate
from compressor.data.tasks import TASKS, Task
from compressor.network.execution import expand_members
from compressor.network.families import (
    ENCODER_FAMILIES,
    forget_orders,
    get_family,
    get_layer_order,
    get_layers,
    kept_members,
    set_layer_order,
)
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.training.importance import order_layers, score_importance, sort_by_importance
from compressor.training.loop import create_optimizer, fine_tune
from compressor.training.settings import TrainingSettings
from conftest import HEADS, HIDDEN, LAYERS, TASK_HEADS, UNITS, VOCABULARY, answers, tiny_batch, tiny_model
from short_memory import short_memory

KINDS = {
    "classification": "custom",
    "regression": "stsb",
    "multiple_choice": "swag",
    "token_classification": "ner",
    "embedding": "embed",
}


def case(model_type: str = "bert", task_head: str = "classification") -> tuple[PreTrainedModel, Task, EncodedRows]:
    """A tiny model, its task and 20 rows of random tokens and lengths."""
    rng, choices = np.random.default_rng(1), 2 if task_head == "multiple_choice" else 1
    lengths = rng.integers(4, 12, size=20 * choices)
    labels = rng.integers(0, 2, size=20)
    words = np.arange(lengths.sum()) if task_head == "token_classification" else None  # each token is one
    if words is not None:
        labels = np.random.default_rng(2).integers(0, 3, size=len(words))
    rows = EncodedRows(
        columns={"input_ids": rng.integers(5, VOCABULARY, size=lengths.sum())},
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        labels=labels.astype(np.float32) if task_head == "regression" else labels,
        num_choices=choices,
        takes_choices=task_head == "multiple_choice",
        pad_values={"input_ids": 1},
        units=words,
        reference=rng.normal(size=(20, HIDDEN)).astype(np.float32) if task_head == "embedding" else None,
    )
    return tiny_model(model_type, task_head), TASKS[KINDS[task_head]], rows


def with_rows_of_no_word(rows: EncodedRows) -> EncodedRows:
    """The same rows; the shorter half of them holds no word that is judged, such as white space alone."""
    assert rows.units is not None
    silent = np.repeat(rows.lengths <= np.median(rows.lengths), rows.lengths)
    return replace(rows, units=rows.units[~silent], labels=rows.labels[~silent])


def test_rows_without_a_word_score_nothing_and_teach_nothing() -> None:
    model, task, rows = case(task_head="token_classification")
    rows = with_rows_of_no_word(rows)
    few, many = (score_importance(model, task, rows, batch_size=size) for size in (2, 32))
    np.testing.assert_allclose(few.units, many.units, rtol=1e-3)
    settings = TrainingSettings(num_train_epochs=1, per_device_train_batch_size=2)
    reports = fine_tune(model, replace(task, metric="accuracy"), rows, rows, settings, lambda _: None)
    assert np.isfinite(reports[0].loss)


def logits_of(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return answers(model, tiny_batch(model))


def gated_scores(model: PreTrainedModel, task: Task, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
    """The definition, a second way: gates of ones that are multiplied in, one row at a time."""
    family, scores = get_family(model.config.model_type), (np.zeros((LAYERS, HEADS)), np.zeros((LAYERS, UNITS)))
    gates = (torch.ones(LAYERS, HEADS, requires_grad=True), torch.ones(LAYERS, UNITS, requires_grad=True))
    hooks = []
    heads, units = (group.consumer for group in family.groups)
    for kind, path, repeats in ((0, heads, 4), (1, units, 1)):
        for number, layer in enumerate(get_layers(model)):

            def gate(
                _: nn.Module, args: tuple[Tensor], kind: int = kind, number: int = number, repeats: int = repeats
            ) -> tuple[Tensor]:
                return (args[0] * gates[kind][number].repeat_interleave(repeats),)

            hooks.append(layer.get_submodule(path).register_forward_pre_hook(gate))
    labels = rows.targets
    if rows.reference is not None:  # drawn around a frozen model's outputs, after the rows
        rng = np.random.default_rng([0, 4])
        rng.permutation(len(rows))
        assert task.head.sample is not None
        labels = task.head.sample(rows.reference, rng)
    for row in range(len(rows)):
        units = slice(*rows.unit_bounds[row : row + 2])
        loss = task.head.loss(answers(model, collate(rows, np.array([row]))), torch.from_numpy(labels[units]))
        loss = loss * (units.stop - units.start)
        for score, gradient in zip(scores, torch.autograd.grad(loss, gates), strict=True):
            score += gradient.square().numpy()
    for hook in hooks:
        hook.remove()
    return scores


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_scores_are_squared_gradients_of_gates(model_type: str, task_head: str) -> None:
    model, task, rows = case(model_type, task_head)
    found = score_importance(model, task, rows, batch_size=6)
    heads, units = gated_scores(model, task, rows)
    np.testing.assert_allclose(found.heads, heads, rtol=1e-3, atol=1e-6 * heads.max())
    np.testing.assert_allclose(found.units, units, rtol=1e-3, atol=1e-6 * units.max())


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_ordering_changes_no_output(model_type: str, task_head: str) -> None:
    model, task, rows = case(model_type, task_head)
    before, weights = logits_of(model), {k: v.clone() for k, v in model.state_dict().items()}
    sort_by_importance(model, task, rows)
    after = logits_of(model)
    assert float((before - after).abs().max()) <= 1e-5 * float(before.abs().max())
    assert any(not torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    again = score_importance(model, task, rows)
    for scores in (again.heads, again.units):
        assert not np.any(np.diff(scores, axis=1) > 1e-4 * scores.max())


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_what_is_dead_comes_last(model_type: str, task_head: str) -> None:
    model, task, rows = case(model_type, task_head)
    family = get_family(model.config.model_type)
    with torch.no_grad():
        for layer in get_layers(model):
            layer.get_parameter(f"{family.groups[0].consumer}.weight")[:, 4:8] = 0  # head 1
            layer.get_parameter(f"{family.groups[1].consumer}.weight")[:, [0, 7]] = 0
    found = sort_by_importance(model, task, rows)
    assert [order[-1] for order in found.orders["heads"]] == [1] * LAYERS
    assert [order[-2:] for order in found.orders["units"]] == [[0, 7]] * LAYERS
    last = SubNetwork(heads=((HEADS - 1,),) * LAYERS, units=((UNITS - 2, UNITS - 1),) * LAYERS)
    for layer, (heads, units) in zip(get_layers(model), kept_members(model, last), strict=True):
        columns = list(expand_members(heads, 4))
        assert not layer.get_parameter(f"{family.groups[0].consumer}.weight")[:, columns].any()
        assert not layer.get_parameter(f"{family.groups[1].consumer}.weight")[:, list(units)].any()


def test_the_seed_alone_decides_and_the_model_stays_as_it_is() -> None:
    model, task, rows = case()
    model.train()
    state, drawn = {k: v.clone() for k, v in model.state_dict().items()}, []
    for _ in range(2):
        torch.manual_seed(len(drawn))
        drawn.append(score_importance(model, task, rows, num_rows=8, seed=4))
    assert np.array_equal(drawn[0].heads, drawn[1].heads)
    assert np.array_equal(drawn[0].units, drawn[1].units)
    assert not np.array_equal(drawn[0].units, score_importance(model, task, rows, num_rows=8, seed=5).units)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_optimizer_goes_on_as_if_nothing_had_moved() -> None:
    """Two steps, an ordering between them: the output is that of the two steps alone."""
    outputs = []
    for ordered in (False, True):
        model, task, rows = case()
        optimizer, _ = create_optimizer(model, TrainingSettings(warmup_ratio=0.0), 100)
        for step in range(3):
            if step == 2 and ordered:
                sort_by_importance(model, task, rows, optimizer)
            batch = collate(rows, np.arange(8))
            task.head.loss(model(**batch).logits, torch.from_numpy(rows.labels[:8])).backward()
            optimizer.step()
            optimizer.zero_grad()
        outputs.append(logits_of(model))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


def test_a_trained_order_beats_its_reverse() -> None:
    """On a model that has learned: the better half of all units loses less than the worse half."""
    model, task, rows = case()
    settings = TrainingSettings(learning_rate=3e-3, per_device_train_batch_size=10, num_train_epochs=20)
    fine_tune(model, task, rows, rows, settings, lambda report: False)
    found = score_importance(model, task, rows)

    def loss_without(dropped: np.ndarray) -> float:
        family, kept = get_family("bert"), {k: v.clone() for k, v in model.state_dict().items()}
        with torch.no_grad():
            for layer, units in zip(get_layers(model), dropped, strict=True):
                layer.get_parameter(f"{family.groups[1].consumer}.weight")[:, units] = 0
            logits = model(**collate(rows, np.arange(20))).logits
        model.load_state_dict(kept)
        return float(task.head.loss(logits, torch.from_numpy(rows.labels)))

    orders = np.array(found.orders["units"])
    assert loss_without(orders[:, UNITS // 2 :]) < loss_without(orders[:, : UNITS // 2])


@pytest.mark.parametrize("task_head", TASK_HEADS)
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_layers_are_ordered_by_what_the_loss_is_without_them(model_type: str, task_head: str) -> None:
    model, task, rows = case(model_type, task_head)
    with torch.no_grad():
        for layer in get_layers(model):
            for parameter in layer.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))  # so that layers differ

    def loss_of(kept: set[int]) -> float:  # a second way: the layers are really gone
        sets = (tuple(range(size)) for size in (HEADS, UNITS))
        sub_network = SubNetwork(*(tuple(s if i in kept else () for i in range(LAYERS)) for s in sets))
        batch, labels = collate(rows, np.arange(len(rows))), torch.from_numpy(rows.targets)
        with torch.inference_mode():
            return float(task.head.loss(answers(slice_model(model, sub_network).eval(), batch), labels))

    order, left = order_layers(model, task, rows, num_rows=len(rows)), set(range(LAYERS))
    assert sorted(order) == list(range(LAYERS))
    for layer in reversed(order[1:]):
        assert loss_of(left - {layer}) == pytest.approx(min(loss_of(left - {other}) for other in left), rel=1e-4)
        left -= {layer}


def test_the_order_of_layers_stays_with_the_super_network(tmp_path: Path) -> None:
    model, _, _ = case()
    assert get_layer_order(model) == ()
    set_layer_order(model, (2, 0, 1))
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert get_layer_order(loaded) == (2, 0, 1)
    cut = slice_model(loaded, SubNetwork(heads=((0,), (), (1,)), units=((0,), (), (1,))))
    assert not hasattr(cut.config, "layer_order")
    assert get_layer_order(loaded) == (2, 0, 1)
    for foreign in ([0, 0, 1], ["a", 1, None], [True, False, 2], [0, 1], "012", 3):
        loaded.config.layer_order = foreign
        assert get_layer_order(loaded) == ()
    forget_orders(loaded)
    forget_orders(loaded)
    assert not hasattr(loaded.config, "layer_order")


@pytest.mark.parametrize("task_head", ["classification", "token_classification", "embedding"])
def test_scores_and_orders_do_not_depend_on_the_memory(task_head: str) -> None:
    model, task, rows = case(task_head=task_head)
    expected, layers = score_importance(model, task, rows), order_layers(model, task, rows)
    with short_memory(model, 5) as sizes:
        found, found_layers = score_importance(model, task, rows), order_layers(model, task, rows)
    np.testing.assert_allclose(found.heads, expected.heads, rtol=1e-4)
    np.testing.assert_allclose(found.units, expected.units, rtol=1e-4)
    assert found_layers == layers
    assert max(sizes) <= 5
    assert len(sizes) > 4
