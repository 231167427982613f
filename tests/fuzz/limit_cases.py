"""Numbers of options out of their range: below, above, infinite, no number, of thousands of digits; for all commands.

Every option with a limit (`compressor.options`) is tried in every command that has it, so a new one is tried by being
a field.
"""

import click

from compressor.data.sources import DataSource
from compressor.extraction.options import ExtractionOptions
from compressor.options import find_limits
from compressor.search.options import Choice, NasOptions, SearchOptions
from compressor.training.settings import TrainingSettings
from exporters.options import BenchmarkOptions, ExportOptions
from fuzz.harness import Case
from mlproject.cli import cli

_OF_STAGES = (DataSource, TrainingSettings, SearchOptions, NasOptions, Choice, ExtractionOptions, ExportOptions)
LIMITS = {name: limit for cls in (*_OF_STAGES, BenchmarkOptions) for name, limit in find_limits(cls).items()}

WORDS = {
    "train-supernet": "train-supernet --model-name-or-path base --train-file train.jsonl",
    "search": "search --supernet net",
    "nas": "nas --model-name-or-path base --train-file train.jsonl",
    "extract": "extract --search search",
    "export": "export --model model",
    "benchmark": "benchmark --model onnx",
    "compress": "compress --model-name-or-path base --train-file train.jsonl",
}
HUGE = str(10**30)


def _that_goes_with(command: str, name: str) -> tuple[str, ...]:
    """What an option asks for besides."""
    if (command, name) == ("search", "num_workers"):
        return ("--ray", "local")
    of_latency = name in ("batch_size", "length") or (name == "threads" and command in ("search", "nas"))
    return ("--objectives", "error,latency_ms") if of_latency else ()


def _cases(command: str, option: click.Option) -> list[Case]:
    name, flag = str(option.name), option.opts[0]
    limit, whole = LIMITS[name], not isinstance(option.type, click.types.FloatParamType)
    least = f"{'above' if limit.above else 'at least'} {limit.least:,}"
    low = f"{flag} must be {least}, but got …. Raise it."
    high = f"{flag} must be at most {limit.most:,}, but got …. Lower it."
    wrong = {str(int(limit.least) - 1): low, f"-{HUGE}": low, HUGE: high, "9" * 4000: high}
    if whole:
        no_number = "Invalid value for '…': … is not a …. See compressor … --help."
        wrong |= dict.fromkeys(("inf", "nan", "1.5", "one", " ", "9" * 5000), no_number)
    else:
        wrong |= {"inf": high, "-inf": low, "1e400": high, "nan": f"{flag} must be a number, but got nan. Correct it."}
        wrong |= dict.fromkeys(("one", " "), "Invalid value for '…': … is not a valid float. See compressor … --help.")
    return [
        Case(
            name=f"limit of {command} {flag}: {value if len(value) < 40 else f'{value[0]} × {len(value)}'}",
            words=(*WORDS[command].split(), f"{flag}={value}", *_that_goes_with(command, name)),
            error=error,
        )
        for value, error in wrong.items()
    ]


CASES = [
    *(
        case
        for command in WORDS
        for option in cli.commands[command].params
        if isinstance(option, click.Option) and option.name in LIMITS
        for case in _cases(command, option)
    ),
    Case(
        name="all wrong numbers of a command at once",
        words=f"{WORDS['compress']} --seed -1 --temperature inf --num-samples 0 --runs 0 --max-int8-loss -1",
        error="--temperature must be at most 1,000, but got inf; --seed must be at least 0, but got -1; --num-samples "
        "must be at least 1, but got 0; --max-int8-loss must be at least 0, but got -1.0; --runs must be at least 1, "
        "but got 0. Correct the options.",
    ),
    Case(
        name="a batch that fills the memory",
        words=f"{WORDS['benchmark']} --batch-sizes 1,1024 --lengths 100000",
        error="the largest of --batch-sizes times the longest of --lengths must be at most 1,048,576 tokens, but got "
        "1024 times 100000. Lower one of them.",
    ),
    *(
        Case(
            name=f"{command} --register-as {name} --alias {alias}",
            words=(*WORDS[command].split(), "--register-as", name, "--alias", alias),
            error=error,
        )
        for command in ("export", "compress")
        for name, alias, error in (
            (
                "a/b",
                "x",
                "--register-as must be a name that MLflow takes (…), but got 'a/b'. Use letters, digits, - and _.",
            ),
            (
                "a:b",
                "x",
                "--register-as must be a name that MLflow takes (…), but got 'a:b'. Use letters, digits, - and _.",
            ),
            (
                "..",
                "x",
                "--register-as must be a name that MLflow takes (…), but got '..'. Use letters, digits, - and _.",
            ),
            (
                "  ",
                "x",
                "--register-as must be a name that MLflow takes (…), but got '  '. Use letters, digits, - and _.",
            ),
            ("n" * 257, "x", "--register-as must be a name that MLflow takes (…), but got 'n…'. Use …."),
            ("a", "v1", "--alias must be a name that MLflow takes (…), but got 'v1'. Use letters, digits, - and _."),
            ("a", "latest", "--alias must be a name that MLflow takes (…), but got 'latest'. Use letters, …."),
            ("a", "Latest", "--alias must be a name that MLflow takes (…), but got 'Latest'. Use letters, …."),
            ("a", "a b", "--alias must be a name that MLflow takes (…), but got 'a b'. Use letters, digits, - and _."),
            ("a", "x" * 256, "--alias must be a name that MLflow takes (…), but got 'x…'. Use letters, …."),
        )
    ),
    *(
        Case(
            name=f"{command} with a home that nobody has",
            words=(*WORDS[command].split()[:1], flag, "~nobody-of-that-name/x"),
            error="a path with ~ must begin with somebody's home, but got '~nobody-of-that-name/x'. Correct it. See "
            f"compressor {command} --help.",
        )
        for command, flag in (
            ("export", "--model"),
            ("search", "--supernet"),
            ("extract", "--search"),
            ("benchmark", "--model"),
            ("compress", "--output-dir"),
            ("nas", "--model-name-or-path"),
        )
    ),
    Case(
        name="export of a model with a name of 5,000 characters",
        words=("export", "--model", "m" * 5000),
        error="a path must be one that a disk can have, but 'mmm…: File name too long. Correct it.",
    ),
    Case(
        name="a switch with a value of 5,000 characters",
        words=("export", "--model", "model", "--portable", "x" * 5000),
        error="Invalid value for '--portable': 'xxx… … xxx…. See compressor export --help.",
    ),
    Case(
        name="compress with an index that no search can have",
        words=f"{WORDS['compress']} --num-samples 5 --index 5",
        error="--index must be below --num-samples, 5, but got 5. Lower it, or search for longer.",
    ),
    Case(
        name="compress chooses by a latency that it does not measure",
        words=f"{WORDS['compress']} --max-latency-ms 3",
        error="--max-latency-ms must be given with the objective latency_ms, but got --objectives error,params. Add "
        "--objectives error,latency_ms.",
    ),
    Case(
        name="compress with a config that is not there",
        words=f"{WORDS['compress']} --config none.json",
        error="the file {folder}/none.json must exist, but it does not. Check the path.",
    ),
    *(
        Case(
            name=f"{command} with ehvi in the space large",
            words=f"{WORDS[command]} --search-strategy ehvi --search-space large",
            error="the search strategy ehvi must have a space of a few numbers, but large has one bit per head and "
            "unit. Use random_search, local_search, morea or nsga2 there.",
        )
        for command in ("search", "nas", "compress")
    ),
]
