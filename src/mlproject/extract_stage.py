"""The stage `extract`: sub-networks as models of their own, proven equal to what was searched, distilled, judged."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.sources import DataSource, TaskData, in_order_of, load_task_data, require_same_rows
from compressor.errors import SearchError
from compressor.evaluation.comparison import Comparison, compare_predictions
from compressor.extraction.card import CARD_FILE, write_model_card
from compressor.extraction.record import (
    EXTRACTION_FILE,
    PARITY_FILE,
    ChosenMember,
    ExtractionReport,
    Finetuning,
    KeptCounts,
    Parity,
    Repair,
    SlicedModelRecord,
    Variant,
    describe_difference,
)
from compressor.files import new_directory, require_other_directory, seen_from, without_home
from compressor.limits import check_number
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork
from compressor.search.choosing import Chosen, choose
from compressor.search.options import Choice
from compressor.search.record import SearchResult
from compressor.training.settings import TrainingSettings
from mlproject.sources import (
    find_super_network,
    open_super_network,
    read_trivial,
    require_searched_files,
)
from mlproject.stage_cache import read_record, stage_inputs, write_record
from mlproject.stage_log import log_files
from mlproject.tables import print_table
from mlproject.tracking.tracker import StageRun

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from compressor.data.batches import EncodedRows
    from compressor.training.repair import Moments

_LOGGED = (EXTRACTION_FILE, PARITY_FILE, "sub_network.json", CARD_FILE)
_PARTS = ("validation", "test")
_MEMBER = "extract member"
"""What the record of one of several sub-networks is of: going on, those that are finished are left as they are."""
_COSTS = ("params", "relative_params", "encoder_params", "relative_encoder_params")


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """What sub-networks are extracted from: a searched super-network, or the trials of standard NAS."""

    results: Mapping[str, Any]
    folder: Path
    """Of the results."""
    dense: "PreTrainedModel | None"
    """The full super-network; None where its trial of standard NAS did not end."""
    dense_dir: Path | None
    tokenizer: "PreTrainedTokenizerBase"
    source: DataSource
    data: TaskData
    rows: "Mapping[str, EncodedRows]"
    """Train, validation and test."""
    settings: TrainingSettings
    base_model: str

    @property
    def shared(self) -> bool:
        """Whether sub-networks are cut out of the super-network; else each has weights of its own."""
        return self.results.get("supernet") is not None

    @property
    def dimensions(self) -> EncoderDimensions:
        """The super-network's sizes."""
        return EncoderDimensions.from_json(self.results["dimensions"])

    def evaluate(self, model: "PreTrainedModel", part: str, sub_network: SubNetwork | None = None) -> "np.ndarray":
        """The logits of a model on the rows of a part; with the search's batches, so that errors repeat exactly."""
        from compressor.evaluation.evaluator import Evaluator

        batch_size = self.results["options"].get("per_device_eval_batch_size", 64)
        return Evaluator(model, self.data.task, self.rows[part], batch_size).evaluate(sub_network).logits

    def error(self, logits: "np.ndarray", part: str) -> float:
        """The task error of logits on the rows of a part."""
        from compressor.data.metrics import compute_error, predict

        task = self.data.task
        return compute_error(task.metric, predict(logits, task.regression), self.rows[part].labels)


def extract(output_dir: Path, search_dir: Path, choice: Choice, finetune_epochs: int, run: StageRun) -> list[Path]:
    """The directories of the chosen sub-networks: `output_dir`, or folders in it where several are chosen.

    Each is proven equal to its searched form, then repaired without training and distilled from the super-network for
    `finetune_epochs` (each kept where the validation error falls), then looked at once on the test rows.

    Raises:
        SearchError: nothing fits the choice.
        ParityError: a form of a sub-network computes something else than the searched one.
    """
    from compressor.training.repair import measure_moments

    check_number("finetune_epochs", finetune_epochs)
    result = SearchResult.load(search_dir)
    results = result.to_json()
    chosen = {name: _to_json(one, result) for name, one in choose(result, choice).items()}
    names = ", ".join(evaluation["name"] for evaluation in chosen.values())
    run.log_params({"search": str(search_dir), "sub_network": names, "finetune_epochs": finetune_epochs})
    opened = _open(result, search_dir, next(iter(chosen.values())))
    require_other_directory(output_dir, search_dir, opened.dense_dir)
    if finetune_epochs and not opened.shared:
        print("Standard NAS has trained it alone, so it is not distilled.")
    dense = None if opened.dense is None else {part: opened.evaluate(opened.dense, part) for part in _PARTS}
    full = None if dense is None else _form(opened, None, dense)
    teacher = opened.evaluate(opened.dense, "train") if finetune_epochs and opened.shared and opened.dense else None
    moments = measure_moments(opened.dense, opened.rows["train"]) if opened.shared and opened.dense else None
    made = []
    for name, evaluation in chosen.items():
        target = output_dir / name if choice.several else output_dir
        given = stage_inputs(member=evaluation, finetune_epochs=finetune_epochs, search=_digest(results))
        if choice.several and run.tracker.goes_on and read_record(target, _MEMBER) == given:
            print(f"{evaluation['name']} was extracted before.")
            report = ExtractionReport.load(target)
        else:
            report = _extract_one(
                target, opened, evaluation, dense, full, teacher, moments, finetune_epochs, search_dir
            )
            if choice.several:
                write_record(target, _MEMBER, given)
        run.log_metrics({f"{name}/{k}" if choice.several else k: value for k, value in _metrics(report).items()})
        for file_name in _LOGGED:
            run.log_artifact(target / file_name, name if choice.several else None)
        log_files(run, target, f"{name}/model" if choice.several else "model")
        _show(report)
        made.append(target)
    return made


def _to_json(chosen: Chosen, result: SearchResult) -> dict[str, Any]:
    kept = {"kept": chosen.sub_network.to_json(result.made_of.dimensions)}
    if chosen.evaluation is None:
        return {"name": chosen.name} | kept
    return ({} if chosen.reason is None else {"reason": chosen.reason}) | chosen.evaluation.to_json() | kept


def _digest(results: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def _open(result: SearchResult, search_dir: Path, chosen: Mapping[str, Any]) -> _Opened:
    """The models and rows behind a search's results, checked to be those that were searched."""
    from compressor.data.batches import encode
    from compressor.network.families import max_positions
    from compressor.network.loading import pick_device
    from compressor.network.saving import load_sliced_model

    folder = search_dir if search_dir.is_dir() else search_dir.parent
    results, origin = result.to_json(), result.made_of
    settings, source = TrainingSettings(), origin.source
    dense_dir: Path | None
    if origin.is_shared:
        path = find_super_network(result)
        if not path.is_dir():
            raise SearchError(
                f"the super-network of the search must be where it was, but {path} is gone. Restore it or search again."
            )
        super_network, data = open_super_network(path, asdict(source))
        require_searched_files(super_network, origin)
        dense, dense_dir, tokenizer = super_network.model, super_network.path, super_network.tokenizer
        settings = settings if super_network.record is None else super_network.record.settings
        base_model = super_network.name
    else:
        loaded = load_task_data(source)
        full = result.full
        dense_dir = folder / full.model if full is not None and full.model else None
        any_dir = dense_dir or folder / str(chosen.get("model"))
        any_model = load_sliced_model(any_dir)
        data = in_order_of(loaded, SlicedModelRecord.load(any_dir).label_names or ())
        dense, tokenizer = any_model.model if dense_dir else None, any_model.tokenizer
        base_model = results["model_name_or_path"]
    require_same_rows(data, results.get("data_digest"), "were searched", "search again")
    positions = max_positions(dense if dense is not None else any_model.model)
    return _Opened(
        results=results,
        folder=folder,
        dense=None if dense is None else dense.to(pick_device()),
        dense_dir=dense_dir,
        tokenizer=tokenizer,
        source=source,
        data=data,
        rows={name: encode(rows, data.task, tokenizer, positions) for name, rows in data.parts.items()},
        settings=settings,
        base_model=base_model,
    )


def _extract_one(
    target: Path,
    opened: _Opened,
    chosen: dict[str, Any],
    dense: "Mapping[str, np.ndarray] | None",
    full: Variant | None,
    teacher: "np.ndarray | None",
    moments: "Moments | None",
    finetune_epochs: int,
    search_dir: Path,
) -> ExtractionReport:
    """Writes one sub-network; what its `extraction.json` says."""
    from compressor.data.metrics import label_agreement
    from compressor.network.loading import pick_device
    from compressor.network.saving import (
        SavedSubNetwork,
        file_size_mb,
        load_sliced_model,
        read_sub_network,
        require_error,
        require_parity,
        save_sliced_model,
    )
    from compressor.training.loop import distill

    model, sub_network, searched, sliced = _cut(opened, chosen)
    dimensions = opened.dimensions
    with new_directory(target) as temporary:
        save_sliced_model(temporary, model, opened.tokenizer, sub_network, dimensions, {})
        loaded = load_sliced_model(temporary).model.to(pick_device())
        logits = opened.evaluate(loaded, "validation")
        error_searched = chosen.get("error", opened.error(searched, "validation"))
        error_loaded = opened.error(logits, "validation")
        parity = Parity(
            sliced=sliced,
            loaded=require_parity(searched, logits, "the loaded and the searched sub-network"),
            label_agreement=label_agreement(searched, logits),
            error_searched=error_searched,
            error_loaded=error_loaded,
        )
        require_error(error_searched, error_loaded, logits)
        parity.save(temporary)
        repaired = None if moments is None else _repair(opened, loaded, sub_network, moments, error_loaded)
        finetuning = None
        if teacher is not None:
            settings = replace(opened.settings, num_train_epochs=finetune_epochs)
            rows = opened.rows
            distillation = distill(loaded, opened.data.task, rows["train"], rows["validation"], teacher, settings)
            finetuning = Finetuning(**asdict(distillation), error_after=distillation.error, num_epochs=finetune_epochs)
        logits = opened.evaluate(loaded, "validation")
        extracted = {"validation": logits, "test": opened.evaluate(loaded, "test")}
        save_sliced_model(temporary, loaded.cpu(), opened.tokenizer, sub_network, dimensions, {})
        member = ChosenMember(**{key: value for key, value in chosen.items() if key != "kept"})
        report = ExtractionReport(
            name=chosen["name"],
            chosen=member,
            error=opened.error(logits, "validation"),
            repair=repaired,
            finetuning=finetuning,
            parity=parity,
            kept=KeptCounts(heads=tuple(map(len, sub_network.heads)), units=tuple(map(len, sub_network.units))),
            extracted=replace(
                _form(opened, sub_network, extracted, member), model_mb=file_size_mb(temporary / "model.safetensors")
            ),
            super_network=full,
            trivial=read_trivial(opened.results),
            test=None if dense is None else _compare(opened, dense["test"], extracted["test"]),
        )
        record = SlicedModelRecord(
            **vars(read_sub_network(temporary, SavedSubNetwork)),
            search=seen_from(target, search_dir),
            supernet=seen_from(target, opened.dense_dir) if opened.shared and opened.dense_dir else None,
            supernet_files=opened.results.get("supernet_files"),
            source=_travelling(opened.source),
            data_digest=opened.data.digest,
            label_names=opened.data.label_names,
            chosen=member,
            error=report.error,
            repair=repaired,
            finetuning=finetuning,
        )
        record.save(temporary)
        report.save(temporary)
        command = ["compressor", *sys.argv[1:]]
        write_model_card(temporary, report, opened.base_model, opened.data, dimensions, command)
    return report


def _travelling(source: DataSource) -> DataSource:
    """The source of the rows as a model names it that others may get."""
    named: dict[str, Any] = {n: without_home(v) for n, v in source.to_json().items() if n.endswith("_file") and v}
    return replace(source, **named)


def _repair(
    opened: _Opened, model: "PreTrainedModel", sub_network: SubNetwork, moments: "Moments", error: float
) -> Repair:
    """Repairs a sliced model in place, where that lowers its validation error; what came of it."""
    from compressor.training.repair import repair

    assert opened.dense is not None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    repair(model, opened.dense, sub_network, moments)
    error_after = opened.error(opened.evaluate(model, "validation"), "validation")
    kept = error_after < error
    if not kept:
        model.load_state_dict(before)
    return Repair(error_before=error, error_after=error_after, kept=kept)


def _cut(opened: _Opened, chosen: Mapping[str, Any]) -> "tuple[PreTrainedModel, SubNetwork, np.ndarray, float | None]":
    """The chosen sub-network as a model, its index sets, its searched form's validation logits, and their parity.

    Raises:
        SearchError: standard NAS did not keep its weights.
    """
    from compressor.network.saving import load_sliced_model, require_parity
    from compressor.network.slicing import slice_model

    if not opened.shared:
        if not chosen.get("model"):
            raise SearchError(
                f"a sub-network of standard NAS must have trained weights, but {chosen['name']} has none: it is not on "
                "the front. Choose a member of the front."
            )
        trained = load_sliced_model(opened.folder / chosen["model"])
        if trained.sub_network.hash != chosen["sub_network"]:
            raise SearchError(
                f"the trained weights must be of sub-network {chosen['sub_network']}, but those in "
                f"{opened.folder / chosen['model']} are of {trained.sub_network.hash}. Restore them or search again."
            )
        return trained.model, trained.sub_network, opened.evaluate(trained.model, "validation"), None
    assert opened.dense is not None
    sub_network = SubNetwork.from_json(chosen["kept"], opened.dimensions)
    shared = opened.evaluate(opened.dense, "validation", sub_network)
    sliced = slice_model(opened.dense, sub_network)
    difference = require_parity(shared, opened.evaluate(sliced, "validation"), "the sliced and the shared sub-network")
    return sliced.cpu(), sub_network, shared, difference


def _form(
    opened: _Opened,
    sub_network: SubNetwork | None,
    logits: "Mapping[str, np.ndarray]",
    member: ChosenMember | None = None,
) -> Variant:
    """Errors with intervals, and costs, of the super-network (None) or of a sub-network."""
    import numpy as np

    from compressor.data.metrics import error_interval, predict
    from compressor.network.costs import create_cost_model
    from compressor.network.saving import file_size_mb

    task = opened.data.task
    values: dict[str, Any] = {}
    for part in _PARTS:
        prefix = "" if part == "validation" else "test_"
        values[f"{prefix}error"] = opened.error(logits[part], part)
        predictions = predict(logits[part], task.regression)
        values[f"{prefix}error_interval"] = error_interval(task.metric, predictions, opened.rows[part].labels)
    if opened.dense is None:
        return Variant(**values, **{name: getattr(member, name) for name in _COSTS})
    cost_model = create_cost_model(opened.dense)
    kept = cost_model.full if sub_network is None else sub_network
    length = int(np.median(opened.rows["validation"].lengths))
    if sub_network is None and opened.dense_dir is not None:
        values["model_mb"] = sum(map(file_size_mb, opened.dense_dir.glob("*.safetensors")))
    return Variant(**values, **asdict(cost_model.costs(kept)), macs=cost_model.macs(kept, length), macs_length=length)


def _compare(opened: _Opened, dense: "np.ndarray", extracted: "np.ndarray") -> Comparison:
    """The super-network against the extracted model on the test rows."""
    from compressor.data.metrics import predict

    task = opened.data.task
    base, other = predict(dense, task.regression), predict(extracted, task.regression)
    return compare_predictions(task.metric, base, other, opened.rows["test"].labels, regression=task.regression)


def _metrics(report: ExtractionReport) -> dict[str, float]:
    """What MLflow is told of an extracted model."""
    extracted, parity = report.extracted, report.parity
    metrics: dict[str, float | None] = {
        "error": extracted.error,
        "test_error": extracted.test_error,
        "params": extracted.params,
        "relative_params": extracted.relative_params,
        "relative_encoder_params": extracted.relative_encoder_params,
        "macs": extracted.macs,
        "model_mb": extracted.model_mb,
        "parity/sliced": parity.sliced,
        "parity/loaded": parity.loaded,
        "parity/label_agreement": parity.label_agreement,
    }
    if report.repair is not None:
        metrics["error_after_repair"] = report.repair.error_after
    if report.finetuning is not None:
        metrics["error_before_finetuning"] = report.finetuning.error_before
        metrics["error_after_finetuning"] = min(report.finetuning.errors)
    if report.test is not None:
        metrics["test_error_difference"] = report.test.difference
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _show(report: ExtractionReport) -> None:
    """Prints the extracted model beside the super-network."""
    parity = report.parity
    if report.chosen.reason:
        print(f"Chosen: {report.name}, {report.chosen.reason}")
    print_table(f"Extracted {report.name}", *report.table())
    variants = "loaded" if parity.sliced is None else "sliced = loaded"
    print(
        f"Searched = {variants} {describe_difference(parity.largest)}, error {parity.error_loaded:.4f}"
        + (" (it was not searched)." if report.chosen.error is None else " as searched.")
    )
    for step in (report.repair, report.finetuning):
        if step is not None:
            print(step.describe())
    if report.test is not None:
        print(f"On the test rows: {report.test.describe()}.")
    for note in report.notes():
        print(f"Note: {note}")
