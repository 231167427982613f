"""The model card: text of others stays text in its YAML, Markdown and HTML; what came of each step is said plainly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from compressor.data.sources import Rows, TaskData
from compressor.data.tasks import TASKS
from compressor.network.dimensions import EncoderDimensions
from mlproject.extract_stage import notes
from mlproject.model_card import describe_finetuning, describe_repair, write_model_card

HOSTILE = (
    "a|b",
    "`code` ``more``",
    "<script>alert(1)</script>",
    "---\nlicense: mit",
    "[x](y) *z* &lt;",
    " ",
    'é: "ü" #',
)
SHOWN = [" ".join(label.split()) or " " for label in HOSTILE]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def form(error: float, params: int) -> dict[str, Any]:
    interval = [error - 0.05, error + 0.05]
    return {"error": error, "error_interval": interval, "test_error": error, "test_error_interval": interval} | {
        "params": params,
        "relative_encoder_params": params / 1000,
    }


def extraction(**values: Any) -> dict[str, Any]:
    return {
        "name": "mine|`x`",
        "chosen": {},
        "error": 0.2,
        "repair": {"error_before": 0.2, "error_after": 0.22, "kept": False},
        "finetuning": None,
        "parity": {"loaded": 0.0},
        "kept": {"heads": [2, 0], "units": [3, 3]},
        "extracted": form(0.2, 500),
        "super_network": form(0.19, 1000),
        "test": {"base_error": 0.19, "error": 0.25, "difference": 0.06, "interval": [0.02, 0.1], "mcnemar_p": 0.01},
    } | values


def card(path: Path, base_model: str, report: dict[str, Any]) -> str:
    rows = Rows(texts=(("x",),), labels=np.array([0]))
    data = TaskData(task=TASKS["custom"], train=rows, validation=rows, test=rows, label_names=HOSTILE)
    dimensions = EncoderDimensions(num_layers=2, num_heads=2, num_units=3, hidden_size=8, head_size=4)
    return write_model_card(path, report, base_model, data, dimensions, notes(report)).read_text()


def test_labels_and_names_stay_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compressor", "extract", "--search", "a\n```\n<script>x</script>"])
    text = card(tmp_path, "<b>`base`|</b>", extraction())
    found = ModelCard(text)
    assert (found.data.license, found.data.base_model) == (None, "<b>`base`|</b>")
    tokens = [token for top in MARKDOWN.parse(found.text) for token in (top, *(top.children or ()))]
    assert not {token.type for token in tokens} & {"html_inline", "html_block", "link_open", "hr"}
    codes = [token.content for token in tokens if token.type == "code_inline"]
    assert [code for code in codes if code in SHOWN] == SHOWN
    assert "compressor extract --search 'a\n```\n<script>x</script>'\n" in [
        t.content for t in tokens if t.type == "fence"
    ]
    heads = [token.content for token in tokens if token.type == "inline"]
    assert r"mine|\`x\`" in heads
    cells = [sum(token.type in ("th_open", "td_open") for token in tokens), sum(t.type == "tr_open" for t in tokens)]
    assert cells[0] == 3 * cells[1]


def test_the_card_says_what_nobody_should_ship_unawares(tmp_path: Path) -> None:
    text = card(tmp_path, "base", extraction())
    assert (
        "> **Note:** on the test rows it is worse than the super-network, and not by chance: 0.0600 more error" in text
    )
    assert "Repair without training was tried and left out: it would have raised the validation error from" in text
    calm = extraction()
    calm["test"] |= {"interval": [0.0, 0.1]}
    assert "Note" not in card(tmp_path, "base", calm)


def test_what_came_of_repair_and_distillation_is_a_sentence() -> None:
    repaired = {"error_before": 0.08, "error_after": 0.22, "kept": False}
    assert describe_repair(repaired) == (
        "Repair without training was tried and left out: it would have raised the validation error from 0.0800 to "
        "0.2200."
    )
    repaired = {"error_before": 0.08, "error_after": 0.07, "kept": True}
    assert describe_repair(repaired) == "Repair without training lowered the validation error from 0.0800 to 0.0700."
    tuned = {"error_before": 0.08, "errors": [0.08, 0.09], "kept_epoch": 0}
    assert describe_finetuning(tuned) == ("Distillation was tried and left out: the validation error stayed at 0.0800.")
    tuned = {"error_before": 0.08, "errors": [0.09, 0.05, 0.06], "kept_epoch": 2}
    assert describe_finetuning(tuned) == (
        "Distillation lowered the validation error from 0.0800 to 0.0500 (epoch 2 was the best)."
    )
