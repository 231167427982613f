"""The commands that make a result again, from what its files say of their options."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compressor.data.sources import DataSource
from compressor.extraction.family import Family, is_family
from compressor.extraction.record import ExtractionReport
from compressor.network.saving import SUB_NETWORK_FILE
from compressor.options import find_options, flags_of
from compressor.search.options import NasOptions, SearchOptions
from compressor.search.record import SearchOrigin
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.super_network import TrainingRecord
from exporters.benchmark_record import Benchmark
from exporters.export_record import EXPORT_FILE, Export
from exporters.graph.sessions import GRAPH_SUFFIXES
from exporters.options import FORMS, PRECISIONS, RUNTIMES, BenchmarkOptions, ExportOptions, list_forms


def make_search(origin: SearchOrigin, trained: TrainingRecord | None, folder: str) -> list[str]:
    """Return the command of a search after that of its super-network, or the one command of standard NAS."""
    source = origin.source.to_json()
    if not origin.is_shared:
        model = {"model_name_or_path": origin.model_name_or_path}
        # Only what differs from a default is written, so that the command is short; later classes win where names meet.
        defaults = asdict(TrainingSettings()) | asdict(NasOptions()) | asdict(ModelOptions()) | asdict(DataSource())
        defaults["num_trials"] = None  # the default depends on the time limit
        return [_line("nas", model | source | origin.options, defaults, output_dir=folder)]
    name = Path(origin.supernet or "").name
    lines, trained_on, trained_in = [], asdict(DataSource()), dict[str, Any]()
    if trained is not None:
        settings, trained_on = asdict(trained.settings), trained.source.to_json()
        named = ("model_name_or_path", "teacher_model", "attn_implementation")
        model = {name: getattr(trained, name) for name in named}
        defaults = asdict(TrainingSettings()) | asdict(ModelOptions()) | asdict(DataSource())
        trained_in = {"search_space": trained.settings.search_space}
        lines.append(_line("train-supernet", model | trained_on | settings, defaults, output_dir=name))
    values = {"supernet": name} | source | origin.options
    return [*lines, _line("search", values, asdict(SearchOptions()) | trained_on | trained_in, output_dir=folder)]


def make_model(extraction: ExtractionReport, front: list[str], search: str, folder: Path) -> str:
    """Return the command of an extraction; `front` are the names of the front's members."""
    on_front = extraction.name in front
    chosen = {"index": front.index(extraction.name)} if on_front else {"config": f"{folder}/{SUB_NETWORK_FILE}"}
    given = {"search": search} | chosen | _after_cutting(extraction)
    return _line("extract", given, {"vocabulary_file": None}, output_dir=folder.name)


def _after_cutting(extraction: ExtractionReport) -> dict[str, Any]:
    """Return the options of an extraction that do not choose the sub-network."""
    given: dict[str, Any] = {}
    given["finetune_epochs"] = 0 if extraction.finetuning is None else extraction.finetuning.most_epochs
    if (trimmed := extraction.vocabulary) is not None:
        given |= {"trim_vocabulary": True, "vocabulary_file": trimmed.file}
        given |= {"vocabulary_min_count": trimmed.min_count, "vocabulary_extra": trimmed.extra}
    return given


def make_family_model(family: Family, member: ExtractionReport, search: str, folder: Path) -> str:
    """Return the command of the extraction of a family, whose members are treated as this one is."""
    several: dict[str, Any] = {"tiers": family.tiers} if family.tiers else {"all": True}
    given = {"search": search} | several | _after_cutting(member)
    return _line("extract", given, {"vocabulary_file": None}, output_dir=folder.name)


def make_export(export: Export, model: str | None = None, folder: str | None = None) -> str:
    """Return the command of an export; of a family the names of its folders."""
    losses = [form.max_loss for form in export.smaller.values()]
    sure = [form.confidence for form in export.smaller.values() if form.confidence is not None]
    runtimes = {FORMS[form][0] for form in export.forms if form != "fp32"} or {"onnxruntime"}
    precisions = {FORMS[form][1] for form in export.forms}
    # What came out of the defaults is written without --precision, though not all of its words made a form.
    on_gpu = export.provider == "cuda"
    made = ExportOptions(provider="cuda").forms if on_gpu else list_forms(runtimes, ExportOptions().precision)
    by_default = set(made) == set(export.forms)
    values = {
        "model": model or ("model" if export.model is None else export.model.name),
        "precision": None if by_default else tuple(each for each in PRECISIONS if each in precisions),
        "runtime": tuple(each for each in RUNTIMES if each in runtimes),
        "portable": export.portable,
        "provider": export.provider,
        "max_int8_loss": losses[0] if losses else None,
        "confidence": sure[0] if sure else None,
    }
    return _line("export", values, asdict(ExportOptions()), output_dir=folder or export.directory.name)


def make_benchmark(benchmark: Benchmark, folder: Path) -> list[str]:
    """Return the command of a benchmark in a folder, after those of its exports."""
    paths = [model.path for model in benchmark.models.values()]
    # One command exports a model in all forms: graphs are named by their directory, each once.
    single = (path.parent if path.suffix in GRAPH_SUFFIXES else path for path in paths)
    folders = list(dict.fromkeys(path.parent if is_family(path.parent) else path for path in single))
    lines = [make_export(Export.load(path, ())) for path in folders if (path / EXPORT_FILE).is_file()]
    # All members of a family are exported by one command, so the record of the first one has its options.
    for path in filter(is_family, folders):
        first = path / Family.load(path).members[0]
        if (first / EXPORT_FILE).is_file():
            export = Export.load(first, ())
            lines.append(make_export(export, None if export.model is None else export.model.parent.name, path.name))
    models = " ".join(f"--model {shlex.quote(path.name)}" for path in folders)
    options = _words(asdict(benchmark.options), asdict(BenchmarkOptions()))
    return [*lines, " ".join(["compressor benchmark", models, *options, f"--output-dir {shlex.quote(folder.name)}"])]


def _line(command: str, values: Mapping[str, Any], defaults: Mapping[str, Any], *, output_dir: str) -> str:
    return " ".join(["compressor", command, *_words(values, defaults), f"--output-dir {shlex.quote(output_dir)}"])


def _words(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Return options with values, as a shell takes them; those at their defaults are left out."""
    words = []
    for name, value in values.items():
        if name in _MADE or value is None or _plain(value) == "" or _plain(value) == _plain(defaults.get(name)):
            continue
        option = _OPTIONS.get(name)
        word = value if option is None else option.word(value)
        words.append(f"{flags_of(name, option)[0]} {shlex.quote(_plain(word))}")
    return words


_OPTIONS = find_options(TrainingSettings) | find_options(DataSource)
"""Those that may be spelled otherwise than their fields."""
_MADE = ("answers_file", "reference_model")
"""Fields that no option sets: the command makes them."""


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
