"""Members of a front that are distilled before one of them is taken."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compressor.data.rows import TaskData
from compressor.evaluation.evaluator import Evaluator
from compressor.extraction import extract
from compressor.extraction.candidates import Started, rank
from compressor.extraction.extract import extract_sub_network
from compressor.extraction.record import Parity
from compressor.network.costs import create_cost_model
from compressor.network.sub_network import SubNetwork
from compressor.search.choosing import Chosen, Rivals
from compressor.search.record import EvaluatedSubNetwork
from compressor.training.loop import Distillation
from compressor.training.super_network import SuperNetwork
from conftest import DIMENSIONS

NUM_ROWS = 1000
SUB_NETWORKS = [
    SubNetwork(heads=((0, 1), (0,), ()), units=(tuple(range(units)), (0,), ())) for units in range(DIMENSIONS.num_units)
]


def evaluated(number: int, share: float, error: float, sub_network: SubNetwork) -> EvaluatedSubNetwork:
    return EvaluatedSubNetwork(
        index=number,
        name=f"subnet-{number:03d}",
        config=None,
        sub_network=sub_network,
        error=error,
        params=round(1000 * share),
        relative_params=share,
        encoder_params=round(1000 * share),
        relative_encoder_params=share,
        eval_seconds=0.1,
    )


def started(number: int, share: float, searched: float, distilled: float) -> Started:
    evaluation = evaluated(number, share, searched, SUB_NETWORKS[number])
    return Started(
        chosen=Chosen(name=evaluation.name, sub_network=evaluation.sub_network, evaluation=evaluation, reason="small."),
        model=SimpleNamespace(),  # type: ignore[arg-type]
        parity=Parity(loaded=0.0, label_agreement=1.0, error_loaded=searched, error_searched=searched),
        model_mb=1.0,
        repaired=None,
        distilled=Distillation(error_before=searched, errors=(distilled,), kept_epoch=1),
    )


def wrong_on(share: float) -> np.ndarray:
    """Predictions of rows labelled 0 that are wrong on the first ones."""
    return (np.arange(NUM_ROWS) < share * NUM_ROWS).astype(int)


def ranked(limit: float | None, *candidates: tuple[float, float, float]) -> tuple[Started, tuple[Any, ...]]:
    """What is taken of candidates: share of the encoder, error as searched, error once distilled."""
    tried = [started(number, *one) for number, one in enumerate(candidates)]
    rivals = Rivals(members=(), limit=limit, confidence=0.95, num_tried=10)
    rows = SimpleNamespace(labels=np.zeros(NUM_ROWS, dtype=int), structure=None)
    found = [wrong_on(distilled) for _, _, distilled in candidates]
    return rank(tried, rivals, wrong_on(0.2), found, "accuracy", rows)  # type: ignore[arg-type]


def test_the_smallest_that_holds_once_distilled_is_taken() -> None:
    taken, told = ranked(0.015, (0.5, 0.2, 0.2), (0.4, 0.25, 0.2), (0.3, 0.24, 0.201), (0.2, 0.23, 0.22))
    assert taken.chosen.name == "subnet-002"  # smaller than the one that was chosen, whose error was smaller before
    assert taken.chosen.holds
    assert taken.chosen.reason == (
        "at most 0.015 worse than the super-network with 95 % confidence once distilled, as far as the validation "
        f"rows can tell (measured +0.0010, at most {told[2].at_most:+.4f}); before it was subnet-000, with 50.0% of "
        "the encoder."
    )
    assert [one.holds for one in told] == [True, True, True, False]
    assert [(one.error_searched, one.error_distilled) for one in told][2] == (0.24, 0.201)
    assert all(one.at_most > one.error_distilled - 0.2 for one in told)


def test_where_none_holds_the_chosen_one_stays_as_it_was_promised() -> None:
    taken, told = ranked(0.015, (0.5, 0.2, 0.21), (0.4, 0.25, 0.22))
    assert (taken.chosen.name, taken.chosen.reason) == ("subnet-000", "small.")
    assert [one.holds for one in told] == [False, False]


def test_within_a_cost_the_best_is_taken_once_distilled() -> None:
    taken, told = ranked(None, (0.5, 0.21, 0.21), (0.45, 0.22, 0.2), (0.4, 0.23, 0.2), (0.44, 0.23, 0.22))
    assert taken.chosen.name == "subnet-002"  # of two that are as good the smaller
    assert not taken.chosen.holds
    assert taken.chosen.reason == (
        "of the smallest error once distilled (measured +0.0000 against the super-network); before it was subnet-000, "
        "with 50.0% of the encoder."
    )
    assert [one.holds for one in told] == [None] * 4


@pytest.fixture
def chosen(net: SuperNetwork, data: TaskData) -> Chosen:
    """Of two sub-networks of the super-network, with their true errors, the first one is chosen."""
    rows = extract.Judge(data, net.tokenizer, 32, 32).rows.validation
    evaluator, costs = Evaluator(net.model, data.task, rows), create_cost_model(net.model)
    members = [
        evaluated(number, costs.costs(one).relative_encoder_params, evaluator.evaluate(one).error, one)
        for number, one in enumerate(SUB_NETWORKS[3:1:-1])
    ]
    rivals = Rivals(members=(members[1],), limit=2.0, confidence=0.95, num_tried=2)  # everything holds that
    first = members[0]
    return Chosen(name=first.name, sub_network=first.sub_network, evaluation=first, reason="small.", rivals=rivals)


def test_the_one_that_is_taken_goes_on_from_its_first_epoch(
    net: SuperNetwork, data: TaskData, chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    real = extract.distill

    def distill(*given: Any) -> Distillation:
        epochs.append(given[5].num_train_epochs)
        return real(*given)

    monkeypatch.setattr(extract, "distill", distill)
    report = extract_sub_network(net, chosen, data, finetune_epochs=3, num_candidates=3).report
    assert [one.name for one in report.candidates] == ["subnet-000", "subnet-001"]
    assert report.name == "subnet-001" == report.chosen.name
    assert report.finetuning is not None
    first = report.finetuning.errors[0]
    improved = first < report.finetuning.error_before
    assert epochs == ([1, 1, 2] if improved else [1, 1])
    assert report.candidates[1].error_distilled == min(first, report.finetuning.error_before)
    assert report.error == min(report.finetuning.error_before, *report.finetuning.errors)
    assert report.finetuning.num_epochs == 3
    same = extract_sub_network(net, SUB_NETWORKS[2], data, finetune_epochs=3).report
    assert same.finetuning == report.finetuning  # whoever names the member gets the same model
    assert report.describe_choice() == f"Chosen after an epoch of distillation: {report.chosen.reason}"
    header, rows = report.candidates_table()
    assert [row[0] for row in rows] == ["subnet-000", "subnet-001 ← taken"]
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize("options", [{}, {"finetune_epochs": 0, "num_candidates": 3}])
def test_without_candidates_or_epochs_the_chosen_one_is_extracted(
    net: SuperNetwork, data: TaskData, chosen: Chosen, options: dict[str, int]
) -> None:
    report = extract_sub_network(net, chosen, data, **{"finetune_epochs": 1} | options).report
    assert (report.name, report.candidates) == ("subnet-000", ())
    assert report.describe_choice() == "Chosen before repair and distillation: small."
