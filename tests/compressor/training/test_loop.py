"""Training: it learns, it is seeded, it sums gradients, it stops at NaN."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows
from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.tasks import TASKS
from compressor.errors import TrainingError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.families import ENCODER_FAMILIES, get_layer_order, set_layer_order
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import SEARCH_SPACES
from compressor.training.loop import create_optimizer, distill, fine_tune, run_updates, train_shared_weights
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport
from compressor.training.strategies import SAMPLING_STRATEGIES, Update
from conftest import DIMENSIONS, encoded_sentences, tiny_batch, tiny_model

TASK = TASKS["custom"]
SMALL = SubNetwork(heads=((0,), (1, 2), ()), units=((0, 4), (), (3,)))


def train(
    tokenizer: PreTrainedTokenizerFast, count: int = 60, broken: bool = False, **settings: object
) -> tuple[dict[str, Tensor], list[EpochReport]]:
    model = tiny_model(num_labels=2)
    if broken:
        torch.nn.init.constant_(model.classifier.bias, torch.nan)
    reports: list[EpochReport] = []
    train_shared_weights(
        model,
        TASK,
        encoded_sentences(tokenizer, count, 0),
        encoded_sentences(tokenizer, 40, 1),
        TrainingSettings(**{"learning_rate": 3e-3, "per_device_train_batch_size": 8, **settings}),  # type: ignore[arg-type]
        reports.append,
    )
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, reports


@pytest.mark.parametrize("strategy", list(SAMPLING_STRATEGIES))
def test_every_strategy_trains(strategy: str, tokenizer: PreTrainedTokenizerFast) -> None:
    weights, reports = train(tokenizer, sampling_strategy=strategy, num_train_epochs=1)
    before = tiny_model(num_labels=2).state_dict()
    assert any(not torch.equal(weights[name], before[name]) for name in weights)
    assert [report.step for report in reports] == [8]
    assert np.isfinite(reports[0].loss)


def test_it_learns(tokenizer: PreTrainedTokenizerFast) -> None:
    _, reports = train(tokenizer, count=400, num_train_epochs=6)
    assert min(report.error for report in reports) < 0.1


def test_the_seed_decides_everything(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(1)
    first, _ = train(tokenizer, num_train_epochs=1)
    torch.manual_seed(2)
    np.random.seed(5)
    second, _ = train(tokenizer, num_train_epochs=1)
    other, _ = train(tokenizer, num_train_epochs=1, seed=1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_global_random_state_is_left_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(tokenizer, num_train_epochs=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_gradients_of_a_step_are_summed(model_type: str) -> None:
    settings, batch, labels = TrainingSettings(), tiny_batch(tiny_model(model_type)), torch.tensor([0, 1, 2])
    updates = [Update(full_sub_network(DIMENSIONS)), Update(SMALL)]

    def gradients(updates: list[Update]) -> dict[str, Tensor]:
        model = tiny_model(model_type)
        run_updates(model, batch, labels, updates, settings, CLASSIFICATION)
        return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}

    both, first, second = gradients(updates), gradients(updates[:1]), gradients(updates[1:])
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, first[name] + second[name])


def test_the_table_of_embeddings_is_read_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model, labels = tiny_model(), torch.tensor([0, 1, 2])
    table, read = model.get_input_embeddings(), list[Tensor]()
    look_up = table.forward
    monkeypatch.setattr(table, "forward", lambda ids: read.append(ids) or look_up(ids))
    updates = [Update(full_sub_network(DIMENSIONS)), Update(SMALL), Update(SMALL, distill=True)]
    run_updates(model, tiny_batch(model), labels, updates, TrainingSettings(), CLASSIFICATION)
    assert len(read) == 1
    table.weight.requires_grad_(False)
    run_updates(model, tiny_batch(model), labels, updates, TrainingSettings(), CLASSIFICATION)
    assert len(read) == 2


def test_distillation_learns_from_the_first_update() -> None:
    settings, batch, labels = TrainingSettings(temperature=2.0), tiny_batch(tiny_model()), torch.tensor([0, 1, 2])
    full = Update(full_sub_network(DIMENSIONS))
    plain = run_updates(tiny_model(), batch, labels, [full, Update(SMALL)], settings, CLASSIFICATION)
    distilled = run_updates(tiny_model(), batch, labels, [full, Update(SMALL, distill=True)], settings, CLASSIFICATION)
    assert float(distilled.sum()) > float(plain.sum())
    assert float(distilled[0]) == pytest.approx(float(plain[0]))


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_auto_trains_in_every_space(space: str, tokenizer: PreTrainedTokenizerFast) -> None:
    _, reports = train(tokenizer, sampling_strategy="auto", search_space=space, num_train_epochs=2)
    assert np.isfinite([report.loss for report in reports]).all()


def test_losses_have_one_meaning_from_the_first_epoch_to_the_last(tokenizer: PreTrainedTokenizerFast) -> None:
    """The sum of a step's losses jumps where sub-networks join in; the super-network's own loss goes on falling."""
    _, reports = train(tokenizer, count=120, sampling_strategy="auto", num_train_epochs=3, num_random_sub_nets=2)
    first, second, third = reports
    assert (first.own_loss, first.sub_network_loss) == (pytest.approx(first.loss), None)
    assert second.own_loss is not None and second.sub_network_loss is not None
    assert second.loss == pytest.approx(second.own_loss + 2 * second.sub_network_loss)
    assert second.loss > 1.5 * first.loss
    assert third.own_loss is not None and third.own_loss < first.loss
    _, (report,) = train(tokenizer, sampling_strategy="random", num_train_epochs=1)
    assert report.own_loss is None and report.sub_network_loss is not None


def test_auto_orders_after_its_warm_up(tokenizer: PreTrainedTokenizerFast) -> None:
    """Until then it is ordinary fine-tuning, which the ordering cannot be told from."""
    _, plain = train(tokenizer, sampling_strategy="standard", num_train_epochs=3)
    _, auto = train(tokenizer, sampling_strategy="auto", num_train_epochs=3)
    assert auto[0] == plain[0]
    assert auto[1].loss > plain[1].loss


def test_nan_names_the_step_and_keeps_what_was_saved(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TrainingError) as raised:
        train(tokenizer, learning_rate=1.0, warmup_ratio=0.0, broken=True)
    assert "the loss must be a finite number, but is nan at step" in str(raised.value)
    assert "Lower --learning-rate (now 1)" in str(raised.value)


def test_the_default_learning_rate_falls_with_the_width() -> None:
    model = tiny_model()
    rates = []
    for width in (384, 768):
        model.config.hidden_size = width
        optimizer, _ = create_optimizer(model, TrainingSettings(warmup_ratio=0.0), 10)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [2e-4, 5e-5]


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({}, (1, 0, 2)),  # measured after the warm-up
        ({"num_train_epochs": 1}, (2, 0, 1)),  # there is none: what the sub-networks were trained in
        ({"sampling_strategy": "one_shot"}, (2, 0, 1)),
        ({"sampling_strategy": "standard"}, ()),  # no sub-network was trained: the search may measure
        ({"search_space": "small"}, ()),
    ],
)
def test_the_order_of_layers_is_noted(
    settings: dict[str, Any],
    order: tuple[int, ...],
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compressor.training.loop.order_layers", lambda *_, **__: (1, 0, 2))
    model, rows = tiny_model(num_labels=2), encoded_sentences(tokenizer, 16)
    set_layer_order(model, (0, 2, 1))  # of a training before
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 8} | settings
    train_shared_weights(model, TASK, rows, rows, TrainingSettings(**settings), lambda _: None)
    assert get_layer_order(model) == order


class TestDistillation:
    """Of a trained super-network into a sliced sub-network that was not trained."""

    settings = TrainingSettings(learning_rate=3e-3, per_device_train_batch_size=8, num_train_epochs=4)

    @pytest.fixture
    def trained(self, tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedModel, EncodedRows, EncodedRows]:
        model = tiny_model(num_labels=2)
        rows, validation = encoded_sentences(tokenizer, 300, 0), encoded_sentences(tokenizer, 100, 1)
        fine_tune(model, TASK, rows, validation, self.settings, lambda report: report.error < 0.1)
        return model, rows, validation

    def test_it_keeps_the_best_weights(self, trained: tuple[PreTrainedModel, EncodedRows, EncodedRows]) -> None:
        model, rows, validation = trained
        teacher = Evaluator(model, TASK, rows).evaluate().logits
        sliced = slice_model(model, SMALL)
        found = distill(sliced, TASK, rows, validation, teacher, self.settings)
        assert found.error == min((found.error_before, *found.errors))
        assert found.error < found.error_before
        assert Evaluator(sliced, TASK, validation).evaluate().error == found.error
        known = found.error_before
        assert distill(slice_model(model, SMALL), TASK, rows, validation, teacher, self.settings, known) == found

    def test_of_epochs_that_are_as_good_the_last_is_kept(
        self, trained: tuple[PreTrainedModel, EncodedRows, EncodedRows], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, rows, validation = trained

        def fine_tuned(model: PreTrainedModel, *given: Any) -> list[EpochReport]:
            reports = [
                EpochReport(epoch=number, step=number, loss=1.0, error=error, smallest_error=None)
                for number, error in enumerate((0.3, 0.2, 0.4, 0.2, 0.5), start=1)
            ]
            for report in reports:
                with torch.no_grad():
                    model.classifier.weight.fill_(report.epoch)
                given[4](report)
            return reports

        monkeypatch.setattr("compressor.training.loop.fine_tune", fine_tuned)
        found = distill(model, TASK, rows, validation, np.zeros((300, 2)), self.settings, 0.5)
        assert (found.kept_epoch, found.error) == (4, 0.2)
        assert model.classifier.weight.unique().tolist() == [4]
        found = distill(model, TASK, rows, validation, np.zeros((300, 2)), self.settings, 0.2)
        assert (found.kept_epoch, found.error) == (0, 0.2)  # no epoch is better than what was there

    def test_what_is_not_better_is_not_kept(self, trained: tuple[PreTrainedModel, EncodedRows, EncodedRows]) -> None:
        """A useless teacher and no learning from labels: the old weights are given back."""
        model, rows, validation = trained
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        teacher = -50 * Evaluator(model, TASK, rows).evaluate().logits
        found = distill(model, TASK, rows, validation, teacher, self.settings)
        assert found.kept_epoch == 0
        assert len(found.errors) == self.settings.num_train_epochs
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert found.error == found.error_before
