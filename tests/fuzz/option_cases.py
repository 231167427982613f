"""Values of options that no command can work with, and options that do not go together.

Most cases are made from tables: a law, the options it is of, and values that break it.
"""

from fuzz.harness import Case

TRAIN = "train-supernet --model-name-or-path base --train-file train.jsonl"
SEARCH = "search --supernet net"
EXTRACT = "extract --search search"
EXPORT = "export --model model"
BENCHMARK = "benchmark --model onnx"


def cases(command: str, option: str, values: tuple[str, ...], error: str) -> list[Case]:
    """One case for each value of an option; `VALUE` in the sentence stands for it."""
    return [
        Case(
            name=f"{command.split()[0]} {option} {value}",
            words=f"{command} {option} {value}",
            error=error.replace("OPTION", option).replace("VALUE", value),
        )
        for value in values
    ]


CASES = [
    *cases(TRAIN, "--temperature", ("0.0", "-1.0"), "OPTION must be above 0, but got VALUE. Raise it."),
    *cases(SEARCH, "--num-samples", ("0", "-1"), "OPTION must be at least 1, but got VALUE. Raise it."),
    *cases(EXTRACT, "--finetune-epochs", ("-1",), "OPTION must be at least 0, but got VALUE. Raise it."),
    *cases(
        EXTRACT,
        "--tiers",
        ("S=0.5,M", "S=-1,M=1", "S=x", "S=inf", "S=0.1=2"),
        "OPTION must be names alone, or each with its most parameters, above 0, but got 'VALUE'. Write them as …",
    ),
    *cases(
        EXTRACT,
        "--tiers",
        ("=0.5", "S,S", "S=0.5,S=0.9", "../S=1", ","),
        "OPTION must be different names of letters and digits, up to 50 of them, but got 'VALUE'. Write them as S,M,L.",
    ),
    *cases(
        EXTRACT,
        "--tiers",
        ("S=1e-9",),
        "--tiers S= must be met by a member of the front, but none has 1e-09 or less; the nearest is …",
    ),
    *cases(EXPORT, "--alias", ("x",), "OPTION must be given with --register-as, but got 'VALUE' alone. …"),
    *cases(
        TRAIN,
        "--device",
        ("gpu", "cuda:", "cuda:-1", "CPU", "cuda:1000", "cpu:0"),
        "Invalid value for 'OPTION': 'VALUE' is not auto, cpu, cuda or a GPU by its number such as cuda:1. …",
    ),
    *cases(
        SEARCH,
        "--device",
        ("cuda:99",),
        "OPTION must be one that PyTorch finds on this machine, cpu or one of … GPUs, but got 'VALUE'. Take auto.",
    ),
    *cases(BENCHMARK, "--lengths", ("0", "8,0"), "OPTION must be at least 1, but got 0. Raise it."),
]

CASES += [
    Case(
        name="an output directory that is a loop of links",
        words=f"{SEARCH} --output-dir loop",
        change=lambda folder: (folder / "loop").symlink_to("loop"),
        error="a path must be one that a disk can have, but 'loop': …. Correct it.",
    )
]
