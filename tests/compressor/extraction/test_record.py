"""The records of an extraction: what is written is read, what cannot have been written is refused, what it says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.data.metrics.trivial import TrivialPredictor
from compressor.data.sources import DataSource
from compressor.errors import FileError
from compressor.evaluation.comparison import Comparison
from compressor.extraction.record import (
    ChosenMember,
    ExtractionReport,
    Finetuning,
    KeptCounts,
    Parity,
    Repair,
    SlicedModelRecord,
    Variant,
)
from compressor.network.sub_network import WrittenSubNetwork
from conftest import DIMENSIONS


def variant(error: float, params: int, **more: Any) -> Variant:
    interval = (max(error - 0.05, 0.0), error + 0.05)
    return Variant(
        error=error,
        error_interval=interval,
        test_error=error + 0.01,
        test_error_interval=interval,
        params=params,
        relative_params=params / 1000,
        encoder_params=params,
        relative_encoder_params=params / 1000,
        costs={"macs": 1_000_000},
        macs_length=8,
        **more,
    )


CHOSEN = ChosenMember(name="subnet-003", index=3, sub_network="a" * 16, error=0.4, reason="it is small.")
REPORT = ExtractionReport(
    name="subnet-003",
    chosen=CHOSEN,
    error=0.35,
    repair=Repair(error_before=0.4, error_after=0.45, kept=False),
    finetuning=Finetuning(error_before=0.4, errors=(0.35, 0.36), kept_epoch=1, error_after=0.35, num_epochs=4),
    parity=Parity(sliced=0.0, loaded=2e-7, label_agreement=1.0, error_loaded=0.4, error_searched=0.4),
    kept=KeptCounts(heads=(4, 4, 0), units=(3, 3, 3)),
    extracted=variant(0.35, 500, model_mb=0.5),
    super_network=variant(0.2, 1000),
    trivial=TrivialPredictor(name="always 'a'", error=0.6, test_error=0.59),
    test=Comparison(base_error=0.21, error=0.36, difference=0.15, interval=(0.1, 0.2), mcnemar_p=None),
)
SLICED = SlicedModelRecord(
    sub_network=WrittenSubNetwork(dimensions=DIMENSIONS, heads=("0-3", "", "1"), units=("0-2", "", "")),
    source=DataSource(task_name="custom", text_columns=("a", "b")),
    data_digest="0123456789abcdef",
    label_names=("x", "y"),
    chosen=CHOSEN,
    error=0.35,
)


def test_a_report_is_what_was_saved(tmp_path: Path) -> None:
    REPORT.save(tmp_path)
    assert ExtractionReport.load(tmp_path) == REPORT
    REPORT.parity.save(tmp_path)
    assert ExtractionReport.load(tmp_path) == REPORT
    replace(REPORT.parity, error_loaded=0.25).save(tmp_path)
    with pytest.raises(FileError) as raised:
        ExtractionReport.load(tmp_path)
    assert str(raised.value) == (
        f"the file {tmp_path}/parity.json must say what extraction.json says of parity, but says something else. "
        "Restore it, or extract again with compressor extract."
    )


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes values by their paths, `__` for a dot."""

    def apply(written: dict[str, Any]) -> None:
        for path, value in values.items():
            *parents, last = path.split("__")
            here = written
            for name in parents:
                here = here[name]
            here[last] = value

    return apply


@pytest.mark.parametrize(
    ("changing", "problem"),
    [
        (change(error="0.1"), 'error is "0.1"'),
        (change(error=2.5), "error is 2.5"),
        (change(error=-0.1), "error is -0.1"),
        (change(chosen__reason=3), "chosen.reason is 3"),
        (change(chosen__name=None), "chosen.name is null"),
        (change(extracted__error_interval=[-1.5, 0.2]), "extracted.error_interval is [-1.5, 0.2]"),
        (change(extracted__error_interval=[0.2, 2.5]), "extracted.error_interval is [0.2, 2.5]"),
        (change(super_network__error_interval=[0.5, 0.2]), "super_network.error_interval is [0.5, 0.2]"),
        (change(super_network__test_error_interval=[0.5]), "super_network.test_error_interval"),
        (change(super_network__params=0), "super_network.params is 0"),
        (change(parity={}), "parity lacks 'loaded'"),
        (change(parity__label_agreement=1.5), "parity.label_agreement is 1.5"),
        (change(kept__heads=[-1]), "kept.heads[0] is -1"),
        (change(repair__kept=1), "repair.kept is 1"),
        (change(test__interval=[0.3, 0.2]), "test.interval is [0.3, 0.2]"),
        (change(test__mcnemar_p=3), "test.mcnemar_p is 3"),
        (change(trivial__error=None), "trivial.error is null"),
        (change(finetuning__errors=[]), "'finetuning.errors' is empty"),
        (change(finetuning__kept_epoch=3), "'finetuning.kept_epoch' is 3 of 2 epochs"),
        (change(super_network__macs=None), "'super_network' has one of macs and macs_length alone"),
        (lambda written: written["extracted"].pop("macs_length"), "'extracted' has one of macs and macs_length alone"),
        (lambda written: written.pop("test"), "it lacks 'test'"),
    ],
)
def test_what_no_extraction_has_written_is_refused(
    changing: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path
) -> None:
    file = REPORT.save(tmp_path)
    written = json.loads(file.read_text())
    changing(written)
    file.write_text(json.dumps(written))
    with pytest.raises(FileError) as raised:
        ExtractionReport.load(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"the file {file} must be as it was written, but {problem}")
    assert message.endswith(". Restore it, or extract again with compressor extract.")


def test_a_sliced_model_s_record_is_what_was_saved(tmp_path: Path) -> None:
    SLICED.save(tmp_path)
    assert SlicedModelRecord.load(tmp_path) == SLICED
    least = {"sub_network": {"dimensions": DIMENSIONS.to_json(), "heads": ["", "", ""], "units": ["", "", ""]}}
    (tmp_path / "sub_network.json").write_text(json.dumps(least))
    record = SlicedModelRecord.load(tmp_path)
    assert (record.source, record.label_names, record.known_error) == (None, None, None)


@pytest.mark.parametrize(
    ("changing", "problem"),
    [
        (change(error=True), "error is true"),
        (change(error=2.5), "error is 2.5"),
        (change(chosen={}), "chosen lacks 'name'"),
        (change(chosen__reason=["no"]), 'chosen.reason is ["no"]'),
        (change(sub_network__heads="0-3"), 'sub_network.heads is "0-3"'),
        (change(sub_network__dimensions__num_units=0), "sub_network.dimensions.num_units is 0"),
        (change(label_names="ab"), 'label_names is "ab"'),
        (change(files={"config.json": 1}), "files.config.json is 1"),
        (lambda written: written["source"].pop("text_columns"), "source lacks 'text_columns'"),
    ],
)
def test_a_sliced_model_s_record_of_another_form_is_refused(
    changing: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path
) -> None:
    file = SLICED.save(tmp_path)
    written = json.loads(file.read_text())
    changing(written)
    file.write_text(json.dumps(written))
    with pytest.raises(FileError) as raised:
        SlicedModelRecord.load(tmp_path)
    assert str(raised.value) == (
        f"the file {file} must be as it was written, but {problem}. Restore it, or extract again with compressor "
        "extract."
    )


def test_the_error_that_was_measured_last() -> None:
    assert SLICED.known_error == 0.35
    assert replace(SLICED, error=None).known_error == 0.4
    assert replace(SLICED, error=None, chosen=None).known_error is None


def test_the_table_has_what_is_known_of_all() -> None:
    header, rows = REPORT.table()
    assert header == ["", "super-network", "subnet-003", "always 'a'"]
    assert [row[0] for row in rows] == [
        "error (validation)",
        "error (test)",
        "parameters (M)",
        "share of the encoder",
        "MACs per text (M)",
    ]  # the super-network's file is not known
    assert rows[0] == ["error (validation)", "0.2000 (0.150–0.250)", "0.3500 (0.300–0.400)", "0.6000"]
    assert [row[3] for row in rows] == ["0.6000", "0.5900", "", "", ""]


def test_its_figures_are_those_that_are_known() -> None:
    figures = REPORT.metrics()
    assert list(figures)[:5] == ["error", "test_error", "params", "relative_params", "relative_encoder_params"]
    assert (figures["error"], figures["params"], figures["macs"], figures["model_mb"]) == (0.35, 500.0, 1e6, 0.5)
    assert (figures["error_after_repair"], figures["error_after_finetuning"]) == (0.45, 0.35)
    assert figures["test_error_difference"] == 0.15
    unknown = replace(REPORT, repair=None, finetuning=None, test=None, parity=replace(REPORT.parity, sliced=None))
    gone = {"parity/sliced", "error_after_repair", "error_before_finetuning", "error_after_finetuning"}
    assert figures.keys() - unknown.metrics().keys() == {*gone, "test_error_difference"}


def test_a_model_of_which_nothing_was_pruned_says_so() -> None:
    assert not any("nothing was pruned" in note for note in REPORT.notes())
    whole = replace(REPORT, extracted=replace(REPORT.extracted, relative_encoder_params=1.0))
    assert any("nothing was pruned" in note for note in whole.notes())


def test_what_nobody_should_ship_unawares() -> None:
    much, certain = REPORT.notes()
    assert much.startswith("its error is 0.150 above the super-network's (0.3500 against 0.2000). Another member")
    assert certain.startswith("on the test rows it is worse than the super-network, and not by chance: 0.1500 more")
    useless = replace(REPORT, extracted=replace(REPORT.extracted, error_interval=(0.5, 0.7)))
    assert useless.notes()[0] == "it is no better than always 'a' (error 0.6000) by more than its interval."
    empty = replace(REPORT, kept=KeptCounts(heads=(0, 0), units=(0, 0)))
    assert "it keeps no layer at all, so it reads words without their context." in empty.notes()


def test_what_came_of_repair_and_distillation_is_a_sentence() -> None:
    assert Repair(error_before=0.08, error_after=0.22, kept=False).describe() == (
        "Repair without training was tried and left out: it would have raised the validation error from 0.0800 to "
        "0.2200."
    )
    assert Repair(error_before=0.08, error_after=0.07, kept=True).describe() == (
        "Repair without training lowered the validation error from 0.0800 to 0.0700."
    )
    assert Finetuning(error_before=0.08, errors=(0.08, 0.09), kept_epoch=0).describe() == (
        "Distillation was tried and left out: the validation error stayed at 0.0800."
    )
    lowered = Finetuning(error_before=0.08, errors=(0.09, 0.05, 0.06), kept_epoch=2)
    for bf16, name in ((None, "Distillation"), (False, "Distillation"), (True, "Distillation in bfloat16")):
        assert replace(lowered, bf16=bf16).describe() == (
            f"{name} lowered the validation error from 0.0800 to 0.0500 (epoch 2 was the best)."
        )
