"""Timing models side by side: exports in their accepted forms, single graphs, and model directories in PyTorch."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from exporters.benchmark_record import Benchmark, TimedModel
from exporters.found_models import FoundModel, find_models
from exporters.graph.sessions import require_provider
from exporters.options import BenchmarkOptions
from exporters.timing.footprint import measure_footprint
from exporters.timing.latency import describe_environment, measure_latencies
from exporters.timing.runners import Runner, open_runner


def benchmark_models(
    models: Sequence[tuple[str, Path | str]], options: BenchmarkOptions | None = None, **fields: Any
) -> Benchmark:
    """Return the latencies of models that take turns, the first being the base of all ratios.

    Args:
        models: roles and paths. An export directory stands for all its accepted forms, a model directory for
            PyTorch (eager). A role may name an export and a model directory.
        options: what is timed (None: `BenchmarkOptions()`); lengths are cut to what all the models take.
        fields: those of `BenchmarkOptions`, such as `runs=100`, in place of `options`.

    Raises:
        ModelError: a path is no model, or the provider or the runtime of one is not there.
        FileError: the record of a model is broken.
        OptionError: an option is out of its range.
    """
    options = replace(options or BenchmarkOptions(), **fields)
    found = _name_apart([timed for role, path in models for timed in find_models(role, Path(path))])
    require_provider(options.provider, {timed.runtime for timed in found})
    # All are open at once, since they take turns; what loading costs is measured in processes of their own, afterwards.
    runners = {timed.name: open_runner(timed.path, options.threads, options.provider) for timed in found}
    # Ratios compare equal inputs: the shortest position table decides for all.
    longest = min(runner.max_positions for runner in runners.values())
    real_lengths = next((timed.lengths for timed in found if timed.lengths), ())
    latencies, noise = measure_latencies(
        runners,
        options.batch_sizes,
        sorted({min(length, longest) for length in options.lengths}),
        real_lengths=[min(length, longest) for length in real_lengths],
        threads=options.threads,
        runs=options.runs,
    )
    return Benchmark(
        environment=describe_environment(options.threads, openvino=any(timed.runtime == "openvino" for timed in found)),
        options=options,
        models={timed.name: _measure(timed, runners[timed.name], options) for timed in found},
        noise=noise,
        latencies=tuple(latencies),
    )


def _name_apart(found: Sequence[FoundModel]) -> list[FoundModel]:
    """Return the models, numbered where one before has the name: an int8 form of `a` is called as a model `a-int8`."""
    named: dict[str, FoundModel] = {}
    for timed in found:
        names = (timed.name, *(f"{timed.name}-{number}" for number in range(2, len(found) + 1)))
        name = next(name for name in names if name not in named)
        named[name] = replace(timed, name=name)
    return list(named.values())


def _measure(found: FoundModel, runner: Runner, options: BenchmarkOptions) -> TimedModel:
    """Return a model with what loading it costs."""
    footprint = measure_footprint(found.path, options.threads, options.provider)
    return TimedModel(
        path=found.path,
        runtime=found.runtime,
        precision=found.precision,
        provider=runner.provider,
        role=found.role,
        error=found.error,
        error_interval=found.error_interval,
        mb=found.mb,
        **asdict(footprint),
    )
