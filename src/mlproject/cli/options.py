"""Which options commands have, and under which heading; what an option is, says the field it is made of.

The names of the paper's scripts are aliases. What a command line does not give, a file may (`--config-file`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from compressor.cluster.options import TrialsOnCluster
from compressor.data.sources import DataSource
from compressor.device import AUTO
from compressor.extraction.options import ExtractionOptions
from compressor.options import Option, find_options, flags_of, option, option_like
from compressor.search.options import Choice, LatencyOptions, NasOptions, SearchOnCluster, SearchOptions
from compressor.training.settings import ModelOptions, TrainingSettings
from exporters.options import BenchmarkOptions, ColumnOptions, GateOptions, ReplayOptions
from mlproject.cli.parameters import DEVICE, INTEGERS, NAMED_NUMBER, PATH, WORDS, HeadedOption, TrainingPrecision
from mlproject.tracking.registration import LoggedExportOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Options = TypeVar("Options")

_SWITCH = {"type": click.BOOL, "is_flag": False, "flag_value": "true", "metavar": "[BOOLEAN]"}
"""A switch that also takes a value, since MLproject has no switches: --portable or --portable true."""
_TYPES: dict[Any, click.ParamType] = {  # type: ignore[type-arg]
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    tuple[int, ...]: INTEGERS,
    tuple[str, float]: NAMED_NUMBER,
}


def _parameter(name: str, given: Option) -> str:
    """Return the name of an option's value in Click: the field's, unless words stand for the field's values."""
    return name if given.words is None else flags_of(name, given)[0].removeprefix("--").replace("-", "_")


def pick(make: type[Options], values: dict[str, Any], **changes: Any) -> Options:
    """Return an options class filled with a command's values that are its options; what is None keeps its default.

    `changes` are fields, in place of those values.
    """
    given: dict[str, Any] = {}
    for name, one in find_options(make).items():
        value = values.get(_parameter(name, one))
        if one.repeated and value is not None:
            value = tuple(part for text in value for part in text.split(","))
        if value is not None:
            given[name] = value if one.words is None else one.words[value]
    return make(**given | changes)


def _attributes(kind: Any, default: Any, given: Option) -> dict[str, Any]:
    """Return what a field's type and default say of its option: Click's arguments."""
    # `int | None`: None only says that nothing was given, and Click has that for every option.
    if isinstance(kind, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    # From the most special to the plain: what a field says of its option counts more than its type.
    if given.words is not None:
        return {"type": click.Choice(list(given.words)), "default": given.word(default)}
    if kind is bool:
        return {**_SWITCH, "default": default}
    if given.repeated:
        return {"multiple": True}
    choices = get_args(kind) if get_origin(kind) is Literal else given.choices
    # Several values are typed as one text with commas, and so is their default.
    written = ",".join(map(str, default)) or None if isinstance(default, tuple) else default
    if choices:
        return {"type": click.Choice(list(choices)), "default": written}
    return {"type": PATH if given.path else _TYPES.get(kind, WORDS), "default": written}


def _of(heading: str, options: type, *names: str, **changes: Any) -> list[Decorator]:
    """Return Click options of these fields of a class, or of all that are options; `changes` are Click's arguments."""
    offered, found = find_options(options), {one.name: one for one in fields(options)}
    made: list[Decorator] = []
    for name in names or offered:
        one = offered[name]
        attributes = _attributes(found[name].type, found[name].default, one) | {"help": one.help} | changes
        # Click would never ask for a required option that has a default.
        if changes.get("required"):
            del attributes["default"]
        words = (*flags_of(name, one), _parameter(name, one))
        made.append(click.option(*words, cls=HeadedOption, heading=heading, **attributes))
    return made


def _input(*words: str, help: str, required: bool = True, **attributes: Any) -> list[Decorator]:
    """Return the option of something that a command works on."""
    return [click.option(*words, type=PATH, help=help, required=required, **attributes)]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a command is run, whatever it does."""

    device: str = option(
        AUTO,
        "Where PyTorch computes: cpu, cuda, or a GPU by its number such as cuda:1. auto: a GPU if there is one.",
    )
    ray: str | None = option_like(TrialsOnCluster, "ray")
    use_cache: bool = option(
        True, "Skip stages that a finished run of this experiment has done with the same inputs and the same code."
    )
    fresh: bool = option(False, "Do all stages anew: the same as --use-cache false.")
    push_to_hub: str | None = option(
        None,
        "Repository on the Hugging Face Hub, OWNER/NAME, that gets the extracted model with its card; a new one "
        "is private. Of several each goes to one of its own, OWNER/NAME-<its folder>.",
    )
    dry_run: bool = option(False, "Show all options, the rows and what the work will take, and begin nothing.")
    output_dir: str | None = option(
        None,
        "New or empty directory, or one that this command has begun: then it resumes there. Default: "
        "compressor-output/<command>-<date>-<time>.",
        path=True,
    )
    overwrite_output_dir: bool = option(False, "Begin anew in a directory that is in use.")
    resume: bool = option(
        False,
        "Resume in --output-dir, which must have been begun; without one, in the newest unfinished one of the "
        "same command and options in compressor-output/.",
    )
    system_metrics: bool = option(
        False, "Log this machine's CPU, memory, disk and network (and GPU) every ten seconds, as curves of the run."
    )
    config_file: str | None = option(
        None,
        "YAML file with options by their names, such as num-samples: 60; the command line wins over it. Every run "
        "keeps one, config.yaml.",
        path=True,
    )
    debug: bool = option(False, "Show the traceback of an error.")


def _read_config_file(ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Have the options that the command line does not give taken from a file."""
    if value and not ctx.resilient_parsing:
        from mlproject.cli.config_file import read_config

        ctx.default_map = read_config(value, ctx.command)
    return value


_MODEL = _of("Model", ModelOptions, "model_name_or_path", "attn_implementation", "trust_remote_code")
_DATA = _of("Data", DataSource)
_TRAINING = [
    *_of("Training", TrainingSettings, "learning_rate", "num_train_epochs", "per_device_train_batch_size"),
    *_of("Training", TrainingSettings, "gradient_accumulation_steps", "weight_decay", "warmup_ratio", "max_grad_norm"),
    *_of("Training", TrainingSettings, "bf16", type=TrainingPrecision(), is_flag=False, flag_value="bf16"),
]
_SUPER_NETWORK = [
    *(*_MODEL, *_of("Model", ModelOptions, "teacher_model"), *_of("Training", ModelOptions, "save_checkpoints")),
    *(*_DATA, *_of("Training", TrainingSettings, "sampling_strategy", "num_random_sub_nets", "temperature")),
    *_TRAINING,
]
_PROCESSES = _of("Training", TrainingSettings, "num_processes")
_SPACE_HEADING = "Search space and evaluation"
_EVALUATION = _of(_SPACE_HEADING, TrainingSettings, "per_device_eval_batch_size", "seed")
_SPACE = [*_of(_SPACE_HEADING, TrainingSettings, "search_space"), *_EVALUATION]
_SPACE_OF_SEARCH = [*_of(_SPACE_HEADING, SearchOptions, "search_space"), *_EVALUATION]

_SEARCH = _of("Search", SearchOptions, "search_strategy", "num_samples", "objectives")
_PROPOSALS = _of("Search", SearchOptions, "batch_of_proposals")
_TRIALS = _of("Search", NasOptions, "search_strategy", "num_trials", "max_wallclock_time", "num_workers", "objectives")
_SEARCH_LATENCY = _of("Timing", SearchOptions, "latency_of", "batch_size", "length")
_TRIAL_LATENCY = _of("Timing", NasOptions, "latency_of", "batch_size", "length")
_THREADS = _of("Timing", LatencyOptions, "threads")
"""The threads of commands that time nothing else."""

_CHOICE = [
    *_of("Choice", Choice, "knee", "index", "max_params", "max_error_increase", "max_latency_ms", "max_cost", "config"),
    *_of("Choice", ExtractionOptions, "finetune_epochs", "num_candidates"),
]
_ALL, _TIERS, _CONFIDENCE = (_of("Choice", Choice, name) for name in ("all", "tiers", "confidence"))
_COUNTS_OF_TOKENS = _of("Vocabulary", ExtractionOptions, "vocabulary_min_count", "vocabulary_extra")
_VOCABULARY = [*_of("Vocabulary", ExtractionOptions, "trim_vocabulary", "vocabulary_file"), *_COUNTS_OF_TOKENS]
_TEXTS = _of(
    *("Vocabulary", ExtractionOptions, "vocabulary_file"),
    required=True,
    help="Text file, a text per line, of the kind that the model reads.",
)

_RUNTIME, _PROVIDER = (_of("Export", LoggedExportOptions, name) for name in ("runtime", "provider"))
_RUNTIME_OF_COMPRESS = _of("Export", LoggedExportOptions, "runtime", default="auto")
_EXPORT = _of("Export", LoggedExportOptions, "precision", "portable", "max_int8_loss", "register_as", "alias")
_LATENCY = _of("Timing", BenchmarkOptions)
_GATE = [*_of("Data", ColumnOptions), *_of("Gate", GateOptions)]
_REPLAY = _of("Timing", ReplayOptions)

_DEVICE = _of("Device", RunOptions, "device", type=DEVICE)
_RAY = _of("Cluster", RunOptions, "ray", envvar="RAY_ADDRESS", show_envvar=True)
_RAY_OF_TRIALS = [*_RAY, *_of("Cluster", TrialsOnCluster, "cpus_per_trial", "gpus_per_trial", "max_failures")]
_RAY_OF_SEARCH = [*_RAY, *_of("Cluster", SearchOnCluster, "num_workers")]
_CACHE = _of("Output", RunOptions, "use_cache", "fresh")
_HUB, _DRY_RUN = (_of("Output", RunOptions, name) for name in ("push_to_hub", "dry_run"))
_DEBUG = _of("Output", RunOptions, "debug", is_flag=True, flag_value=True, metavar=None)
_OUTPUT = [
    *_of("Output", RunOptions, "output_dir", "overwrite_output_dir", "resume", "system_metrics"),
    *_of("Output", RunOptions, "config_file", is_eager=True, callback=_read_config_file),
    *_DEBUG,
]

COMMANDS: dict[str, list[list[Decorator]]] = {
    "train-supernet": [_SUPER_NETWORK, _PROCESSES, _SPACE, _DEVICE, _DRY_RUN, _OUTPUT],
    "search": [
        _input(
            *("--supernet", "--checkpoint-dir-model", "supernet"),
            help="Made by train-supernet, or any fine-tuned classifier (then name the data): directory, runs:/… or "
            "models:/….",
        ),
        [click.option("--model-name-or-path", hidden=True, help="Not needed: the super-network knows its model.")],
        *(_SPACE_OF_SEARCH, _DEVICE, _RAY_OF_SEARCH, _SEARCH, _PROPOSALS, _SEARCH_LATENCY, _THREADS, _DATA, _OUTPUT),
    ],
    "nas": [_MODEL, _DATA, _TRAINING, _SPACE, _DEVICE, _RAY_OF_TRIALS, _TRIALS, _TRIAL_LATENCY, _THREADS, _OUTPUT],
    "extract": [
        _input("--search", "search_dir", help="Made by search or nas: a directory or runs:/…."),
        *(_CHOICE, _VOCABULARY, _CONFIDENCE, _ALL, _TIERS, _DEVICE, _HUB, _OUTPUT),
    ],
    "trim-vocabulary": [
        _input(
            *("--model", "model_dir"),
            help="A directory made by save_pretrained or sentence-transformers, runs:/…, or a name on the Hub. "
            "Extracted models are trimmed by extract.",
        ),
        *(_TEXTS, _COUNTS_OF_TOKENS, _OUTPUT),
    ],
    "export": [
        _input(
            *("--model", "model_dir"),
            help="Made by extract or train-supernet: a directory or runs:/…. Several that extract has made go "
            "together.",
        ),
        *(_RUNTIME, _EXPORT, _PROVIDER, _CONFIDENCE, _OUTPUT),
    ],
    "benchmark": [
        _input(
            *("--model", "models"),
            multiple=True,
            help="Made by export (or extract, train-supernet: PyTorch), several times: a directory, runs:/… or "
            "models:/…. The first is the base.",
        ),
        *(_LATENCY, _OUTPUT),
    ],
    "evaluate": [
        _input(
            *("--model", "model"),
            help="A served model: models:/NAME@alias, a run's logged model runs:/…, or a directory made by export.",
        ),
        _input(
            *("--data", "data_file"),
            help="Rows with labels, as in training: CSV, TSV, JSONL or Parquet. Labels are names, or their numbers.",
        ),
        *(_GATE, _OUTPUT),
    ],
    "replay": [
        _input("--champion", help="The model that is served: models:/NAME@alias, runs:/…, or an export."),
        _input(
            "--challenger",
            help="The one that might take its place. One of the two may be the address of a server: http://host:port.",
        ),
        _input(
            *("--requests", "requests_file"),
            help='Recorded requests, one a line: a row as JSON, or {"inputs": [row, …]}.',
        ),
        *(_REPLAY, _OUTPUT),
    ],
    "sync": [[click.argument("output_dir", type=PATH)], _DEBUG],
    "compress": [
        *(_SUPER_NETWORK, _SPACE, _DEVICE, _SEARCH, _SEARCH_LATENCY, _CHOICE, _TIERS, _VOCABULARY, _CONFIDENCE),
        *(_RUNTIME_OF_COMPRESS, _EXPORT, _LATENCY, _CACHE, _HUB, _DRY_RUN, _OUTPUT),
    ],
    "report": [
        _input("--search", "search_dir", help="Made by search or nas: a directory or runs:/…."),
        _input("--model", "model_dir", required=False, help="Directory made by extract from that search."),
        _input("--onnx", "onnx_dir", required=False, help="Directory made by export from that model."),
        _input("--benchmark", "benchmark_dir", required=False, help="Directory made by benchmark."),
        _OUTPUT,
    ],
    "compare": [
        [click.argument("searches", nargs=-1, type=PATH)],
        _input(
            *("--search", "search_dirs"),
            required=False,
            multiple=True,
            help="The same as SEARCHES, with a flag: several times, or with commas.",
        ),
        _OUTPUT,
    ],
}
"""What each command takes, in the order of MLproject; its help shows all by headings."""


def add_options(function: Callable[..., Any], command: str) -> Callable[..., Any]:
    """Return the function of a command with its options, in their order."""
    # Decorators are applied from the last to the first, and Click lists them in the order in which they are written.
    for give in reversed([one for group in COMMANDS[command] for one in group]):
        function = give(function)
    return function


HOW_IT_RUNS = ("output_dir", "overwrite_output_dir", "resume", "config_file", "dry_run", "debug")
"""Options that say how a command is run, not what it does."""
