"""`compress`: all stages in one process, each a run under one parent, and the table dense | pruned at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

from compressor.data.loading import load_task_data, load_texts
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.digests import Inputs, digest_files
from compressor.drawing.terminal import print_table
from compressor.evaluation.answers import fit_to_model
from compressor.extraction.family import Family, find_members, is_family
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.record import ExtractionReport
from compressor.files import file_sha256, write_json
from compressor.markdown import markdown_code, markdown_table, markdown_text
from compressor.network.loading import digest_model
from compressor.search.journal import copy_journal
from compressor.search.options import LATENCY_OBJECTIVE, Choice, SearchOnCluster, SearchOptions
from compressor.search.record import RESULTS_FILE, SearchResult
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.super_network import TrainingRecord
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export
from exporters.forecast import Plan
from exporters.graph.cpu import cpu_name
from exporters.graph.sessions import require_provider
from exporters.options import BenchmarkOptions
from exporters.report.family import family_table, read_family, write_family_report
from exporters.report.front import chosen_table
from exporters.report.inputs import ReportFolders, read_reported
from exporters.report.page import FIGURES, REPORT_FILE, write_report
from exporters.report.steps import list_steps, table_of_steps
from exporters.report.summary import Summary, summarise
from exporters.timing.latency_table import require_runtime_of
from mlproject.inputs.cache import digest_given, forget_record, read_record, stage_inputs, write_record
from mlproject.inputs.models import find_super_network
from mlproject.stages.benchmark import benchmark
from mlproject.stages.export import export, export_all
from mlproject.stages.extract import extract
from mlproject.stages.log import option_params, print_notes
from mlproject.stages.search import search
from mlproject.stages.search_runs import PNG_FILE
from mlproject.stages.train import train_supernet
from mlproject.tracking.delivery import DIRECTORY_TAG, FINGERPRINT_TAG
from mlproject.tracking.outbox import clear
from mlproject.tracking.registration import LoggedExportOptions
from mlproject.tracking.signals import stopped
from mlproject.tracking.tracker import StageRun, Tracker


@dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """The options of all stages."""

    source: DataSource
    model: ModelOptions
    training: TrainingSettings
    search: SearchOptions
    choice: Choice
    extraction: ExtractionOptions
    export: LoggedExportOptions
    benchmark: BenchmarkOptions

    @property
    def dense_export(self) -> LoggedExportOptions:
        """How the super-network is exported: in ONNX, as the base of what was won, and registered nowhere."""
        return replace(self.export, runtime=("onnxruntime",), register_as=None, alias=None)

    def require_provider(self) -> None:
        """Raise unless what is timed, and what a search's latencies are of, can compute where it is to.

        Raises:
            ModelError: it cannot.
        """
        require_provider(self.benchmark.provider, {"pytorch", "onnxruntime", *self.export.runtime})
        require_runtime_of(self.search.latency_of)

    @property
    def plan(self) -> Plan:
        """What follows the training, for the estimate of its time."""
        return Plan(
            num_samples=self.search.num_samples,
            finetune_epochs=self.extraction.finetune_epochs,
            num_candidates=0 if self.choice.several else self.extraction.num_candidates,
            num_precisions=len(self.dense_export.forms),
            num_openvino_forms=len(self.export.forms) - len(self.dense_export.forms),
            batch_sizes=self.benchmark.batch_sizes,
            lengths=self.benchmark.lengths,
            runs=self.benchmark.runs,
        )


@dataclass(frozen=True, kw_only=True)
class StageFolders:
    """Where the stages' results are: in the output directory, or in that of an earlier run."""

    supernet: Path
    search: Path
    model: Path
    dense: Path
    """The super-network's export."""
    pruned: Path
    """The extracted model's; of a family a folder in it for each member, as in `model`."""
    benchmark: Path

    @property
    def reported(self) -> ReportFolders:
        """Those that a report is made of."""
        return ReportFolders(search=self.search, model=self.model, onnx=self.pruned, benchmark=self.benchmark)

    @property
    def members(self) -> dict[str, tuple[Path, Path]]:
        """The extracted models and their exports, by role."""
        exports = _by_role(self.pruned)
        return {role: (model, exports[role]) for role, model in _by_role(self.model).items()}

    @property
    def chosen(self) -> str:
        """The role of the extracted model that counts: of a family the champion's."""
        return Family.load(self.model).champion if is_family(self.model) else "pruned"


def compress(
    output_dir: Path, options: CompressOptions, run: StageRun, tracker: Tracker, use_cache: bool = True
) -> StageFolders:
    """Train, search, extract, export, benchmark; writes `summary.json` and `report.html`.

    Results are in folders of `output_dir`, or, with `use_cache`, of an earlier run whose stage was given the same.
    """
    # Here, and not hours later when the first graph is made.
    options.require_provider()
    tags = {"model": options.model.model_name_or_path, "task": options.source.task_name}
    run.set_tags(tags)
    given = (options.source, options.model, options.training, options.search, options.benchmark)
    run.log_params(option_params(*given))
    stages = _Stages(output_dir, run, tracker, tags, use_cache)
    folders = _run_stages(stages, options)
    _summarise(output_dir, folders, run)
    if is_family(folders.model):
        write_family_report(output_dir / REPORT_FILE, read_family(folders.reported, find_super_network))
    else:
        write_report(output_dir / REPORT_FILE, read_reported(folders.reported, find_super_network))
    run.log_artifact(output_dir / REPORT_FILE)
    run.log_artifact(output_dir / FIGURES, FIGURES)
    return folders


def _run_stages(stages: "_Stages", options: CompressOptions) -> StageFolders:
    """Run the stages in their order, each on what those before it made."""
    source = options.source
    # Where the user has named no task, texts without labels are asked what their model's head answers.
    if source.has_no_labels:
        code = options.model.trust_remote_code
        source = fit_to_model(source, options.model.full_model, trust_remote_code=code)
    of_data = _of_rows(load_texts(source) if source.has_no_labels else load_task_data(source))

    def run_search(folder: Path, stage: StageRun) -> None:
        if search(folder, supernet, {}, options.search, SearchOnCluster(), stage).interrupted:
            raise stopped()

    # A stage is known by its options and by digests of what it reads: where all are equal, an earlier result is taken.
    base: dict[str, Any] = {"model": digest_model(options.model.model_name_or_path)}
    if options.model.teacher_model is not None:
        base["teacher"] = digest_model(options.model.teacher_model)
    supernet = stages.run(
        "supernet",
        stage_inputs("train-supernet", source, options.model, options.training, **of_data, **base),
        lambda folder, stage: train_supernet(folder, source, options.model, options.training, stage, options.plan),
    )
    if source.has_no_labels:  # training has asked its model for the labels
        trained = TrainingRecord.load(supernet)
        assert trained is not None
        source, of_data = trained.source, {"data": trained.data_digest, "label_names": trained.label_names}
        options = replace(options, source=source)
    digest = cache(_digest_members)  # a folder is not written to once its stage has run
    searched = stages.run(
        "search",
        stage_inputs(
            *("search", source, options.search),
            budget=("num_samples",),
            **of_data,
            supernet=digest(supernet),
            # Times are of a machine, and an earlier run may have been on another.
            cpu=cpu_name() if LATENCY_OBJECTIVE in options.search.objectives else None,
        ),
        run_search,
    )
    chosen: dict[str, Any] = {
        "search": file_sha256(searched / RESULTS_FILE),
        "file": digest_given(options.choice.config),
        "texts": digest_given(options.extraction.vocabulary_file),
    }
    model = stages.run(
        "model",
        stage_inputs(
            "extract", source, options.choice, options.extraction, **of_data, supernet=digest(supernet), **chosen
        ),
        lambda folder, stage: extract(folder, searched, options.choice, options.extraction, stage),
    )
    dense = _export_dense(stages, options, supernet, {**of_data, "model": digest(supernet)})
    pruned = stages.run(
        "onnx",
        stage_inputs("export", source, options.export, **of_data, model=digest(model)),
        lambda folder, stage: export_all(folder, model, options.export, stage, "pruned"),
        registers=options.export.register_as is not None,
    )
    benchmarked = _time(stages, options, of_data, digest, (supernet, dense), (model, pruned))
    return StageFolders(
        supernet=supernet, search=searched, model=model, dense=dense, pruned=pruned, benchmark=benchmarked
    )


def _by_role(folder: Path) -> dict[str, Path]:
    """Return the models or exports of a folder by role: `pruned`, or of a family the members' names."""
    return {name or "pruned": path for name, path in find_members(folder).items()}


def _of_rows(data: TaskData) -> dict[str, Any]:
    """Return what stages depend on of their rows."""
    more = {} if data.unlabeled is None else {"unlabeled": data.unlabeled.digest}
    return {"data": data.digest, "label_names": data.label_names, **more}


def _digest_members(directory: Path) -> dict[str, Any]:
    """Return digests of a model's files; of a family those of each member."""
    members = find_members(directory)
    return {name: digest_files(at) for name, at in members.items()} if is_family(directory) else digest_files(directory)


def _export_dense(stages: "_Stages", options: CompressOptions, supernet: Path, made_of: Mapping[str, Any]) -> Path:
    """Export the super-network."""
    plain = options.dense_export
    return stages.run(
        "onnx-dense",
        stage_inputs("export-dense", options.source, plain, **made_of),
        lambda folder, stage: export(folder, supernet, plain, stage, "dense", log_models=False),
    )


def _time(
    stages: "_Stages",
    options: CompressOptions,
    of_data: Mapping[str, Any],
    digest: Callable[[Path], dict[str, Any]],
    dense: tuple[Path, Path],
    extracted: tuple[Path, Path],
) -> Path:
    """Time the super-network and what was extracted, each as a model and as its export."""
    (supernet, dense_export), (model, pruned) = dense, extracted
    # The dense graph is the base of all ratios.
    timed = [("dense", dense_export), *_by_role(pruned).items(), ("dense", supernet), *_by_role(model).items()]
    return stages.run(
        "benchmark",
        stage_inputs(
            *("benchmark", options.source, options.benchmark),
            **of_data,
            models=[digest(path) for _, path in timed],
            # By it forms are accepted, which are those that are timed; a name in a registry changes none.
            export=asdict(replace(options.export, register_as=None, alias=None)),
            cpu=cpu_name(),
        ),
        lambda folder, stage: benchmark(folder, timed, options.benchmark, stage),
    )


_FOLDERS = ("supernet", "search", "model", "onnx-dense", "onnx", "benchmark")
"""The stages' folders in the output directory."""


class _Stages:
    """Runs stages, each in an MLflow run and a folder of its own, and skips those that are finished."""

    def __init__(
        self, output_dir: Path, run: StageRun, tracker: Tracker, tags: Mapping[str, str], use_cache: bool
    ) -> None:
        self._output_dir, self._run, self._tracker = output_dir, run, tracker
        self._tags, self._use_cache = tags, use_cache
        if not use_cache and not tracker.resumes:
            for name in _FOLDERS:  # others in the directory may be other commands', with work to resume
                clear(output_dir / name)

    def run(
        self, folder_name: str, inputs: Inputs, work: Callable[[Path, StageRun], object], *, registers: bool = False
    ) -> Path:
        """Run a stage in its folder unless an earlier run has finished it; return the folder.

        One that `registers` a model is skipped where this very command has run it: an alias may have moved on since.
        """
        folder, stage = self._output_dir / folder_name, str(inputs.values["stage"])
        for found, run_id in self._find(stage, folder, inputs.hash, registers=registers):
            before = read_record(found, inputs)
            if before is None:
                continue
            # The same in the same amount is skipped; with a larger budget it resumes from its journal.
            if before.same_amount_as(inputs):
                self._tracker.end_stage(stage)
                print(f"{stage}: skipped, {found} was made from the same inputs (run {run_id}).")
                self._run.set_tags({f"skipped.{stage}": run_id})
                return found
            if found != folder:
                copy_journal(found, folder)
            wanted = " and ".join(f"{name} is {inputs.values[name]}" for name in inputs.budget)
            print(f"{stage}: resumes from {found}, as {wanted} now.")
            break
        forget_record(folder)
        tags = {**self._tags, FINGERPRINT_TAG: inputs.hash, DIRECTORY_TAG: str(folder)}
        with self._tracker.start_stage(self._run, stage, tags) as stage_run:
            work(folder, stage_run)
            # Last: a folder with the record is whole.
            write_record(folder, inputs)
        return folder

    def _find(self, stage: str, folder: Path, key: str, *, registers: bool) -> Iterator[tuple[Path, str]]:
        """Yield where the stage may be finished, with MLflow's id of its run: here, or an earlier run's folder."""
        own = self._tracker.outbox.run_ids.get(stage)
        # This command's own folder first, also without the cache: a resumed command does not repeat its stages.
        if own is not None or not registers:
            yield folder, own or "of this command"
        for run_id, directory in self._tracker.find_finished(key) if self._use_cache and not registers else ():
            yield directory, run_id


def _summarise(output_dir: Path, folders: StageFolders, run: StageRun) -> None:
    """Print, write and log the comparison of the dense super-network with the extracted sub-network's forms."""
    extractions = {role: ExtractionReport.load(model) for role, (model, _) in folders.members.items()}
    exports = {"dense": folders.dense} | {role: at for role, (_, at) in folders.members.items()}
    loaded = {role: Export.load(at) for role, at in exports.items()}
    extraction = extractions[folders.chosen]
    benchmark = Benchmark.load(folders.benchmark)
    summary = summarise(extractions, loaded, benchmark, folders.chosen)
    write_json(output_dir / "summary.json", summary.to_json())
    if is_family(folders.model):
        header, rows = family_table(read_family(folders.reported, find_super_network))
        print_table(f"Dense super-network and family, {extraction.name} its champion", header, rows)
        tables = markdown_table(header, rows)
    else:
        against = extraction.against_full_model
        header, rows = summary.table(extraction.trivial, against_full_model=against)
        print_table(f"Dense super-network and extracted sub-network {extraction.name}", header, rows)
        steps = table_of_steps(list_steps(extraction, loaded, benchmark), against_full_model=against)
        print_table("What each step brought", *steps)
        tables = f"{markdown_table(header, rows)}\n\nWhat each step brought:\n\n{markdown_table(*steps)}"
    if extraction.test is not None:
        print(f"On the test rows: {extraction.test.describe()}.")
    remarks = extraction.notes()
    print_notes(remarks)
    run.log_metrics(
        {
            f"{name}/{key}": value
            for name, values in summary.to_json().items()
            for key, value in values.items()
            if value is not None
        }
    )
    run.log_artifact(folders.search / PNG_FILE)
    run.log_artifact(output_dir / "summary.json")
    _describe(folders, summary, extraction, remarks, tables, run)


_MAX_MEMBERS = 20
"""Members of a front in a description, which MLflow cuts at 8,000 characters."""


def _describe(
    folders: StageFolders,
    summary: Summary,
    extraction: ExtractionReport,
    remarks: Sequence[str],
    tables: str,
    run: StageRun,
) -> None:
    """Set the description of the parent run: what was made, from what, and the commands that follow."""
    another = f"compressor extract --search {quote(str(folders.search))} --index I"
    register = f"compressor export --model {quote(str(folders.model))} --register-as NAME"
    register += "" if is_family(folders.model) else " --alias champion"
    share = f"{extraction.extracted.relative_encoder_params:.0%}"
    parts = [
        f"**{markdown_text(extraction.name)}** keeps {share} of the encoder: {summary.describe_change()}.",
        *(f"> **Note:** {markdown_text(remark)}" for remark in remarks),
        markdown_table(*chosen_table(SearchResult.load(folders.search), summary, extraction, _MAX_MEMBERS)),
        f"Another one: {markdown_code(another)}",
        f"This one as a service: {markdown_code(register)}, then "
        "`mlflow models serve -m models:/NAME@champion --env-manager local`",
        f"![Pareto front]({run.picture(PNG_FILE)})",
        tables,
    ]
    run.describe("\n\n".join(parts))
