"""What `--config-file` is given: files that are no YAML, say something else, or cannot be read."""

import os

from fuzz.harness import Case, write

NO_YAML = "--config-file must be a file of YAML, but {folder}/p.yaml cannot be read: …. Correct the path or the file."
NO_OPTIONS = (
    "--config-file must hold options, a line each such as num-samples: 60, but p.yaml does not. Correct the file."
)
NESTED = (
    "a value of p.yaml must be a text, a number, true, false or a list of these, but that of 'KEY' (line 1) is "
    "nested. Correct the file."
)
UNKNOWN = "the keys of p.yaml must be options of compressor search, but it has KEY in line 1 (the nearest is …). …"
TWICE = "each option must stand once in p.yaml, but 'seed' stands in line 1 and, perhaps by another name, in line 2. …"

FILES: dict[str, tuple[str, str]] = {
    "half a list": ("objectives: [error,", NO_YAML),
    "a tab": ("seed:\t3\n\tx: 3", NO_YAML),
    "a control character": ("seed: \x01", NO_YAML),
    "two documents": ("seed: 1\n---\nseed: 2", NO_YAML),
    "deep": ("[" * 100_000, NO_YAML),
    "an alias of nothing": ("seed: *x", NO_YAML),
    "a list": ("- seed", NO_OPTIONS),
    "a text": ("seed", NO_OPTIONS),
    "a mapping as a value": ("objectives: {error: 20}", NESTED.replace("KEY", "objectives")),
    "a list in a list": ("objectives: [[error], params]", NESTED.replace("KEY", "objectives")),
    "a list that holds itself": ("objectives: &a [*a]", NESTED.replace("KEY", "objectives")),
    "an unknown key": ("num_sample: 3", UNKNOWN.replace("KEY", "'num_sample'")),
    "a merge": ("<<: {seed: 3}", UNKNOWN.replace("KEY", "'<<'")),
    "a list as a key": ("? [a]\n: 3", UNKNOWN.replace("KEY", "…")),
    "a file in a file": ("config-file: p.yaml", UNKNOWN.replace("KEY", "'config-file'")),
    "an option of another command": ("learning-rate: 3", UNKNOWN.replace("KEY", "'learning-rate'")),
    "a key twice": ("seed: 1\nseed: 2", TWICE),
    "a number out of its range": ("num-samples: -1", "--num-samples must be at least 1, but got -1. Raise it."),
    "no number": (
        "num-samples: many",
        "Invalid value for '--num-samples': 'many' is not a valid integer. See compressor search --help.",
    ),
}
"""Files by what is wrong with them, with the sentence."""

CASES = [
    Case(
        name=f"config file: {what}",
        words="search --supernet net --config-file p.yaml",
        change=write("p.yaml", content),
        error=error,
    )
    for what, (content, error) in FILES.items()
]
CASES += [
    Case(
        name="config file: not there",
        words="search --supernet net --config-file p.yaml",
        error=NO_YAML.replace("…", "No such file or directory"),
    ),
    Case(
        name="config file: no UTF-8",
        words="search --supernet net --config-file p.yaml",
        change=lambda folder: (folder / "p.yaml").write_bytes(b"seed: \xff"),
        error=NO_YAML,
    ),
    Case(
        name="config file: a pipe",
        words="search --supernet net --config-file p.yaml",
        change=lambda folder: os.mkfifo(folder / "p.yaml"),
        error="--config-file must be an ordinary file, but {folder}/p.yaml is a directory or device. Check the path.",
    ),
    Case(
        name="config file: an unknown home",
        words="search --supernet net --config-file ~nobody-of-that-name/p.yaml",
        error="a path must be one that a disk can have, but '~nobody-of-that-name/p.yaml': …. Correct it.",
    ),
    Case(
        name="push to hub: no name",
        words="extract --search search --push-to-hub a/b/c",
        error="--push-to-hub must be NAME or OWNER/NAME, but the Hub has no 'a/b/c': …. Correct it.",
    ),
]
