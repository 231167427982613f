"""The files that a search of standard NAS and its trials, which are processes of their own, leave for each other."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from compressor.data.sources import DataSource
from compressor.files import append_json_line, read_json_lines, write_text
from compressor.network.sub_network import WrittenSubNetwork
from compressor.records import Amount, Count, Errors, Inline, parse_record, read_record, to_values
from compressor.search.objectives import Cost, cost_names
from compressor.training.settings import SPLIT, TrainingSettings

SPEC_FILE, TRIAL_FILE = "spec.json", "trial.json"
"""What all trials share, in the folder above them; which sub-network a trial trains and what it costs."""
REPORTS_FILE = "reports.jsonl"
"""What a trial has reported, an epoch a line."""
_NEXT_STEP = "Restore it or search again in another directory"


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The pre-trained encoder that trials cut their sub-networks out of."""

    name_or_path: str
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What all trials of a search share."""

    source: DataSource
    base_model: BaseModel
    settings: TrainingSettings
    depends_on: dict[str, Any] | None = None
    """What the results of trials depend on besides; None in a file of version 0.1.0."""

    @classmethod
    def load(cls, directory: Path) -> "TrialSpec":
        """Return the spec in the directory of all trials.

        Raises:
            FileError: its file is not there, or broken.
        """
        return read_record(directory / SPEC_FILE, cls, _NEXT_STEP)

    def to_json(self) -> dict[str, Any]:
        """Return the content of its file; where the rows of a step are not split, it says nothing of that."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in SPLIT or value != 1}
        return asdict(self) | {"settings": settings}


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """Which sub-network a trial trains, and what it costs by the objectives' names."""

    kept: WrittenSubNetwork
    costs: dict[str, Cost]

    @classmethod
    def load(cls, directory: Path) -> "TrialTask":
        """Return the task in a trial's directory.

        Raises:
            FileError: its file is not there, or broken.
        """
        return read_record(directory / TRIAL_FILE, cls, _NEXT_STEP)


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """What a trial reports of an epoch."""

    epoch: Count
    """From 1."""
    epoch_error: Errors
    loss: float
    error: Errors
    """The error of the best epoch so far."""
    best_epoch: Count
    costs: Annotated[dict[str, Cost], Inline(cost_names)]
    seconds: Amount | None = None
    """Since the trial was started; None where it did not say."""

    def to_json(self) -> dict[str, Any]:
        """Return the values by name, without what is not known."""
        return {name: value for name, value in to_values(self).items() if value is not None}

    def append(self, directory: Path) -> None:
        """Add it to what a trial has reported."""
        append_json_line(directory / REPORTS_FILE, self.to_json())


def known_reports(directory: Path) -> list[TrialReport]:
    """Return what a trial has reported of the epochs from the first on; what comes after a damaged line is dropped."""
    lines, known = read_json_lines(directory / REPORTS_FILE), list[TrialReport]()
    for number, line in enumerate(lines, start=1):
        try:
            report = parse_record(TrialReport, line)
        except ValueError:
            break
        if report.epoch != number:
            break
        known.append(report)
    if len(known) < len(lines):
        # The trial appends to this file: behind a damaged line its epochs would be lost again.
        write_text(directory / REPORTS_FILE, "".join(json.dumps(report.to_json()) + "\n" for report in known))
    return known
