"""Options as Hugging Face users know them, each defined once: commands pick theirs, MLproject's parameters follow.

Underscores are accepted for hyphens, the names of the paper's scripts as aliases, and an empty value means "not given",
because that is how `mlflow run` passes a parameter without a value. What a command line does not give, a file may
(`--config-file`).
"""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from compressor.data.metrics import METRIC_NAMES
from compressor.data.sources import DataSource
from compressor.data.tasks import TASKS
from compressor.device import AUTO, chosen_device, is_device
from compressor.evaluation.latency_table import LATENCIES_OF, SERVED
from compressor.extraction.options import ExtractionOptions
from compressor.search.methods import SEARCH_METHODS, TRIAL_METHODS
from compressor.search.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, cost_names
from compressor.search.options import (
    DEFAULT_LATENCY_OF,
    DEFAULT_NUM_TRIALS,
    SMALL_INCREASE,
    Choice,
    NasOptions,
    SearchOptions,
)
from compressor.spaces import SEARCH_SPACES
from compressor.training.settings import (
    DEFAULT_NUM_EPOCHS,
    MAX_DEFAULT_EPOCHS,
    MIN_STEPS,
    ModelOptions,
    TrainingSettings,
)
from compressor.training.strategies import SAMPLING_STRATEGIES, STRATEGY_ALIASES
from exporters.options import PRECISIONS, BenchmarkOptions, ExportOptions, ReplayOptions
from mlproject.cli.processes import is_follower

TRAINING_PRECISIONS = {"auto": None, "fp32": False, "bf16": True}
"""What `--precision-training` says, as `TrainingSettings.bf16`."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class HuggingFaceCommand(click.Command):
    """A command that takes `--model_name_or_path` for `--model-name-or-path` and skips options with an empty value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"show_default": True, "max_content_width": 110})
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's own parsing, after the words are put into its form; a home that nobody has is told here."""
        left = super().parse_args(ctx, normalise_arguments(args))
        if ctx.resilient_parsing:  # a shell asks how a word goes on
            return left
        _tell_overridden(ctx)
        for name, value in ctx.params.items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and text.startswith("~") and not name.endswith("_file"):  # rows: in `data`
                    _require_home(text, ctx)
        return left

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, its models on the device that it was given."""
        with chosen_device(ctx.params["device"]) if "device" in ctx.params else nullcontext():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options below the headings of their groups."""
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (_INPUT, *HEADINGS)}
        parameters = self.get_params(ctx)
        names = {parameter.name for parameter in parameters}
        for parameter in parameters:
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                rows[_heading_of(parameter, names)].append(record)
        for heading, records in rows.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _require_home(path: str, ctx: click.Context) -> None:
    """Raises unless a path that begins with ~ or ~NAME begins with a home that there is."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise click.UsageError(
            f"a path with ~ must begin with somebody's home, but got {path[:100]!r}. Correct it.", ctx
        ) from None


def _read_config_file(ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Has the options that the command line does not give taken from a file."""
    if value and not ctx.resilient_parsing:
        from mlproject.cli.config_file import read_config

        ctx.default_map = read_config(value, ctx.command)
    return value


def _tell_overridden(ctx: click.Context) -> None:
    """Prints which options of the configuration file do not count, as the command line has them too."""
    given = ctx.default_map or {}
    both = [one.opts[0] for one in ctx.command.params if one.name in given and _is_typed(ctx, str(one.name))]
    if both and not is_follower():
        click.echo(f"Note: the command line wins over {ctx.params['config_file']} in {', '.join(both)}.")


def _is_typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


class PathText(click.types.StringParamType):
    """A path, or what may stand in its place, as it is typed; shells complete it as a file's name."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Leave it to the shell, which knows the files."""
        return [CompletionItem(incomplete, type="file")]


PATH = PathText()


class IntegerList(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers with commas between them: 1,8."""

    name = "integers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers of a text."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,8.", param, ctx)


class TrainingPrecision(click.Choice[str]):
    """auto, fp32 or bf16; also true and false for the last two, as --bf16 was a switch."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The precision of a text."""
        switched = {"true": "bf16", "false": "fp32"}
        return super().convert(switched.get(str(value).lower(), value), param, ctx)


class DeviceName(click.ParamType):  # type: ignore[type-arg]
    """auto, cpu, cuda or a GPU by its number."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name of a device."""
        if not is_device(str(value)):
            self.fail(f"{str(value)[:40]!r} is not auto, cpu, cuda or a GPU by its number such as cuda:1.", param, ctx)
        return str(value)


class TextList(click.ParamType):  # type: ignore[type-arg]
    """Words with commas between them: error,params."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The words of a text."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))


class NamedNumber(click.ParamType):  # type: ignore[type-arg]
    """A name and a number with = between them: size_mb=20."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The name and the number of a text."""
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        try:
            return name.strip(), float(number)
        except ValueError:
            self.fail(f"{value!r} is not a name and a number such as size_mb=20.", param, ctx)


def normalise_arguments(args: list[str]) -> list[str]:
    """The words of a command line with hyphens in option names and without options whose value is empty."""
    words: list[str] = []
    for word in args:
        if word == "" and words and words[-1].startswith("--"):
            words.pop()
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if not equals or value:
                words.append(name.replace("_", "-") + equals + value)
        else:
            words.append(word)
    return words


def _option(*names: str, **attributes: Any) -> Decorator:
    return click.option(*names, **attributes)


def _boolean(*names: str, default: bool, **attributes: Any) -> Decorator:
    """A switch that also takes a value, since MLproject has no switches: --portable or --portable true."""
    attributes = {"type": click.BOOL, "is_flag": False, "flag_value": "true", "metavar": "[BOOLEAN]", **attributes}
    return click.option(*names, default=default, **attributes)


def _choice(values: Any) -> click.Choice[str]:
    return click.Choice(list(values))


def add_options(*groups: list[Any]) -> Decorator:
    """A decorator that gives a command the options of these groups, in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


MODEL = [
    _option(
        "--model-name-or-path",
        "--model-name",
        "model_name_or_path",
        type=PATH,
        default=ModelOptions.model_name_or_path,
        help="Encoder to start from: 'demo', 'demo-base' (109 M parameters), a directory made by save_pretrained, or a "
        "name on the Hugging Face Hub.",
    ),
    _option(
        "--attn-implementation",
        type=_choice(["sdpa", "eager"]),
        default=ModelOptions.attn_implementation,
        help="How PyTorch computes attention.",
    ),
    _boolean(
        "--trust-remote-code",
        default=ModelOptions.trust_remote_code,
        help="Run code that comes with the base model. Only for models you trust.",
    ),
]

CHECKPOINTS = [
    _option(
        "--save-strategy",
        type=_choice(["epoch", "no"]),
        default="epoch",
        help="Keep a checkpoint after each epoch, or only the last weights.",
    ),
]

_TEXTS_AND_LABELS = [
    _option(
        "--text-column",
        "text_columns",
        multiple=True,
        help="Column with the text; give it twice (or with a comma) for pairs. Default: the task's.",
    ),
    _option("--query-column", default=None, help="Rerank: column with the query. Default: 'query'."),
    _option("--document-column", default=None, help="Rerank: column with the document. Default: 'document'."),
    _option(
        "--label-column",
        default=None,
        help="Column with the label; with --task-name multi-label with its labels, or several with commas, a label "
        "each. Default: the task's, or 'label'.",
    ),
]
_GROUPS_AND_METRIC = [
    _option(
        "--group-column",
        default=None,
        help="Rerank: column that tells which rows are of one query. Default: the query's text.",
    ),
    _option(
        "--metric",
        type=_choice(METRIC_NAMES),
        default=None,
        help="Task metric; the error is 1 - metric. Default: the task's.",
    ),
]
COLUMNS = [*_TEXTS_AND_LABELS, *_GROUPS_AND_METRIC]

DATA = [
    _option(
        "--task-name",
        "--dataset",
        "task_name",
        type=_choice(TASKS),
        default=DataSource.task_name,
        help="Data set; fixes columns, metric and length. Your own files: 'custom', as with --train-file alone, "
        "'multi-label' for several labels a row, 'ner' for a label a word.",
    ),
    _option("--train-file", type=PATH, default=None, help="Training rows: CSV, TSV, JSONL or Parquet."),
    _option(
        "--validation-file",
        type=PATH,
        default=None,
        help="Rows the search sees. Without it 30 % of the training rows are held out.",
    ),
    _option(
        "--test-file",
        type=PATH,
        default=None,
        help="Rows looked at once, at the end. Without it 20 % of the training rows are held out first.",
    ),
    _option(
        "--unlabeled-file",
        type=PATH,
        default=None,
        help="Texts without labels (also .txt, a text a line), in place of rows: the error is disagreement with "
        "--model-name-or-path, which must be fine-tuned.",
    ),
    _option(
        "--validation-pairs",
        type=PATH,
        default=None,
        help="With --task-name embed: pairs to judge by, with columns sentence1, sentence2 and a score.",
    ),
    _option("--dataset-name", default=None, help="Any data set of the Hugging Face Hub, in place of files."),
    _option("--dataset-config-name", default=None, help="Its configuration, where it has several."),
    *_TEXTS_AND_LABELS,
    _option(
        "--label-names-file", type=PATH, default=None, help="Names of the labels 0, 1, …, a line each or a JSON list."
    ),
    *_GROUPS_AND_METRIC,
    _boolean("--regression", default=DataSource.regression, help="The label is a number to predict."),
    _option("--max-seq-length", type=int, default=None, help="Longest text in tokens. Default: the task's."),
    _option("--max-train-samples", type=int, default=None, help="Use at most so many training rows."),
    _option("--max-eval-samples", type=int, default=None, help="Use at most so many validation and test rows."),
    _option("--dataset-seed", type=int, default=DataSource.dataset_seed, help="Seed of the splits."),
]

SAMPLING = [
    _option(
        "--sampling-strategy",
        type=_choice([*SAMPLING_STRATEGIES, *STRATEGY_ALIASES]),
        default=TrainingSettings.sampling_strategy,
        help="Which sub-networks a training step updates.",
    ),
    _option(
        "--num-random-sub-nets",
        type=int,
        default=TrainingSettings.num_random_sub_nets,
        help="Random sub-networks per step.",
    ),
    _option(
        "--temperature",
        type=float,
        default=TrainingSettings.temperature,
        help="Softens both sides of the distillation.",
    ),
]

TRAINING = [
    _option(
        "--learning-rate",
        type=float,
        default=None,
        help="Peak learning rate of AdamW. Default: 2e-4 at a width of 384 (the demo's), 5e-5 at 768.",
    ),
    _option(
        "--num-train-epochs",
        type=int,
        default=TrainingSettings.num_train_epochs,
        help=f"Passes over the training rows. Default: {DEFAULT_NUM_EPOCHS}, or up to {MAX_DEFAULT_EPOCHS} to make "
        f"{MIN_STEPS} steps.",
    ),
    _option(
        "--per-device-train-batch-size",
        type=int,
        default=TrainingSettings.per_device_train_batch_size,
        help="Rows that a process computes at once. Times --gradient-accumulation-steps and the number of processes "
        "it is the rows of a step.",
    ),
    _option(
        "--gradient-accumulation-steps",
        type=int,
        default=TrainingSettings.gradient_accumulation_steps,
        help="Batches of a step whose gradients are added up, where the rows of one do not fit into memory.",
    ),
    _option("--weight-decay", type=float, default=TrainingSettings.weight_decay, help="Decay of weight matrices."),
    _option(
        "--warmup-ratio",
        type=float,
        default=TrainingSettings.warmup_ratio,
        help="Share of the steps in which the learning rate rises.",
    ),
    _option("--max-grad-norm", type=float, default=TrainingSettings.max_grad_norm, help="Gradients are clipped to it."),
    _option(
        "--precision-training",
        "--bf16",
        type=TrainingPrecision(list(TRAINING_PRECISIONS)),
        is_flag=False,
        flag_value="bf16",
        default="auto",
        help="What training computes in; evaluations are fp32. auto: bfloat16 where the processor has it and a few "
        "steps are faster, else fp32. The older --bf16 true is bf16, --bf16 false fp32.",
    ),
]

PROCESSES = [
    _option(
        "--num-processes",
        type=int,
        default=TrainingSettings.num_processes,
        help="Processes of this machine that train together, each with its share of a step's rows; on several machines "
        "torchrun starts them.",
    ),
]


def _search_space(default: str | None, text: str) -> Decorator:
    return _option("--search-space", type=_choice(SEARCH_SPACES), default=default, help=text)


SPACE = [_search_space(TrainingSettings.search_space, "Which sub-networks exist.")]

SPACE_OF_SEARCH = [
    _search_space(
        SearchOptions.search_space, "Which sub-networks exist. Default: those of the super-network's training."
    )
]

EVALUATION = [
    _option(
        "--per-device-eval-batch-size",
        type=int,
        default=TrainingSettings.per_device_eval_batch_size,
        help="Rows per batch when evaluating.",
    ),
    _option("--seed", type=int, default=TrainingSettings.seed, help="Seed of weights, data order and sub-networks."),
]


DEVICE = [
    _option(
        "--device",
        type=DeviceName(),
        default=AUTO,
        help="Where PyTorch computes: cpu, cuda, or a GPU by its number such as cuda:1. auto: a GPU if there is one.",
    ),
]


RAY = [
    _option(
        "--ray",
        default=None,
        envvar="RAY_ADDRESS",
        show_envvar=True,
        help="Ray cluster that computes: HOST:PORT, ray://HOST:PORT, auto for the one that runs on this machine, or "
        "local to start one here. Default: none, all in processes of this machine.",
    ),
]


def _search_strategy(methods: Any, default: str) -> Decorator:
    return _option(
        "--search-strategy",
        "--method",
        "search_strategy",
        type=_choice(methods),
        default=default,
        help="How the next sub-network is proposed.",
    )


_OBJECTIVES = _option(
    "--objectives",
    type=TextList(),
    default=",".join(DEFAULT_OBJECTIVES),
    help=f"What is minimised: two or three of {', '.join(OBJECTIVES)}.",
)


SEARCH = [
    _search_strategy(SEARCH_METHODS, SearchOptions.search_strategy),
    _option(
        "--num-samples",
        type=int,
        default=SearchOptions.num_samples,
        help="Sub-networks to evaluate, the full one included.",
    ),
    _OBJECTIVES,
]

TRIALS = [
    _search_strategy(TRIAL_METHODS, NasOptions.search_strategy),
    _option(
        "--num-trials",
        type=int,
        default=None,
        help=f"Sub-networks to train, the full one included. Default: {DEFAULT_NUM_TRIALS}, or what the time allows.",
    ),
    _option(
        "--max-wallclock-time",
        "--runtime",
        "max_wallclock_time",
        type=float,
        default=None,
        help="Seconds after which no trial goes on. Default: no limit.",
    ),
    _option("--num-workers", type=int, default=NasOptions.num_workers, help="Trials that run side by side."),
    _OBJECTIVES,
]

CONFIDENCE = [
    _option(
        "--confidence",
        type=float,
        default=Choice.confidence,
        help="Of what is promised about the error, from 0.5 to below 1.",
    ),
]

GATE = [
    _option(
        "--baseline", type=PATH, default=None, help="Another served model, asked about the same rows and compared."
    ),
    _option(
        "--max-error",
        type=float,
        default=None,
        help="Fail unless the true error is at most this, as sure as --confidence says.",
    ),
    _option(
        "--max-error-increase",
        type=float,
        default=None,
        help="Fail unless the true error is at most so far above the baseline's, as sure as --confidence says.",
    ),
    _option(
        "--confidence",
        type=float,
        default=Choice.confidence,
        help="Of what the gate promises, from 0.5 (as measured) to below 1.",
    ),
]

REPLAY = [
    _option(
        "--rate",
        type=float,
        default=ReplayOptions.rate,
        help="Requests a second, to one model at a time; each is sent when it is due, whether or not earlier ones are "
        "answered.",
    ),
]

CHOICE = [
    _boolean(
        "--knee",
        default=Choice.knee,
        help=f"The front's knee. Without any choice: --max-error-increase {SMALL_INCREASE}.",
    ),
    _option(
        "--index",
        type=int,
        default=None,
        help="Place on the front, from 0 by rising error: the index of the search's table.",
    ),
    _option(
        "--max-params",
        type=float,
        default=None,
        help="Smallest error with at most so many parameters; up to 1 a share of the super-network's.",
    ),
    _option(
        "--max-error-increase",
        type=float,
        default=None,
        help="Smallest whose true error is at most so far above the super-network's, as sure as --confidence says; "
        "the super-network itself where the validation rows cannot tell.",
    ),
    _option(
        "--max-latency-ms",
        type=float,
        default=None,
        help="Smallest error with at most so many ms; the search needs the objective latency_ms.",
    ),
    _option(
        "--max-cost",
        type=NamedNumber(),
        default=None,
        help=f"Smallest error with at most so much of one of {', '.join(cost_names())}: size_mb=20.",
    ),
    _option(
        "--config", type=PATH, default=None, help="JSON file with a config of the search space, or a sub_network.json."
    ),
    _option(
        "--finetune-epochs",
        type=int,
        default=ExtractionOptions.finetune_epochs,
        help="Most epochs of distillation after extraction; it ends with the first that is no better. 0: none.",
    ),
]

_COUNTS_OF_TOKENS = [
    _option(
        "--vocabulary-min-count",
        type=int,
        default=ExtractionOptions.vocabulary_min_count,
        help="How often a token must occur to be kept.",
    ),
    _option(
        "--vocabulary-extra",
        type=int,
        default=ExtractionOptions.vocabulary_extra,
        help="So many of the other tokens are kept too, the most frequent first.",
    ),
]

VOCABULARY = [
    _boolean(
        "--trim-vocabulary",
        default=ExtractionOptions.trim_vocabulary,
        help="Drop tokens that occur neither in the training nor in the validation rows, with their embeddings. "
        "Characters and bytes stay, so that every text can be written.",
    ),
    _option(
        "--vocabulary-file", type=PATH, default=None, help="Text file, a text per line, whose tokens are kept too."
    ),
    *_COUNTS_OF_TOKENS,
]

TEXTS_OF_VOCABULARY = [
    _option(
        "--vocabulary-file",
        type=PATH,
        required=True,
        help="Text file, a text per line, of the kind that the model reads.",
    ),
    *_COUNTS_OF_TOKENS,
]

TIERS = [
    _option(
        "--tiers",
        type=TextList(),
        default=None,
        help="A family: so many of the front, spread by size, smallest first: S,M,L; or each as --max-params has it: "
        "small=0.4,large=0.8.",
    ),
]

SEVERAL = [_boolean("--all", default=Choice.all, help="The whole front, each in a folder of its own."), *TIERS]


HUB = [
    _option(
        "--push-to-hub",
        default=None,
        help="Repository on the Hugging Face Hub, OWNER/NAME, that gets the extracted model with its card; a new one "
        "is private. Of several each goes to one of its own, OWNER/NAME-<its folder>.",
    ),
]


def _runtime(default: str) -> Decorator:
    return _option(
        "--runtime",
        type=TextList(),
        default=default,
        help="What the model is exported for: onnxruntime, openvino, or both with a comma; auto: openvino too where it "
        "is installed. fp32 in ONNX is always made.",
    )


RUNTIME = [_runtime(",".join(ExportOptions.runtime))]

RUNTIME_OF_COMPRESS = [_runtime("auto")]

EXPORT = [
    _option(
        "--precision",
        type=TextList(),
        default=",".join(ExportOptions.precision),
        help=f"Of the exported forms: {', '.join(PRECISIONS)}. fp32 is always made; ONNX Runtime has no bf16, OpenVINO "
        "no fp16.",
    ),
    _boolean("--portable", default=ExportOptions.portable, help="Standard ONNX operators alone; a little slower."),
    _option(
        "--max-int8-loss",
        type=float,
        default=ExportOptions.max_int8_loss,
        help="By how much a smaller precision may raise the true error, as sure as --confidence says.",
    ),
    _option("--register-as", default=None, help="Registered model in MLflow that gets this one as a new version."),
    _option("--alias", default=None, help="Alias of that version, such as champion; needs --register-as."),
]


def _latency_options(kinds: Any, others: str = "") -> list[Any]:
    return [
        _option(
            "--latency-of",
            type=_choice(kinds),
            default=None,
            help="What the objective latency_ms is of: the model as it is served, predicted from parts that are timed "
            f"once{others}. Default: {DEFAULT_LATENCY_OF}.",
        ),
        _option("--batch-size", type=int, default=None, help="Texts at once that latency_ms is of. Default: 1."),
        _option(
            "--length",
            type=int,
            default=None,
            help="Tokens of each text that latency_ms is of. Default: those of the median validation row.",
        ),
    ]


SEARCH_LATENCY = _latency_options(LATENCIES_OF, ", or PyTorch, each sub-network timed")
TRIAL_LATENCY = _latency_options(SERVED)
THREADS = [_option("--threads", type=int, default=None, help="Threads that latency_ms is of. Default: 1.")]
"""Of commands that time nothing else."""

LATENCY = [
    _option(
        "--batch-sizes",
        type=IntegerList(),
        default=",".join(map(str, BenchmarkOptions.batch_sizes)),
        help="Batch sizes to time.",
    ),
    _option(
        "--lengths",
        type=IntegerList(),
        default=",".join(map(str, BenchmarkOptions.lengths)),
        help="Tokens per text to time.",
    ),
    _option("--threads", type=int, default=BenchmarkOptions.threads, help="Threads of what is timed."),
    _option("--runs", type=int, default=BenchmarkOptions.runs, help="Timed runs of each model and shape."),
    _option(
        "--provider",
        type=_choice(["cpu", "cuda"]),
        default=BenchmarkOptions.provider,
        help="Where ONNX Runtime and PyTorch compute.",
    ),
]

CACHE = [
    _boolean(
        "--use-cache",
        default=True,
        help="Skip stages that a finished run of this experiment has done with the same inputs and the same code.",
    ),
    _boolean("--fresh", default=False, help="Do all stages anew: the same as --use-cache false."),
]

OUTPUT = [
    _option(
        "--output-dir",
        type=PATH,
        default=None,
        help="New or empty directory, or one that this command has begun: then it goes on there. Default: "
        "compressor-output/<command>-<date>-<time>.",
    ),
    _boolean("--overwrite-output-dir", default=False, help="Begin anew in a directory that is in use."),
    _boolean(
        "--resume",
        default=False,
        help="Go on in --output-dir, which must have been begun; without one, in the newest unfinished one of the "
        "same command and options in compressor-output/.",
    ),
    _boolean(
        "--system-metrics",
        default=False,
        help="Log this machine's CPU, memory, disk and network (and GPU) every ten seconds, as curves of the run.",
    ),
    _option(
        "--config-file",
        type=PATH,
        default=None,
        is_eager=True,
        callback=_read_config_file,
        help="YAML file with options by their names, such as num-samples: 60; the command line wins over it. Every run "
        "keeps one, config.yaml.",
    ),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
]

DRY_RUN = [
    _boolean(
        "--dry-run",
        default=False,
        help="Show all options, the rows and what the work will take, and begin nothing.",
    ),
]

HOW_IT_RUNS = ("output_dir", "overwrite_output_dir", "resume", "config_file", "dry_run", "debug")
"""Options that say how a command is run, not what it does."""

_INPUT = "Input"
HEADINGS: dict[str, list[list[Any]]] = {
    "Model": [MODEL],
    "Data": [DATA],
    "Training": [CHECKPOINTS, SAMPLING, TRAINING, PROCESSES],
    "Search space and evaluation": [SPACE, SPACE_OF_SEARCH, EVALUATION],
    "Search": [SEARCH, TRIALS],
    "Choice": [CHOICE, SEVERAL, CONFIDENCE],
    "Gate": [GATE],
    "Vocabulary": [VOCABULARY],
    "Export": [RUNTIME, RUNTIME_OF_COMPRESS, EXPORT],
    "Timing": [SEARCH_LATENCY, TRIAL_LATENCY, THREADS, LATENCY, REPLAY],
    "Device": [DEVICE],
    "Cluster": [RAY],
    "Output": [CACHE, HUB, DRY_RUN, OUTPUT],
}
"""What options stand under in a command's help. Those that a command defines itself are its input."""


def _heading_of(parameter: click.Parameter, of_command: Collection[str | None]) -> str:
    """The heading of an option; of several the one whose options the command has all."""
    if "--help" in parameter.opts:
        return "Output"
    found = [(heading, names) for heading, names in _names_by_heading().items() if parameter.name in names]
    return max(found, key=lambda each: each[1] <= set(of_command), default=(_INPUT, set[str]()))[0]


@cache
def _names_by_heading() -> dict[str, set[str]]:
    @add_options(*(group for groups in HEADINGS.values() for group in groups))
    def all_options() -> None: ...

    parameters = iter(reversed(all_options.__click_params__))  # type: ignore[attr-defined]  # Click keeps them so
    sizes = {heading: sum(map(len, groups)) for heading, groups in HEADINGS.items()}
    return {heading: {next(parameters).name for _ in range(size)} for heading, size in sizes.items()}
