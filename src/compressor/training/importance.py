"""Importance of heads, units and layers, and the order in which the best come first.

The score of a head or unit is the empirical Fisher information of a gate put before it: the squared gradient of a row's
loss, summed over some hundred training rows (Michel et al., NeurIPS 2019; Kwon et al., NeurIPS 2022). One backward pass
per batch gives all scores. Ordering changes what "the first k" means, never what the super-network computes. Layers
cannot change places; their order is noted in the model's configuration, where the space `small_ordered` finds it.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import (
    Batch,
    EncodedRows,
    evaluation_batches,
    evaluation_picks,
    iterate_batches,
    outputs_of,
)
from compressor.data.tasks import Task
from compressor.device import Pieces, to_device
from compressor.evaluation.blocks import outputs_from
from compressor.network.families import get_dimensions, get_family, get_layers, get_member_order
from compressor.network.slicing import reorder
from compressor.network.sub_network import full_sub_network, keep_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_SCORED_ROWS = 256
"""More rows do not change the order enough to matter."""
NUM_LAYER_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What the loss would feel of a gate before each head and unit; larger matters more."""

    heads: np.ndarray
    """[layers, heads], at least 0."""
    units: np.ndarray
    """[layers, units], at least 0."""

    @property
    def orders(self) -> dict[str, list[list[int]]]:
        """Of `heads` and `units` per layer, the most important first; equals stay in their order."""
        return {field.name: _descending(getattr(self, field.name)) for field in fields(self)}


def sort_by_importance(
    model: "PreTrainedModel",
    task: Task,
    rows: EncodedRows,
    optimizer: torch.optim.Optimizer | None = None,
    num_rows: int = NUM_SCORED_ROWS,
    seed: int = 0,
) -> Importance:
    """Return the scores by which heads and units of each layer were put in order, in place, the most important first.

    What the super-network computes does not change; the `optimizer`'s moments go along with their weights.
    """
    importance = score_importance(model, task, rows, num_rows, seed)
    reorder(model, importance.orders, optimizer)
    return importance


def order_layers(
    model: "PreTrainedModel", task: Task, rows: EncodedRows, num_rows: int = NUM_LAYER_ROWS, seed: int = 0
) -> tuple[int, ...]:
    """Return all layers, the most important first, by backward elimination on `num_rows` rows drawn by `seed`.

    Again and again the layer goes without which the loss is smallest: L (L + 1) / 2 − 1 losses. What flows into a layer
    is computed once, and each loss continues from there. A layer's gate says little here: what one layer writes another
    one can write too.
    """
    drawn = np.random.default_rng([seed, 4]).permutation(len(rows))[:num_rows]
    return Pieces().run(lambda num_pieces: _order_layers(model, task, rows, drawn, -(-64 // num_pieces)), 64)


def _order_layers(
    model: "PreTrainedModel", task: Task, rows: EncodedRows, drawn: np.ndarray, batch_size: int
) -> tuple[int, ...]:
    """Return the same on given rows."""
    # Made once and left on the device: every round asks about the same rows.
    batches = list(evaluation_batches(rows, batch_size, drawn))
    inputs = [to_device(batch, model.device) for _, batch in batches]
    labels = torch.from_numpy(np.concatenate([rows.targets[picked] for picked, _ in batches]))

    left, dropped, was_training = list(range(get_dimensions(model).num_layers)), list[int](), model.training
    model.eval()
    try:
        # The last one is not weighed: with it the order is complete.
        # Greedy: each round drops the layer that is missed least. Of L layers that takes about L² / 2 looks, not 2ᴸ.
        while len(left) > 1:
            # found[batch][place]: logits without the layer at that place of `left`. Zipped, losses are over all
            # batches.
            found = [_answer_without_each(model, each, left) for each in inputs]
            losses = [float(task.head.loss(torch.cat(logits), labels)) for logits in zip(*found, strict=True)]
            dropped.append(left.pop(losses.index(min(losses))))
    finally:
        model.train(was_training)
    # What was left to the end matters most, what was dropped first the least.
    return (*left, *reversed(dropped))


@torch.inference_mode()
def _answer_without_each(model: "PreTrainedModel", batch: Batch, layers: list[int]) -> list[Tensor]:
    """Return the outputs [units, …] without each of `layers` in turn, all others of them kept."""
    full, outputs, states = full_sub_network(get_dimensions(model)), list[Tensor](), list[Tensor | None]([None])
    for place, layer in enumerate(layers):
        # What flows into this layer: all kept layers before it are computed once, not once for each layer left out.
        start = (layer, states.pop())
        outputs.append(outputs_from(model, batch, keep_layers(full, layers[place + 1 :]), start).cpu())
        if place + 1 < len(layers):
            outputs_from(model, batch, keep_layers(full, [layer]), start, (layers[place + 1], states))
    return outputs


def score_importance(
    model: "PreTrainedModel",
    task: Task,
    rows: EncodedRows,
    num_rows: int = NUM_SCORED_ROWS,
    seed: int = 0,
    batch_size: int = 32,
) -> Importance:
    """Return the importance of every head and unit on `num_rows` rows drawn by `seed`; the model stays as it is.

    A row's gate gradient is Σ x · ∂loss/∂x over what flows through the gate, so no gate has to be built. Where a frozen
    model's outputs are learnt, the loss of that very model has no gradient: labels are drawn around them, which gives
    the true Fisher information in place of the empirical one.
    """
    groups = get_family(model.config.model_type).groups
    rng = np.random.default_rng([seed, 4])
    drawn, sample = rng.permutation(len(rows))[:num_rows], task.head.sample
    labels_of = rows.targets if rows.reference is None or sample is None else sample(rows.reference, rng)

    def score(num_pieces: int) -> dict[str, np.ndarray]:
        # Rounded up, so that no piece is of no rows.
        batches = iterate_batches(rows, evaluation_picks(rows, -(-batch_size // num_pieces), drawn))
        return _score(model, task, batches, labels_of)

    scores = Pieces().run(score, batch_size)
    for group in groups:
        for layer, order in enumerate(get_member_order(model, group)):
            # Where members keep their places, scores count by rank, as orders and sub-networks do.
            scores[group.name][layer] = scores[group.name][layer, list(order)]
    return Importance(**scores)


def _score(
    model: "PreTrainedModel", task: Task, batches: Iterable[tuple[np.ndarray, Batch]], labels_of: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the scores [layers, members] by group, members as they stand in the weights."""
    groups, was_training = get_family(model.config.model_type).groups, model.training
    sizes = {group.name: group.num_members(model.config) for group in groups}
    scores = {name: np.zeros((len(get_layers(model)), size)) for name, size in sizes.items()}
    model.eval()
    try:
        with _inputs_of_consumers(model) as inputs, torch.enable_grad():
            for picked, batch in batches:
                labels = torch.from_numpy(labels_of[picked]).to(model.device)
                logits = outputs_of(model, to_device(batch, model.device))
                loss = task.head.loss(logits, labels) * len(picked)  # its mean undone: units count alike
                # Of the activations alone: gradients of the weights are not wanted, and would cost as much again.
                gradients = torch.autograd.grad(loss, list(inputs.values()))
                for ((name, layer), x), gradient in zip(inputs.items(), gradients, strict=True):
                    # [rows, tokens (of all choices), inputs] summed over tokens: a gate multiplies all of them. Padding
                    # has gradient 0.
                    gates = (x.detach() * gradient).float().reshape(len(batch["input_ids"]), -1, x.shape[-1]).sum(1)
                    # [rows, members, rows per member] -> [rows, members]: a gate per head, not per number of it.
                    of_members = gates.reshape(len(gates), sizes[name], -1).sum(2)
                    scores[name][layer] += of_members.square().sum(0).cpu().numpy()
                inputs.clear()
    finally:
        model.train(was_training)
    return scores


@contextmanager
def _inputs_of_consumers(model: "PreTrainedModel") -> Iterator[dict[tuple[str, int], Tensor]]:
    """Yield what a pass sends into the consumers, by group and layer; clear it afterwards."""
    family, inputs = get_family(model.config.model_type), dict[tuple[str, int], Tensor]()

    def keep(name: str, number: int, x: Tensor) -> None:
        inputs[name, number] = x

    with ExitStack() as hooks:
        for number, layer in enumerate(get_layers(model)):
            for group in family.groups:
                # As defaults of the lambda: names of a loop would be read when it is called, and be those of the last
                # layer.
                hook = group.consumer_of(layer).register_forward_pre_hook(
                    lambda _, args, name=group.name, number=number: keep(name, number, args[0])
                )
                hooks.callback(hook.remove)
        yield inputs


def _descending(scores: np.ndarray) -> list[list[int]]:
    return [order.tolist() for order in np.argsort(-scores, axis=1, kind="stable")]
