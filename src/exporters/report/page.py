"""`report.html`: what a search found and what became of it, on one page that needs no network, with its figures.

Everything is read from the files the stages wrote, so that a report can be made at any time; sections without data are
left out.
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compressor.drawing.charts import Chart
from compressor.drawing.page import Table, figure, render_page
from compressor.extraction.figures import NamedError, error_chart, extracted_series
from compressor.extraction.record import ExtractionReport, Parity
from compressor.files import write_text
from compressor.network.saving import MAX_PARITY_DIFFERENCE
from compressor.search.figures import front_chart, hypervolume_chart, kept_maps
from compressor.search.objectives import OBJECTIVES
from compressor.search.record import SearchResult
from exporters.benchmark_record import Benchmark
from exporters.export_record import JudgedForm, VerifiedForm
from exporters.figures import latency_chart
from exporters.graph.parity import MAX_ONNX_DIFFERENCE
from exporters.options import FORMS, Form, describe_form
from exporters.report.front import describe_useless, front_table
from exporters.report.inputs import Reported
from exporters.report.reproduction import make_benchmark, make_export, make_model, make_search
from exporters.timing.latency import Latency

REPORT_FILE, FIGURES = "report.html", "figures"
_MAX_ROWS = 100
"""Rows of the front's table."""
_SIDE_BY_SIDE = 12
"""Layers up to which two heat maps are put beside each other."""
_PACKAGES = ("mlflow-compressor", "torch", "transformers", "syne-tune", "moocore", "onnx", "onnxruntime", "mlflow")


def write_report(path: Path, reported: Reported) -> Path:
    """Write the page `path` with `figures/` beside it."""
    result, origin = reported.result, reported.origin
    task_name = origin.source.task_name
    kind = "of one super-network" if origin.is_shared else "trained alone"
    title = f"{task_name}: {len(result.evaluations)} sub-networks {kind}"
    chosen = () if reported.extraction is None else (extracted_series(result, reported.extraction),)
    lead = (
        f"Search space {origin.search_space}, method {origin.search_strategy}, seed {origin.seed}, "
        f"objectives {', '.join(result.objectives)}. The error is 1 − {reported.metric}, on the validation rows unless "
        "said otherwise; lower is better in every table and figure, except for the hypervolume."
        + "".join(f" {line}" for line in origin.source.meaning)
    )
    figures = path.parent / FIGURES
    heads, units = kept_maps(result.front, origin.dimensions)
    bars = (_error_chart(reported), reported.benchmark and latency_chart(reported.benchmark))
    members, more = _front_table(result, reported.extraction)
    page = render_page(
        Path(__file__).with_name("report.html"),
        f"Compression report, {title}",
        lead,
        glance=None if reported.extraction is None else _at_a_glance(reported, reported.extraction),
        front=figure(front_chart(result, f"Error against cost, {title}", chosen), figures),
        useless=describe_useless(result),
        members=members,
        more=more,
        candidates=_candidates(reported.extraction),
        maps=[figure(heads, figures), figure(units, figures)],
        side_by_side=len(heads.columns) <= _SIDE_BY_SIDE,
        bars=[figure(chart, figures) for chart in bars if chart],
        timed=None if reported.benchmark is None else _timed(reported.benchmark),
        parity=_parity(reported),
        hypervolume=figure(hypervolume_chart(result), figures),
        environment=environment_table(reported),
        reproduction=_reproduction(reported),
    )
    return write_text(path, page)


def _front_table(result: SearchResult, extraction: ExtractionReport | None) -> tuple[Table, int]:
    """Return the front's table, and how many members are left out of it."""
    header, rows = front_table(result)
    chosen = None if extraction is None else extraction.name
    if result.full is not None and chosen == result.full.name:
        chosen = "super-network"
    place = next((place for place, row in enumerate(rows) if row[0] == chosen), None)
    if place is not None:
        rows[place][0] += " ← chosen"
        if place >= _MAX_ROWS:  # the chosen one is never among those that are left out
            rows[_MAX_ROWS - 1], place = rows[place], _MAX_ROWS - 1
    return Table(header=header, rows=rows[:_MAX_ROWS], marked=place), max(len(rows) - _MAX_ROWS, 0)


def _candidates(extraction: ExtractionReport | None) -> Table | None:
    """Return the members that were distilled before one was taken, which is marked; None where there was no choice."""
    if extraction is None or not extraction.candidates:
        return None
    header, rows = extraction.candidates_table()
    return Table(header=header, rows=rows)


def _at_a_glance(reported: Reported, extraction: ExtractionReport) -> dict[str, Any]:
    """Return the text, the remarks and the table that say it all."""
    extracted, full = extraction.extracted, extraction.super_network
    parts = [f"{extraction.name} was extracted."]
    if full is not None:
        parts = [
            f"{extraction.name} was extracted: it keeps {extracted.relative_encoder_params:.1%} of the encoder and "
            f"{extracted.params / 1e6:.2f} of {full.params / 1e6:.2f} million parameters."
        ]
    if (choice := extraction.describe_choice()) is not None:
        parts.append(choice)
    if extraction.test is not None:
        parts.append(f"On the test rows, dense → extracted: {extraction.test.describe()}.")
    header, rows = extraction.table()
    blank = [""] * (len(header) - 3)  # of the trivial predictor, which takes no time
    sentence, timed = _latencies(reported)
    rows = [*rows, *([*row, *blank] for row in (timed if full is not None else []))]
    return {
        "text": " ".join([*parts, *sentence]),
        "notes": extraction.notes(),
        "table": Table(header=header, rows=rows),
    }


def _latencies(reported: Reported) -> tuple[list[str], list[list[str]]]:
    """Return how long dense and extracted take for the first timed inputs: in a sentence, and as rows of a table."""
    benchmark = reported.benchmark
    if benchmark is None:
        return [], []
    found = benchmark.at(benchmark.first_shape)
    # By form the names of the dense and of the extracted model, None for one that was not timed.
    timed = {form: [benchmark.find(role, form) for role in _roles(reported)] for form in FORMS}
    plain = [name for name in timed["fp32"] if name is not None]
    # Without both in fp32 there is nothing to compare.
    if len(plain) < 2:
        return [], []
    rows = [
        [f"latency p50 (ms), {form}", *("" if name is None else f"{found[name].p50_ms:.2f}" for name in names)]
        for form, names in timed.items()
        if names[1] is not None
    ]
    rows.append(["ONNX file (MB), fp32", *(f"{benchmark.models[name].mb:.1f}" for name in plain)])
    dense, extracted = (found[name] for name in plain)
    texts = "One text" if extracted.batch_size == 1 else f"A batch of {extracted.batch_size} texts"
    tokens = extracted.length
    length = f"of {tokens} tokens" if isinstance(tokens, int) else "of the validation rows' lengths"
    speed_up = _speed_up(extracted, dense.p50_ms / extracted.p50_ms, of_dense=dense.model == benchmark.base)
    return [
        f"{texts} {length} takes {extracted.p50_ms:.2f} ms where dense takes {dense.p50_ms:.2f} ({speed_up}), in fp32 "
        f"on {benchmark.environment.threads} thread(s)."
    ], rows


def _speed_up(row: Latency, times: float, *, of_dense: bool) -> str:
    """Return how much faster than dense; of a noisy row whose ratio is one `of_dense` the ends of its interval."""
    if not row.noisy:
        return f"{times:.1f} times as fast"
    # A point estimate of a noisy row would promise what the machine did not show.
    if of_dense and row.ratio_low > 0:
        return f"{1 / row.ratio_high:.1f} to {1 / row.ratio_low:.1f} times as fast: the machine was busy"
    return f"about {times:.1f} times as fast: the machine was busy"


def _error_chart(reported: Reported) -> Chart | None:
    """Return validation errors of the models that were timed, or else exported; test errors of dense and extracted."""
    dense, extracted = _roles(reported)
    report = reported.extraction
    variants = {} if report is None else {dense: report.super_network, extracted: report.extracted}
    known = [(name, variant) for name, variant in variants.items() if variant is not None]
    test = [NamedError(name=name, error=v.test_error, interval=v.test_error_interval) for name, v in known]
    validation = [NamedError(name=name, error=v.error, interval=v.error_interval) for name, v in known]
    # What was timed is what is served, and has errors of its own, those of smaller precisions included.
    if reported.benchmark is not None:
        validation = [
            NamedError(name=name, error=model.error, interval=model.error_interval)
            for name, model in reported.benchmark.models.items()
            if model.error is not None
        ]
    elif reported.export is not None:
        validation = [model for model in validation if model.name == dense] + [
            NamedError(name=describe_form(name), error=form.error, interval=form.error_interval)
            for name, form in reported.export.forms.items()
        ]
    return error_chart({"Validation rows": validation, "Test rows": test}, reported.metric)


def _roles(reported: Reported) -> tuple[str, str]:
    """Return what the benchmark calls the dense and the extracted model, as far as it timed their exports."""
    if reported.benchmark is None or reported.export is None:
        return "dense", "extracted"
    extracted = reported.benchmark.role_at(reported.export.directory)
    roles = map(reported.benchmark.role_of, reported.benchmark.models)
    others = (role for role in roles if role != extracted and reported.benchmark.find(role))
    return next(others, "dense"), extracted or "extracted"


def _timed(benchmark: Benchmark) -> dict[str, Any]:
    """Return sizes of the timed models, and what is to be noted of their times."""
    header, rows = benchmark.model_table()
    return {"note": benchmark.noise_note(), "table": Table(header=header, rows=rows)}


def _parity(reported: Reported) -> dict[str, Any] | None:
    """Return how far each form of the sub-network is from the one before it; None of a search alone."""
    extraction, export = reported.extraction, reported.export
    if extraction is None and export is None:
        return None
    steps = [] if extraction is None else [extraction.repair, extraction.finetuning]
    measured = "as exported" if extraction is None else f"error {extraction.error:.4f}"
    return {
        "extracted": [] if extraction is None else _extracted_links(extraction.parity),
        "steps": [step.describe() for step in steps if step is not None],
        "exported": [] if export is None else [_exported_links(measured, *form) for form in export.verified.items()],
        "smaller": [] if export is None else [_judged(*form) for form in export.smaller.items()],
    }


def _extracted_links(parity: Parity) -> list[tuple[str, str]]:
    first = "trained alone" if parity.sliced is None else "searched in the super-network"
    links = [(first, f"error {parity.error_searched:.4f}")]
    if parity.sliced is not None:
        links.append(("sliced out", _difference(parity.sliced, MAX_PARITY_DIFFERENCE)))
    loaded = f"{_difference(parity.loaded, MAX_PARITY_DIFFERENCE)}\nerror {parity.error_loaded:.4f}"
    return [*links, ("saved and loaded", loaded)]


def _exported_links(measured: str, name: Form, fp32: VerifiedForm) -> list[tuple[str, str]]:
    texts = f"{_difference(max(fp32.parity.values()), MAX_ONNX_DIFFERENCE)}\n"
    texts += f"over {len(fp32.parity)} kinds of batches\nerror {fp32.error:.4f}"
    return [("PyTorch model", measured), (describe_form(name), texts)]


def _judged(name: str, form: JudgedForm) -> str:
    agree = "" if form.label_agreement is None else f"{form.label_agreement:.1%} of the labels agree, "
    verdict = "accepted." if form.accepted else f"not accepted (limit {form.max_loss:+g})."
    return f"{name}: error {form.error:.4f} ({form.loss:+.4f} against fp32), {agree}{verdict}"


def _difference(difference: float, limit: float) -> str:
    found = "are equal" if difference == 0 else f"differ by {difference:.1e}"
    return f"logits {found}\nlimit {limit:.0e}"


def environment_table(reported: Reported) -> Table:
    """Return what a result was made with."""
    origin, trained = reported.origin, reported.super_network
    base = origin.model_name_or_path if trained is None else trained.model_name_or_path
    teacher = [] if trained is None or trained.teacher_model is None else [["teacher", trained.teacher_model]]
    # Beside the rows that errors are of; those alone are the data.
    texts = None if trained is None or trained.source.has_no_labels else trained.source.unlabeled_file
    rows = [
        ["base model", base or "not recorded"],
        *teacher,
        ["task", f"{origin.source.task_name}, metric {reported.metric}"],
        [
            "data",
            origin.source.train_file or origin.source.unlabeled_file or origin.source.dataset_name or "the task's own",
        ],
        *([] if texts is None else [["texts without labels, trained on too", texts]]),
        ["data digest", origin.data_digest],
        ["weights digest", origin.supernet_digest or "each sub-network has its own"],
        ["seeds", f"search {origin.seed}, splits {origin.source.dataset_seed}" + _training_seed(reported)],
        ["search time", f"{origin.seconds:.0f} s"],
        *_benchmark_rows(reported.benchmark),
        ["this report", f"Python {platform.python_version()}, " + ", ".join(filter(None, map(_version, _PACKAGES)))],
    ]
    return Table(header=["what", "value"], rows=rows, words=True)


def _training_seed(reported: Reported) -> str:
    return "" if reported.super_network is None else f", training {reported.super_network.settings.seed}"


def _benchmark_rows(benchmark: Benchmark | None) -> list[list[str]]:
    if benchmark is None:
        return []
    found = benchmark.environment
    versions = f"python {found.python}, torch {found.torch}, onnxruntime {found.onnxruntime}"
    versions += "" if found.openvino is None else f", openvino {found.openvino}"
    return [
        ["timed on", f"{found.cpu} ({', '.join(found.cpu_flags)}), {found.threads} thread(s)"],
        ["timed with", versions],
    ]


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""


def _reproduction(reported: Reported) -> dict[str, Any]:
    """Return the commands that make it again, and what to know of them."""
    folders = reported.folders
    search = folders.search.expanduser().absolute()
    search = search if search.is_dir() else search.parent
    lines = make_search(reported.origin, reported.super_network, search.name)
    if reported.extraction is not None and folders.model is not None:
        names = [member.name for member in reported.result.front]
        lines.append(make_model(reported.extraction, names, search.name, folders.model))
    if reported.export is not None:
        lines.append(make_export(reported.export))
    if reported.benchmark is not None and folders.benchmark is not None:
        lines += [x for x in make_benchmark(reported.benchmark, folders.benchmark) if x not in lines]
        # The benchmark goes last, behind all exports that it times; `make_benchmark` names some that stand there
        # already.
        lines.append(lines.pop(next(n for n, x in enumerate(lines) if x.startswith("compressor benchmark"))))
    lead = "The same seed, data and machine give the same sub-networks; run these in an empty folder."
    if any(OBJECTIVES[name].timed for name in reported.result.objectives):
        lead += " Latencies differ from run to run, so this front may differ too: look before you take an index."
    return {"lead": lead, "commands": lines}
