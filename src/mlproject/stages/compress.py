"""`compress`: all stages in one process, each a run under one parent, and the table dense | pruned at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from compressor.data.sources import DataSource, load_task_data
from compressor.digests import digest_files
from compressor.extraction.record import ExtractionReport, Variant, with_interval
from compressor.files import file_sha256, write_json
from compressor.markdown import markdown_code, markdown_table, markdown_text
from compressor.network.loading import digest_model
from compressor.search.journal import copy_journal
from compressor.search.options import Choice, SearchOptions
from compressor.search.record import RESULTS_FILE, EvaluatedSubNetwork, SearchResult
from compressor.training.settings import ModelOptions, TrainingSettings
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export
from exporters.options import BenchmarkOptions
from mlproject.inputs.cache import fingerprint, read_record, stage_inputs, write_record
from mlproject.inputs.forecast import Plan
from mlproject.report.page import FIGURES, REPORT_FILE, write_report
from mlproject.report.summary import Summary, SummaryRow, summarise
from mlproject.report.tables import print_table
from mlproject.stages.benchmark import benchmark
from mlproject.stages.export import export
from mlproject.stages.extract import extract
from mlproject.stages.log import option_params
from mlproject.stages.search import search
from mlproject.stages.search_runs import PNG_FILE
from mlproject.stages.train import train_supernet
from mlproject.tracking.delivery import DIRECTORY_TAG, FINGERPRINT_TAG
from mlproject.tracking.outbox import clear
from mlproject.tracking.registration import LoggedExportOptions
from mlproject.tracking.signals import stopped
from mlproject.tracking.tracker import StageRun, Tracker


def compress(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    search_options: SearchOptions,
    choice: Choice,
    finetune_epochs: int,
    export_options: LoggedExportOptions,
    benchmark_options: BenchmarkOptions,
    run: StageRun,
    tracker: Tracker,
    use_cache: bool = True,
) -> dict[str, Path]:
    """Trains, searches, extracts, exports, benchmarks; writes `summary.json` and `report.html`; where they are.

    These are folders of `output_dir`, or, with `use_cache`, of an earlier run whose stage was given the same.
    """
    from exporters.graph.sessions import require_provider

    require_provider(benchmark_options.provider)
    tags = {"model": model_options.model_name_or_path, "task": source.task_name}
    run.set_tags(tags)
    run.log_params(option_params(source, model_options, settings, search_options, benchmark_options))
    stages = _Stages(output_dir, run, tracker, tags, use_cache)
    loaded = load_task_data(source)
    of_data = {"data": loaded.digest, "label_names": loaded.label_names}
    plan = Plan(
        num_samples=search_options.num_samples,
        finetune_epochs=finetune_epochs,
        num_precisions=len({"fp32", *export_options.precision}),
        batch_sizes=benchmark_options.batch_sizes,
        lengths=benchmark_options.lengths,
        runs=benchmark_options.runs,
    )

    def run_search(folder: Path, stage: StageRun) -> None:
        if search(folder, supernet, {}, search_options, stage).interrupted:
            raise stopped()

    supernet = stages.run(
        "train-supernet",
        "supernet",
        stage_inputs(source, model_options, settings, **of_data, model=digest_model(model_options.model_name_or_path)),
        lambda folder, stage: train_supernet(folder, source, model_options, settings, stage, plan),
    )
    supernet_files = digest_files(supernet)
    searched = stages.run(
        "search",
        "search",
        stage_inputs(source, search_options, **of_data, supernet=supernet_files),
        run_search,
        budget="num_samples",
    )
    model = stages.run(
        "extract",
        "model",
        stage_inputs(
            source,
            choice,
            **of_data,
            epochs=finetune_epochs,
            supernet=supernet_files,
            search=file_sha256(searched / RESULTS_FILE),
            file=None if choice.config is None else file_sha256(Path(choice.config).expanduser()),
        ),
        lambda folder, stage: extract(folder, searched, choice, finetune_epochs, stage),
    )
    model_files = digest_files(model)
    dense_options = replace(export_options, register_as=None, alias=None)
    dense = stages.run(
        "export-dense",
        "onnx-dense",
        stage_inputs(source, dense_options, **of_data, model=supernet_files),
        lambda folder, stage: export(folder, supernet, dense_options, stage, "dense", log_models=False),
    )
    pruned = stages.run(
        "export",
        "onnx",
        stage_inputs(source, export_options, **of_data, model=model_files),
        lambda folder, stage: export(folder, model, export_options, stage, "pruned"),
    )
    timed = [("dense", dense), ("pruned", pruned), ("dense", supernet), ("pruned", model)]
    benchmarked = stages.run(
        "benchmark",
        "benchmark",
        stage_inputs(
            benchmark_options,
            **of_data,
            models=[digest_files(dense), digest_files(pruned), supernet_files, model_files],
        ),
        lambda folder, stage: benchmark(folder, timed, benchmark_options, stage),
    )
    folders = {"supernet": supernet, "search": searched, "model": model, "benchmark": benchmarked}
    folders |= {"onnx-dense": dense, "onnx": pruned}
    _summarise(output_dir, folders, run)
    write_report(output_dir / REPORT_FILE, {name: folders[name] for name in ("search", "model", "onnx", "benchmark")})
    run.log_artifact(output_dir / REPORT_FILE)
    run.log_artifact(output_dir / FIGURES, FIGURES)
    return folders


class _Stages:
    """Runs stages, each in an MLflow run and a folder of its own, and skips those that are finished."""

    def __init__(
        self, output_dir: Path, run: StageRun, tracker: Tracker, tags: Mapping[str, str], use_cache: bool
    ) -> None:
        self._output_dir, self._run, self._tracker = output_dir, run, tracker
        self._tags, self._use_cache = tags, use_cache
        if not use_cache and not tracker.goes_on:
            for folder in output_dir.glob("*/"):
                clear(folder)

    def run(
        self,
        stage: str,
        folder_name: str,
        inputs: dict[str, Any],
        work: Callable[[Path, StageRun], object],
        budget: str | None = None,
    ) -> Path:
        """The folder of a finished stage. `budget` is the input that says how much of the same is wanted."""
        folder = self._output_dir / folder_name
        key = fingerprint(stage, inputs, budget)
        for found, run_id in self._find(stage, folder, key):
            before = read_record(found, stage)
            if before is None or fingerprint(stage, before, budget) != key:
                continue
            if before == inputs:
                self._tracker.end_stage(stage)
                print(f"{stage}: skipped, {found} was made from the same inputs (run {run_id}).")
                self._run.set_tags({f"skipped.{stage}": run_id})
                return found
            if found != folder:
                copy_journal(found, folder)
            print(f"{stage}: goes on from {found}, as {budget} is {inputs[budget or '']} now.")
            break
        tags = {**self._tags, FINGERPRINT_TAG: key, DIRECTORY_TAG: str(folder)}
        with self._tracker.start_stage(self._run, stage, tags) as stage_run:
            work(folder, stage_run)
            write_record(folder, stage, inputs)
        return folder

    def _find(self, stage: str, folder: Path, key: str) -> Iterator[tuple[Path, str]]:
        """Where the stage may be finished, with MLflow's id of its run: here, or in the folder of an earlier run."""
        yield folder, self._tracker.outbox.run_ids.get(stage, "of this command")
        for run_id, directory in self._tracker.find_finished(key) if self._use_cache else ():
            yield directory, run_id


def _summarise(output_dir: Path, folders: dict[str, Path], run: StageRun) -> None:
    """Prints, writes and logs the comparison of the dense super-network with the extracted sub-network's forms."""
    extraction = ExtractionReport.load(folders["model"])
    exports = {"dense": Export.load(folders["onnx-dense"]), "pruned": Export.load(folders["onnx"])}
    summary = summarise(extraction, exports, Benchmark.load(folders["benchmark"]))
    write_json(output_dir / "summary.json", summary.to_json())
    header, rows = summary.table(extraction.trivial)
    print_table(f"Dense super-network and extracted sub-network {extraction.name}", header, rows)
    if extraction.test is not None:
        print(f"On the test rows: {extraction.test.describe()}.")
    remarks = extraction.notes()
    for remark in remarks:
        print(f"Note: {remark}")
    run.log_metrics(
        {
            f"{name}/{key}": value
            for name, values in summary.to_json().items()
            for key, value in values.items()
            if value is not None
        }
    )
    run.log_artifact(folders["search"] / PNG_FILE)
    run.log_artifact(output_dir / "summary.json")
    _describe(folders, summary, extraction, remarks, markdown_table(header, rows), run)


def _describe(
    folders: Mapping[str, Path],
    summary: Summary,
    extraction: ExtractionReport,
    remarks: Sequence[str],
    table: str,
    run: StageRun,
) -> None:
    """Sets the description of the parent run: what was made, from what, and the commands that follow."""
    another = f"compressor extract --search {quote(str(folders['search']))} --index I"
    register = f"compressor export --model {quote(str(folders['model']))} --register-as NAME --alias champion"
    share = f"{extraction.extracted.relative_encoder_params:.0%}"
    parts = [
        f"**{markdown_text(extraction.name)}** keeps {share} of the encoder: {summary.describe_change()}.",
        *(f"> **Note:** {markdown_text(remark)}" for remark in remarks),
        _story(folders["search"], summary, extraction),
        f"Another one: {markdown_code(another)}",
        f"This one as a service: {markdown_code(register)}, then "
        "`mlflow models serve -m models:/NAME@champion --env-manager local`",
        f"![Pareto front]({run.picture(PNG_FILE)})",
        table,
    ]
    run.describe("\n\n".join(parts))


_MAX_MEMBERS = 20
"""Of a front in a description, which MLflow cuts at 8,000 characters."""


def _story(search_dir: Path, summary: Summary, extraction: ExtractionReport) -> str:
    """One table in Markdown: the super-network, the members of the front as searched, the chosen one as extracted, and
    the trivial predictor.

    Members have the index that `extract` takes, and the chosen one is marked.
    """
    result = SearchResult.load(search_dir)
    chosen = extraction.name
    members = [(str(index), member) for index, member in enumerate(result.front)]
    whole = next((index for index, member in members if member.is_full), "")
    named: list[tuple[str, str, EvaluatedSubNetwork | Variant, SummaryRow | None]]
    mark = " ← chosen" if extraction.extracted.relative_encoder_params == 1 else ""
    assert extraction.super_network is not None  # `compress` has trained it
    named = [(f"dense{mark}", whole, extraction.super_network, summary["dense"])]
    named += [
        (member.name + (" ← chosen" if member.name == chosen else ""), index, member, None)
        for index, member in members
        if index != whole
    ][:_MAX_MEMBERS]
    named.append((f"{chosen}, extracted", "", extraction.extracted, summary["pruned"]))
    rows = []
    for name, index, measured, served in named:
        error, interval = f"{measured.error:.4f}", measured.error_interval
        rows.append(
            [
                name,
                index,
                error if interval is None else with_interval(measured.error, interval),
                f"{measured.params / 1e6:.2f}",
                f"{measured.relative_encoder_params:.1%}",
                "" if measured.macs is None else f"{measured.macs / 1e6:,.0f}",
                "" if served is None else f"{served.file_mb:.1f}",
                "" if served is None else f"{served.first_p50_ms:.2f}",
            ]
        )
    trivial = result.trivial
    if trivial is not None:
        rows.append(trivial.cells(["name", "", "error", *[""] * 5]))
    header = ["", "index", "error (95 %)", "params (M)", "of encoder", "MACs (M)", "MB", "p50 ms"]
    return markdown_table(header, rows)
