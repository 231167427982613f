"""The model card of an extracted model: README.md in the Hub's form, every number from its own report."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData
from yaml import YAMLError

import compressor
from compressor.data.demo import DEMO_MODEL
from compressor.data.demo_base import DEMO_BASE_MODEL
from compressor.data.rows import TaskData
from compressor.data.tasks import Task
from compressor.extraction.record import ExtractionReport, describe_difference
from compressor.markdown import Markdown, render_markdown
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
    task = data.task
    header, rows = report.table()
    text = render_markdown(
        Path(__file__).with_name("card.md"),
        front_matter=_front_matter(hub_name, licence, task),
        base=hub_name or Path(base_model).name,
        licence=licence,
        task=task,
        data=data,
        report=report,
        header=header,
        rows=rows,
        steps=[step.describe() for step in (report.repair, report.finetuning) if step is not None],
        # Our file of classes lies there only where no stock class can load the model.
        stock=not (directory / "modeling_sliced.py").is_file(),
        min_transformers=MIN_TRANSFORMERS,
        kept=_kept(report, dimensions),
        difference=describe_difference(report.parity.loaded),
        versions=_versions(),
        command=shlex.join(command),
    )
    (directory / CARD_FILE).write_text(text, encoding="utf-8")
    return directory / CARD_FILE


def _front_matter(hub_name: str | None, licence: str | None, task: Task) -> Markdown:
    values: dict[str, Any] = {
        "library_name": "sentence-transformers" if task.head.form.pools_tokens else "transformers",
        "tags": ["mlflow-compressor", "pruning", "neural-architecture-search"],
        "pipeline_tag": task.head.pipeline_tag,
        "license": licence,
        "base_model": hub_name,
    }
    card = ModelCardData(**{name: value for name, value in values.items() if value is not None})
    return Markdown(card.to_yaml())


def _find_base(base_model: str) -> tuple[str | None, str | None]:
    """Return the base model's name on the Hub and its licence, as far as they are known."""
    if base_model in _DEMOS:
        return _DEMOS[base_model], _DEMO_LICENCE
    card = Path(base_model).expanduser() / CARD_FILE
    if card.is_file():
        try:
            return None, ModelCard.load(card).data.license
        except (ValueError, TypeError, YAMLError):  # front matter that does not parse says nothing
            return None, None
    # A directory, or where one was: no name on the Hub is a path.
    path = Path(base_model).expanduser()
    return (None if path.is_dir() or path.is_absolute() else base_model), None


def _kept(report: ExtractionReport, dimensions: EncoderDimensions) -> list[list[str]]:
    """Return the rows of layers, heads and units."""
    return [
        [f"{layer}", f"{heads} of {dimensions.num_heads}", f"{units} of {dimensions.num_units}"]
        for layer, (heads, units) in enumerate(zip(report.kept.heads, report.kept.units, strict=True))
    ]


def _versions() -> str:
    names = {"mlflow-compressor": compressor.__version__, "torch": torch.__version__}
    names["transformers"] = transformers.__version__
    return ", ".join(f"{name} {version}" for name, version in names.items())
