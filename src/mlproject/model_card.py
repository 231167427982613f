"""The model card of an extracted model: README.md in the Hub's form, every number from the run that made it."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.data.demo import DEMO_MODEL
from compressor.data.sources import TaskData
from compressor.data.tasks import Task
from compressor.network.dimensions import EncoderDimensions
from mlproject.sources import read_trivial
from mlproject.tables import markdown_block, markdown_code, markdown_table, markdown_text

CARD_FILE = "README.md"
_DEMO_BASE, _DEMO_LICENCE = "sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"


def with_interval(value: float, interval: Any) -> str:
    """An error with its 95 % interval."""
    return f"{value:.4f} ({interval[0]:.3f}–{interval[1]:.3f})"


FORM_ROWS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "error (validation)": ("error", lambda form: with_interval(form["error"], form["error_interval"])),
    "error (test)": ("test_error", lambda form: with_interval(form["test_error"], form["test_error_interval"])),
    "parameters (M)": ("params", lambda form: f"{form['params'] / 1e6:.2f}"),
    "share of the encoder": ("relative_encoder_params", lambda form: f"{form['relative_encoder_params']:.1%}"),
    "MACs per text (M)": ("macs", lambda form: f"{form['macs'] / 1e6:.1f} at {form['macs_length']} tokens"),
    "model.safetensors (MB)": ("model_mb", lambda form: f"{form['model_mb']:.1f}"),
}
"""Rows of the table super-network | extracted: label, the key it needs, the cell."""


def form_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of an extraction report: super-network | extracted | trivial predictor."""
    forms = {"super-network": report["super_network"], report["name"]: report["extracted"]}
    forms = {name: form for name, form in forms.items() if form is not None}
    rows = [
        [label, *(cell(form) for form in forms.values())]
        for label, (key, cell) in FORM_ROWS.items()
        if all(key in form for form in forms.values())
    ]
    trivial = read_trivial(report)
    if trivial is None:
        return ["", *forms], rows
    errors = {"error": f"{trivial.error:.4f}", "test_error": f"{trivial.test_error:.4f}"}
    shown = [key for key, _ in FORM_ROWS.values() if all(key in form for form in forms.values())]
    return ["", *forms, trivial.name], [[*row, errors.get(key, "")] for row, key in zip(rows, shown, strict=True)]


def describe_comparison(test: Mapping[str, Any]) -> str:
    """The test rows' verdict in a line."""
    low, high = test["interval"]
    p_value = "" if test["mcnemar_p"] is None else f", McNemar's p {test['mcnemar_p']:.2g}"
    return (
        f"error {test['base_error']:.4f} → {test['error']:.4f}, difference {test['difference']:+.4f} "
        f"(95 % {low:+.4f} to {high:+.4f}{p_value})"
    )


def describe_difference(difference: float) -> str:
    """How far two forms of a model are from each other."""
    return "exactly" if difference == 0 else f"within {difference:.1e} of the logit scale"


def describe_repair(repair: Mapping[str, Any]) -> str:
    """What came of the repair without training, in a sentence."""
    before, after = repair["error_before"], repair["error_after"]
    if repair["kept"]:
        return f"Repair without training lowered the validation error from {before:.4f} to {after:.4f}."
    return f"Repair without training was tried and left out: {_no_gain(before, after)}."


def describe_finetuning(finetuning: Mapping[str, Any]) -> str:
    """What came of the distillation after extraction, in a sentence."""
    before, after = finetuning["error_before"], min(finetuning["errors"])
    if finetuning["kept_epoch"]:
        best = f"epoch {finetuning['kept_epoch']} was the best"
        return f"Distillation lowered the validation error from {before:.4f} to {after:.4f} ({best})."
    return f"Distillation was tried and left out: {_no_gain(before, after)}."


def _no_gain(before: float, after: float) -> str:
    if after > before:
        return f"it would have raised the validation error from {before:.4f} to {after:.4f}"
    return f"the validation error stayed at {before:.4f}"


def write_model_card(
    path: Path,
    report: Mapping[str, Any],
    base_model: str,
    data: TaskData,
    dimensions: EncoderDimensions,
    notes: Sequence[str],
) -> Path:
    """Writes the card of an extraction report into a model directory, with what nobody should ship unawares.

    Labels, names and paths are shown as they are, whatever they hold.
    """
    front_matter = _front_matter(base_model, data)
    text = f"---\n{front_matter}---\n\n{_body(path, report, base_model, data, dimensions, notes)}"
    (path / CARD_FILE).write_text(text, encoding="utf-8")
    return path / CARD_FILE


def _front_matter(base_model: str, data: TaskData) -> str:
    from huggingface_hub import ModelCardData

    hub_name, licence = _base(base_model)
    values: dict[str, Any] = {
        "library_name": "transformers",
        "tags": ["mlflow-compressor", "pruning", "neural-architecture-search"],
        "pipeline_tag": None if data.task.multiple_choice else "text-classification",
        "license": licence,
        "base_model": hub_name,
    }
    card = ModelCardData(**{name: value for name, value in values.items() if value is not None})
    return f"{card.to_yaml()}\n"


def _base(base_model: str) -> tuple[str | None, str | None]:
    """The base model's name on the Hub and its licence, as far as they are known."""
    from huggingface_hub import ModelCard

    if base_model == DEMO_MODEL:
        return _DEMO_BASE, _DEMO_LICENCE
    card = Path(base_model).expanduser() / CARD_FILE
    if card.is_file():
        try:
            return None, ModelCard.load(card).data.license
        except ValueError:  # front matter that does not parse says nothing
            return None, None
    return (None if Path(base_model).expanduser().is_dir() else base_model), None


def _body(
    path: Path,
    report: Mapping[str, Any],
    base_model: str,
    data: TaskData,
    dimensions: EncoderDimensions,
    notes: Sequence[str],
) -> str:
    from compressor.network.modeling_sliced import MIN_TRANSFORMERS

    task, (hub_name, licence) = data.task, _base(base_model)
    base = hub_name or Path(base_model).name
    stock = not (path / "modeling_sliced.py").is_file()
    auto = "AutoModelForMultipleChoice" if task.multiple_choice else "AutoModelForSequenceClassification"
    trust = "" if stock else ", trust_remote_code=True"
    heads, units = report["kept"]["heads"], report["kept"]["units"]
    kept = [
        [f"{layer}", f"{h} of {dimensions.num_heads}", f"{u} of {dimensions.num_units}"]
        for layer, (h, u) in enumerate(zip(heads, units, strict=True))
    ]
    lines = [
        f"# {markdown_text(base)}, pruned for {task.name}",
        "",
        _ORIGINS["alone" if report["chosen"].get("epochs") else "shared"].format(base=markdown_code(base)),
        "",
        markdown_table(*form_table(report)),
        "",
        f"Errors are 1 − {task.metric} with 95 % intervals, on {len(data.validation):,} validation and "
        f"{len(data.test):,} test rows.",
    ]
    if report["chosen"].get("reason"):
        lines.append(f"Chosen before repair and distillation: {markdown_text(report['chosen']['reason'])}")
    if report["test"] is not None:
        lines.append(f"On the test rows, super-network → extracted: {describe_comparison(report['test'])}.")
    for note in notes:
        lines += ["", f"> **Note:** {markdown_text(note)}"]
    lines += ["", "## Use", "", "```python"]
    lines += [
        f"from transformers import AutoTokenizer, {auto}",
        "",
        'directory = "."  # where this file lies',
        f"model = {auto}.from_pretrained(directory{trust})",
        f"tokenizer = AutoTokenizer.from_pretrained(directory{trust})",
        *([] if task.multiple_choice else [_call(task)]),
        "```",
        "",
        f"It is a stock model: nothing but transformers {MIN_TRANSFORMERS} or newer is needed."
        if stock
        else "Stock classes cannot express the sizes of its layers: `modeling_sliced.py` in this directory holds its "
        f"classes and needs torch and transformers {MIN_TRANSFORMERS} or newer alone.",
        "",
        "## What it keeps",
        "",
        markdown_table(["layer", "heads", "units"], kept),
        "",
        "## How it was made",
        "",
        f"- Base model: {markdown_code(base)}; licence: {markdown_text(licence or 'not stated by the base model')}",
        f"- Task: {task.name}, metric {task.metric}, at most {task.max_length} tokens"
        + (f"; labels: {', '.join(map(markdown_code, data.label_names))}" if data.label_names else ""),
        f"- Data: {len(data.train):,} training rows, digest `{data.digest}` over all parts",
        f"- Sub-network: {markdown_code(report['chosen'].get('sub_network', report['name']))}",
        *([] if report["repair"] is None else [f"- {describe_repair(report['repair'])}"]),
        *([] if report["finetuning"] is None else [f"- {describe_finetuning(report['finetuning'])}"]),
        f"- Parity: searched = saved and loaded, {describe_difference(report['parity']['loaded'])}",
        f"- Versions: {_versions()}",
        "",
        markdown_block(shlex.join(["compressor", *sys.argv[1:]]), "bash"),
        "",
    ]
    return "\n".join(lines)


def _call(task: Task) -> str:
    texts = '"some text"' if len(task.text_columns) == 1 else '"some text", "and another"'
    return f'logits = model(**tokenizer({texts}, return_tensors="pt")).logits'


_PAPER = (
    "(Klein et al., *Structural Pruning of Pre-trained Language Models via Neural Architecture Search*, TMLR 2024)."
)
_ORIGINS = {
    "shared": "A sub-network of a fine-tuned {base}, found by multi-objective neural architecture search over shared "
    "weights and cut out physically " + _PAPER,
    "alone": "A sub-network cut out of the pre-trained {base} and fine-tuned alone, found by multi-objective neural "
    "architecture search " + _PAPER,
}


def _versions() -> str:
    import torch
    import transformers

    import compressor

    names = {"mlflow-compressor": compressor.__version__, "torch": torch.__version__}
    names["transformers"] = transformers.__version__
    return ", ".join(f"{name} {version}" for name, version in names.items())
