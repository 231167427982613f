"""What an extraction leaves behind: `extraction.json`, `parity.json` and `sub_network.json`, as frozen dataclasses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Lt

from compressor.data.heads.answers import AGAINST_FULL_MODEL, name_error
from compressor.data.metrics.trivial import TrivialPredictor, is_useful
from compressor.data.sources import DataSource
from compressor.errors import FileError
from compressor.evaluation.comparison import Comparison
from compressor.network.saving import SUB_NETWORK_FILE, SavedSubNetwork, read_sub_network
from compressor.records import (
    Amount,
    Count,
    ErrorInterval,
    Errors,
    Share,
    broken,
    read_record,
    require_keys,
    write_record,
)
from compressor.search.objectives import OBJECTIVES, OtherCosts, other_cost_names

EXTRACTION_FILE, PARITY_FILE = "extraction.json", "parity.json"
POOR_INCREASE = 0.05
"""The increase of the error, from which on a note says so."""
_NEXT_STEP = "Restore it, or extract again with compressor extract"

Params = Annotated[int, Gt(0), Lt(2**63)]


@dataclass(frozen=True, kw_only=True)
class ChosenMember:
    """The sub-network that was extracted, as the search knew it; of one that was not searched its name alone."""

    name: str
    reason: str | None = None
    """Why it was chosen, in a sentence."""
    index: Count | None = None
    """Place among the search's evaluations; None where it was not searched."""
    config: dict[str, int | str] | None = None
    sub_network: str | None = None
    """Its hash."""
    error: Errors | None = None
    error_interval: ErrorInterval | None = None
    test_error: Errors | None = None
    params: Params | None = None
    relative_params: Share | None = None
    encoder_params: Count | None = None
    relative_encoder_params: Share | None = None
    costs: OtherCosts = field(default_factory=dict)
    eval_seconds: Amount | None = None
    on_front: bool | None = None
    epochs: Count | None = None
    """Epochs it was trained alone; None where the weights were the super-network's."""
    model: str | None = None
    """Directory of its own trained weights, as seen from the search's."""
    num_layers: Count | None = None
    num_heads: Count | None = None
    num_units: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Errors and costs of one model: the super-network, or the extracted one."""

    error: Errors
    """1 − metric on the validation rows."""
    error_interval: ErrorInterval
    """95 %."""
    test_error: Errors
    test_error_interval: ErrorInterval
    params: Params
    relative_params: Share
    encoder_params: Count
    relative_encoder_params: Share
    costs: OtherCosts = field(default_factory=dict)
    """What it costs besides parameters, by the objective's name, for texts of `macs_length` tokens; nothing where
    standard NAS has no super-network."""
    macs_length: Count | None = None
    model_mb: Amount | None = None
    """The size of `model.safetensors`."""
    reported: dict[str, float] | None = None
    """What else is reported of the test rows, by name; None where nothing is."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What came of the repair without training."""

    error_before: Errors
    error_after: Errors
    kept: bool
    """Whether it lowered the validation error; else the weights are as they were cut."""

    def describe(self) -> str:
        """Return it as a sentence."""
        if self.kept:
            return (
                f"Repair without training lowered the validation error from {self.error_before:.4f} to "
                f"{self.error_after:.4f}."
            )
        return f"Repair without training was tried and left out: {_no_gain(self.error_before, self.error_after)}."


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """What came of the distillation after extraction."""

    error_before: Errors
    errors: tuple[Errors, ...]
    """Validation error after each epoch."""
    kept_epoch: Count
    """Whose weights the model has now, from 1; 0 where no epoch was better than before."""
    error_after: Errors | None = None
    num_epochs: Count | None = None
    """The most that were allowed; None in a file of an older version."""
    bf16: bool | None = None
    """Whether it computed in bfloat16; None in a file of an older version."""

    @property
    def most_epochs(self) -> int:
        """The epochs that were allowed, or else those that were made."""
        return len(self.errors) if self.num_epochs is None else self.num_epochs

    def describe(self) -> str:
        """Return it as a sentence."""
        before, after = self.error_before, min(self.errors)
        name = f"Distillation{' in bfloat16' if self.bf16 else ''}"
        if self.kept_epoch:
            best = f"epoch {self.kept_epoch} was the best"
            return f"{name} lowered the validation error from {before:.4f} to {after:.4f} ({best})."
        return f"{name} was tried and left out: {_no_gain(before, after)}."


def _no_gain(before: float, after: float) -> str:
    if after > before:
        return f"it would have raised the validation error from {before:.4f} to {after:.4f}"
    return f"the validation error stayed at {before:.4f}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A member of the front that was distilled for an epoch, before one of them was taken."""

    name: str
    relative_encoder_params: Share
    error_searched: Errors
    """Validation error as cut out."""
    error_distilled: Errors
    """Validation error after repair and an epoch, where they lowered it."""
    at_most: float
    """The bound of its error above the super-network's, with the confidence of the choice."""
    holds: bool | None = None
    """Whether it surely is within the limit of the choice; None where the choice has none."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the variants of one sub-network are from each other; differences are shares of the largest logit."""

    loaded: Amount
    """Between the saved and loaded model and the one that was searched."""
    label_agreement: Share | None
    """Share of the validation rows that both give the same label; None for values."""
    error_loaded: Errors
    error_searched: Errors
    sliced: Amount | None = None
    """Between the sliced model and the super-network's shared weights; None for one that was trained alone."""

    @property
    def largest(self) -> float:
        """The largest of the differences."""
        return max(self.loaded, self.sliced or 0.0)

    @classmethod
    def load(cls, directory: Path) -> "Parity":
        """Return the parity of a model directory.

        Raises:
            FileError: its file is not there, or broken.
        """
        return read_record(directory / PARITY_FILE, cls, _NEXT_STEP)

    def save(self, directory: Path) -> Path:
        """Write `parity.json`."""
        return write_record(directory / PARITY_FILE, self)


def describe_difference(difference: float) -> str:
    """Return how far two variants of a model are from each other."""
    return "exactly" if difference == 0 else f"within {difference:.1e} of the logit scale"


def describe_trimming(min_count: int, proof: str) -> str:
    """Return what is known of counted texts: the proof where all tokens were kept, else that they may have changed."""
    if min_count == 1:
        return proof
    return f"tokens that occur less than {min_count} times are gone, so counted texts may be cut otherwise too"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What came of trimming the vocabulary; the logits of training and validation rows are equal before and after."""

    tokens_before: Count
    tokens_after: Count
    changed_texts: Share
    """The share of the test rows, which were not counted: how many are cut into other tokens now."""
    test_error_before: Errors
    test_error_after: Errors
    min_count: Count
    """How often a token had to occur to be kept."""
    extra: Count
    """The most frequent others that were kept besides."""
    file: str | None
    """The text file that was counted too."""

    def describe(self) -> str:
        """Return it as a sentence."""
        proof = describe_trimming(self.min_count, "equal logits on the training and validation rows")
        return (
            f"Trimming left {self.tokens_after:,} of {self.tokens_before:,} tokens: {proof}; "
            f"{self.changed_texts:.1%} of the test rows are cut into other tokens, test error "
            f"{self.test_error_before:.4f} → {self.test_error_after:.4f}."
        )


@dataclass(frozen=True, kw_only=True)
class KeptCounts:
    """How many heads and units each layer of the super-network has kept."""

    heads: tuple[Count, ...]
    units: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class ExtractionReport:
    """What an extraction did and what came of it."""

    name: str
    chosen: ChosenMember
    error: Errors
    """The error of the model as it is now, on the validation rows."""
    repair: Repair | None = None
    """None where it was not tried."""
    finetuning: Finetuning | None
    candidates: tuple[Candidate, ...] = ()
    """Those among which it was taken, the one that the search's errors had chosen first; nothing where it was alone."""
    vocabulary: Vocabulary | None = None
    """None where it was not trimmed."""
    parity: Parity
    kept: KeptCounts
    extracted: Variant
    super_network: Variant | None
    """None where standard NAS did not finish it."""
    trivial: TrivialPredictor | None = None
    """What knows the labels but no text; None in a file of an older version."""
    test: Comparison | None
    """The super-network against the extracted model on the test rows."""
    against_full_model: bool = False
    """Whether errors are disagreement with a full model's answers, since no labels were given."""

    @property
    def trained_alone(self) -> bool:
        """Whether the sub-network has weights of its own from standard NAS."""
        return bool(self.chosen.epochs)

    @classmethod
    def load(cls, directory: Path) -> "ExtractionReport":
        """Return the report of a model directory; `parity.json` beside it must say the same.

        Raises:
            FileError: one of them is broken, or they are of two extractions.
        """
        file = directory / EXTRACTION_FILE
        report = read_record(file, cls, _NEXT_STEP)
        problem = report._find_problem()
        if problem is not None:
            raise broken(file, problem, _NEXT_STEP)
        # Both are written at once; that they differ tells of a file copied from elsewhere.
        if (directory / PARITY_FILE).is_file() and Parity.load(directory) != report.parity:
            raise FileError(
                f"the file {directory / PARITY_FILE} must say what {EXTRACTION_FILE} says of parity, but says "
                f"something else. {_NEXT_STEP}."
            )
        return report

    def save(self, directory: Path) -> Path:
        """Write `extraction.json`."""
        return write_record(directory / EXTRACTION_FILE, self)

    def _find_problem(self) -> str | None:
        # What type hints cannot say: numbers that have to fit each other.
        if self.finetuning is not None and not self.finetuning.errors:
            return "'finetuning.errors' is empty"
        if self.finetuning is not None and self.finetuning.kept_epoch > len(self.finetuning.errors):
            return f"'finetuning.kept_epoch' is {self.finetuning.kept_epoch} of {len(self.finetuning.errors)} epochs"
        for name, variant in (("extracted", self.extracted), ("super_network", self.super_network)):
            if variant is not None and ("macs" in variant.costs) != (variant.macs_length is not None):
                return f"'{name}' has one of macs and macs_length alone"
        return None

    def metrics(self) -> dict[str, float]:
        """Return its figures by name, as far as they are known."""
        extracted, parity, repair, tuned, test = self.extracted, self.parity, self.repair, self.finetuning, self.test
        figures: dict[str, float | None] = {
            "error": extracted.error,
            "test_error": extracted.test_error,
            "params": extracted.params,
            "relative_params": extracted.relative_params,
            "relative_encoder_params": extracted.relative_encoder_params,
            **extracted.costs,
            "model_mb": extracted.model_mb,
            "parity/sliced": parity.sliced,
            "parity/loaded": parity.loaded,
            "parity/label_agreement": parity.label_agreement,
            "error_after_repair": None if repair is None else repair.error_after,
            "error_before_finetuning": None if tuned is None else tuned.error_before,
            "error_after_finetuning": None if tuned is None else min(tuned.errors),
            "test_error_difference": None if test is None else test.difference,
        }
        return {name: float(value) for name, value in figures.items() if value is not None}

    def notes(self) -> list[str]:
        """Return warnings: no layer left, a large or certain loss, no better than the trivial predictor."""
        full, extracted, test = self.super_network, self.extracted, self.test
        found = [AGAINST_FULL_MODEL] if self.against_full_model else []
        if not is_useful(extracted.error_interval, self.trivial):
            found.append(f"it is no better than {self.trivial} by more than its interval.")
        if extracted.relative_encoder_params == 1:
            found.append("nothing was pruned: it is the super-network itself.")
        if not any(self.kept.heads) and not any(self.kept.units):
            found.append("it keeps no layer at all, so it reads words without their context.")
        if full is not None and extracted.error > full.error + POOR_INCREASE:
            found.append(
                f"its error is {extracted.error - full.error:.3f} above the super-network's "
                f"({extracted.error:.4f} against {full.error:.4f}). Another member of the front: "
                "compressor extract --index I (the search's table, and its pareto_front.csv)."
            )
        if test is not None and test.interval[0] > 0:
            low, high = test.interval
            found.append(
                f"on the test rows it is worse than the super-network, and not by chance: {test.difference:.4f} more "
                f"error (95 % {low:.4f} to {high:.4f}). Where that is too much, take a larger member of the front: "
                "compressor extract --index I."
            )
        return found

    def describe_choice(self) -> str | None:
        """Return why it was chosen, as a sentence; None where nobody said."""
        by_search = not self.candidates or self.candidates[0].name == self.name
        when = "before repair and distillation" if by_search else "after an epoch of distillation"
        return f"Chosen {when}: {self.chosen.reason}" if self.chosen.reason else None

    def candidates_table(self) -> tuple[list[str], list[list[str]]]:
        """Return the table of the candidates, as searched and as distilled, the largest first."""
        rows = [
            [
                candidate.name + (" ← taken" if candidate.name == self.name else ""),
                f"{candidate.relative_encoder_params:.1%}",
                f"{candidate.error_searched:.4f}",
                f"{candidate.error_distilled:.4f}",
                f"{candidate.at_most:+.4f}",
            ]
            for candidate in sorted(self.candidates, key=lambda one: -one.relative_encoder_params)
        ]
        return ["", "of encoder", "error as searched", "as distilled", "above the super-network, at most"], rows

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the table super-network | extracted | trivial predictor, without what is not known."""
        variants = {"super-network": self.super_network, self.name: self.extracted}
        known = {name: variant for name, variant in variants.items() if variant is not None}
        rows, keys = [], []
        for key, label in _rows().items():
            cells = [_cell(key, variant) for variant in known.values()]
            # A row that one of the columns cannot fill, such as a cost that was not measured, is left out.
            if all(cells):
                rows.append([name_error(label, self.against_full_model), *cells])
                keys.append(key)
        for label in self.extracted.reported or {}:
            rows.append([f"{label} (test)", *(_cell(label, variant) for variant in known.values())])
            keys.append(label)
        if self.trivial is None:
            return ["", *known], rows
        of_trivial = self.trivial.cells(keys)
        return ["", *known, self.trivial.name], [[*row, cell] for row, cell in zip(rows, of_trivial, strict=True)]


def _rows() -> dict[str, str]:
    """Return rows of a report's table: which value, and its label."""
    return {
        "error": "error (validation)",
        "test_error": "error (test)",
        "params": OBJECTIVES["params"].row,
        "relative_encoder_params": "share of the encoder",
        **{name: OBJECTIVES[name].row for name in other_cost_names()},
        "model_mb": "model.safetensors (MB)",
    }


def _cell(key: str, variant: Variant) -> str:
    """Return a cell of a report's table, empty where the value is not known."""
    if key == "error":
        return with_interval(variant.error, variant.error_interval)
    if key == "test_error":
        return with_interval(variant.test_error, variant.test_error_interval)
    if key == "params":
        return f"{variant.params / 1e6:.2f}"
    if key == "relative_encoder_params":
        return f"{variant.relative_encoder_params:.1%}"
    if variant.reported and key in variant.reported:
        return f"{variant.reported[key]:.4f}"
    if key == "model_mb":
        return "" if variant.model_mb is None else f"{variant.model_mb:.1f}"
    if key not in variant.costs:
        return ""
    cost = OBJECTIVES[key]
    return cost.show(variant.costs[key]) + (f" at {variant.macs_length} tokens" if cost.by_length else "")


def with_interval(value: float, interval: Sequence[float]) -> str:
    """Return an error with its 95 % interval."""
    return f"{value:.4f} ({interval[0]:.3f}–{interval[1]:.3f})"


@dataclass(frozen=True, kw_only=True)
class SlicedModelRecord(SavedSubNetwork):
    """All that `sub_network.json` may say: the sub-network, and where it and its weights come from.

    Besides the sub-network all may be missing, as a model can also be saved without a search.
    """

    source: Annotated[DataSource, require_keys("task_name", "text_columns", "dataset_seed")] | None = None
    data_digest: str | None = None
    label_names: tuple[str, ...] | None = None
    """In the order of the model's outputs."""
    chosen: ChosenMember | None = None
    error: Errors | None = None
    """The error of the model as it is now, on the validation rows."""
    search: str | None = None
    """The search's directory, as seen from the model's."""
    supernet: str | None = None
    """The super-network's directory, as seen from the model's; None for one that was trained alone."""
    supernet_files: dict[str, str] | None = None
    repair: Repair | None = None
    finetuning: Finetuning | None = None

    @property
    def known_error(self) -> float | None:
        """The validation error that was measured last: after fine-tuning, or else by the search."""
        return self.error if self.error is not None or self.chosen is None else self.chosen.error

    @classmethod
    def load(cls, directory: Path) -> "SlicedModelRecord":
        """Return the record of a model directory.

        Raises:
            FileError: its file is not there, or broken.
        """
        return read_sub_network(directory, cls)

    def save(self, directory: Path) -> Path:
        """Write `sub_network.json`."""
        return write_record(directory / SUB_NETWORK_FILE, self)
