"""The command line: Click commands, which are MLproject's entry points too. It translates; stages do the work."""

import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

import click

from compressor import __version__
from compressor.cluster.connection import require_cluster
from compressor.cluster.options import TrialsOnCluster
from compressor.data.sources import DataSource, find_path, make_source
from compressor.device import AUTO, pick_device
from compressor.errors import CompressorError, OptionError, shorten, spelled_as_flags
from compressor.extraction.options import ExtractionOptions
from compressor.files import is_full_disk, local_path, read_json, read_lines, require_other_directory
from compressor.hub import push_model, require_hub
from compressor.options import Problem, refuse
from compressor.search.options import (
    LATENCY_OBJECTIVE,
    Choice,
    NasOptions,
    SearchOnCluster,
    SearchOptions,
    require_reachable,
)
from compressor.training.settings import ModelOptions, TrainingSettings
from exporters.options import RUNTIMES, BenchmarkOptions, ColumnOptions, GateOptions, ReplayOptions, installed_runtimes
from mlproject.cli.options import Options, RunOptions, add_options, pick
from mlproject.cli.parameters import HuggingFaceCommand
from mlproject.cli.processes import (
    count_processes,
    count_started,
    is_follower,
    require_training,
    silent_follower,
    start_processes,
    take_part,
)
from mlproject.inputs.addresses import (
    BENCHMARKED,
    EXPORTED,
    FAMILY,
    MODEL_DIR,
    SEARCHED,
    SUPER_NETWORK,
    TIMED,
    is_address,
    locate,
)
from mlproject.tracking.registration import LoggedExportOptions, require_aliases
from mlproject.tracking.signals import StopSignal, stop_signals, stopped

_Maker = type | Callable[[dict[str, Any]], Any]
"""An options class, or a function of a command's values that makes something of them."""
_MAX_QUOTED = 600
"""Characters of an error that may quote a value of any length."""
_CHATTY = (
    *("mlflow", "alembic", "torch.onnx", "onnxscript", "syne_tune"),
    *("huggingface_hub", "datasets", "httpx", "urllib3"),
)
"""Libraries that log what nobody needs to know."""

if TYPE_CHECKING:
    from mlproject.tracking.tracker import StageRun, Tracker


class UnderscoreGroup(click.Group):
    """A group that takes `train_supernet` for `train-supernet`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name."""
        return super().get_command(ctx, cmd_name.replace("_", "-"))


@click.group(cls=UnderscoreGroup, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="compressor", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Make an encoder small enough to serve.

    Trains a BERT- or RoBERTa-family encoder once as a super-network, searches its sub-networks for the best trade-offs
    between error and size, cuts the one you pick out and exports it to ONNX. Every run is logged to MLflow.
    """
    require_training(context.invoked_subcommand)


def _command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that makes a function the command of that name, with the options that are listed for it."""
    return lambda function: cli.command(name, cls=HuggingFaceCommand)(add_options(function, name))


@_command("train-supernet")
def train_supernet(**values: Any) -> None:
    """Fine-tune an encoder once as a super-network."""
    context = click.get_current_context()
    num_processes, source, model, settings = _check(
        values, _num_processes, _whole_source, ModelOptions, TrainingSettings
    )
    # The number that is, so that the configuration file and the comparison of a resumed command have it.
    context.params["num_processes"] = num_processes
    if values["dry_run"]:
        if not is_follower():
            _show_plan({"source": source, "model": model, "training": settings})
        return
    if num_processes > count_started():
        start_processes(context.obj, num_processes)
        return
    if num_processes > 1:
        _quiet_libraries()  # before PyTorch is loaded
    with take_part() as is_first:
        if not is_first:
            _follow(source, model, settings)
            return
        with _top_run("train-supernet") as (run, output_dir, _):
            from mlproject.stages import train as train_stage

            located = train_stage.in_turn(lambda: _located(source, model))
            train_stage.train_supernet(output_dir, *located, settings, run)
            _done(run, f"the super-network {output_dir}", f"compressor search --supernet {quote(str(output_dir))}")


def _follow(source: DataSource, model: ModelOptions, settings: TrainingSettings) -> None:
    """Take part in a training whose first process does all else."""
    from mlproject.stages import train as train_stage

    train_stage.follow(*train_stage.in_turn(lambda: _located(source, model)), settings)


@_command("search")
def search(supernet: str, **values: Any) -> None:
    """Search a super-network for its best sub-networks."""
    source, options, cluster = _check(values, _source, SearchOptions, SearchOnCluster)
    with _top_run("search") as (run, output_dir, _):
        from mlproject.stages import search as search_stage

        default = asdict(DataSource())
        # A default may be a user's wish too, but it cannot be told from none; the super-network's own data then counts.
        set_anew = {name: value for name, value in asdict(source).items() if value != default[name]}
        net = locate(supernet, *SUPER_NETWORK)
        result = search_stage.search(output_dir, net, set_anew, options, cluster, run)
        _done(run, f"the Pareto front {output_dir}", f"compressor extract --search {quote(str(output_dir))}")
        if result.interrupted:
            raise stopped()


@_command("nas")
def nas(**values: Any) -> None:
    """Standard NAS, the baseline: train each sub-network alone."""
    # Options that a training has and standard NAS does not offer: each sub-network is trained as a model of its own.
    values |= {"save_strategy": "no", "sampling_strategy": "standard"}
    makers = (_whole_source, ModelOptions, TrainingSettings, NasOptions, TrialsOnCluster)
    source, model, settings, options, cluster = _check(values, *makers)
    with _top_run("nas") as (run, output_dir, _):
        from mlproject.stages import nas as nas_stage

        result = nas_stage.nas(output_dir, *_located(source, model), settings, options, cluster, run)
        count = f"{len(result.evaluations)} trial{'s' if len(result.evaluations) > 1 else ''}"
        _done(
            run, f"the Pareto front of {count} in {output_dir}", f"compressor extract --search {quote(str(output_dir))}"
        )
        if result.interrupted:
            raise stopped()


@_command("extract")
def extract(search_dir: str, **values: Any) -> None:
    """Cut sub-networks of the front out as models of their own."""
    choice, options, how = _check(values, Choice, ExtractionOptions, RunOptions)
    with _top_run("extract") as (run, output_dir, _):
        from mlproject.stages import extract as extract_stage

        made = extract_stage.extract(output_dir, locate(search_dir, *SEARCHED), choice, options, run)
        _push(made, how.push_to_hub, run)
        what = f"{len(made)} sliced models in {output_dir}" if choice.several else f"the sliced model {output_dir}"
        _done(run, what, f"compressor export --model {quote(str(output_dir if choice.several else made[0]))}")


@_command("trim-vocabulary")
def trim_vocabulary(model_dir: str, **values: Any) -> None:
    """Take the tokens that some texts do not need from any model."""
    (options,) = _check(values, ExtractionOptions)
    with _top_run("trim-vocabulary") as (run, output_dir, _):
        from mlproject.stages import extract as extract_stage

        model = str(locate(model_dir, *MODEL_DIR)) if is_address(model_dir) else model_dir
        extract_stage.trim(output_dir, model, options, run)
        _done(run, f"the model {output_dir}", f"compressor compress --model-name-or-path {quote(str(output_dir))}")


@_command("export")
def export(model_dir: str, **values: Any) -> None:
    """Export a model to ONNX (and OpenVINO) and verify it against PyTorch."""
    (options,) = _check(values, _export_options)
    with _top_run("export") as (run, output_dir, _):
        from mlproject.stages.export import export_all

        made = export_all(output_dir, locate(model_dir, *FAMILY, *MODEL_DIR), options, run)
        what = f"{len(made)} ONNX models in" if isinstance(made, dict) else "the ONNX model"
        _done(run, f"{what} {output_dir}", f"compressor benchmark --model {quote(str(output_dir))} --model OTHER")


@_command("benchmark")
def benchmark(models: tuple[str, ...], **values: Any) -> None:
    """Time exported models and model directories side by side."""
    (options,) = _check(values, BenchmarkOptions)
    with _top_run("benchmark") as (run, output_dir, _):
        from mlproject.stages import benchmark as benchmark_stage

        names = _model_names(_paths(models))
        made = benchmark_stage.benchmark(output_dir, names, options, run)
        _done(run, f"the latencies {output_dir}")
        click.echo(json.dumps(made.to_json(output_dir)))


@_command("evaluate")
def evaluate(model: str, data_file: str, **values: Any) -> None:
    """Judge a served model on new rows, beside a baseline; fail where it does not keep what is asked."""
    columns, options = _check(values, ColumnOptions, GateOptions)
    with _top_run("evaluate") as (run, output_dir, _):
        from mlproject.stages.served import evaluate as evaluate_stage

        evaluate_stage.evaluate(output_dir, model, find_path(data_file).absolute(), columns, options, run)
        _done(run, f"the evaluation {output_dir}")


@_command("replay")
def replay(champion: str, challenger: str, requests_file: str, **values: Any) -> None:
    """Send recorded requests to two served models: where they disagree, how fast each is."""
    (options,) = _check(values, ReplayOptions)
    with _top_run("replay") as (run, output_dir, _):
        from mlproject.stages.served import replay as replay_stage

        replay_stage.replay(output_dir, champion, challenger, find_path(requests_file).absolute(), options, run)
        _done(run, f"the comparison {output_dir / 'replay.html'}", "open it in a browser")


@_command("sync")
def sync(output_dir: str, **_debug: Any) -> None:
    """Log what a tracking server missed while it was away.

    OUTPUT_DIR is the output directory of the command that continued without it.
    """
    _quiet_libraries()
    from mlproject.cli.resume import lock_output_dir
    from mlproject.tracking import tracker as tracking
    from mlproject.tracking.outbox import read_header

    path = local_path(output_dir).resolve()
    # Only the directory of a command is locked: locking makes files, which others should not find in theirs.
    with lock_output_dir(path) if read_header(path) else nullcontext():
        count, run = tracking.sync(path)
    click.echo(f"Logged {_missing(count, run)}. Next: {_look_at(run)}")


@_command("compress")
def compress(use_cache: bool, fresh: bool, **values: Any) -> None:
    """Train, search, extract, export and benchmark: all of it."""
    makers: dict[str, _Maker] = {
        "source": _whole_source,
        "model": ModelOptions,
        "training": TrainingSettings,
        "search": _search_options_of_compress,
        "choice": Choice,
        "extraction": ExtractionOptions,
        "export": _export_options,
        "benchmark": BenchmarkOptions,
    }
    # The last two make no part: one checks that the parts fit together, one says how the command runs.
    *checked, _, how = _check(values, *makers.values(), _fit, RunOptions)
    parts = dict(zip(makers, checked, strict=True))
    if values["dry_run"]:
        _show_plan(parts)
        return
    with _top_run("compress") as (run, output_dir, tracker):
        from mlproject.stages.compress import CompressOptions
        from mlproject.stages.compress import compress as run_all

        source, model = _located(parts["source"], parts["model"])
        options = CompressOptions(**parts | {"source": source, "model": model})
        made = run_all(output_dir, options, run, tracker, use_cache=use_cache and not fresh)
        _push([model for model, _ in made.members.values()], how.push_to_hub, run)
        page = output_dir / "report.html"
        forms = "s {}, their ONNX variants {}" if len(made.members) > 1 else " {}, its ONNX variant {}"
        _done(run, f"the sliced model{forms.format(made.model, made.pruned)} and the report {page}")


@_command("report")
def report(**values: Any) -> None:
    """Write one page of what a search found and what became of it."""
    with _top_run("report") as (run, output_dir, _):
        from exporters.report.inputs import ReportFolders
        from mlproject.stages.report import report as write_report

        markers: dict[str, tuple[str, ...]] = {"search": SEARCHED, "benchmark": BENCHMARKED}
        markers |= {"model": (*FAMILY, *MODEL_DIR), "onnx": (*FAMILY, *EXPORTED)}
        given = {name: values[f"{name}_dir"] for name in markers}
        folders = ReportFolders(**{name: locate(path, *markers[name]) for name, path in given.items() if path})
        made = write_report(output_dir, folders, run)
        _done(run, f"the report {made}", "open it in a browser")


@_command("compare")
def compare(searches: tuple[str, ...], search_dirs: tuple[str, ...], **_output: Any) -> None:
    """Compare the fronts of several searches in one picture.

    SEARCHES are the output directories of search or nas, or their runs:/… addresses.
    """
    with _top_run("compare") as (run, output_dir, _):
        from compressor.comparison.report import HTML_FILE
        from mlproject.stages.compare import compare as compare_fronts

        given = (*searches, *_paths(search_dirs))
        compare_fronts(output_dir, [locate(path, *SEARCHED) for path in given], run)
        _done(run, f"the comparison {output_dir / HTML_FILE}", "open it in a browser")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line on stderr and exit code 1."""
    with spelled_as_flags(), silent_follower():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(words: list[str]) -> None:
    try:
        with stop_signals():
            cli.main(words or ["--help"], prog_name="compressor", standalone_mode=False, obj=words)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        reason = stopped()
        by, code = (reason.by, reason.exit_code) if isinstance(reason, StopSignal) else ("the user", 1)
        _fail(f"stopped by {by}; what was finished is kept.", words, code)
    except click.ClickException as error:
        message = _shorten(" ".join(error.format_message().split()))
        _fail_joined(message)
        known = words[0].replace("_", "-") if words else ""
        _fail(f"{message.rstrip('.')}. See compressor {known + ' ' if known in cli.commands else ''}--help.", words)
    except CompressorError as error:
        _fail(str(error), words)
    except OSError as error:
        _fail(
            f"{error.strerror or type(error).__name__}: {_shorten(str(error.filename or error))}. Check disk and "
            "permissions.",
            words,
        )
    except Exception as error:
        if is_full_disk(error):  # as safetensors and SQLite say it
            _fail(f"No space left on device: {shorten(error)}. Check disk and permissions.", words)
        # an internal error: still one line, and how to see more
        _fail(f"{type(error).__name__}: {shorten(error, 300)}. Add --debug for the traceback.", words)


@contextmanager
def _top_run(command: str) -> "Iterator[tuple[StageRun, Path, Tracker]]":
    """Yield the MLflow run of a command and its checked output directory."""
    context = click.get_current_context()
    values = context.params
    _quiet_libraries()
    from mlproject.cli.config_file import CONFIG_FILE, render_config
    from mlproject.cli.resume import take_output_dir
    from mlproject.tracking.outbox import clear
    from mlproject.tracking.system_metrics import log_system_metrics
    from mlproject.tracking.tracker import Tracker

    with ExitStack() as stack:
        try:
            if values.get("device", AUTO) != AUTO:
                pick_device()
            output_dir, begun = stack.enter_context(take_output_dir(command, values))
            # Stages ask this too, but by then what is overwritten has lost what it needs to resume.
            require_other_directory(output_dir, *_read_directories(values))
        except CompressorError as error:  # no run of ours is there yet that could log it
            _fail_joined(str(error))
            raise
        # Before the tracker reads the outbox, which would else resume what is to be overwritten.
        overwritten = clear(output_dir) if values["overwrite_output_dir"] else None
        tracker = Tracker(output_dir)
        # First in, last out: the run below ends before the delivery does.
        stack.callback(tracker.close)
        if tracker.resumes:
            click.echo(f"Resuming in {output_dir}.")
        # Killed between its last result and the end of logging: nothing is computed again.
        if tracker.is_done(begun):
            _log_the_rest(output_dir)
        run = stack.enter_context(tracker.start_run(command, {"stage": command}, begun))
        tracker.end_overwritten(overwritten)
        run.log_state(CONFIG_FILE, render_config(context.command, context.params))
        if values["system_metrics"]:
            stack.enter_context(log_system_metrics(run))
        yield run, output_dir, tracker


_READ = ("supernet", "search_dir", "model_dir", "onnx_dir", "benchmark_dir", "searches", "search_dirs")
"""Parameters that name directories in which a command does not write."""


def _read_directories(values: dict[str, Any]) -> Iterator[Path]:
    """Yield the directories that a command is to read, as far as they are none in MLflow."""
    for given in (values.get(name) for name in _READ):
        for text in given if isinstance(given, tuple) else (given,):
            if text and not is_address(text):
                yield local_path(text)


def _show_plan(parts: dict[str, Any]) -> None:
    """Print what a command with these options would do, and begin nothing.

    They are those of a training, or fields of `CompressOptions`.
    """
    context = click.get_current_context()
    _quiet_libraries()
    from mlproject.cli.config_file import render_config
    from mlproject.cli.resume import choose_output_dir
    from mlproject.stages.compress import CompressOptions
    from mlproject.stages.train import preview

    output_dir, _ = choose_output_dir(str(context.command.name), context.params)
    click.echo(render_config(context.command, context.params), nl=False)
    source, model = _located(parts["source"], parts["model"])
    plan = None
    if "benchmark" in parts:
        options = CompressOptions(**parts | {"source": source, "model": model})
        options.require_provider()
        plan = options.plan
    preview(source, model, parts["training"], plan)
    click.echo(f"Nothing is begun. Without --dry-run the results go to {output_dir}.")


def _log_the_rest(output_dir: Path) -> NoReturn:
    """End a command that was killed after its work was done, but not all of it was logged."""
    from mlproject.tracking import tracker as tracking

    count, run = tracking.sync(output_dir)
    click.echo(f"Made {output_dir} before; logged {_missing(count, run)}. Next: {_look_at(run)}")
    raise click.exceptions.Exit(0)


def _missing(count: int, run: "StageRun") -> str:
    """Return how many entries were logged, and how many were not taken."""
    refused = run.tracker.num_refused
    return f"{count} entries that were missing" + (f", but MLflow does not take {refused} others" if refused else "")


def _look_at(run: "StageRun") -> str:
    """Return how a run's page is opened."""
    return f"open {run.link()}" if run.tracker.remote else f"mlflow server, then open {run.link()}"


def _done(run: "StageRun", made: str, following: str | None = None) -> None:
    """Print the last two lines: where the run is, what was made, and what comes next (default: looking at the run)."""
    look = _look_at(run)
    # Everything that still waits is sent before the last lines are printed.
    left = run.tracker.finish()
    if left:
        look = f"compressor sync {quote(str(run.tracker.outbox.output_dir))}"
        click.echo(f"MLflow was lost on the way: {left} entries wait. Once it is back: {look}")
    else:
        for what, link in {**run.tracker.links, "MLflow run": run.link()}.items():
            click.echo(f"{what}: {link}")
    click.echo(f"Made {made}. Next: {following or look}")


def _fail(message: str, words: list[str], code: int = 1) -> None:
    if "--debug" in words:
        raise
    if not is_follower():
        click.echo(f"Error: {message}", err=True)
    sys.exit(code)


def _shorten(text: str) -> str:
    """Return a text that may quote whatever was typed, its middle left out where it is long."""
    return text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED // 2]} … {text[-_MAX_QUOTED // 2 :]}"


def _fail_joined(message: str) -> None:
    if os.environ.get("MLFLOW_RUN_ID"):
        from mlproject.tracking.tracker import fail_joined_run

        fail_joined_run(message)


def _check(values: dict[str, Any], *makers: _Maker) -> tuple[Any, ...]:
    """Return what each class or function makes of a command's options, before any run is started or work is done.

    Raises:
        CompressorError: options are wrong; numbers out of their range all at once.
    """
    made: list[Any] = []
    problems: list[Problem] = []
    others: list[CompressorError] = []
    # All are called, even after one has failed, so that one message can tell of all that is wrong.
    for make in makers:
        try:
            made.append(_make(make, values) if isinstance(make, type) else make(values))
        except OptionError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            others += [] if error.problems else [error]
        except CompressorError as error:
            others.append(error)
    try:
        # Numbers first, all of them in one message; what else is wrong may follow from one of them.
        refuse(problems)
        if others:
            raise others[0]
    except CompressorError as error:
        _fail_joined(str(error))
        raise
    return tuple(made)


def _make(options: type[Options], values: dict[str, Any]) -> Options:
    """Return an options class of a command's values; what `_TRIED` lists of it is tried, where it is given."""
    made = pick(options, values)
    for name, try_out in _TRIED.get(options, {}).items():
        if getattr(made, name) is not None:
            try_out(getattr(made, name))
    return made


_TRIED: dict[type, dict[str, Callable[[str], object]]] = {
    Choice: {"config": lambda file: read_json(local_path(file))},
    ExtractionOptions: {"vocabulary_file": lambda file: read_lines(local_path(file))},
    SearchOnCluster: {"ray": require_cluster},
    TrialsOnCluster: {"ray": require_cluster},
    RunOptions: {"push_to_hub": require_hub},
}
"""Fields of options classes that name something outside, a file, a cluster or the Hub: how each is tried beforehand."""


def _source(values: dict[str, Any]) -> DataSource:
    return make_source(**asdict(pick(DataSource, values)))


def _whole_source(values: dict[str, Any]) -> DataSource:
    """Return a source that adds nothing to another one, so that it must fit its task."""
    source = _source(values)
    # The property makes the task, and raises where columns or metric do not fit it.
    assert source.task
    return source


def _search_options_of_compress(values: dict[str, Any]) -> SearchOptions:
    """Return those of its search: `--threads` are the benchmark's alone where no latency is an objective."""
    is_timed = LATENCY_OBJECTIVE in values["objectives"]
    return pick(SearchOptions, values if is_timed else {**values, "threads": None})


def _export_options(values: dict[str, Any]) -> LoggedExportOptions:
    if values["runtime"] == ("auto",):
        on_gpu = values.get("provider", "cpu") != "cpu"  # where OpenVINO's variants are not timed
        values = values | {"runtime": RUNTIMES[:1] if on_gpu else installed_runtimes()}
    options = pick(LoggedExportOptions, values)
    if options.register_as is not None:
        from mlproject.tracking.delivery import find_registration_problems

        refuse(find_registration_problems(options.register_as, options.alias))
    return options


def _fit(values: dict[str, Any]) -> None:
    """Raise unless the search of a `compress` can give what the choice asks for, and the export name what it gives."""
    choice = pick(Choice, values)
    require_reachable(choice, values["objectives"], values["num_samples"])
    if choice.several:
        if "dense" in choice.tier_sizes:
            law, remedy = "other names than dense, which is the super-network", "Choose another."
            refuse([Problem(option="--tiers", law=law, value=",".join(choice.tiers), remedy=remedy)])
        # With any runtime that is there: aliases do not depend on it, and "auto" is no runtime.
        require_aliases(pick(LoggedExportOptions, values, runtime=RUNTIMES[:1]), list(choice.tier_sizes))


def _push(models: Sequence[Path], repository: str | None, run: "StageRun") -> None:
    """Push extracted models, of several each to a repository of its own."""
    from compressor.network.saving import SUB_NETWORK_FILE

    for model in models if repository is not None else ():
        name = f"{repository}-{model.name}" if len(models) > 1 else str(repository)
        address = push_model(model, name, without=[SUB_NETWORK_FILE])
        run.set_tags({"hub": address})
        run.tracker.links[f"Hub, {model.name}" if len(models) > 1 else "Hub"] = address


def _located(source: DataSource, options: ModelOptions) -> tuple[DataSource, ModelOptions]:
    """Return options with the local paths of models that are addresses in MLflow, and rows that fit them.

    Where the head of a task learns the outputs of the trained model, the rows name that.
    """

    def locally(name: str) -> str:
        return str(locate(name, *MODEL_DIR)) if is_address(name) else name

    model, teacher = locally(options.model_name_or_path), options.teacher_model
    options = replace(options, model_name_or_path=model, teacher_model=None if teacher is None else locally(teacher))
    if source.task.head.learns_reference:
        path = Path(model).expanduser()
        source = replace(source, reference_model=str(path.absolute()) if path.is_dir() else model)
    return source, options


def _num_processes(values: dict[str, Any]) -> int:
    """Return how many train together; noted in `values` for the settings."""
    values["num_processes"] = count_processes(values["num_processes"])
    return int(values["num_processes"])


def _model_names(paths: list[str]) -> list[tuple[str, Path]]:
    """Return names for the models of a benchmark: of directories, numbered where they repeat; of a family its own."""
    from compressor.extraction import family

    names: dict[str, Path] = {}
    for path in paths:
        # An address has no file name: what follows its scheme names the model.
        given = path.partition(":/")[2].strip("/").replace("/", "-").replace("@", "-") if is_address(path) else None
        stem = given or local_path(path).name
        stem = stem.removesuffix(".onnx").removesuffix(".xml")
        found = locate(path, *FAMILY, *TIMED)
        for own, model in family.find_members(found).items():
            name = own or stem
            # Numbered by how many there are, where a name repeats; on from there, where that one is taken too.
            numbered = (f"{name}-{number}" for number in itertools.count(len(names)))
            names[next(each for each in itertools.chain((name,), numbered) if each not in names)] = model
    return list(names.items())


def _paths(given: Sequence[str]) -> list[str]:
    """Return the paths of an option that is given several times, or once with commas; a path may have commas too."""
    found = []
    for text in given:
        is_one = not is_address(text) and local_path(text).exists()
        found += [text] if is_one else text.split(",")
    return found


def _quiet_libraries() -> None:
    """Keep the terminal for our own lines: libraries log errors only, and their progress bars stay off."""
    import logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # OpenMP threads that spin while they wait make PyTorch ten times slower beside any other busy process; waiting
    # passively costs a few percent on an idle machine (benchmarks/LOG.md). Read once, when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # Offline each file of a cached model would else wait ten seconds for the Hub.
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|mlflow|syne_tune|datasets|onnxscript|copyreg).*")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
