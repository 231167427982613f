"""The model card: text of others stays text in its YAML, Markdown and HTML."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from compressor.data.rows import Rows, TaskData
from compressor.data.tasks import TASKS
from compressor.evaluation.comparison import Comparison
from compressor.extraction.card import write_model_card
from compressor.extraction.record import ChosenMember, ExtractionReport, KeptCounts, Parity, Repair, Variant
from compressor.network.dimensions import EncoderDimensions

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


COMMAND = ("compressor", "extract", "--search", "a\n```\n<script>x</script>")


def variant(error: float, params: int) -> Variant:
    interval = (error - 0.05, error + 0.05)
    return Variant(
        error=error,
        error_interval=interval,
        test_error=error,
        test_error_interval=interval,
        params=params,
        relative_params=params / 1000,
        encoder_params=params,
        relative_encoder_params=params / 1000,
    )


WORSE = Comparison(base_error=0.19, error=0.25, difference=0.06, interval=(0.02, 0.1), mcnemar_p=0.01)
REPORT = ExtractionReport(
    name="mine|`x`",
    chosen=ChosenMember(name="mine|`x`"),
    error=0.2,
    repair=Repair(error_before=0.2, error_after=0.22, kept=False),
    finetuning=None,
    parity=Parity(loaded=0.0, label_agreement=1.0, error_loaded=0.2, error_searched=0.2),
    kept=KeptCounts(heads=(2, 0), units=(3, 3)),
    extracted=variant(0.2, 500),
    super_network=variant(0.19, 1000),
    test=WORSE,
)


def card(path: Path, base_model: str, report: ExtractionReport = REPORT, command: Sequence[str] = ()) -> str:
    rows = Rows(texts=(("x",),), labels=np.array([0]))
    data = TaskData(task=TASKS["custom"], train=rows, validation=rows, test=rows, label_names=HOSTILE)
    dimensions = EncoderDimensions(num_layers=2, num_heads=2, num_units=3, hidden_size=8, head_size=4)
    return write_model_card(path, report, base_model, data, dimensions, command).read_text()


def test_labels_and_names_stay_text(tmp_path: Path) -> None:
    text = card(tmp_path, "<b>`base`|</b>", command=COMMAND)
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
    text = card(tmp_path, "base")
    assert (
        "> **Note:** on the test rows it is worse than the super-network, and not by chance: 0.0600 more error" in text
    )
    assert "Repair without training was tried and left out: it would have raised the validation error from" in text
    assert "Note" not in card(tmp_path, "base", replace(REPORT, test=replace(WORSE, interval=(0.0, 0.1))))


def test_the_card_says_which_graph_is_run_row_by_row(tmp_path: Path) -> None:
    assert "An int8 graph (`compressor export`) rounds numbers by their range over the whole batch" in card(
        tmp_path, "base"
    )


def test_a_model_that_no_command_has_made_names_none(tmp_path: Path) -> None:
    assert "```bash" not in card(tmp_path, "base")
    assert "```bash\ncompressor extract --search" in card(tmp_path, "base", command=COMMAND)


@pytest.mark.parametrize(("name", "hub_name"), [("demo", "all-MiniLM-L6-v2"), ("demo-base", "all-mpnet-base-v2")])
def test_the_demo_encoders_have_their_names_on_the_hub(name: str, hub_name: str, tmp_path: Path) -> None:
    found = ModelCard(card(tmp_path, name)).data
    assert (found.base_model, found.license) == (f"sentence-transformers/{hub_name}", "apache-2.0")


@pytest.mark.parametrize("front", ["license: [mit\nname: a: b", "1: a", "- a", "license: 2025-01-01\nmodel-index: 3"])
def test_a_base_whose_own_card_is_odd_has_no_licence_to_name(front: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    (tmp_path / "made").mkdir()
    found = ModelCard(card(tmp_path / "made", str(base))).data
    assert (found.base_model, found.license) == (None, None)


def test_a_base_whose_directory_is_gone_is_no_name_on_the_hub(tmp_path: Path) -> None:
    text = card(tmp_path, str(tmp_path / "secret" / "base"))
    assert ModelCard(text).data.base_model is None
    assert "secret" not in text
