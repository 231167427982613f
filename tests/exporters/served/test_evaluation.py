"""What new rows say of a served model, beside a baseline, and whether it passes a gate."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asking import LABELS, answering, label, write_rows
from compressor.data.metrics import error_interval
from compressor.errors import ModelError
from compressor.evaluation.bounds import compare_with_base
from compressor.evaluation.comparison import compare_predictions
from exporters.options import ColumnOptions, GateOptions
from exporters.served.evaluation import Evaluation, evaluate_served
from exporters.served.models import ServedModel

TRUE = np.random.default_rng(0).integers(3, size=60)
OURS = np.where(np.arange(60) % 6 == 0, (TRUE + 1) % 3, TRUE)
BASE = np.where(np.arange(60) % 4 == 0, (TRUE + 2) % 3, TRUE)


def model_of(predictions: np.ndarray, name: str = "a model", labels: tuple[str, ...] = LABELS) -> ServedModel:
    answers = (label(LABELS[place]) for place in predictions)
    made = answering("single", "classification", *answers, labels=list(labels))
    return ServedModel(**{**vars(made), "name": name})


def evaluated(tmp_path: Path, baseline: ServedModel | None = None, **options: Any) -> Evaluation:
    file = write_rows(tmp_path / "new.jsonl", *({"text": f"w{n}", "label": LABELS[n]} for n in TRUE))
    if baseline is not None:
        options |= {"baseline": baseline.name}
    return evaluate_served(model_of(OURS), file, ColumnOptions(), GateOptions(**options), baseline)


def test_error_interval_and_paired_test(tmp_path: Path) -> None:
    alone = evaluated(tmp_path)
    assert alone.judged.error == pytest.approx(10 / 60)
    assert alone.judged.interval == error_interval("accuracy", OURS, TRUE)
    assert (alone.comparison, alone.gates) == (None, ())
    both = evaluated(tmp_path, model_of(BASE, "the base", labels=LABELS[::-1]))  # which numbers its labels otherwise
    assert both.comparison == compare_predictions("accuracy", BASE, OURS, TRUE)
    assert both.baseline is not None
    assert both.baseline.error == pytest.approx(15 / 60)


def test_what_is_written(tmp_path: Path) -> None:
    made = evaluated(tmp_path, model_of(BASE, "the base"), max_error=0.5, max_error_increase=0.001)
    made.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (written["rows"], written["metric"], written["model"]["name"]) == (60, "accuracy", "a model")
    assert written["data_digest"] == made.rows.digest
    assert written["comparison"]["difference"] == pytest.approx(-5 / 60)
    assert [(gate["option"], gate["passed"]) for gate in written["gates"]] == [
        ("--max-error", True),
        ("--max-error-increase", made.gates[1].passed),
    ]
    rows = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == [LABELS[place] for place in OURS]
    assert rows[0] == {
        "text": f"w{TRUE[0]}",
        "label": LABELS[TRUE[0]],
        "answer": LABELS[OURS[0]],
        "baseline": LABELS[BASE[0]],
    }


def test_a_gate_promises_no_more_than_the_rows_can_tell(tmp_path: Path) -> None:
    """Measured 0.167: with half a chance that is the bound, with more it is larger."""
    bounds = [evaluated(tmp_path, max_error=0.2, confidence=c).gates[0] for c in (0.5, 0.8, 0.95)]
    assert bounds[0].value == pytest.approx(10 / 60, abs=1e-6)
    assert bounds[0].value < bounds[1].value < bounds[2].value
    assert [gate.passed for gate in bounds] == [True, gate_passes(bounds[1]), False]
    assert bounds[2].value == error_interval("accuracy", OURS, TRUE, level=0.9)[1]
    assert bounds[2].describe().startswith("--max-error 0.2: measured 0.1667, at most 0.2")


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "matthews_correlation"])
def test_few_rows_without_a_mistake_promise_little(metric: str, tmp_path: Path) -> None:
    """Of 60 rows none is wrong: about 3 in 60 may be, whichever metric tells it."""
    file = write_rows(tmp_path / "new.jsonl", *({"text": f"w{n}", "label": LABELS[n]} for n in TRUE))

    def gate(confidence: float) -> Any:
        options = GateOptions(max_error=0.04, confidence=confidence)
        return evaluate_served(model_of(TRUE), file, ColumnOptions(metric=metric), options).gates[0]

    assert (gate(0.95).measured, gate(0.95).passed) == (0.0, False)
    assert 0.04 < gate(0.95).value < 0.06
    assert gate(0.5).passed


def gate_passes(gate: Any) -> bool:
    return bool(gate.value <= gate.limit)


@pytest.mark.parametrize(("limit", "passes"), [(-0.2, False), (0.0, True), (0.3, True)])
def test_a_gate_against_the_baseline_is_the_bound_of_extract(limit: float, passes: bool, tmp_path: Path) -> None:
    (gate,) = evaluated(tmp_path, model_of(BASE, "the base"), max_error_increase=limit, confidence=0.6).gates
    holds, bounds = compare_with_base("accuracy", BASE, [OURS], TRUE).holding(limit, 0.6)
    assert gate.passed == holds[0] == passes
    assert gate.value == pytest.approx(bounds[0])
    assert gate.measured == pytest.approx(-5 / 60)


def test_models_of_other_questions_do_not_compare(tmp_path: Path) -> None:
    other = answering("single", "classification", name="other", labels=["no", "yes"])
    message = (
        "two models that are compared must take the same rows and tell the same labels, but a model is of "
        r"classification \(single\) with bad, so so, good and a model of classification \(single\) with no, yes"
    )
    with pytest.raises(ModelError, match=message):
        evaluated(tmp_path, other)


def test_texts_may_be_called_as_our_own_columns(tmp_path: Path) -> None:
    columns = {"text": ["answer"], "label": "label", "group": None}
    model = answering("single", "classification", label("bad"), label("good"), columns=columns)
    file = write_rows(tmp_path / "new.jsonl", {"answer": "w1", "label": "bad"}, {"answer": "w2", "label": "bad"})
    made = evaluate_served(model, file, ColumnOptions(), GateOptions())
    assert made.shown_rows()[1] == {"answer": "w2", "label": "bad", "answer_": "good"}


def test_queries_are_what_is_judged(tmp_path: Path) -> None:
    rankings = [
        SimpleNamespace(documents=[SimpleNamespace(index=0, score=1.0), SimpleNamespace(index=1, score=query)])
        for query in (0.0, 2.0)
    ]
    model = answering("documents", "rerank", *rankings, task="rerank", num_texts=2)
    rows = [{"query": q, "document": d, "label": n} for q in "ab" for d, n in (("w1", 1), ("w2", 0))]
    made = evaluate_served(
        model, write_rows(tmp_path / "new.jsonl", *rows), ColumnOptions(metric="mrr_at_10"), GateOptions()
    )
    assert made.judged.error == pytest.approx(0.25)  # 1 and 1/2
    assert made.rows.num_judged == 2
    assert isinstance(made.shown_rows()[0]["answer"], float)


def test_words_are_written_a_row_a_line(tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER"]
    found = [SimpleNamespace(spans=[SimpleNamespace(start=0, end=7, label="PER")]), SimpleNamespace(spans=[])]
    model = answering("tokens", "token_classification", *found, task="ner", labels=names)
    rows = [
        {"tokens": ["Ann", "Lee", "sat"], "ner_tags": ["B-PER", "I-PER", "O"]},
        {"tokens": ["Bo"], "ner_tags": ["B-PER"]},
    ]
    made = evaluate_served(model, write_rows(tmp_path / "new.jsonl", *rows), ColumnOptions(), GateOptions(max_error=1))
    assert made.judged.error == pytest.approx(1 / 3)  # one of two entities is found, none is wrong
    assert made.shown_rows() == [
        {"tokens": "Ann Lee sat", "label": "B-PER I-PER O", "answer": "B-PER I-PER O"},
        {"tokens": "Bo", "label": "B-PER", "answer": "O"},
    ]
