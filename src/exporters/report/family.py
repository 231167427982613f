"""The page of a family: its members side by side in one table, error | size | latency, and in pictures.

As the report of one model it is read from the files of the stages alone; what was not run is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from compressor.data.heads.answers import name_error
from compressor.drawing.charts import EXTRACTED, PALETTE, Chart
from compressor.drawing.page import Table, figure, render_page
from compressor.extraction.family import Family
from compressor.extraction.figures import NamedError, error_chart, extracted_series
from compressor.extraction.record import ExtractionReport, Variant, with_interval
from compressor.files import write_text
from compressor.search.figures import front_chart, kept_maps
from compressor.search.objectives import OBJECTIVES
from compressor.search.record import FindSuperNetwork
from exporters.export_record import EXPORT_FILE, Export
from exporters.figures import latency_chart
from exporters.options import describe_form
from exporters.report.inputs import Reported, ReportFolders, read_reported, require_one_run
from exporters.report.page import FIGURES, environment_table
from exporters.report.reproduction import make_benchmark, make_export, make_family_model, make_search
from exporters.timing.latency import Latency

_WHOSE = "the super-network and its members"
"""Whom the pictures compare."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of a family."""

    name: str
    """The name of its folders."""
    report: ExtractionReport
    export: Export | None
    """None where it was not exported."""


@dataclass(frozen=True, kw_only=True)
class ReportedFamily:
    """What the page of a family is made of."""

    folders: ReportFolders
    family: Family
    members: tuple[Member, ...]
    """The smallest first."""
    of_search: Reported
    """The search that they come from, and the benchmark."""

    @property
    def model_folder(self) -> Path:
        """Where the extracted models are."""
        assert self.folders.model is not None
        return self.folders.model

    @property
    def against_full_model(self) -> bool:
        """Whether errors are disagreement with a full model's answers."""
        return self.of_search.result.against_full_model

    @property
    def champion(self) -> Member:
        """The one to take where nothing else is known."""
        return next(member for member in self.members if member.name == self.family.champion)

    def timed(self, member: Member | None) -> tuple[str, Latency] | None:
        """Return what the benchmark calls the form of a member that is served, and its first latency.

        For None those of the super-network: the first model in fp32 of none of the members. None where it was not
        timed.
        """
        benchmark = self.of_search.benchmark
        if benchmark is None:
            return None
        # By folders, because a benchmark may have called its models anything.
        roles = {m.name: None if m.export is None else benchmark.role_at(m.export.directory) for m in self.members}
        if member is not None:
            role, export = roles[member.name], member.export
            name = None if role is None or export is None else benchmark.find(role, export.best)
        else:
            others = (benchmark.role_of(name) for name in benchmark.models)
            found = (benchmark.find(role) for role in others if role not in roles.values())
            name = next((name for name in found if name is not None), None)
        return None if name is None else (name, benchmark.at(benchmark.first_shape)[name])


def read_family(folders: ReportFolders, find_super_network: FindSuperNetwork) -> ReportedFamily:
    """Return what the files of a family say, checked to belong together.

    Raises:
        OutputError: they do not.
        FileError: a file is broken, or not there.
        ModelError: an exported file was changed.
    """
    assert folders.model is not None
    searched = ReportFolders(search=folders.search, benchmark=folders.benchmark)
    reported, family = read_reported(searched, find_super_network), Family.load(folders.model)
    members = []
    for name in family.members:
        # Members may be exported or not, each by itself.
        model, exported = family.folder_of(folders.model, name), None if folders.onnx is None else folders.onnx / name
        report = ExtractionReport.load(model)
        export = Export.load(exported) if exported is not None and (exported / EXPORT_FILE).is_file() else None
        own = ReportFolders(search=folders.search, model=model, onnx=exported)
        require_one_run(reported.result, report, export, own)
        members.append(Member(name=name, report=report, export=export))
    return ReportedFamily(folders=folders, family=family, members=tuple(members), of_search=reported)


def family_table(reported: ReportedFamily) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the super-network, the members from the smallest, the trivial predictor.

    Of each the form that is served; sizes and latencies as far as it was exported and timed.
    """
    header = ["", "error (95 %)", "test error", OBJECTIVES["params"].column, "of encoder", "variant", "MB"]
    header += ["p50 ms", "p99 ms"]
    first, rows = reported.members[0].report, []
    # Standard NAS may have ended before it had trained the whole.
    if first.super_network is not None:
        timed, full = reported.timed(None), first.super_network
        mb = "" if timed is None else f"{_mb(reported, timed[0]):.1f}"
        error = with_interval(full.error, full.error_interval)
        shown = ["" if timed is None else describe_form("fp32"), mb, *_latency_cells(timed)]
        rows.append(["super-network", error, *_size_cells(full), *shown])
    for member in reported.members:
        extracted, export, timed = member.report.extracted, member.export, reported.timed(member)
        mark = " ← champion" if member.name == reported.family.champion else ""
        error, form = with_interval(extracted.error, extracted.error_interval), ["", ""]
        if export is not None:
            best = export.forms[export.best]
            error, form = with_interval(best.error, best.error_interval), [describe_form(export.best), f"{best.mb:.1f}"]
        rows.append([f"{member.name}{mark}", error, *_size_cells(extracted), *form, *_latency_cells(timed)])
    trivial = first.trivial
    if trivial is not None:
        known = {"": "name", "error (95 %)": "error", "test error": "test_error"}
        rows.append(trivial.cells([known.get(column, "") for column in header]))
    timed_at_all = any(reported.timed(member) for member in reported.members)
    exported = any(member.export for member in reported.members)
    # The first five columns are of the models, two of their exports, two of latencies.
    columns = [place for place in range(len(header)) if place < 5 or (place < 7 and exported) or timed_at_all]
    named = [name_error(header[place], reported.against_full_model) for place in columns]
    return named, [[row[place] for place in columns] for row in rows]


def _size_cells(variant: Variant) -> list[str]:
    """Test error, millions of parameters, and the share of the encoder."""
    return [
        f"{variant.test_error:.4f}",
        f"{variant.params / 1e6:.2f}",
        f"{variant.relative_encoder_params:.1%}",
    ]


def _latency_cells(timed: tuple[str, Latency] | None) -> list[str]:
    """Return median and 99th percentile."""
    return ["", ""] if timed is None else [f"{timed[1].p50_ms:.2f}", f"{timed[1].p99_ms:.2f}"]


def _mb(reported: ReportedFamily, name: str) -> float:
    assert reported.of_search.benchmark is not None
    return reported.of_search.benchmark.models[name].mb


def write_family_report(path: Path, reported: ReportedFamily) -> Path:
    """Write the page `path` with `figures/` beside it."""
    searched = reported.of_search
    result, origin, benchmark = searched.result, searched.origin, searched.benchmark
    title = f"{origin.source.task_name}: a family of {len(reported.members)}"
    series = [
        extracted_series(result, member.report, member.name, (EXTRACTED + place) % len(PALETTE))
        for place, member in enumerate(reported.members)
    ]
    evaluated = {evaluation.name: evaluation for evaluation in result.evaluations}
    kept = {m.name: evaluated[m.report.name] for m in reported.members if m.report.name in evaluated}
    lead = (
        f"Members of one search ({origin.search_space}, {origin.search_strategy}, {len(result.evaluations)} "
        f"sub-networks). The error is 1 − {searched.metric}; lower is better everywhere."
        + "".join(f" {line}" for line in origin.source.meaning)
    )
    figures = path.parent / FIGURES
    maps = kept_maps([*kept.values()], origin.dimensions, [*kept]) if kept else ()
    bars = (_errors(reported), benchmark and latency_chart(benchmark, _WHOSE))
    page = render_page(
        Path(__file__).with_name("family.html"),
        f"Family report, {title}",
        lead,
        glance=_at_a_glance(reported),
        front=figure(front_chart(result, f"Error against cost, {title}", series), figures),
        bars=[figure(chart, figures) for chart in bars if chart],
        noise=None if benchmark is None else benchmark.noise_note(),
        maps=[figure(chart, figures) for chart in maps],
        parity=_parity_table(reported),
        serving=_serving(reported),
        environment=environment_table(searched),
        reproduction=_reproduce(reported),
    )
    return write_text(path, page)


def _at_a_glance(reported: ReportedFamily) -> dict[str, Any]:
    """Return the text and the table that say it all."""
    header, rows = family_table(reported)
    place = next(place for place, row in enumerate(rows) if row[0].endswith("← champion"))
    champion, timed = reported.champion.report, reported.timed(reported.champion)
    parts = [f"Champion: {reported.family.champion} ({champion.name})."]
    if champion.chosen.reason:
        parts.append(f"Before repair and distillation: {champion.chosen.reason}")
    if timed is not None:
        texts = "one text" if timed[1].batch_size == 1 else f"{timed[1].batch_size} texts"
        length = f"{timed[1].length} tokens" if isinstance(timed[1].length, int) else "the validation rows' lengths"
        parts.append(f"Latencies are of {texts} of {length}.")
    if any(member.export for member in reported.members):
        parts.append("Errors are of the variant that is served, test errors of the model in fp32.")
    return {"text": " ".join(parts), "table": Table(header=header, rows=rows, marked=place)}


def _errors(reported: ReportedFamily) -> Chart | None:
    """Return validation and test errors of the super-network and of the members."""
    full = reported.members[0].report.super_network
    known = [] if full is None else [("super-network", full)]
    known += [(member.name, member.report.extracted) for member in reported.members]
    validation = [NamedError(name=name, error=v.error, interval=v.error_interval) for name, v in known]
    test = [NamedError(name=name, error=v.test_error, interval=v.test_error_interval) for name, v in known]
    return error_chart({"Validation rows": validation, "Test rows": test}, reported.of_search.metric, _WHOSE)


def _parity_table(reported: ReportedFamily) -> Table:
    """Return how far the forms of each member are from what was searched, and what became of its smaller forms."""
    rows = []
    for member in reported.members:
        export = member.export
        in_fp32 = {} if export is None else export.verified
        onnx = max((max(form.parity.values()) for form in in_fp32.values()), default=None)
        judged = {} if export is None else export.smaller
        losses = [f"{name} {form.loss:+.4f}{'' if form.accepted else ' (refused)'}" for name, form in judged.items()]
        rows.append(
            [
                member.name,
                member.report.name,
                f"{largest:.1e}" if (largest := member.report.parity.largest) else "equal",
                "" if onnx is None else f"{onnx:.1e}",
                ", ".join(losses),
            ]
        )
    header = ["", "sub-network", "searched to saved", "PyTorch to graph", "error against fp32"]
    return Table(header=header, rows=rows)


def _serving(reported: ReportedFamily) -> list[str]:
    """Return the commands that register the family and serve its champion."""
    return [
        f"compressor export --model {quote(reported.model_folder.name)} --register-as NAME",
        "mlflow models serve -m models:/NAME@champion --env-manager local -p 5001",
    ]


def _reproduce(reported: ReportedFamily) -> Sequence[str]:
    """Return the commands that make it again."""
    searched, first = reported.of_search, reported.members[0]
    search, model = (path.expanduser().absolute() for path in (reported.folders.search, reported.model_folder))
    search = search if search.is_dir() else search.parent
    lines = make_search(searched.origin, searched.super_network, search.name)
    lines.append(make_family_model(reported.family, first.report, search.name, model))
    if first.export is not None:
        lines.append(make_export(first.export, model.name, first.export.directory.parent.name))
    if searched.benchmark is not None and searched.folders.benchmark is not None:
        lines += [line for line in make_benchmark(searched.benchmark, searched.folders.benchmark) if line not in lines]
    return lines
