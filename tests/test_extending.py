"""ARCHITECTURE's table of "the one place to …" is true: throw-away entries are added to a copy of the sources.

Each is written into the files that its row names and into no other; then a program of its own finds all of them offered
and working.
"""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from conftest import sentence_rows, tiny_config

ROOT = Path(__file__).parents[1]
ROWS = {
    match[1]: match[2]
    for match in re.finditer(r"^\| (an? .+?) \| (.+?) \|.*\|$", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.M)
}
ENTRIES = {
    "an encoder family": {
        "compressor/network/modeling_sliced.py": {
            "ENCODER_FAMILIES: dict[str, EncoderFamily] = {": (
                '@\n    "throwaway": replace(_BERT, classes="Throwaway"),'
            ),
        }
    },
    "a search space": {
        "compressor/spaces/__init__.py": {
            "SEARCH_SPACES: dict[str, type[SearchSpace]] = {": (
                'class ThrowawaySpace(SmallSpace):\n    name = "throwaway"\n\n\n@'
            ),
            "        SmallOrderedSpace,\n": "@        ThrowawaySpace,\n",
        }
    },
    "an objective": {
        "compressor/search/objectives.py": {
            '    "params": Objective(': (
                '    "heads": Objective(label="throw-away heads", short="heads", shown=True,\n'
                "        measure=lambda of: of.sub_network.num_heads),\n@"
            ),
        }
    },
    "a chart of the report": {
        "compressor/search/figures.py": {
            "def hypervolume_chart(": (
                "def throwaway_chart(result: SearchResult) -> PointChart:\n"
                "    from dataclasses import replace\n\n"
                '    return replace(hypervolume_chart(result), stem="throwaway", title="A throw-away chart")\n\n\n@'
            ),
        },
        "exporters/report/page.py": {
            "import front_chart, ": "@throwaway_chart, ",
            "        hypervolume=figure(": "        throwaway=figure(throwaway_chart(result), figures),\n@",
        },
        "exporters/report/report.html": {
            '{% call section("Search progress") %}': (
                '{% call section("Throw-away") %}\n{{ figure(throwaway) }}\n{% endcall %}\n@'
            ),
        },
    },
}
"""By the kind of thing and by file: what is put in place of a text that stands there once, `@` being that text."""
PROGRAM = """
import json, sys
from pathlib import Path

import torch
from transformers import AutoConfig, BertConfig, BertForSequenceClassification

transformers = sys.modules["transformers"]  # which importing a model replaces
ThrowawayConfig = type("ThrowawayConfig", (BertConfig,), {"model_type": "throwaway"})
transformers.ThrowawayConfig = ThrowawayConfig
AutoConfig.register("throwaway", ThrowawayConfig)
for name in [name for name in dir(transformers) if name.startswith("BertFor") or name == "BertModel"]:
    made = type(name.replace("Bert", "Throwaway", 1), (getattr(transformers, name),), {"config_class": ThrowawayConfig})
    setattr(transformers, made.__name__, made)
    auto = getattr(transformers, name.replace("Bert", "AutoModel", 1).removesuffix("Model"), None)
    if auto is not None:
        auto.register(ThrowawayConfig, made)

import compressor
from compressor.network.execution import activate
from compressor.network.slicing import slice_model
from compressor.training.settings import TrainingSettings
from exporters import export_model
from exporters.report.inputs import ReportFolders, read_reported
from exporters.report.page import write_report

data = compressor.load_data("rows.jsonl", text="text", label="label")
settings = TrainingSettings(search_space="throwaway", num_train_epochs=1)
net = compressor.train_super_network("base", data, settings, directory=Path("net"))
options = {"search_space": "throwaway", "objectives": ("error", "heads"), "num_samples": 8}
found = compressor.search_sub_networks(net, data, directory=Path("search"), search_strategy="random_search", **options)
found.save("search")
member = next(e for e in found.evaluations if 0 < e.sub_network.num_heads < 12)
small = compressor.extract_sub_network(net, member, data)
small.save("model")
export_model(small, data, "onnx")
batch = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]])}
with torch.inference_mode():
    with activate(net.model, member.sub_network):
        shared = net.model(**batch).logits
    sliced = slice_model(net.model, member.sub_network)(**batch).logits
Path("page").mkdir()
folders = ReportFolders(search=Path("search"), model=Path("model"))
write_report(Path("page/report.html"), read_reported(folders, lambda result: Path("net")))
written = json.loads(Path("search/search_results.json").read_text())
print(json.dumps({
    "equal": bool(torch.allclose(shared, sliced, atol=1e-5)),
    "model_type": json.loads(Path("model/config.json").read_text())["model_type"],
    "costs": [e.sub_network.num_heads for e in found.front],
    "written": [written["evaluations"][place]["heads"] for place in written["front"]],
    "columns": list(found.to_frame().columns),
    "page": Path("page/report.html").read_text(),
    "figures": sorted(path.name for path in Path("page/figures").iterdir()),
}))
"""


def files_of(row: str) -> set[str]:
    """The source files that a row of the table names as the place, with their folders."""
    return set(re.findall(r"`(\w+/[\w/]+\.(?:py|html))`", row))


@pytest.mark.parametrize("kind", list(ENTRIES))
def test_an_entry_is_written_where_its_row_says(kind: str) -> None:
    named = files_of(ROWS[kind])
    assert set(ENTRIES[kind]) >= named
    assert {path for path in ENTRIES[kind] if not path.endswith("/figures.py")} == named


@pytest.mark.slow
def test_throw_away_entries_are_offered_and_work(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path, texts in [entry for files in ENTRIES.values() for entry in files.items()]:
        content = (source / path).read_text()
        for anchor, text in texts.items():
            assert content.count(anchor) == 1, (path, anchor)
            content = content.replace(anchor, text.replace("@", anchor))
        (source / path).write_text(content)
    changed = {
        str(path.relative_to(source))
        for path in source.rglob("*.*")
        if not filecmp.cmp(path, ROOT / "src" / path.relative_to(source), shallow=False)
    }
    assert changed == {path for files in ENTRIES.values() for path in files}

    config = tiny_config("bert")
    values = config.to_dict() | {"model_type": "throwaway", "architectures": ["ThrowawayModel"]}
    from transformers import BertModel

    BertModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(json.dumps(values))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(120)))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["equal"]
    assert found["model_type"] in ("throwaway", "sliced-throwaway")
    assert found["written"] == found["costs"]
    assert "heads" in found["columns"]
    assert "throw-away heads" in found["page"]
    assert "A throw-away chart" in found["page"]
    assert any(name.startswith("throwaway.") for name in found["figures"])
    for words in (("search", "--help"),):
        offered = subprocess.run(
            [sys.executable, str(source), *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "throwaway" in offered
        assert "heads" in offered
