"""What blocks are worth: measured against sliced models, and choices against every choice there is."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, encode, evaluation_batches, outputs_of
from compressor.data.rows import Rows
from compressor.data.tasks import TASKS
from compressor.evaluation.blocks import (
    Block,
    choose_counts,
    find_costs,
    measure_blocks,
    propose_sub_networks,
    resize,
    solve_knapsack,
)
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS, HIDDEN, WORDS, tiny_model

HEAD = TASKS["custom"].head


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerFast) -> EncodedRows:
    lengths = np.random.default_rng(0).integers(1, 20, 40)
    texts = tuple((" ".join(WORDS[i % 50] for i in range(length)),) for length in lengths)
    return encode(Rows(texts=texts, labels=lengths % 3), TASKS["custom"], tokenizer, 512)


def first_members(heads: list[int], units: list[int]) -> SubNetwork:
    return SubNetwork(heads=tuple(tuple(range(n)) for n in heads), units=tuple(tuple(range(n)) for n in units))


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert", "deberta-v2"])
def test_a_block_is_worth_what_the_sliced_model_loses(family: str, rows: EncodedRows) -> None:
    model = tiny_model(family).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    blocks = measure_blocks(model, HEAD, rows)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [(block.name, block.layer) for block in blocks] == [(n, i) for i in range(3) for n in ("heads", "units")]
    batches, full = [batch for _, batch in evaluation_batches(rows, 64)], full_sub_network(get_dimensions(model))

    def log_probabilities(of: PreTrainedModel) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([outputs_of(of.eval(), batch) for batch in batches]).double().log_softmax(-1)

    whole = log_probabilities(model)
    for block in blocks:
        assert (block.counts[0], block.counts[-1]) == (0, {"heads": 4, "units": 24}[block.name])
        for count, loss in zip(block.counts, block.losses, strict=True):
            smaller = log_probabilities(slice_model(model, resize(full, block.name, block.layer, count)))
            divergence = (whole.exp() * (whole - smaller)).sum(-1).mean()
            assert loss == pytest.approx(float(divergence), rel=1e-2, abs=1e-6)
    assert max(max(block.losses) for block in blocks) > 1e-4  # so that something was compared


@pytest.mark.parametrize(("task_head", "task"), [("regression", "stsb"), ("embedding", "embed")])
def test_other_heads_are_asked_by_their_own_loss(task_head: str, task: str, rows: EncodedRows) -> None:
    """Values and vectors: mean squared differences to the whole network, and the distance to a frozen one's vectors."""
    vectors = np.random.default_rng(0).normal(size=(40, HIDDEN)).astype(np.float32)
    rows = replace(rows, labels=rows.labels.astype(np.float32), reference=vectors if task == "embed" else None)
    model, head = tiny_model(task_head=task_head), TASKS[task].head
    block = measure_blocks(model, head, rows)[1]
    without = resize(full_sub_network(get_dimensions(model)), "units", 0, 0)
    pairs = evaluation_batches(rows, 64)
    labels = torch.from_numpy(np.concatenate([rows.targets[picked] for picked, _ in pairs]))
    with torch.inference_mode():
        whole, smaller = (
            torch.cat([outputs_of(of, batch) for _, batch in pairs]) for of in (model, slice_model(model, without))
        )
    if task == "embed":
        expected = head.loss(smaller, labels) - head.loss(whole, labels)
    else:
        expected = (smaller - whole).square().mean()
    assert block.losses[0] == pytest.approx(float(expected), rel=1e-3)
    assert block.losses[-1] == 0


def test_the_knapsack_is_exact() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        options = [(np.array([0.0, *np.sort(rng.integers(1, 9, 2))]), -np.sort(-rng.random(3))) for _ in range(4)]
        capacity = int(rng.integers(0, 25))
        picks = solve_knapsack(options, capacity)
        fitting = [
            (sum(losses[pick] for (_, losses), pick in zip(options, each, strict=True)), each)
            for each in product(range(3), repeat=4)
            if sum(costs[pick] for (costs, _), pick in zip(options, each, strict=True)) <= capacity
        ]
        loss = sum(losses[pick] for (_, losses), pick in zip(options, picks, strict=True))
        assert loss == pytest.approx(min(fitting)[0])
        assert sum(costs[pick] for (costs, _), pick in zip(options, picks, strict=True)) <= capacity


def test_what_is_worth_most_is_kept() -> None:
    """Only the heads of the second layer and the units of the first are worth anything."""
    cost_model = create_cost_model(tiny_model())
    full, (layers, heads, units) = cost_model.full, (DIMENSIONS.num_layers, DIMENSIONS.num_heads, DIMENSIONS.num_units)
    worth = {("heads", 1): 1.0, ("units", 0): 1.0}
    blocks = [
        Block(name=name, layer=layer, counts=(0, most), losses=(worth.get((name, layer), 0.0), 0.0))
        for name, most in (("heads", heads), ("units", units))
        for layer in range(layers)
    ]

    def cost_of(sub_network: SubNetwork) -> float:
        return float(cost_model.encoder_params(sub_network))

    wanted = first_members([0, heads, 0], [units, 0, 0])
    costs = find_costs(blocks, full, cost_of)
    assert choose_counts(blocks, costs, full, 0.0) == first_members([0] * layers, [0] * layers)
    assert choose_counts(blocks, costs, full, 1.01 * cost_of(wanted)) == wanted
    assert cost_of(choose_counts(blocks, costs, full, 0.9 * cost_of(wanted))) <= 0.9 * cost_of(wanted)


def test_proposals_have_the_sizes_that_were_asked_for(rows: EncodedRows) -> None:
    model, shares = tiny_model(), (0.7, 0.4, 0.2)
    cost_model = create_cost_model(model)
    whole = cost_model.encoder_params(cost_model.full)

    def propose() -> list[SubNetwork]:
        return propose_sub_networks(model, HEAD, rows, lambda each: float(cost_model.encoder_params(each)), shares)

    found = propose()
    sizes = [cost_model.encoder_params(each) / whole for each in found]
    assert all(size <= share for size, share in zip(sizes, shares, strict=True))
    assert sizes == pytest.approx(shares, abs=0.1)
    assert found == propose()
