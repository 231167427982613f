"""The model card of an extracted model: README.md in the Hub's form, every number from its own report."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData

import compressor
from compressor.data.demo import DEMO_MODEL
from compressor.data.demo_base import DEMO_BASE_MODEL
from compressor.data.sources import TaskData
from compressor.data.tasks import Task
from compressor.extraction.record import ExtractionReport, describe_difference
from compressor.markdown import markdown_block, markdown_code, markdown_table, markdown_text
from compressor.network.dimensions import EncoderDimensions
from compressor.network.modeling_sliced import MIN_TRANSFORMERS

CARD_FILE = "README.md"
_DEMOS = {
    DEMO_MODEL: "sentence-transformers/all-MiniLM-L6-v2",
    DEMO_BASE_MODEL: "sentence-transformers/all-mpnet-base-v2",
}
_DEMO_LICENCE = "apache-2.0"


def write_model_card(
    directory: Path,
    report: ExtractionReport,
    base_model: str,
    data: TaskData,
    dimensions: EncoderDimensions,
    command: Sequence[str] = (),
) -> Path:
    """Write the card of an extraction into its model's directory, with what nobody should ship unawares.

    `command` is the words of the command line that made it, if one did. Labels, names and paths are shown as they are,
    whatever they hold.
    """
    hub_name, licence = _find_base(base_model)
    base = hub_name or Path(base_model).name
    stock = not (directory / "modeling_sliced.py").is_file()
    sections = [
        _front_matter(hub_name, licence, data.task),
        _results(report, base, data),
        _use(data.task, stock),
        _kept(report, dimensions),
        _origin(report, base, licence, data),
        *([markdown_block(shlex.join(command), "bash")] if command else []),
    ]
    (directory / CARD_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return directory / CARD_FILE


def _front_matter(hub_name: str | None, licence: str | None, task: Task) -> str:
    values: dict[str, Any] = {
        "library_name": "sentence-transformers" if task.head.form.pools_tokens else "transformers",
        "tags": ["mlflow-compressor", "pruning", "neural-architecture-search"],
        "pipeline_tag": task.head.pipeline_tag,
        "license": licence,
        "base_model": hub_name,
    }
    card = ModelCardData(**{name: value for name, value in values.items() if value is not None})
    return f"---\n{card.to_yaml()}\n---"


def _find_base(base_model: str) -> tuple[str | None, str | None]:
    """Return the base model's name on the Hub and its licence, as far as they are known."""
    if base_model in _DEMOS:
        return _DEMOS[base_model], _DEMO_LICENCE
    card = Path(base_model).expanduser() / CARD_FILE
    if card.is_file():
        try:
            return None, ModelCard.load(card).data.license
        except ValueError:  # front matter that does not parse says nothing
            return None, None
    return (None if Path(base_model).expanduser().is_dir() else base_model), None


def _results(report: ExtractionReport, base: str, data: TaskData) -> str:
    task = data.task
    against = "" if data.source.unlabeled_file is None else " against the full model's answers, not the truth,"
    lines = [
        f"Errors are 1 − {task.metric}{against} with 95 % intervals, on {len(data.validation):,} validation and "
        f"{len(data.test):,} test rows."
    ]
    if report.chosen.reason:
        lines.append(f"Chosen before repair and distillation: {markdown_text(report.chosen.reason)}")
    if report.test is not None:
        lines.append(f"On the test rows, super-network → extracted: {report.test.describe()}.")
    if task.group_column is not None:
        counts = f"{data.validation.num_judged:,} validation and {data.test.num_judged:,} test {task.judged}"
        lines.append(f"They are means over {counts}.")
    return "\n\n".join(
        [
            f"# {markdown_text(base)}, pruned for {task.name}",
            _STORIES["alone" if report.trained_alone else "shared"].format(base=markdown_code(base)),
            markdown_table(*report.table()),
            "\n".join(lines),
            *(f"> **Note:** {markdown_text(note)}" for note in report.notes()),
        ]
    )


_PAPER = (
    "(Klein et al., *Structural Pruning of Pre-trained Language Models via Neural Architecture Search*, TMLR 2024)."
)
_STORIES = {
    "shared": "A sub-network of a fine-tuned {base}, found by multi-objective neural architecture search over shared "
    "weights and cut out physically " + _PAPER,
    "alone": "A sub-network cut out of the pre-trained {base} and fine-tuned alone, found by multi-objective neural "
    "architecture search " + _PAPER,
}


def _use(task: Task, stock: bool) -> str:
    if task.head.form.pools_tokens:
        return _use_embedding(stock)
    auto = task.head.form.auto_class_name
    trust = "" if stock else ", trust_remote_code=True"
    texts = '"some text"' if len(task.text_columns) == 1 else '"some text", "and another"'
    lines = [
        f"from transformers import AutoTokenizer, {auto}",
        "",
        'directory = "."  # where this file lies',
        f"model = {auto}.from_pretrained(directory{trust})",
        f"tokenizer = AutoTokenizer.from_pretrained(directory{trust})",
    ]
    if task.group_column is not None:
        lines.append(f"# sentence-transformers ranks with it: CrossEncoder(directory{trust}).rank(query, documents)")
    if not task.head.form.takes_choices:
        lines.append(f'logits = model(**tokenizer({texts}, return_tensors="pt")).logits')
    return "\n\n".join(["## Use", markdown_block("\n".join(lines), "python"), _needs(stock), _BATCHES])


def _use_embedding(stock: bool) -> str:
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("."{"" if stock else ", trust_remote_code=True"})  # where this file lies',
        'vectors = model.encode(["some text", "and another"])',
    ]
    return "\n\n".join(["## Use", markdown_block("\n".join(lines), "python"), _needs(stock), _BATCHES])


def _needs(stock: bool) -> str:
    if stock:
        return f"It is a stock model: nothing but transformers {MIN_TRANSFORMERS} or newer is needed."
    return (
        "Stock classes cannot express the sizes of its layers: `modeling_sliced.py` in this directory holds its "
        f"classes and needs torch and transformers {MIN_TRANSFORMERS} or newer alone."
    )


_BATCHES = (
    "Up to rounding its answers do not depend on the other texts of a batch, nor do those of its fp32 ONNX graph. An "
    "int8 graph (`compressor export`) rounds numbers by their range over the whole batch: run that one row by row, as "
    "its error is measured."
)


def _kept(report: ExtractionReport, dimensions: EncoderDimensions) -> str:
    rows = [
        [f"{layer}", f"{heads} of {dimensions.num_heads}", f"{units} of {dimensions.num_units}"]
        for layer, (heads, units) in enumerate(zip(report.kept.heads, report.kept.units, strict=True))
    ]
    return f"## What it keeps\n\n{markdown_table(['layer', 'heads', 'units'], rows)}"


def _origin(report: ExtractionReport, base: str, licence: str | None, data: TaskData) -> str:
    task = data.task
    labels = f"; labels: {', '.join(map(markdown_code, data.label_names))}" if data.label_names else ""
    lines = [
        f"- Base model: {markdown_code(base)}; licence: {markdown_text(licence or 'not stated by the base model')}",
        f"- Task: {task.name}, metric {task.metric}, at most {task.max_length} tokens{labels}",
        f"- Data: {len(data.train):,} training rows, digest `{data.digest}` over all parts",
        f"- Sub-network: {markdown_code(report.chosen.sub_network or report.name)}",
        *(f"- {step.describe()}" for step in (report.repair, report.finetuning) if step is not None),
        f"- Parity: searched = saved and loaded, {describe_difference(report.parity.loaded)}",
        f"- Versions: {_versions()}",
    ]
    return "## How it was made\n\n" + "\n".join(lines)


def _versions() -> str:
    names = {"mlflow-compressor": compressor.__version__, "torch": torch.__version__}
    names["transformers"] = transformers.__version__
    return ", ".join(f"{name} {version}" for name, version in names.items())
