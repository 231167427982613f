"""The stage `extract`: chosen members of a front as models of their own, each saved, logged and shown.

And `trim-vocabulary`, which takes tokens from third-party models.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from compressor.data.heads.answers import name_error
from compressor.data.rows import TaskData
from compressor.drawing.terminal import print_table
from compressor.extraction.card import CARD_FILE
from compressor.extraction.extract import Extractor
from compressor.extraction.family import Family, make_family
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.origins import open_origin
from compressor.extraction.record import (
    EXTRACTION_FILE,
    PARITY_FILE,
    ExtractionReport,
    describe_difference,
    with_interval,
)
from compressor.extraction.trimming import trim_model_directory
from compressor.files import local_path, read_lines, require_other_directory
from compressor.network.saving import SUB_NETWORK_FILE
from compressor.search.choosing import choose
from compressor.search.objectives import OBJECTIVES
from compressor.search.options import SMALL_INCREASE, Choice
from compressor.search.record import SearchResult
from mlproject.inputs.cache import digest_given, forget_record, read_record, stage_inputs, write_record
from mlproject.inputs.models import find_super_network
from mlproject.stages.log import log_files, option_params, print_notes
from mlproject.tracking.logged_models import judge, know_sub_network, log_model_in_pytorch
from mlproject.tracking.tracker import StageRun

_LOGGED = (EXTRACTION_FILE, PARITY_FILE, SUB_NETWORK_FILE, CARD_FILE)
_OF_MODEL = ("error", "test_error", "params", "relative_params")
"""Metrics that the run has from what is logged of the model itself."""
_MEMBER = "extract member"
"""What the record of one of several sub-networks is of: resuming, those that are finished are left as they are."""


def extract(
    output_dir: Path, search_dir: Path, choice: Choice, options: ExtractionOptions, run: StageRun
) -> list[Path]:
    """Extract the chosen sub-networks; return their directories: `output_dir`, or folders in it where they are several.

    Raises:
        SearchError: nothing fits the choice.
        ParityError: a form of a sub-network computes something else than the searched one.
    """
    result = SearchResult.load(search_dir)
    # In batches as in the search, so that errors are computed as they were there.
    options = replace(options, per_device_eval_batch_size=result.made_of.eval_batch_size)
    chosen = choose(result, choice)
    run.log_params({"search": str(search_dir), **option_params(options)})
    # Of standard NAS, any member's weights do to open the rest.
    member, reads_all = next(iter(chosen.values())), options.reads_unlabeled
    weights, data = open_origin(result, member, find_super_network, with_unlabeled=reads_all)
    extractor = Extractor(weights, data, options)
    require_other_directory(output_dir, search_dir, extractor.directory)
    if options.finetune_epochs and not extractor.will_distill:
        print("Standard NAS has trained it alone, so it is not distilled.")
    search = hashlib.sha256(json.dumps(result.to_json(), sort_keys=True).encode()).hexdigest()
    reports, folders = {}, {name: name if choice.several else "" for name in chosen}
    for step, (name, member) in enumerate(chosen.items()):
        target = output_dir / folders[name]
        # What a member is made of: by that a resumed command knows those that are finished.
        given = stage_inputs(
            _MEMBER,
            member=[member.name, member.sub_network.hash],
            options=asdict(options),
            search=search,
            texts=digest_given(options.vocabulary_file),
        )
        if choice.several and run.tracker.resumes and read_record(target, given) is not None:
            print(f"{member.name} was extracted before.")
            report = ExtractionReport.load(target)
        else:
            forget_record(target)
            extraction = extractor.extract(member)
            extraction.save(target, search=search_dir, command=["compressor", *sys.argv[1:]])
            report = extraction.report
            if choice.several:
                write_record(target, given)
        _log(run, target, report, extractor.data, folders[name] or None, step)
        _show(report)
        reports[name] = report
    # Not before: the one that is chosen may give its place to another.
    run.log_params({"sub_network": ", ".join(report.name for report in reports.values())})
    if choice.several:
        holding = {name: member.holds for name, member in chosen.items()}
        family = make_family(reports, holding, choice.tiers)
        run.log_artifact(family.save(output_dir))
        _show_family(family, reports, surely=holding[family.champion])
    return [output_dir / folder for folder in folders.values()]


def _show_family(family: Family, reports: Mapping[str, ExtractionReport], *, surely: bool) -> None:
    """Print the members of a family side by side, and which is the champion."""
    rows = [
        [
            name,
            report.name,
            with_interval(report.error, report.extracted.error_interval),
            f"{report.extracted.params / 1e6:.2f}",
            f"{report.extracted.relative_encoder_params:.1%}",
        ]
        for name, report in ((name, reports[name]) for name in family.members)
    ]
    error = name_error("error (95 %)", any(report.against_full_model for report in reports.values()))
    print_table("The family", ["name", "sub-network", error, OBJECTIVES["params"].column, "of encoder"], rows)
    promise = f"surely at most {SMALL_INCREASE:g} worse than the super-network"
    why = f"the smallest that is {promise}" if surely else f"the best, as none is {promise}"
    print(f"Champion: {family.champion}, {why}.")


def trim(output_dir: Path, model: str, options: ExtractionOptions, run: StageRun) -> None:
    """Write a model without the tokens that a file of texts does not need.

    Raises:
        ModelError: the model does not load, or cannot be trimmed.
        TaskDataError: there are too few texts.
    """
    assert options.vocabulary_file is not None
    run.log_params({"model": model, "vocabulary_file": options.vocabulary_file})
    run.log_params({name: getattr(options, name) for name in ("vocabulary_min_count", "vocabulary_extra")})
    texts = local_path(options.vocabulary_file)
    if Path(model).is_dir():
        require_other_directory(output_dir, Path(model))
    made = trim_model_directory(
        model,
        read_lines(texts),
        output_dir,
        min_count=options.vocabulary_min_count,
        num_more=options.vocabulary_extra,
    )
    run.log_metrics({name: float(value) for name, value in asdict(made).items()})
    log_files(run, output_dir, "model")
    print(made.describe())


def _log(
    run: StageRun, directory: Path, report: ExtractionReport, data: TaskData, folder: str | None, step: int
) -> None:
    """Log an extracted model; one of several with `folder`, the run getting the model's own metrics at that step."""
    if report.finetuning is not None and report.finetuning.bf16 is not None:
        run.log_params({"bf16": report.finetuning.bf16})
    metrics = report.metrics()
    if folder:
        run.log_metrics({f"{folder}/{name}": value for name, value in metrics.items()})
    else:
        run.log_metrics({name: value for name, value in metrics.items() if name not in _OF_MODEL})
    for file_name in _LOGGED:
        run.log_artifact(directory / file_name, folder)
    log_files(run, directory, f"{folder}/model" if folder else "model")
    judged = judge("error", report.extracted.error, report.extracted.error_interval, data, "validation")
    costs = {name: metrics[name] for name in ("params", "relative_params")}
    log_model_in_pytorch(run, directory, know_sub_network(report, data, folder), judged, costs, step)


def _show(report: ExtractionReport) -> None:
    """Print the extracted model beside the super-network."""
    parity = report.parity
    if report.chosen.reason:
        print(f"Chosen: {report.name}, {report.chosen.reason}")
    if report.candidates:
        print_table("Candidates, distilled for an epoch each", *report.candidates_table())
    print_table(f"Extracted {report.name}", *report.table())
    variants = "loaded" if parity.sliced is None else "sliced = loaded"
    print(
        f"Searched = {variants} {describe_difference(parity.largest)}, error {parity.error_loaded:.4f}"
        + (" (it was not searched)." if report.chosen.error is None else " as searched.")
    )
    for step in (report.repair, report.finetuning, report.vocabulary):
        if step is not None:
            print(step.describe())
    if report.test is not None:
        print(f"On the test rows: {report.test.describe()}.")
    print_notes(report.notes())
