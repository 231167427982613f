"""What a report is made of: the files of the stages, read and checked to belong together."""

from dataclasses import dataclass
from pathlib import Path

from compressor.digests import digest_files
from compressor.errors import OutputError
from compressor.extraction.record import ExtractionReport
from compressor.search.record import FindSuperNetwork, SearchOrigin, SearchResult
from compressor.training.super_network import TrainingRecord
from exporters.benchmark_record import Benchmark
from exporters.export_record import Export


@dataclass(frozen=True, kw_only=True)
class ReportFolders:
    """The directories of the stages; None where one was not run."""

    search: Path
    model: Path | None = None
    onnx: Path | None = None
    benchmark: Path | None = None

    @property
    def given(self) -> dict[str, Path]:
        """Those there are, by stage."""
        return {name: path for name, path in vars(self).items() if path is not None}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What a report is made of; None where a stage has not been run."""

    folders: ReportFolders
    result: SearchResult
    origin: SearchOrigin
    super_network: TrainingRecord | None
    extraction: ExtractionReport | None
    export: Export | None
    benchmark: Benchmark | None

    @property
    def metric(self) -> str:
        """The task's metric; the error is 1 − it."""
        return self.origin.source.task.metric


def read_reported(folders: ReportFolders, find_super_network: FindSuperNetwork) -> Reported:
    """Return what the files of these directories say, checked to belong together.

    Raises:
        OutputError: they do not, or a file is broken.
        ModelError: an exported file was changed.
    """
    result = SearchResult.load(folders.search)
    origin = result.made_of
    super_network = TrainingRecord.load(find_super_network(result)) if origin.is_shared else None
    extraction = None if folders.model is None else ExtractionReport.load(folders.model)
    export = None if folders.onnx is None else Export.load(folders.onnx)
    benchmark = None if folders.benchmark is None else Benchmark.load(folders.benchmark)
    require_one_run(result, extraction, export, folders)
    return Reported(
        folders=folders,
        result=result,
        origin=origin,
        super_network=super_network,
        extraction=extraction,
        export=export,
        benchmark=benchmark,
    )


def require_one_run(
    result: SearchResult,
    extraction: ExtractionReport | None,
    export: Export | None,
    folders: ReportFolders,
) -> None:
    """Raise unless an extracted model is of a search, and an export of that model.

    Raises:
        OutputError: they are not.
    """
    if extraction is not None and extraction.chosen.index is not None:
        chosen, known = extraction.chosen, {e.name: e.sub_network.hash for e in result.evaluations}
        if known.get(chosen.name) != chosen.sub_network:
            raise OutputError(
                f"--model must be extracted from the search, but {folders.model} is {chosen.name} "
                f"({chosen.sub_network}) of another one. Name the search it comes from."
            )
    # Parameters tell models of one search apart well enough, also where an export was moved.
    if extraction is not None and export is not None and export.params != extraction.extracted.params:
        raise OutputError(
            f"--onnx must be exported from --model, but {folders.onnx} has {export.params:,} parameters and "
            f"{folders.model} {extraction.extracted.params:,}. Name the export of that model."
        )
    # Extracted anew into the same directory it has as many parameters, but other weights.
    if export is not None and export.model_files is not None and folders.model is not None:
        found = digest_files(folders.model)
        changed = [name for name, digest in export.model_files.items() if found.get(name, digest) != digest]
        if changed:
            raise OutputError(
                f"--onnx must be exported from --model, but {folders.onnx} was exported before {', '.join(changed)} in "
                f"{folders.model} changed. Export that model again."
            )
