"""Extraction without MLflow: verified, never worse on the validation rows, saved whole, its errors those it says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from compressor.data.batches import EncodedRows, encode
from compressor.data.loading import load_task_data
from compressor.data.metrics.trivial import TrivialPredictor
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.errors import ModelError, OptionError, ParityError, SubNetworkError
from compressor.evaluation.evaluator import Evaluator
from compressor.extraction import extract
from compressor.extraction.extract import Extraction, Extractor, extract_sub_network
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.origins import SharedWeights
from compressor.extraction.record import ExtractionReport, Parity, SlicedModelRecord
from compressor.network.families import max_positions
from compressor.network.saving import load_sliced_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.choosing import Chosen
from compressor.search.record import EvaluatedSubNetwork
from compressor.training.loop import Distillation
from compressor.training.precision import Precision
from compressor.training.settings import TrainingSettings
from compressor.training.super_network import SuperNetwork
from conftest import DIMENSIONS, HEADS, sentence_rows, tiny_model, training_record

KEPT = SubNetwork(heads=((0, 2), (), (1,)), units=((0, 1, 2, 3), (5,), ()))
STOCK = SubNetwork(heads=(tuple(range(HEADS)), (), ()), units=((0, 1, 2, 3), (), ()))
FILES = {"config.json", "model.safetensors", "modeling_sliced.py", "tokenizer.json", "tokenizer_config.json"}
RECORDS = {"sub_network.json", "extraction.json", "parity.json", "README.md"}


@pytest.fixture(scope="module")
def extraction(net: SuperNetwork, data: TaskData) -> Extraction:
    return extract_sub_network(net, KEPT, data, finetune_epochs=2)


def evaluation(sub_network: SubNetwork, error: float, **more: object) -> EvaluatedSubNetwork:
    costs = {"params": 10, "relative_params": 0.5, "encoder_params": 5, "relative_encoder_params": 0.5}
    return EvaluatedSubNetwork(
        index=7, name="subnet-007", config=None, sub_network=sub_network, error=error, eval_seconds=0.1, **costs, **more
    )


def test_the_report_says_what_the_model_computes(
    extraction: Extraction, net: SuperNetwork, data: TaskData, tokenizer: PreTrainedTokenizerFast
) -> None:
    report = extraction.report
    for part, of_model, of_dense in (
        ("validation", report.extracted.error, "error"),
        ("test", report.extracted.test_error, "test_error"),
    ):
        rows = encode(data.parts[part], data.task, tokenizer, max_positions(net.model))
        assert Evaluator(extraction.model, data.task, rows).evaluate().error == of_model
        assert report.super_network is not None
        assert Evaluator(net.model, data.task, rows).evaluate().error == getattr(report.super_network, of_dense)
    assert report.extracted.params == sum(parameter.numel() for parameter in extraction.model.parameters())
    assert (report.kept.heads, report.kept.units) == ((2, 0, 1), (4, 1, 0))
    assert (report.chosen.name, report.chosen.error, report.chosen.index) == ("sub-network", None, None)
    assert report.test is not None
    assert report.test.difference == pytest.approx(report.test.error - report.test.base_error)
    assert report.trivial is not None


def test_no_step_makes_the_validation_error_worse(extraction: Extraction) -> None:
    report = extraction.report
    assert report.repair is not None
    assert report.finetuning is not None
    assert report.repair.error_before == report.parity.error_loaded == report.parity.error_searched
    after_repair = report.repair.error_after if report.repair.kept else report.repair.error_before
    assert after_repair <= report.repair.error_before
    assert report.finetuning.error_before == after_repair
    assert report.error == min(report.finetuning.error_before, *report.finetuning.errors) == report.extracted.error
    assert max(report.parity.loaded, report.parity.sliced or 0) <= 1e-5


@pytest.mark.parametrize(
    ("trained", "able", "distilled"),
    [(True, True, True), (True, False, False), (False, True, False), (None, True, True), (None, False, False)],
)
def test_it_is_distilled_as_was_trained_where_the_processor_can(
    trained: bool | None,
    able: bool,
    distilled: bool,
    net: SuperNetwork,
    data: TaskData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None: nobody has written down how it was trained, so a few steps decide."""
    given: list[TrainingSettings] = []

    def keep(*parts: Any) -> Distillation:
        given.append(next(part for part in parts if isinstance(part, TrainingSettings)))
        return Distillation(error_before=0.5, errors=(0.5,), kept_epoch=0)

    monkeypatch.setattr(extract, "distill", keep)
    monkeypatch.setattr(extract, "has_bf16", lambda _: able)
    monkeypatch.setattr(extract, "decide_precision", lambda *_: Precision(bf16=able, reason="as the test says"))
    if trained is not None:
        net = replace(net, record=training_record(settings=TrainingSettings(bf16=trained), label_names=("0", "1")))
    extraction = extract_sub_network(net, KEPT, data, finetune_epochs=2)
    assert [(settings.bf16, settings.epochs) for settings in given] == [(distilled, 1)]  # which has not helped
    assert extraction.report.finetuning is not None
    assert extraction.report.finetuning.bf16 is distilled


def test_the_super_network_stays_as_it_was(net: SuperNetwork, data: TaskData) -> None:
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    extract_sub_network(net, KEPT, data, finetune_epochs=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())


def test_a_saved_extraction_is_loaded(extraction: Extraction, tmp_path: Path) -> None:
    path = extraction.save(tmp_path / "model", search=tmp_path / "search", command=("compressor", "extract"))
    assert {file.name for file in path.iterdir()} == FILES | RECORDS
    loaded = load_sliced_model(path)
    assert loaded.sub_network == KEPT
    own = extraction.model.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.model.state_dict().items())
    assert ExtractionReport.load(path) == extraction.report
    assert Parity.load(path) == extraction.report.parity
    record = SlicedModelRecord.load(path)
    assert (record.search, record.supernet, record.supernet_files) == ("../search", None, None)
    assert (record.error, record.label_names) == (extraction.error, ("0", "1"))
    assert (record.data_digest, record.source) == (extraction.data.digest, extraction.data.source)
    assert extraction.report.extracted.model_mb == pytest.approx((path / "model.safetensors").stat().st_size / 1e6)
    assert "```bash\ncompressor extract\n```" in (path / "README.md").read_text()


def test_another_model_may_be_saved_in_its_place(
    extraction: Extraction, net: SuperNetwork, data: TaskData, tmp_path: Path
) -> None:
    """The code of the one before is none of the stock model's; what others have put there stays."""
    path = extraction.save(tmp_path / "model")
    (path / "notes.txt").touch()
    stock = extract_sub_network(net, STOCK, data, finetune_epochs=0)
    stock.save(path)
    assert {file.name for file in path.iterdir()} == FILES - {"modeling_sliced.py"} | RECORDS | {"notes.txt"}
    assert load_sliced_model(path).sub_network == STOCK
    (path / "merges.txt").touch()  # which counts as a model's, but is not ours
    extraction.save(path)
    with pytest.raises(ModelError, match="merges.txt was added"):
        load_sliced_model(path)


def test_saving_leaves_nothing_half_written(
    extraction: Extraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("compressor.extraction.extract.write_model_card", fail)
    with pytest.raises(OSError, match="disk full"):
        extraction.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_members_of_one_front_share_what_is_costly(
    net: SuperNetwork, data: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.extraction import extract

    calls: list[str] = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            calls.append(name)
            return function(*args)

        return call

    monkeypatch.setattr(extract, "measure_moments", counted("moments", extract.measure_moments))
    judged: list[EncodedRows] = []
    original = extract.Judge.evaluate

    def evaluate(
        self: extract.Judge, model: object, rows: EncodedRows, sub_network: SubNetwork | None = None
    ) -> np.ndarray:
        if model is net.model and sub_network is None:
            judged.append(rows)
        return original(self, net.model if model is net.model else model, rows, sub_network)  # type: ignore[arg-type]

    monkeypatch.setattr(extract.Judge, "evaluate", evaluate)
    extractor = Extractor(SharedWeights(net), data, ExtractionOptions(finetune_epochs=1))
    assert not calls
    made = [extractor.extract(member) for member in (KEPT, STOCK)]
    assert calls.count("moments") == 1
    assert sorted(map(len, judged)) == sorted(map(len, data.parts.values()))  # each part once
    assert len(set(map(len, judged))) == 3
    assert [one.sub_network for one in made] == [KEPT, STOCK]
    alone = extract_sub_network(net, STOCK, data, finetune_epochs=1)
    assert alone.report == made[1].report


def test_an_evaluation_and_a_choice_are_members_too(net: SuperNetwork, data: TaskData, extraction: Extraction) -> None:
    searched = evaluation(KEPT, extraction.report.parity.error_searched, epochs=None)
    plain = extract_sub_network(net, searched, data, finetune_epochs=0).report
    assert (plain.name, plain.chosen.index, plain.chosen.sub_network) == ("subnet-007", 7, KEPT.hash)
    assert (plain.finetuning, plain.chosen.reason) == (None, None)
    chosen = Chosen(name="subnet-007", sub_network=KEPT, evaluation=searched, reason="it is small.")
    report = extract_sub_network(net, chosen, data, finetune_epochs=0).report
    assert report == replace(plain, chosen=replace(plain.chosen, reason="it is small."))


def test_an_error_that_was_not_measured_is_refused(net: SuperNetwork, data: TaskData, extraction: Extraction) -> None:
    wrong = evaluation(KEPT, min(extraction.report.parity.error_searched + 0.5, 2.0))
    with pytest.raises(ParityError, match=r"^the error on the \d+ validation rows must be the "):
        extract_sub_network(net, wrong, data, finetune_epochs=0)


def test_what_cannot_be_extracted(net: SuperNetwork, data: TaskData, tokenizer: PreTrainedTokenizerFast) -> None:
    other = SubNetwork(heads=((0,),), units=((0,),))
    with pytest.raises(SubNetworkError, match="must name 3 layers, but got 1"):
        extract_sub_network(net, other, data)
    with pytest.raises(OptionError, match="^--finetune-epochs must be at least 0, but got -1. Raise it.$"):
        extract_sub_network(net, KEPT, data, finetune_epochs=-1)
    regression = SuperNetwork(model=tiny_model(task_head="regression"), tokenizer=tokenizer)
    with pytest.raises(ModelError, match="must have a head for 2 outputs"):
        extract_sub_network(regression, KEPT, data)


def test_values_have_no_labels_that_agree(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rows = [{**row, "label": len(str(row["text"])) / 10} for row in sentence_rows(120)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataSource(task_name="custom", train_file=str(tmp_path / "train.jsonl"), regression=True)
    net = SuperNetwork(model=tiny_model(task_head="regression"), tokenizer=tokenizer)
    small = extract_sub_network(net, KEPT, load_task_data(source), finetune_epochs=1)
    report = small.report
    assert report.parity.label_agreement is None
    assert report.test is not None
    assert report.test.mcnemar_p is None
    assert (report.trivial, small.data.label_names) == (
        TrivialPredictor(name="always the mean", error=1.0, test_error=1.0),
        (),
    )
    assert ExtractionReport.load(small.save(tmp_path / "model")) == report


def test_the_super_network_itself_is_extracted(net: SuperNetwork, data: TaskData) -> None:
    report = extract_sub_network(net, full_sub_network(DIMENSIONS), data, finetune_epochs=0).report
    assert report.super_network is not None
    assert report.error <= report.super_network.error
    assert "nothing was pruned: it is the super-network itself." in report.notes()
